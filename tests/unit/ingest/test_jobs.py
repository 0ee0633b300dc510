"""The state machine of jobs: claims and fences, sweeps, quarantine, cancelling and retrying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from infra import collections, documents
from infra.access import AccessScope, Principal, Role, scope_of
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import Base, Chunk, Document, DocumentVersion, Job, Outbox
from infra.errors import Conflict, NotFound
from infra.keys import MasterKey
from ingest import jobs
from ingest.following import Wanted, page_of_jobs
from ingest.jobs import LEASE_MS, MAX_ATTEMPTS, Cancelled, Claim, LostLease

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))
BEN = Principal(user_id="ben", kind="user", roles=frozenset({Role.EMPLOYEE}))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One open transaction on a database with every table."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as opened:
        yield opened
    database.close()


@pytest.fixture
def submit(session: Session) -> Callable[[], Job]:
    """Submit jobs for files of Ada's."""

    def _submit() -> Job:
        document = documents.create_document(session, owner=ADA.principal_id, name="a.md")
        version = documents.add_version(
            session, document, version_id=new_id(), sha256="0" * 64, size=1, wrapped_key=b"k"
        )
        return jobs.submit(session, document_id=document.id, version_id=version.id, corr="c")

    return _submit


def claimed(session: Session, job: Job) -> Claim:
    """Claim a job that can be claimed."""
    held = jobs.claim(session, job.id)
    assert held is not None
    return held


def wake_ups(session: Session) -> int:
    """Count the rows in the outbox."""
    return session.scalar(select(func.count()).select_from(Outbox)) or 0


@pytest.mark.parametrize("hide", ["somebody else's", "compartment"])
def test_a_hidden_job_takes_the_same_statements_as_none(
    session: Session, submit: Callable[[], Job], hide: str
) -> None:
    """Time does not tell somebody else's job, file or collection from one that is not there."""
    job = submit()
    document = session.get_one(Document, job.document_id)
    collection = collections.create_collection(session, owner=ADA.principal_id, name="Plans")
    if hide == "compartment":
        document.compartments = collection.compartments = ["sealed"]
    session.flush()
    scope = scope_of(ADA if hide == "compartment" else BEN)
    looks: list[tuple[Callable[[Session, AccessScope, str], object], str]] = [
        (jobs.get_job, job.id),
        (documents.get_document, document.id),
        (collections.get_collection, collection.id),
        (lambda *of: documents.open_passages(*of[:2], [of[2]], MasterKey(bytes(32))) or missing(), "chunk"),
    ]
    session.add(
        Chunk(
            id="chunk",
            document_id=document.id,
            version_id=job.version_id,
            ordinal=0,
            sha256="",
            sealed=b"",
        )
    )
    session.flush()
    for look, hidden_id in looks:
        hidden, absent = (statements(session, look, scope, id_) for id_ in (hidden_id, new_id()))
        assert hidden == absent
        assert len(hidden) > 1


def missing() -> None:
    """Say that nothing was found."""
    raise NotFound("There is no such passage.")


def statements(
    session: Session, look: Callable[[Session, AccessScope, str], object], scope: AccessScope, id_: str
) -> list[str]:
    """Return which tables the statements read with which somebody finds out that there is nothing."""
    session.expire_all()
    seen: list[str] = []
    engine = session.get_bind()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement.split("FROM", 1)[1].split(maxsplit=1)[0])

    event.listen(engine, "before_cursor_execute", note)
    try:
        with pytest.raises(NotFound):
            look(session, scope, id_)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return seen


def test_submitting_queues_the_job_and_its_wake_up_together(
    session: Session, submit: Callable[[], Job]
) -> None:
    """One transaction has both, so that neither is ever without the other."""
    job = submit()
    assert (job.state, job.stage, job.attempt) == ("queued", "queued", 0)
    assert [(row.task, row.argument) for row in session.scalars(select(Outbox))] == [
        (jobs.PROCESS_TASK, job.id)
    ]


def test_a_job_is_claimed_once(session: Session, submit: Callable[[], Job]) -> None:
    """A second wake-up finds nothing to take while the lease lasts."""
    job = submit()
    held = claimed(session, job)
    assert (job.state, held.attempt) == ("running", 1)
    assert job.lease_until is not None
    assert job.lease_until > now_ms()
    assert jobs.claim(session, job.id) is None


def test_a_silent_workers_job_can_be_claimed(session: Session, submit: Callable[[], Job]) -> None:
    """After the lease the next claim takes it, and the first worker can change nothing any more."""
    job = submit()
    first = claimed(session, job)
    job.lease_until = now_ms() - 1
    second = claimed(session, job)
    assert second.fence > first.fence
    for change in (
        lambda: jobs.progress(session, first, stage="embed"),
        lambda: jobs.finish(session, first, "succeeded"),
        lambda: jobs.release(session, first),
    ):
        with pytest.raises(LostLease):
            change()
    jobs.progress(session, second, stage="embed", done=3, total=9)
    session.refresh(job)
    assert (job.stage, job.done, job.total) == ("embed", 3, 9)


@pytest.mark.parametrize("state", sorted(jobs.FINAL_STATES))
def test_nothing_claims_or_changes_an_ended_job(
    session: Session, submit: Callable[[], Job], state: str
) -> None:
    """A late wake-up, and the worker's own late progress, leave it alone."""
    job = submit()
    held = claimed(session, job)
    jobs.finish(session, held, state)
    session.refresh(job)
    assert jobs.claim(session, job.id) is None
    with pytest.raises(LostLease):
        jobs.progress(session, held, stage="embed")
    with pytest.raises(Conflict):
        jobs.cancel(session, job)
    assert job.state == state


def test_an_unknown_job_is_nothing_to_take(session: Session) -> None:
    """A wake-up for a job whose file was deleted is no error."""
    assert jobs.claim(session, new_id()) is None


def test_progress_renews_the_lease(session: Session, submit: Callable[[], Job]) -> None:
    """A worker that goes on keeps its job."""
    job = submit()
    held = claimed(session, job)
    job.lease_until = now_ms() + 5
    session.flush()
    jobs.progress(session, held, stage="chunk")
    session.refresh(job)
    assert job.lease_until >= now_ms() + LEASE_MS - 5_000


def test_a_queued_job_is_cancelled_at_once(session: Session, submit: Callable[[], Job]) -> None:
    """It ends, and its wake-up finds nothing."""
    job = submit()
    assert jobs.cancel(session, job).state == "cancelled"
    assert jobs.claim(session, job.id) is None


def test_a_running_job_learns_of_its_cancellation(session: Session, submit: Callable[[], Job]) -> None:
    """The worker's next step stops; until then the job stays its own."""
    job = submit()
    held = claimed(session, job)
    assert jobs.cancel(session, job).state == "running"
    session.flush()
    assert jobs.is_cancelled(session, held)
    with pytest.raises(Cancelled):
        jobs.progress(session, held, stage="embed")
    jobs.finish(session, held, "cancelled")
    session.refresh(job)
    assert job.state == "cancelled"


def test_a_retry_starts_from_the_beginning(session: Session, submit: Callable[[], Job]) -> None:
    """Attempts, progress, reason and the wish to cancel are forgotten; a wake-up is queued."""
    job = submit()
    held = claimed(session, job)
    jobs.cancel(session, job)
    jobs.finish(session, held, "failed", reason=("damaged", "The file is damaged.", "Export it again."))
    session.refresh(job)
    before = wake_ups(session)
    jobs.retry(session, job)
    session.flush()
    assert (job.state, job.attempt, job.done, job.reason_code, job.hint) == ("queued", 0, 0, None, None)
    assert wake_ups(session) == before + 1
    assert not jobs.is_cancelled(session, claimed(session, job))


def test_only_what_did_not_succeed_can_be_retried(session: Session, submit: Callable[[], Job]) -> None:
    """Queued, running and succeeded jobs are refused."""
    job = submit()
    with pytest.raises(Conflict):
        jobs.retry(session, job)
    held = claimed(session, job)
    with pytest.raises(Conflict):
        jobs.retry(session, job)
    jobs.finish(session, held, "succeeded", passages=1)
    session.refresh(job)
    with pytest.raises(Conflict):
        jobs.retry(session, job)


# --- stopping in good order -----------------------------------------------------------------------


def test_a_job_is_handed_back_without_waiting_for_its_lease(
    session: Session, submit: Callable[[], Job]
) -> None:
    """It is queued and woken at once, its attempt does not count, and who left it changes nothing."""
    job = submit()
    held = claimed(session, job)
    before = wake_ups(session)
    assert jobs.hand_back(session, job.id, fence=held.fence)
    session.flush()
    assert (job.state, job.attempt, job.lease_until) == ("queued", 0, None)
    assert wake_ups(session) == before + 1
    with pytest.raises(LostLease):
        jobs.progress(session, held, stage="embed")
    with pytest.raises(LostLease):
        jobs.is_cancelled(session, held)
    assert claimed(session, job).attempt == 1


def test_only_ones_own_job_is_handed_back(session: Session, submit: Callable[[], Job]) -> None:
    """A job that another worker has by now, and one that has ended, stay as they are."""
    job = submit()
    first = claimed(session, job)
    job.lease_until = now_ms() - 1
    second = claimed(session, job)
    assert not jobs.hand_back(session, job.id, fence=first.fence)
    assert job.state == "running"
    jobs.finish(session, second, "succeeded")
    session.refresh(job)
    assert not jobs.hand_back(session, job.id, fence=second.fence)
    assert job.state == "succeeded"


# --- the sweep ------------------------------------------------------------------------------------


def test_a_sweep_leaves_living_work_alone(session: Session, submit: Callable[[], Job]) -> None:
    """A job with a lease, and one that has just been queued, are nobody's business."""
    running, _waiting = submit(), submit()
    held = claimed(session, running)
    before = wake_ups(session)
    assert jobs.sweep(session, orphaned=False) == []
    assert wake_ups(session) == before
    jobs.progress(session, held, stage="embed")


def test_a_sweep_queues_abandoned_work_again(session: Session, submit: Callable[[], Job]) -> None:
    """After the lease the job is queued with a new fence, and woken in the same sweep."""
    job = submit()
    held = claimed(session, job)
    job.lease_until = now_ms() - 1
    before = wake_ups(session)
    jobs.sweep(session, orphaned=False)
    session.flush()
    assert job.state == "queued"
    assert wake_ups(session) == before + 1
    with pytest.raises(LostLease):
        jobs.finish(session, held, "succeeded")


def test_a_lost_wake_up_is_sent_again(session: Session, submit: Callable[[], Job]) -> None:
    """A job that has waited for longer than a lease is woken once more."""
    job = submit()
    job.updated_at = now_ms() - LEASE_MS - 1
    session.flush()
    before = wake_ups(session)
    jobs.sweep(session, orphaned=False)
    assert wake_ups(session) == before + 1


def test_a_long_step_can_keep_its_job(session: Session, submit: Callable[[], Job]) -> None:
    """Renewing pushes the lease on; after it is lost, renewing is refused."""
    job = submit()
    held = claimed(session, job)
    job.lease_until = now_ms() + 5
    session.flush()
    jobs.renew(session, held)
    session.refresh(job)
    assert job.lease_until > now_ms() + LEASE_MS - 5_000
    jobs.sweep(session, orphaned=True)
    session.flush()
    with pytest.raises(LostLease):
        jobs.renew(session, held)


def test_the_version_follows_its_job(session: Session, submit: Callable[[], Job]) -> None:
    """A cancelled file does not look as if it were on its way, nor a retried one as if it had failed."""
    job = submit()
    version = session.get_one(DocumentVersion, job.version_id)
    jobs.cancel(session, job)
    assert version.state == "failed"
    jobs.retry(session, job)
    assert version.state == "pending"


def test_at_start_leases_need_not_run_out(session: Session, submit: Callable[[], Job]) -> None:
    """The one process has just started, so nobody can be working: everything unfinished wakes up."""
    running, waiting = submit(), submit()
    claimed(session, running)
    before = wake_ups(session)
    jobs.sweep(session, orphaned=True)
    session.flush()
    assert running.state == waiting.state == "queued"
    assert wake_ups(session) == before + 2


def test_the_third_crash_quarantines(session: Session, submit: Callable[[], Job]) -> None:
    """Twice it is queued again; the third time it stays, with a reason and a hint, and others go on."""
    poison, healthy = submit(), submit()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert claimed(session, poison).attempt == attempt
        quarantined = jobs.sweep(session, orphaned=True)
        session.flush()
        assert poison.state == ("quarantined" if attempt == MAX_ATTEMPTS else "queued")
    assert quarantined == [poison]
    assert (poison.reason_code, poison.stage) == ("crashed_repeatedly", "done")
    assert poison.reason
    assert poison.hint
    assert claimed(session, healthy).attempt == 1
    jobs.retry(session, poison)
    assert claimed(session, poison).attempt == 1


# --- who may see them -----------------------------------------------------------------------------


def test_jobs_follow_the_documents_access(session: Session, submit: Callable[[], Job]) -> None:
    """Hidden from Ben: the job, like one that does not exist. Visible to Ada: it, alone and in the list."""
    job = submit()
    assert jobs.get_job(session, scope_of(ADA), job.id)[0] is job
    assert [found.id for found, _ in page_of_jobs(session, scope_of(ADA), Wanted())[0]] == [job.id]
    assert page_of_jobs(session, scope_of(BEN), Wanted()) == ([], False)
    messages = []
    for job_id in (job.id, new_id()):
        with pytest.raises(NotFound) as refused:
            jobs.get_job(session, scope_of(BEN), job_id)
        messages.append(refused.value.message)
    assert messages[0] == messages[1]


def test_the_list_can_be_narrowed_to_states(session: Session, submit: Callable[[], Job]) -> None:
    """What is queued or running, or what has ended in one way."""
    ended, active = submit(), submit()
    jobs.finish(session, claimed(session, ended), "succeeded", passages=2)
    session.expire_all()

    def in_states(*states: str) -> list[str]:
        return [job.id for job, _ in page_of_jobs(session, scope_of(ADA), Wanted(states))[0]]

    assert in_states("queued", "running") == [active.id]
    assert in_states("succeeded") == [ended.id]
    assert in_states("failed") == []
