"""`/v1/batches`: follow, cancel and retry files that came in together."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from infra.access import AccessScope
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import Batch, Job
from ingest import batches
from ingest.batches import MAX_NAME_CHARS, Deed
from ingest.following import Wanted, counts_by_state, page_of_jobs
from services.deps import CurrentPerson, PartsDep, RequestId, Scope
from services.documents.job_endpoints import job_object, record_job
from services.documents.service import Change
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/batches", tags=["jobs"], route_class=RecordedRoute)


class NewBatch(BaseModel):
    """What a batch is called."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]


@router.post("", status_code=201)
@writes(EventType.BATCH_CREATED)
def create_batch(body: NewBatch, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Make a batch; uploads name its id in their field `batch`."""
    change = Change(parts, person, corr)
    with parts.database.write() as session:
        batch = batches.create(session, parts.master_key, owner=change.principal_id, name=body.name)
        change.record(session, EventType.BATCH_CREATED, Resource("batch", batch.id), epoch=0)
        return _batch_object(session, parts, change.scope, batch)


@router.get("/{batch_id}")
@reads(EventType.JOBS_READ, "batch", of="batch_id")
def get_batch(batch_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope) -> dict[str, Any]:
    """Count a batch's jobs by state, with the newest of them; `GET /v1/jobs?batch=…` has all."""
    with parts.database.read() as session:
        batch = batches.get_own(session, batch_id, person.principal.principal_id)
        return _batch_object(session, parts, scope, batch)


@router.post("/{batch_id}/cancel")
@writes(EventType.JOB_CANCELLED)
def cancel_batch(batch_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Stop every job of a batch that has not ended; `changed` says how many."""
    return _change_all(Change(parts, person, corr), batch_id, "cancel", EventType.JOB_CANCELLED)


@router.post("/{batch_id}/retry")
@writes(EventType.JOB_RETRIED)
def retry_batch(batch_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Queue every job of a batch again that did not succeed; `changed` says how many."""
    return _change_all(Change(parts, person, corr), batch_id, "retry", EventType.JOB_RETRIED)


def _change_all(change: Change, batch_id: str, deed: Deed, event: EventType) -> dict[str, Any]:
    parts = change.parts

    def record(session: Session, job: Job) -> None:
        record_job(session, change, event, job)

    with parts.database.write() as session:
        batch = batches.get_own(session, batch_id, change.principal_id)
        # Somebody wanted this, whatever is left to be done about it.
        change.record(session, event, Resource("batch", batch.id), epoch=0)
    changed = batches.change_all(parts.database, batch, deed, record)
    parts.relay.kick()
    with parts.database.read() as session:
        return {**_batch_object(session, parts, change.scope, batch), "changed": changed}


def _batch_object(session: Session, parts: Parts, scope: AccessScope, batch: Batch) -> dict[str, Any]:
    wanted = Wanted(batch_id=batch.id)
    newest, has_more = page_of_jobs(session, scope, wanted)
    return {
        "id": batch.id,
        "object": "batch",
        "name": batches.name_of(batch, parts.master_key),
        "created_at": batch.created_at,
        "counts": counts_by_state(session, scope, wanted),
        "jobs": [job_object(job, document) for job, document in newest],
        "has_more": has_more,
    }
