"""`/v1/audit/documents/{id}/reach`: every user and answer that a document ever reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.audit.reading.filters import Page
from infra.audit.reading.reach import (
    ReachedPerson,
    Target,
    cited_chunks,
    people_reached,
    reach_counts,
    reach_page,
    target_of,
)
from infra.audit.records import LoggedEvent
from services.audit.query import CursorText, PageLimit, cursor_of, list_name, place_of, refuse_unknown_query
from services.audit.reading import record_look
from services.audit.shapes import (
    Labels,
    actor_object,
    label_of,
    labels_for_events,
    labels_for_subjects,
    passage_object,
)
from services.deps import Auditor, PartsDep, RequestId
from services.on_record import RecordedRoute, writes

router = APIRouter(
    prefix="/v1/audit",
    tags=["audit"],
    route_class=RecordedRoute,
    dependencies=[Depends(refuse_unknown_query)],
)
Version = Annotated[
    str | None, Query(max_length=36, description="One version of the document; default: all.")
]


@router.get("/documents/{document_id}/reach")
@writes(EventType.AUDIT_READ)
def get_reach(
    document_id: str,
    parts: PartsDep,
    person: Auditor,
    corr: RequestId,
    version: Version = None,
    limit: PageLimit = 100,
    newest: bool = True,
    cursor: CursorText = None,
) -> dict[str, Any]:
    """List every answer, search and opening that a document went into, also after it was deleted.

    Kept conversations that showed it to whoever opened them are among them.
    Pages and cursors are those of `/v1/audit/events`. `counts` stands on the first page.
    """
    listed = list_name("reach", document_id, version, newest)
    place = place_of(cursor, listed)
    record_look(parts, person, corr, Resource("reach", document_id, version))
    with parts.database.read() as session:
        target = target_of(session, document_id, version)
        page = reach_page(session, target, place, limit=limit, newest_first=newest)
        cited = cited_chunks(session, page.events)
        counts = reach_counts(session, target) if place is None else None
    labels = labels_for_events(parts, page.events)
    data = [_touch(event, target, cited, labels) for event in page.events]
    return {**_head(target), "counts": counts, "data": data, **_cursors(page, listed)}


@router.get("/documents/{document_id}/people")
@writes(EventType.AUDIT_READ)
def get_people(
    document_id: str,
    parts: PartsDep,
    person: Auditor,
    corr: RequestId,
    version: Version = None,
    limit: PageLimit = 100,
    after: Annotated[str | None, Query(max_length=64, description="The last subject id of a page.")] = None,
) -> dict[str, Any]:
    """List everybody whom a document reached, by subject id, with how often, and when first and last."""
    record_look(parts, person, corr, Resource("reach", document_id, version))
    with parts.database.read() as session:
        target = target_of(session, document_id, version)
        found = people_reached(session, target, after=after, limit=limit + 1)
    shown = found[:limit]
    labels = labels_for_subjects(parts, [reached.subject for reached in shown])
    return {
        **_head(target),
        "data": [_person(reached, labels) for reached in shown],
        "has_more": len(found) > limit,
    }


def _head(target: Target) -> dict[str, Any]:
    return {
        "object": "list",
        "document": {"id": target.document_id, "deleted": target.is_deleted, "versions": target.versions},
        "version": target.version_id,
    }


def _cursors(page: Page, listed: str) -> dict[str, Any]:
    return {
        "has_more": page.has_more,
        "older": cursor_of(page.older, listed),
        "newer": cursor_of(page.newer, listed),
    }


def _touch(
    event: LoggedEvent, target: Target, cited: Mapping[str, frozenset[str]], labels: Labels
) -> dict[str, Any]:
    """Return one record of the reach, with the passages of this document alone."""
    leaf = event.leaf
    if leaf is None:
        return {"index": event.index, "id": event.id, "type": "unreadable"}
    known = cited.get(leaf.corr)
    passages = [
        {**passage_object(passage), "cited": passage.cited if known is None else int(passage.chunk in known)}
        for passage in leaf.ret
        if passage.doc == target.document_id and target.version_id in {None, passage.ver}
    ]
    return {
        "index": event.index,
        "id": leaf.id,
        "type": leaf.type,
        "time": leaf.time,
        "corr": leaf.corr,
        "who": actor_object(leaf.actor, labels),
        "res": {"type": leaf.res.type, "id": leaf.res.id, "ver": leaf.res.ver} if leaf.res else None,
        "passages": passages,
    }


def _person(reached: ReachedPerson, labels: Labels) -> dict[str, Any]:
    return {
        "sub": reached.subject,
        "label": label_of(reached.subject, labels),
        **reached.counts,
        "first": reached.first,
        "last": reached.last,
    }
