"""`/v1/audit/answers/{id}`: the lineage of one answer, from the question over the passages to the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.audit.reading.lineage import Lineage, ModelCall, Step, lineage_of
from services.audit.query import refuse_unknown_query
from services.audit.reading import Opened, allowed_to_open, open_step, record_look
from services.audit.shapes import (
    Labels,
    actor_object,
    ai_object,
    label_of,
    labels_for_subjects,
    passage_object,
    step_object,
)
from services.deps import Auditor, PartsDep, RequestId
from services.on_record import RecordedRoute, writes
from services.parts import Parts

router = APIRouter(
    prefix="/v1/audit",
    tags=["audit"],
    route_class=RecordedRoute,
    dependencies=[Depends(refuse_unknown_query)],
)

_Contents = dict[str, Opened]
"""Event id -> its content, opened."""


@router.get("/answers/{answer_id}")
@writes(EventType.AUDIT_READ)
def get_answer(
    answer_id: str,
    parts: PartsDep,
    person: Auditor,
    corr: RequestId,
    contents: Annotated[bool, Query(description="Open question, quotes and text as well.")] = False,
) -> dict[str, Any]:
    """Return how an answer came about: who asked, under which rights, what was found, which model, what text.

    With `contents` the question, the quotes and the text are opened, which is recorded first as one reading
    of all of them; with the setting `break_glass` it takes a permission that a second auditor gave. An answer
    of this second may not be sealed yet, and is then 404.
    """
    authz = allowed_to_open(parts, person) if contents else None
    with parts.database.read() as session:
        lineage = lineage_of(session, answer_id)
    kind = "answer_contents" if contents else "answer"
    record_look(parts, person, corr, Resource(kind, answer_id), authz=authz)
    opened = _opened(parts, lineage) if contents else {}
    told = (*lineage.segments, *lineage.others, *lineage.later, lineage.asked)
    labels = labels_for_subjects(parts, {step.leaf.actor.sub for step in told})
    return _answer_object(answer_id, lineage, opened, labels)


def _opened(parts: Parts, lineage: Lineage) -> _Contents:
    steps = (lineage.asked, lineage.retrieved, *lineage.segments)
    found = {step.leaf.id: open_step(parts, step) for step in steps if step is not None}
    return {event_id: content for event_id, content in found.items() if content is not None}


def _answer_object(answer_id: str, lineage: Lineage, opened: _Contents, labels: Labels) -> dict[str, Any]:
    actor, end = lineage.asked.leaf.actor, lineage.finished
    return {
        "object": "audit.answer",
        "id": answer_id,
        "who": actor_object(actor, labels),
        "scope": actor.pset,
        "asked_at": lineage.asked.leaf.time,
        "ended_at": end.leaf.time if end else None,
        "outcome": end.leaf.outcome if end else None,
        "question": _question(lineage.asked, opened),
        "retrieval": _retrieval(lineage, opened),
        "passages": [passage_object(passage) for passage in lineage.passages],
        "model_calls": [_call(call) for call in lineage.calls],
        "segments": [_with_content(step, opened) for step in lineage.segments],
        "text": _text(lineage.segments, opened),
        "finished": step_object(end) if end else None,
        "others": [step_object(step) for step in lineage.others],
        "later": [
            {**step_object(step), "who": label_of(step.leaf.actor.sub, labels)} for step in lineage.later
        ],
    }


def _question(asked: Step, opened: _Contents) -> dict[str, Any]:
    found = _members(opened.get(asked.leaf.id))
    shown = _with_content(asked, opened)
    if found is not None:
        shown |= {"text": found.get("question"), "history": found.get("history", [])}
    return shown


def _retrieval(lineage: Lineage, opened: _Contents) -> dict[str, Any] | None:
    if lineage.retrieved is None:
        return None
    shown = _with_content(lineage.retrieved, opened)
    shown.pop("text", None)
    shown["authz"] = vars(lineage.authz) if lineage.authz else None
    found = _members(opened.get(lineage.retrieved.leaf.id))
    if found is not None:
        shown["quotes"] = found.get("quotes", [])
    return shown


def _call(call: ModelCall) -> dict[str, Any]:
    return {
        **ai_object(call.ai),
        "began": step_object(call.began),
        "ended": step_object(call.ended) if call.ended else None,
    }


def _with_content(step: Step, opened: _Contents) -> dict[str, Any]:
    """Return a record with its length in bytes and, where it was opened, its text or why there is none."""
    shown: dict[str, Any] = step_object(step)
    shown["bytes"] = step.leaf.content.len if step.leaf.content else None
    content = opened.get(step.leaf.id)
    if content is not None:
        shown |= {"state": content.state, "text": content.text}
    return shown


def _text(segments: Sequence[Step], opened: _Contents) -> str | None:
    """Return the released text, a line for each part of it; None when a part is gone, or none was opened."""
    texts = [opened[step.leaf.id].text for step in segments if step.leaf.id in opened]
    whole = [text for text in texts if text is not None]
    return "\n".join(whole) if whole and len(whole) == len(segments) else None


def _members(content: Opened | None) -> dict[str, Any] | None:
    """Return what a content holds that was written as JSON, or None."""
    if content is None or content.text is None:
        return None
    try:
        found = json.loads(content.text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
