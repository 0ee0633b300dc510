"""What opening a kept conversation puts on the record: every passage that its viewer is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from agents.record import as_recorded
from infra.access import POLICY
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Authz, Event, Resource, Retrieved
from infra.conversations import ReadableTurn, WithheldTurn
from infra.documents import Passage
from services.deps import Person
from services.parts import Parts

MOST_PASSAGES: Final = 50
"""Most passages of one record, so that it fits into one leaf (16 KiB); more need several records."""


def record_opened(
    parts: Parts,
    person: Person,
    corr: str,
    conversation_id: str,
    turns: Sequence[ReadableTurn | WithheldTurn],
    *,
    epoch: int,
) -> None:
    """Record that somebody is about to be shown `turns`, which the access lists of `epoch` allow.

    Raises AuditUnavailable, and then nothing may be shown.
    """
    actor, what = parts.ledger.identify(person.principal), Resource("conversation", conversation_id)
    authz = Authz("allow", POLICY, epoch)
    parts.ledger.record_all(
        [
            Event(
                EventType.CONVERSATION_OPENED,
                Stage.SINGLE,
                corr,
                actor,
                res=what,
                authz=authz,
                outcome="ok",
                ret=shown,
            )
            for shown in shown_in(turns)
        ]
    )


def shown_in(turns: Sequence[ReadableTurn | WithheldTurn]) -> list[tuple[Retrieved, ...]]:
    """Return the passages that `turns` show, each once and as cited, for one record after the other.

    There is one list at least, if an empty one. A document's passages stand in one record, unless they are
    more than fit into one, so that it is counted once.
    """
    readable = [turn for turn in turns if isinstance(turn, ReadableTurn)]
    passages = {passage.id: passage for turn in readable for passage in turn.passages.values()}
    records: list[list[Retrieved]] = [[]]
    shown = [replace(entry, cited=1) for entry in as_recorded(_by_document(passages))]
    for _, group in groupby(shown, key=lambda entry: entry.doc):
        together = list(group)
        if records[-1] and len(records[-1]) + len(together) > MOST_PASSAGES:
            records.append([])
        for entry in together:
            if len(records[-1]) == MOST_PASSAGES:
                records.append([])
            records[-1].append(entry)
    return [tuple(record) for record in records]


def _by_document(passages: dict[str, Passage]) -> list[Passage]:
    """Return passages document by document, in the order in which the documents appear."""
    documents: dict[str, list[Passage]] = {}
    for passage in passages.values():
        documents.setdefault(passage.document_id, []).append(passage)
    return [passage for found in documents.values() for passage in found]
