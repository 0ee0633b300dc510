"""What a worker takes first, and what it does with its work when it has to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select

from infra import documents
from infra.clock import new_id
from infra.database.tables import Chunk, Job, Outbox
from infra.settings import Settings
from infra.stores import Stores
from ingest import jobs
from ingest.tasks import Desk
from ingest.worker import EmbeddedWorker, pipeline_of
from tests.made_documents import markdown_of

LONG = markdown_of("Harbour", [f"# Berth {n}\n\n" + f"Berth {n} has a crane. " * 30 for n in range(150)])


@pytest.fixture
def submitted(stores: Stores) -> Callable[..., str]:
    """Store a file and return its job's id."""

    def submit(queue: str = jobs.INTERACTIVE, content: bytes = b"# Harbour\n\nA crane.\n") -> str:
        version_id = new_id()
        key, wrapped = documents.new_version_key(stores.master_key, version_id)
        size, sha256 = stores.files.write(version_id, key, [content], len(content))
        with stores.database.write() as session:
            document = documents.create_document(session, owner="user:ada", name="harbour.md")
            documents.add_version(
                session, document, version_id=version_id, sha256=sha256, size=size, wrapped_key=wrapped
            )
            return jobs.submit(
                session, document_id=document.id, version_id=version_id, corr=new_id(), queue=queue
            ).id

    return submit


def job_of(stores: Stores, job_id: str) -> Job:
    """Read a job."""
    with stores.database.read() as session:
        return session.get_one(Job, job_id)


def wait_until(condition: Callable[[], bool], *, within_s: float = 90) -> float:
    """Wait until something is so; returns after how many seconds it was."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + within_s, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - started


def test_what_a_person_waits_for_comes_before_an_import(
    stores: Stores, submitted: Callable[..., str]
) -> None:
    """Whatever a worker is woken for, it looks for interactive work first; each job is done once."""
    imported, waited_for = submitted(jobs.BULK), [submitted(), submitted()]
    ran: list[str] = []

    def run(job_id: str) -> None:
        ran.append(job_id)
        with stores.database.write() as session:
            held = jobs.claim(session, job_id)
            assert held is not None
            jobs.finish(session, held, "succeeded")

    pipeline: Any = SimpleNamespace(database=stores.database, run=run)
    Desk(pipeline).look(imported)
    assert ran == [*waited_for, imported]


def test_work_that_somebody_else_takes_is_no_endless_search(
    stores: Stores, submitted: Callable[..., str]
) -> None:
    """A job that stays queued, as when another worker is just claiming it, is looked at once."""
    first, second = submitted(), submitted()
    ran: list[str] = []
    pipeline: Any = SimpleNamespace(database=stores.database, run=ran.append)
    Desk(pipeline).look(second)
    assert ran == [first, second]


def test_a_worker_that_stops_hands_its_job_back(stores: Stores, submitted: Callable[..., str]) -> None:
    """While passages are being embedded: the job is queued at once, and the work ends by itself."""
    job_id = submitted(content=LONG)
    desk = Desk(pipeline_of(stores, Settings()))
    at_work = threading.Thread(target=desk.look, args=(job_id,))
    at_work.start()
    wait_until(lambda: job_of(stores, job_id).stage == "embed" and job_of(stores, job_id).done > 0)
    assert desk.close() == 1
    left = job_of(stores, job_id)
    assert (left.state, left.attempt, left.lease_until) == ("queued", 0, None)
    at_work.join(10)
    assert not at_work.is_alive()
    assert job_of(stores, job_id).state == "queued"
    Desk(pipeline_of(stores, Settings())).look(job_id)
    done = job_of(stores, job_id)
    assert (done.state, done.attempt) == ("succeeded", 1)
    with stores.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Chunk)) == done.passages
    assert stores.index.count() == done.passages


def test_a_closed_desk_takes_nothing_and_forgets_nothing(
    stores: Stores, submitted: Callable[..., str]
) -> None:
    """A wake-up that comes while the worker stops is passed on."""
    job_id = submitted()
    desk = Desk(pipeline_of(stores, Settings()))
    assert desk.close() == 0
    with stores.database.write() as session:
        session.query(Outbox).delete()
    desk.look(job_id)
    assert job_of(stores, job_id).state == "queued"
    with stores.database.read() as session:
        assert [row.argument for row in session.scalars(select(Outbox))] == [job_id]


def test_the_embedded_worker_stops_soon(stores: Stores, submitted: Callable[..., str]) -> None:
    """A long job does not hold up the end of the program; a cancelled one ends within five seconds."""
    cancelled, left = submitted(content=LONG), submitted(jobs.BULK, 8 * LONG)
    worker = EmbeddedWorker(replace(stores), Settings())
    worker.start()
    wait_until(lambda: job_of(stores, cancelled).done > 0 and job_of(stores, cancelled).stage == "embed")
    with stores.database.write() as session:
        jobs.cancel(session, session.get_one(Job, cancelled))
    assert wait_until(lambda: job_of(stores, cancelled).state == "cancelled", within_s=10) < 5
    wait_until(lambda: job_of(stores, left).stage == "embed")
    started = time.monotonic()
    worker.stop()
    assert time.monotonic() - started < 20
    assert job_of(stores, left).state == "queued"
