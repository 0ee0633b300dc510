"""`/v1/audit`: read and verify the record. Reading it is on the record, too."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select

from infra.audit.checkpoint import read_checkpoint
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.audit.records import LoggedEvent
from infra.audit.verify import Report
from infra.database.tables import AuditSubject
from infra.sharing import labels_of
from services.deps import Auditor, PartsDep, Person, RequestId
from services.parts import Parts

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("/events")
def list_events(
    parts: PartsDep,
    person: Auditor,
    corr: RequestId,
    after: Annotated[int | None, Query(ge=-1)] = None,
    before: Annotated[int | None, Query(ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    correlation: Annotated[str | None, Query(max_length=36)] = None,
    newest: bool = False,
) -> dict[str, Any]:
    """List records by index, oldest or newest first; `correlation` narrows to one request or answer."""
    _record(parts, person, corr, EventType.AUDIT_READ, Resource("record", correlation or "events"))
    found = parts.ledger.reader.events(
        after_index=-1 if after is None else after,
        limit=limit,
        before_index=before,
        corr=correlation,
        newest_first=newest,
    )
    names = _names(parts, found)
    last = found[-1].index if len(found) == limit else None
    return {"object": "list", "data": [_event(event, names) for event in found], "next": last}


@router.get("/events/{event_id}/content")
def read_content(event_id: str, parts: PartsDep, person: Auditor, corr: RequestId) -> dict[str, Any]:
    """Open the recorded content of one event; that it was opened is recorded first."""
    parts.ledger.reader.event(event_id)
    _record(parts, person, corr, EventType.AUDIT_READ, Resource("content", event_id))
    return {"id": event_id, "text": parts.ledger.reader.read_content(event_id).decode()}


@router.get("/checkpoint")
def get_checkpoint(parts: PartsDep, _person: Auditor) -> dict[str, Any]:
    """Return the newest signed checkpoint and the key to verify it with."""
    note = parts.ledger.proofs.checkpoint()
    checkpoint = read_checkpoint(note) if note else None
    return {
        "size": checkpoint.size if checkpoint else 0,
        "root": checkpoint.root.hex() if checkpoint else None,
        "note": note,
        "verifier_key": parts.ledger.verifier_key,
    }


@router.post("/verify")
def verify(parts: PartsDep, person: Auditor, corr: RequestId) -> dict[str, Any]:
    """Check the whole record: every leaf, node, signature and content digest."""
    report = parts.ledger.verify()
    outcome = report.verdict.name.lower()
    _record(parts, person, corr, EventType.AUDIT_VERIFIED, Resource("record", "log"), outcome=outcome)
    return _report(report)


def _record(
    parts: Parts, person: Person, corr: str, event: EventType, what: Resource, *, outcome: str = "ok"
) -> None:
    actor = parts.ledger.identify(person.principal)
    parts.ledger.record(Event(event, Stage.SINGLE, corr, actor, res=what, outcome=outcome))


def _names(parts: Parts, events: list[LoggedEvent]) -> dict[str, str]:
    subjects = {event.leaf.actor.sub for event in events if event.leaf is not None}
    with parts.database.read() as session:
        rows = session.scalars(select(AuditSubject).where(AuditSubject.subject_id.in_(subjects))).all()
        labels = labels_of(session, [row.principal for row in rows])
    return {row.subject_id: labels[row.principal] for row in rows}


def _event(event: LoggedEvent, names: dict[str, str]) -> dict[str, Any]:
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
        "actor": {
            "sub": leaf.actor.sub,
            "kind": leaf.actor.kind,
            "auth": leaf.actor.auth,
            "label": names.get(leaf.actor.sub, leaf.actor.kind),
        },
        "res": {"type": leaf.res.type, "id": leaf.res.id, "ver": leaf.res.ver} if leaf.res else None,
        "outcome": leaf.outcome,
        "ai": _ai(leaf.ai),
        "ret": [
            {"doc": r.doc, "ver": r.ver, "chunk": r.chunk, "rank": r.rank, "cited": r.cited} for r in leaf.ret
        ],
        "has_content": leaf.content is not None,
    }


def _ai(ai: Any) -> dict[str, Any] | None:
    if ai is None:
        return None
    tokens = {"in": ai.tokens.read, "out": ai.tokens.written} if ai.tokens else None
    return {"model": ai.model, "prompt": ai.prompt, "params": dict(ai.params), "tokens": tokens}


def _report(report: Report) -> dict[str, Any]:
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
