"""`/v1/sources`: the watched folders and buckets, how they stand, and a look at one of them now."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from infra.access import Role
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.clock import now_ms
from infra.errors import NotFound, NotPermitted
from infra.sources import WatchedBucket, WatchedFolder
from ingest.sync import standing
from ingest.sync.reasons import Reason, why_skipped, why_stopped
from services.deps import Admin, CurrentPerson, PartsDep, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/sources", tags=["sync"], route_class=RecordedRoute)


@router.get("")
@reads(EventType.FILES_READ, "watched")
def list_sources(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """List the watched folders and buckets for curators and administrators: when, how much, what is wrong."""
    if not {Role.ADMIN, Role.CURATOR} & person.roles:
        raise NotPermitted("This is for curators and administrators.")
    with parts.database.read() as session:
        data = [_source_object(session, watched) for watched in parts.settings.sources]
    return {"object": "list", "data": data}


@router.post("/{name}/sync", status_code=202)
@writes(EventType.SYNC_REQUESTED)
def sync_source(
    name: str, parts: PartsDep, person: Admin, corr: RequestId, accept_deletions: bool = False
) -> dict[str, Any]:
    """Have a source looked at now, by a worker; `GET /v1/sources` tells when that was done.

    With `accept_deletions`, the files that the last look missed may go, as many as it counted: 409 when it
    missed none.
    """
    watched = _find(parts, name)
    with parts.database.write() as session:
        standing.ask(session, name, accept_deletions=accept_deletions)
        actor = parts.ledger.actor_for(session, person.principal)
        outcome = "deletions_accepted" if accept_deletions else "ok"
        what = Resource("watched", name)
        event = Event(EventType.SYNC_REQUESTED, Stage.SINGLE, corr, actor, res=what, outcome=outcome)
        parts.ledger.record_in(session, event)
        return _source_object(session, watched)


def _find(parts: Parts, name: str) -> WatchedFolder | WatchedBucket:
    for watched in parts.settings.sources:
        if watched.name == name:
            return watched
    raise NotFound("There is no watched folder or bucket of this name.")


def _source_object(session: Session, watched: WatchedFolder | WatchedBucket) -> dict[str, Any]:
    """Return how a source stands. Addresses, paths and keys are the operator's alone."""
    stands = standing.standing_of(session, watched.name)
    problems = standing.problems_of(session, watched.name)
    return {
        "object": "watched_source",
        "name": watched.name,
        "kind": watched.kind,
        "collection_id": watched.collection,
        "every_s": watched.every_s,
        "state": _state(stands),
        "looked_at": stands.looked_at // 1000 or None,
        "files": standing.count_files(session, watched.name),
        "missing": stands.missing,
        "problem": _in_words(stands.reason, why_stopped(stands.reason)) if stands.reason else None,
        "left_aside": [
            {**_in_words(code, why_skipped(code)), "count": count} for code, count in sorted(problems.items())
        ],
    }


def _state(stands: standing.Standing) -> str:
    if stands.is_being_looked_at(now_ms()):
        return "looking"
    if stands.is_asked_for:
        return "asked"
    return "halted" if stands.reason else "idle"


def _in_words(code: str, reason: Reason) -> dict[str, str]:
    return {"code": code, "message": reason.message, "hint": reason.hint}
