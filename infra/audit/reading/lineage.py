"""The lineage of one answer: its records, in order, from the question over the passages to the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Authz, Leaf, Retrieved
from infra.audit.reading.filters import read_leaves
from infra.audit.records import LoggedEvent
from infra.database.tables import AuditLeaf, AuditLookup
from infra.errors import NotFound

MOST_RECORDS: Final = 5_000
"""Records of one answer that are looked at; an answer has a few, and one for each of its sentences."""
MOST_LATER: Final = 100
"""Records about the answer from other requests that are listed."""


@dataclass(frozen=True)
class Step:
    """One record of the answer, as it was sealed."""

    index: int
    leaf: Leaf


@dataclass(frozen=True)
class ModelCall:
    """One call of the language model, with how it ended where that is known."""

    began: Step
    ai: AI
    ended: Step | None


@dataclass(frozen=True)
class Lineage:
    """One answer, from the records that tell about it."""

    asked: Step
    retrieved: Step | None = None
    passages: tuple[Retrieved, ...] = ()
    """What was retrieved; whether it was cited is known once the answer has ended."""
    authz: Authz | None = None
    calls: tuple[ModelCall, ...] = ()
    segments: tuple[Step, ...] = ()
    finished: Step | None = None
    others: tuple[Step, ...] = ()
    """Further records of the same request."""
    later: tuple[Step, ...] = field(default=())
    """Records of other requests that name this answer: a judgement, a receipt, a reading."""


def lineage_of(session: Session, answer_id: str) -> Lineage:
    """Return the lineage of an answer whose question is sealed; raises NotFound."""
    own = select(AuditLeaf.index).where(AuditLeaf.corr == answer_id).order_by(AuditLeaf.index)
    steps = _steps(session, session.scalars(own.limit(MOST_RECORDS)).all())
    asked = next((step for step in steps if step.leaf.type == EventType.ANSWER_ASKED.value), None)
    if asked is None:
        raise NotFound("There is no such answer on the record.")
    retrieved = _last(steps, EventType.ANSWER_RETRIEVED)
    finished = _last(steps, EventType.ANSWER_FINISHED)
    told = {EventType.ANSWER_ASKED, EventType.ANSWER_RETRIEVED, EventType.ANSWER_FINISHED}
    told |= {EventType.ANSWER_GENERATED, EventType.ANSWER_SEGMENT}
    return Lineage(
        asked=asked,
        retrieved=retrieved,
        # The end names the same passages once more, with what was cited.
        passages=(finished.leaf.ret if finished else ()) or (retrieved.leaf.ret if retrieved else ()),
        authz=retrieved.leaf.authz if retrieved else None,
        calls=_calls(steps),
        segments=tuple(step for step in steps if step.leaf.type == EventType.ANSWER_SEGMENT.value),
        finished=finished,
        others=tuple(step for step in steps if step.leaf.type not in {kind.value for kind in told}),
        later=_later(session, answer_id),
    )


def _later(session: Session, answer_id: str) -> tuple[Step, ...]:
    about = (
        select(AuditLookup.index)
        .join(AuditLeaf, AuditLeaf.index == AuditLookup.index)
        .where(AuditLookup.res_id == answer_id, AuditLeaf.corr != answer_id)
        .order_by(AuditLookup.index)
    )
    return tuple(_steps(session, session.scalars(about.limit(MOST_LATER)).all()))


def _steps(session: Session, indices: Sequence[int]) -> list[Step]:
    """Return readable records; one that cannot be read tells nothing here, and the check names it."""
    return [step for event in read_leaves(session, indices) if (step := _step(event)) is not None]


def _step(event: LoggedEvent) -> Step | None:
    if event.leaf is None or event.index is None:
        return None
    return Step(event.index, event.leaf)


def _last(steps: Sequence[Step], event_type: EventType) -> Step | None:
    return next((step for step in reversed(steps) if step.leaf.type == event_type.value), None)


def _calls(steps: Sequence[Step]) -> tuple[ModelCall, ...]:
    """Pair the beginnings of model calls with their ends, which follow them one by one."""
    calls: list[ModelCall] = []
    for step in steps:
        if step.leaf.type != EventType.ANSWER_GENERATED.value or step.leaf.ai is None:
            continue
        if step.leaf.stage is Stage.END and calls and calls[-1].ended is None:
            # The end carries the token counts beside everything that was said at the beginning.
            calls[-1] = ModelCall(calls[-1].began, step.leaf.ai, step)
        elif step.leaf.stage is Stage.START:
            calls.append(ModelCall(step, step.leaf.ai, None))
    return tuple(calls)
