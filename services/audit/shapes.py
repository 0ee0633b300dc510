"""Records as the interface shows them: fields in words where there are any, identifiers everywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import select

from infra.audit.leaf import AI, Actor, Retrieved
from infra.audit.reading.lineage import Step
from infra.audit.records import LoggedEvent
from infra.audit.verify import Report
from infra.database.batches import in_batches
from infra.database.tables import AuditSubject
from infra.sharing import labels_of
from services.parts import Parts

_NO_PERSON: Final = {"system": "the server", "anonymous": "nobody known"}
GONE: Final = "somebody who was erased"

Labels = dict[str, str]
"""Subject id -> what that person is called now."""


def labels_for_events(parts: Parts, events: Iterable[LoggedEvent]) -> Labels:
    """Return what the people in these records are called."""
    return labels_for_subjects(parts, {event.leaf.actor.sub for event in events if event.leaf is not None})


def labels_for_subjects(parts: Parts, subjects: Iterable[str]) -> Labels:
    """Return what these subjects are called; who was erased is not among them."""
    labels: Labels = {}
    with parts.database.read() as session:
        for batch in in_batches(subjects):
            known = session.scalars(select(AuditSubject).where(AuditSubject.subject_id.in_(batch))).all()
            names = labels_of(session, [row.principal for row in known])
            labels |= {row.subject_id: names[row.principal] for row in known}
    return labels


def label_of(subject: str, labels: Labels) -> str:
    """Return what to call a subject."""
    return labels.get(subject) or _NO_PERSON.get(subject, GONE)


def event_object(event: LoggedEvent, labels: Labels) -> dict[str, Any]:
    """Return one record; of one that cannot be read, where it stands."""
    leaf = event.leaf
    if leaf is None:
        return {"index": event.index, "id": event.id, "type": "unreadable", "has_content": False}
    return {
        "index": event.index,
        "id": leaf.id,
        "type": leaf.type,
        "stage": leaf.stage.value,
        "time": leaf.time,
        "corr": leaf.corr,
        "src": leaf.src,
        "actor": actor_object(leaf.actor, labels),
        "res": {"type": leaf.res.type, "id": leaf.res.id, "ver": leaf.res.ver} if leaf.res else None,
        "authz": vars(leaf.authz) if leaf.authz else None,
        "outcome": leaf.outcome,
        "ai": ai_object(leaf.ai) if leaf.ai else None,
        "ret": [passage_object(passage) for passage in leaf.ret],
        "has_content": leaf.content is not None,
    }


def actor_object(actor: Actor, labels: Labels) -> dict[str, Any]:
    """Return who did something."""
    return {
        "sub": actor.sub,
        "kind": actor.kind,
        "auth": actor.auth,
        "sess": actor.sess,
        "pset": actor.pset,
        "label": label_of(actor.sub, labels),
    }


def passage_object(passage: Retrieved) -> dict[str, Any]:
    """Return one passage; `cited` is 1, 0, or -1 where that is not known."""
    return {
        "doc": passage.doc,
        "ver": passage.ver,
        "chunk": passage.chunk,
        "hash": passage.hash,
        "rank": passage.rank,
        "cited": passage.cited,
    }


def ai_object(ai: AI) -> dict[str, Any]:
    """Return which model was called, and how."""
    tokens = {"in": ai.tokens.read, "out": ai.tokens.written} if ai.tokens else None
    tools = [{"name": tool.name, "verdict": tool.verdict} for tool in ai.tools]
    params = dict(ai.params)
    return {"model": ai.model, "prompt": ai.prompt, "params": params, "tokens": tokens, "tools": tools}


def step_object(step: Step) -> dict[str, Any]:
    """Return the place of a record in the log, and what it is."""
    return {
        "event": step.leaf.id,
        "index": step.index,
        "type": step.leaf.type,
        "time": step.leaf.time,
        "outcome": step.leaf.outcome,
    }


def report_object(report: Report) -> dict[str, Any]:
    """Return the result of a check."""
    return {
        "result": report.verdict.name.lower(),
        "message": report.sentence,
        "first_bad": report.first_bad,
        "leaves": report.checked,
        "size": report.size,
        "checkpoints": report.checkpoints,
        "root": report.root.hex() if report.root else None,
        "contents_matched": report.contents_matched,
        "contents_erased": report.contents_erased,
        "unsealed": report.unsealed,
    }
