"""Batches: their owner's alone, cancelled and retried as one, and what uploads may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from infra import documents
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Base, Batch, Job
from infra.errors import InvalidInput, NotFound
from infra.keys import MasterKey
from ingest import batches, jobs
from ingest.batches import Place, asked_place

KEY = MasterKey(bytes(32))
ADA, BEN = "user:ada", "user:ben"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with every table."""
    opened = Database(f"sqlite:///{tmp_path / 'batches.sqlite3'}")
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def batch(database: Database) -> Batch:
    """A batch of Ada's."""
    with database.write() as session:
        return batches.create(session, KEY, owner=ADA, name=" Old archive ")


@pytest.fixture
def submit(database: Database, batch: Batch) -> Callable[..., str]:
    """Put a file into the batch; returns its job's id."""

    def _submit(owner: str = ADA, *, state: str = "queued") -> str:
        with database.write() as session:
            document = documents.create_document(session, owner=owner, name="a.md")
            version = documents.add_version(
                session, document, version_id=new_id(), sha256="0" * 64, size=1, wrapped_key=b"k"
            )
            job = jobs.submit(
                session, document_id=document.id, version_id=version.id, corr="c", batch_id=batch.id
            )
            job.state = state
            return job.id

    return _submit


def states(database: Database) -> dict[str, str]:
    """Return job id -> state."""
    with database.read() as session:
        return {job.id: job.state for job in session.query(Job)}


def test_the_name_of_a_batch_is_sealed(database: Database, batch: Batch) -> None:
    """The row does not hold it in clear, and it opens for its own row only."""
    assert b"archive" not in batch.sealed_name
    assert batches.name_of(batch, KEY) == "Old archive"
    with database.write() as session:
        for name in ("", "  ", "a\nb", "x" * 201):
            with pytest.raises(InvalidInput):
                batches.create(session, KEY, owner=ADA, name=name)


def test_a_batch_is_its_owners_alone(database: Database, batch: Batch) -> None:
    """Hidden from Ben: that it exists. Visible to Ada: it."""
    with database.read() as session:
        assert batches.get_own(session, batch.id, ADA).id == batch.id
        for owner, wanted in ((BEN, batch.id), (ADA, new_id())):
            with pytest.raises(NotFound, match="There is no such batch"):
                batches.get_own(session, wanted, owner)


def test_what_has_not_ended_is_cancelled(
    database: Database, batch: Batch, submit: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several transactions: queued jobs end, running ones are asked to, ended ones stay."""
    monkeypatch.setattr(batches, "AT_ONCE", 2)
    queued = [submit() for _ in range(5)]
    running, ended, foreign = submit(state="running"), submit(state="succeeded"), submit(BEN)
    recorded: list[str] = []

    def record(_session: Session, job: Job) -> None:
        recorded.append(job.id)

    assert batches.change_all(database, batch, "cancel", record) == 6
    found = states(database)
    assert {found[job_id] for job_id in queued} == {"cancelled"}
    assert (found[running], found[ended], found[foreign]) == ("running", "succeeded", "queued")
    assert sorted(recorded) == sorted([*queued, running])
    with database.read() as session:
        assert session.get_one(Job, running).cancel_requested


def test_what_did_not_succeed_is_retried(
    database: Database, batch: Batch, submit: Callable[..., str]
) -> None:
    """Failed, cancelled and quarantined jobs are queued again, a good one is not."""
    broken = [submit(state=state) for state in ("failed", "cancelled", "quarantined")]
    good = submit(state="succeeded")
    assert batches.change_all(database, batch, "retry", lambda _session, _job: None) == 3
    found = states(database)
    assert {found[job_id] for job_id in broken} == {"queued"}
    assert found[good] == "succeeded"


def test_what_an_upload_may_ask_for(database: Database, batch: Batch) -> None:
    """One of two queues, and a batch of one's own; nothing by default."""
    with database.read() as session:
        assert asked_place(session, ADA, {}) == Place("interactive", None)
        assert asked_place(session, ADA, {"queue": [""], "batch": [""]}) == Place()
        fields = {"queue": ["bulk"], "batch": [batch.id]}
        assert asked_place(session, ADA, fields) == Place("bulk", batch.id)
        with pytest.raises(InvalidInput):
            asked_place(session, ADA, {"queue": ["maintenance"]})
        with pytest.raises(NotFound):
            asked_place(session, BEN, fields)
