"""Jobs: submit, follow, cancel, retry; and the state machine that workers go through.

Light on purpose: it imports no parser, no model and no index, so that the web process can submit work
without them. The row is the truth. A worker holds a lease and a fencing token (`fence`); every write
names the token, so that a worker which lost its lease can change nothing any more (design §6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CursorResult, case, select, update
from sqlalchemy.orm import Session

from infra import queue as queues
from infra.access import AccessScope, DocumentAccess, may_read
from infra.clock import new_id, now_ms
from infra.database.batches import in_batches
from infra.database.tables import Document, DocumentVersion, Job, Outbox
from infra.documents import access_of, readable
from infra.errors import Conflict, NotFound
from infra.queue import outbox_row

PROCESS_TASK: Final = "ingest.process"
INTERACTIVE: Final = queues.INTERACTIVE
BULK: Final = queues.BULK
"""The queues of jobs: what a person waits for is taken before what an import brought."""
LEASE_MS: Final = 60_000
MAX_ATTEMPTS: Final = 3
FINAL_STATES: Final = frozenset({"succeeded", "failed", "cancelled", "quarantined"})
STATES: Final = frozenset({"queued", "running"}) | FINAL_STATES
RETRYABLE: Final = frozenset({"failed", "cancelled", "quarantined"})


class LostLease(Exception):
    """Another worker has the job now, or it is gone; whatever this worker does no longer counts."""


class Cancelled(Exception):
    """Somebody asked to cancel the job."""


@dataclass(frozen=True)
class Claim:
    """A worker's right to one job: valid while `fence` is still the row's."""

    job_id: str
    fence: int
    document_id: str
    version_id: str
    corr: str
    attempt: int


# --- what people do -------------------------------------------------------------------------------


def submit(
    session: Session,
    *,
    document_id: str,
    version_id: str,
    corr: str,
    queue: str = INTERACTIVE,
    batch_id: str | None = None,
) -> Job:
    """Queue the ingestion of one version, with its wake-up in the same transaction."""
    now = now_ms()
    job = Job(
        id=new_id(),
        kind="ingest",
        document_id=document_id,
        version_id=version_id,
        batch_id=batch_id,
        queue=queue,
        state="queued",
        stage="queued",
        corr=corr,
        done=0,
        attempt=0,
        fence=0,
        cancel_requested=False,
        created_at=now,
        updated_at=now,
    )
    session.add(job)
    session.add(_wake_up(job))
    session.flush()
    return job


def get_job(session: Session, scope: AccessScope, job_id: str) -> tuple[Job, Document]:
    """Return a job and its document; raises NotFound unless `scope` may read the document."""
    wanted = select(Job, Document).join(Document, Document.id == Job.document_id)
    row = session.execute(wanted.where(Job.id == job_id, readable(scope))).one_or_none()
    # Looked up also for nothing, so that time does not tell what is hidden from what is not there.
    access = access_of(session, [row.Document.id] if row else [])
    if row is None or not may_read(scope, access.get(row.Document.id, DocumentAccess())):
        raise NotFound("There is no such job.")
    return row.Job, row.Document


def latest_jobs(session: Session, document_ids: Iterable[str]) -> dict[str, Job]:
    """Return the newest job of each document."""
    newest: dict[str, Job] = {}
    for batch in in_batches(document_ids):
        jobs = select(Job).where(Job.document_id.in_(batch)).order_by(Job.created_at, Job.id)
        newest |= {job.document_id: job for job in session.scalars(jobs)}
    return newest


def cancel(session: Session, job: Job) -> Job:
    """Cancel at once what is queued, and ask a running worker to stop; raises Conflict when it has ended."""
    _lock(session, job)
    if job.state in FINAL_STATES:
        raise Conflict(f"This job has already {job.state}.")
    if job.state == "queued":
        job.state, job.stage, job.stage_since = "cancelled", "done", None
        job.fence += 1
        _set_version_state(session, job, "failed")
    job.cancel_requested = True
    job.updated_at = now_ms()
    return job


def retry(session: Session, job: Job) -> Job:
    """Queue a job again that did not succeed; raises Conflict otherwise."""
    _lock(session, job)
    if job.state not in RETRYABLE:
        raise Conflict(f"A job that is {job.state} cannot be retried.")
    job.state, job.stage, job.done, job.total = "queued", "queued", 0, None
    job.attempt, job.cancel_requested, job.stage_since = 0, False, None
    job.reason_code = job.reason = job.hint = None
    job.fence += 1
    _set_version_state(session, job, "pending")
    job.updated_at = now_ms()
    session.add(_wake_up(job))
    return job


# --- what workers do ------------------------------------------------------------------------------


def most_urgent(session: Session, *, besides: Collection[str] = ()) -> str | None:
    """Return the job that a person has waited for longest and that nobody works on yet, if there is one."""
    free = Job.lease_until.is_(None) | (Job.lease_until < now_ms())
    waiting = select(Job.id).where(
        Job.state == "queued", Job.queue == INTERACTIVE, free, Job.id.not_in(besides)
    )
    return session.scalar(waiting.order_by(Job.created_at, Job.id).limit(1))


def claim(session: Session, job_id: str) -> Claim | None:
    """Take a queued job, or one whose worker went silent; None when there is nothing to take."""
    job = session.get(Job, job_id, with_for_update=True)
    now = now_ms()
    if job is None or job.version_id is None or job.state not in {"queued", "running"}:
        return None
    if (job.lease_until or 0) > now:
        return None
    job.state, job.stage = "running", "parse"
    job.attempt += 1
    job.fence += 1
    job.done, job.total = 0, None
    job.lease_until, job.updated_at, job.stage_since = now + LEASE_MS, now, now
    session.flush()
    return Claim(job.id, job.fence, job.document_id, job.version_id, job.corr, job.attempt)


def progress(session: Session, held: Claim, *, stage: str, done: int = 0, total: int | None = None) -> None:
    """Write how far the work is and renew the lease; raises LostLease or Cancelled."""
    now = now_ms()
    since = case((Job.stage == stage, Job.stage_since), else_=now)
    _change(
        session,
        held,
        stage=stage,
        stage_since=since,
        done=done,
        total=total,
        lease_until=now + LEASE_MS,
        updated_at=now,
    )
    if is_cancelled(session, held):
        raise Cancelled


def renew(session: Session, held: Claim) -> None:
    """Keep the job while a step takes long without telling how far it is; raises LostLease."""
    _change(session, held, lease_until=now_ms() + LEASE_MS)


def is_cancelled(session: Session, held: Claim) -> bool:
    """Say whether somebody asked to cancel the job, or deleted it; raises LostLease when it is another's."""
    row = session.execute(select(Job.cancel_requested, Job.fence).where(Job.id == held.job_id)).one_or_none()
    if row is not None and row.fence != held.fence:
        raise LostLease
    return row is None or row.cancel_requested


def finish(
    session: Session,
    held: Claim,
    state: str,
    *,
    passages: int | None = None,
    reason: tuple[str, str, str | None] | None = None,
) -> None:
    """Bring the job to a final state; `reason` is (code, message, hint). Raises LostLease."""
    code, message, hint = reason or (None, None, None)
    _change(
        session,
        held,
        state=state,
        stage="done",
        stage_since=None,
        lease_until=None,
        passages=passages,
        reason_code=code,
        reason=message,
        hint=hint,
        updated_at=now_ms(),
    )


def release(session: Session, held: Claim) -> None:
    """Give a job back to the queue after a failure that may pass; raises LostLease."""
    _change(
        session, held, state="queued", stage="queued", stage_since=None, lease_until=None, updated_at=now_ms()
    )
    session.add(_wake_up(session.get_one(Job, held.job_id)))


def postpone(session: Session, held: Claim) -> None:
    """Queue a job again for after a lease's time, without counting the attempt; raises LostLease.

    Until then `lease_until` keeps everybody off it, and the sweep wakes a worker for it.
    """
    now = now_ms()
    _change(
        session,
        held,
        state="queued",
        stage="queued",
        stage_since=None,
        attempt=max(held.attempt - 1, 0),
        lease_until=now + LEASE_MS // 2,
        updated_at=now,
    )


def hand_back(session: Session, job_id: str, *, fence: int) -> bool:
    """Queue a job again whose worker is about to stop; returns whether it was still that worker's.

    `fence` is the claim's. The attempt does not count: nothing was wrong with the file.
    """
    job = session.get(Job, job_id, with_for_update=True)
    if job is None or job.state != "running" or job.fence != fence:
        return False
    job.state, job.stage, job.stage_since, job.lease_until = "queued", "queued", None, None
    job.attempt = max(job.attempt - 1, 0)
    job.fence += 1
    job.done, job.total, job.updated_at = 0, None, now_ms()
    session.add(_wake_up(job))
    return True


def wake_again(session: Session, job_id: str) -> None:
    """Ask once more for a job to be looked at, if it still waits."""
    job = session.get(Job, job_id)
    if job is not None and job.state == "queued":
        session.add(_wake_up(job))


def sweep(session: Session, *, orphaned: bool) -> list[Job]:
    """Queue again what nobody works on any more; returns those jobs, queued or quarantined instead.

    `orphaned` says that no worker can be alive (the one process has just started), so that leases need
    not run out first. A job that has been tried MAX_ATTEMPTS times is quarantined with its reason.
    """
    now = now_ms()
    # Rows that a worker is just changing are left to it: it is alive.
    stale = select(Job).where(Job.state == "running").with_for_update(skip_locked=True)
    if not orphaned:
        stale = stale.where(Job.lease_until < now)
    abandoned = []
    for job in session.scalars(stale):
        job.fence += 1
        job.lease_until, job.updated_at, job.stage_since = None, now, None
        if job.attempt >= MAX_ATTEMPTS:
            job.state, job.stage = "quarantined", "done"
            job.reason_code = "crashed_repeatedly"
            job.reason = f"Processing stopped without an end {job.attempt} times."
            job.hint = (
                "Check that the file opens in its own program, then retry; the others are not affected."
            )
            _set_version_state(session, job, "failed")
        else:
            job.state, job.stage = "queued", "queued"
        abandoned.append(job)
    waiting = (
        select(Job).where(Job.state == "queued").order_by(Job.created_at).with_for_update(skip_locked=True)
    )
    if not orphaned:
        waiting = waiting.where((Job.updated_at < now - LEASE_MS) | Job.id.in_([job.id for job in abandoned]))
    for job in session.scalars(waiting):
        job.updated_at = now
        session.add(_wake_up(job))
    return abandoned


def _wake_up(job: Job) -> Outbox:
    return outbox_row(PROCESS_TASK, job.id, job.queue)


def _lock(session: Session, job: Job) -> None:
    """Read the row anew and hold it, so that a worker's change and a person's do not cross."""
    session.flush()
    session.refresh(job, with_for_update=True)


def _set_version_state(session: Session, job: Job, state: str) -> None:
    version = session.get(DocumentVersion, job.version_id) if job.version_id else None
    if version is not None:
        version.state = state


def _change(session: Session, held: Claim, **values: Any) -> None:
    mine = update(Job).where(Job.id == held.job_id, Job.fence == held.fence, Job.state == "running")
    result = session.execute(mine.values(**values).execution_options(synchronize_session=False))
    if not isinstance(result, CursorResult) or result.rowcount != 1:
        raise LostLease
