"""`/v1/jobs`: follow, cancel and retry ingestion."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
from fastapi import APIRouter, Response
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse

from infra import accounts
from infra.access import AccessScope, Principal, scope_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.database.tables import Document, Job
from infra.errors import NotAuthenticated, NotFound
from ingest import jobs
from services.deps import CurrentPerson, PartsDep, Person, RequestId, Scope
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=RecordedRoute)
POLL_S: Final = 0.25


@router.get("")
@reads(EventType.JOBS_READ, "jobs")
def list_jobs(parts: PartsDep, scope: Scope, active: bool = False) -> dict[str, Any]:
    """List the jobs of readable files, newest first."""
    with parts.database.read() as session:
        found = [
            job_object(job, document) for job, document in jobs.list_jobs(session, scope, active_only=active)
        ]
    return {"object": "list", "data": found}


@router.get("/{job_id}")
@reads(EventType.JOBS_READ, "job", of="job_id")
def get_job(job_id: str, parts: PartsDep, scope: Scope) -> dict[str, Any]:
    """Describe one job."""
    return _read(parts, scope, job_id)


@router.post("/{job_id}/cancel")
@writes(EventType.JOB_CANCELLED)
def cancel_job(
    job_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Stop a job that has not ended; what it had stored is removed."""
    with parts.database.write() as session:
        job, document = _own(session, scope, job_id, person.principal.principal_id)
        jobs.cancel(session, job)
        _record(session, parts, person, corr, EventType.JOB_CANCELLED, job)
        return job_object(job, document)


@router.post("/{job_id}/retry")
@writes(EventType.JOB_RETRIED)
def retry_job(
    job_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Queue a job again that did not succeed."""
    with parts.database.write() as session:
        job, document = _own(session, scope, job_id, person.principal.principal_id)
        jobs.retry(session, job)
        _record(session, parts, person, corr, EventType.JOB_RETRIED, job)
        answer = job_object(job, document)
    parts.relay.kick()
    return answer


@router.get(
    "/{job_id}/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}}
)
@reads(EventType.JOBS_READ, "job", of="job_id")
async def follow_job(
    job_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope
) -> EventSourceResponse:
    """Stream the job at every change, until it has ended."""
    first = await anyio.to_thread.run_sync(_read, parts, scope, job_id)
    return EventSourceResponse(_changes(parts, person.principal, first))


async def _changes(
    parts: Parts, principal: Principal, current: dict[str, Any]
) -> AsyncIterator[dict[str, str]]:
    yield {"event": "job", "data": json.dumps(current)}
    while current["state"] not in jobs.FINAL_STATES:
        await anyio.sleep(POLL_S)
        try:
            latest = await anyio.to_thread.run_sync(_read_anew, parts, principal, current["id"])
        except (NotFound, NotAuthenticated):
            return  # The file was deleted or is no longer theirs to read, or they are no longer signed in.
        if latest != current:
            current = latest
            yield {"event": "job", "data": json.dumps(current)}


def _read(parts: Parts, scope: AccessScope, job_id: str) -> dict[str, Any]:
    with parts.database.read() as session:
        return job_object(*jobs.get_job(session, scope, job_id))


def _read_anew(parts: Parts, principal: Principal, job_id: str) -> dict[str, Any]:
    """Read a job as the person is now: groups and accounts change while somebody follows it."""
    with parts.database.read() as session:
        by_now = accounts.renewed(session, principal)
        if by_now is None:
            raise NotAuthenticated(accounts.SIGNED_OUT)
        return job_object(*jobs.get_job(session, scope_of(by_now), job_id))


def _own(session: Session, scope: AccessScope, job_id: str, principal_id: str) -> tuple[Job, Document]:
    job, document = jobs.get_job(session, scope, job_id)
    if document.owner != principal_id:
        raise NotFound("There is no such job.")
    return job, document


def _record(
    session: Session, parts: Parts, person: Person, corr: str, event_type: EventType, job: Job
) -> None:
    actor = parts.ledger.actor_for(session, person.principal)
    what = Resource("job", job.id, job.version_id)
    parts.ledger.record_in(session, Event(event_type, Stage.SINGLE, corr, actor, res=what, outcome="ok"))


def job_object(job: Job, document: Document) -> dict[str, Any]:
    """Return a job as people see it; `done` and `total` count pages while parsing, then passages."""
    failed = job.reason_code is not None
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "file_id": job.document_id,
        "filename": document.name,
        "state": job.state,
        "stage": job.stage,
        "done": job.done,
        "total": job.total,
        "attempt": job.attempt,
        "passages": job.passages,
        "reason": {"code": job.reason_code, "message": job.reason, "hint": job.hint} if failed else None,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
    }
