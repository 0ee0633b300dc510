"""`/v1/audit`: read and verify the record. Reading it is on the record, too."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from infra.audit.checkpoint import read_checkpoint
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.audit.reading.filters import Page, find_page
from services.audit.kept_checkpoint import LONGEST, own_checkpoint
from services.audit.query import (
    CursorText,
    PageLimit,
    WantedEvents,
    cursor_of,
    list_name,
    place_of,
    refuse_unknown_query,
)
from services.audit.reading import allowed_to_open, record_look
from services.audit.shapes import event_object, labels_for_events, report_object
from services.deps import Auditor, PartsDep, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(
    prefix="/v1/audit",
    tags=["audit"],
    route_class=RecordedRoute,
    dependencies=[Depends(refuse_unknown_query)],
)


@router.get("/events")
@writes(EventType.AUDIT_READ)
def list_events(
    wanted: WantedEvents,
    parts: PartsDep,
    person: Auditor,
    corr: RequestId,
    limit: PageLimit = 100,
    newest: bool = False,
    cursor: CursorText = None,
) -> dict[str, Any]:
    """List sealed records, oldest or newest first, in pages that stay the same while records are added.

    `older` and `newer` are cursors: `older` is null when nothing older is left, `newer` is always there and
    brings what is added later. A page can be short, even empty, although `has_more` is true: a search that
    finds little looks at so many records a page, and goes on with the cursor.
    """
    listed = list_name("events", wanted, newest)
    place = place_of(cursor, listed)
    record_look(parts, person, corr, Resource("record", wanted.document or wanted.corr or "events"))
    with parts.database.read() as session:
        page = find_page(session, wanted, place, limit=limit, newest_first=newest)
    return page_object(parts, page, listed)


def page_object(parts: Parts, page: Page, listed: str) -> dict[str, Any]:
    """Return a page of records with its cursors."""
    labels = labels_for_events(parts, page.events)
    return {
        "object": "list",
        "data": [event_object(event, labels) for event in page.events],
        "has_more": page.has_more,
        "older": cursor_of(page.older, listed),
        "newer": cursor_of(page.newer, listed),
    }


@router.get("/events/{event_id}/content")
@writes(EventType.AUDIT_READ)
def read_content(event_id: str, parts: PartsDep, person: Auditor, corr: RequestId) -> dict[str, Any]:
    """Open the recorded content of one event; that it was opened is recorded first.

    With the setting `break_glass` this takes a permission that a second auditor gave: 403 without one.
    """
    authz = allowed_to_open(parts, person)
    parts.ledger.reader.event(event_id)
    record_look(parts, person, corr, Resource("content", event_id), authz=authz)
    return {"id": event_id, "text": parts.ledger.reader.read_content(event_id).decode()}


@router.get("/checkpoint")
@reads(EventType.AUDIT_READ, "record", at="checkpoint")
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


class VerifyRequest(BaseModel):
    """What the record is compared with beyond itself."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: Annotated[str, Field(min_length=1, max_length=LONGEST)] | None = Field(
        None, description="A checkpoint that was kept: the text of the signed note."
    )


@router.post("/verify")
@writes(EventType.AUDIT_VERIFIED)
def verify(
    parts: PartsDep, person: Auditor, corr: RequestId, body: VerifyRequest | None = None
) -> dict[str, Any]:
    """Check the whole record: every leaf, node, signature and content digest.

    With a `checkpoint` that was kept, also that today's log continues the one of that day. One that this
    log's key did not sign says nothing about it and is refused: 400 with the code `note_unreadable`,
    `note_untrusted`, `signature_wrong` or `another_log`. It reads everything, so there is one check at a
    time for each auditor: 409 meanwhile.
    """
    note, kept = None, None
    if body is not None and body.checkpoint is not None:
        note, kept = own_checkpoint(body.checkpoint, parts.ledger.signer.verifier_key)
    # A name of its own, so that an auditor can check while their export is still being sent.
    with parts.exports.held_by(f"check:{person.principal.principal_id}"):
        report = parts.ledger.verify(kept_note=note)
    actor = parts.ledger.identify(person.principal)
    outcome = report.verdict.name.lower()
    # Compared with which state of the log: the number of records of the checkpoint that was kept.
    what = Resource("record", "log", str(kept) if kept is not None else None)
    parts.ledger.record(Event(EventType.AUDIT_VERIFIED, Stage.SINGLE, corr, actor, res=what, outcome=outcome))
    return report_object(report) | {"kept": kept}
