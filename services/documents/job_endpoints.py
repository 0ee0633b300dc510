"""`/v1/jobs`: follow, cancel and retry ingestion, and see to what is in quarantine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

import anyio
from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse

from infra import accounts
from infra.access import AccessScope, Principal, scope_of
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import Document, Job
from infra.errors import NotAuthenticated, NotFound
from ingest import batches, jobs
from ingest.following import LISTED, Wanted, pace_of, page_of_jobs
from services.deps import CurrentPerson, PartsDep, RequestId, Scope
from services.documents import quarantine
from services.documents.service import Change
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=RecordedRoute)
POLL_S: Final = 0.25


State = Literal["queued", "running", "succeeded", "failed", "cancelled", "quarantined"]


@router.get("")
@reads(EventType.JOBS_READ, "jobs")
def list_jobs(
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    active: bool = False,
    state: Annotated[list[State] | None, Query(max_length=10)] = None,
    batch: Annotated[str | None, Query(max_length=36)] = None,
    after: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=LISTED)] = LISTED,
) -> dict[str, Any]:
    """List the jobs of readable files, newest first: in some states, or of one's own batch.

    `after` is the last job of the page before; `active` leaves out what has ended.
    """
    states = frozenset(state or jobs.STATES) - (jobs.FINAL_STATES if active else frozenset())
    with parts.database.read() as session:
        if batch is not None:
            batches.get_own(session, batch, person.principal.principal_id)
        found, has_more = page_of_jobs(session, scope, Wanted(states, batch), after=after, limit=limit)
        data = [job_object(job, document) for job, document in found]
    return {"object": "list", "data": data, "has_more": has_more}


@router.get("/{job_id}")
@reads(EventType.JOBS_READ, "job", of="job_id")
def get_job(job_id: str, parts: PartsDep, scope: Scope) -> dict[str, Any]:
    """Describe one job."""
    return _read(parts, scope, job_id)


@router.post("/{job_id}/cancel")
@writes(EventType.JOB_CANCELLED)
def cancel_job(job_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Stop a job that has not ended; what it had stored is removed."""
    change = Change(parts, person, corr)
    with parts.database.write() as session:
        job, document = quarantine.job_to_act_on(session, change, job_id)
        jobs.cancel(session, job)
        record_job(session, change, EventType.JOB_CANCELLED, job)
        return job_object(job, document)


@router.post("/{job_id}/retry")
@writes(EventType.JOB_RETRIED)
def retry_job(job_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Queue a job again that did not succeed; for curators, release one from quarantine."""
    change = Change(parts, person, corr)
    with parts.database.write() as session:
        job, document = quarantine.job_to_act_on(session, change, job_id)
        jobs.retry(session, job)
        record_job(session, change, EventType.JOB_RETRIED, job)
        answer = job_object(job, document)
    parts.relay.kick()
    return answer


@router.post("/{job_id}/discard")
@writes(EventType.FILE_DELETED)
def discard_job(job_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Delete the file of a job in quarantine from every store; the counts say what was removed."""
    file_id, removed = quarantine.discard(Change(parts, person, corr), job_id)
    return {
        "id": job_id,
        "object": "job",
        "file_id": file_id,
        "deleted": True,
        "x_removed": removed.as_dict(),
    }


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


def record_job(session: Session, change: Change, event: EventType, job: Job) -> None:
    """Record a change of one job, in its transaction."""
    change.record(session, event, Resource("job", job.id, job.version_id), epoch=0)


def job_object(job: Job, document: Document) -> dict[str, Any]:
    """Return a job as people see it; `unit` says what `done`, `total` and `rate` (per second) count.

    `remaining_s` is how many seconds its stage still takes, null while nobody can tell.
    """
    failed, pace = job.reason_code is not None, pace_of(job)
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "file_id": job.document_id,
        "filename": document.name,
        "batch_id": job.batch_id,
        "queue": job.queue,
        "state": job.state,
        "stage": job.stage,
        "stage_since": job.stage_since,
        "done": job.done,
        "total": job.total,
        "unit": pace.unit,
        "rate": pace.rate,
        "remaining_s": pace.remaining_s,
        "attempt": job.attempt,
        "passages": job.passages,
        "reason": {"code": job.reason_code, "message": job.reason, "hint": job.hint} if failed else None,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
    }
