"""When the night's retention is due, and what a look at the clock does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from infra.access import Principal, Role
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.removal.erasure import ErasureWish, begin_erasure
from infra.audit.removal.key_backups import save_keys
from infra.clock import now_ms
from infra.database.tables import AuditContent, KeyBackup, User
from infra.keys import MasterKey
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from services.audit import retention_schedule
from services.audit.retention_schedule import RetentionSchedule, is_due

NIGHT = datetime.fromisoformat("2026-11-22T04:30:00+01:00")
ADMIN = Principal("admin", "user", frozenset({Role.ADMIN}))
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("hour", "last_night", "expected"),
    [
        (4, None, True),
        (4, "2026-11-21", True),
        (4, "2026-11-22", False),
        (5, None, False),
        (3, "2026-11-21", False),
    ],
)
def test_it_is_due_once_a_night(hour: int, last_night: str | None, expected: bool) -> None:
    """Within its hour, unless it ran today; never in another hour."""
    assert is_due(NIGHT, hour, last_night) is expected


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Ledger, MasterKey]]:
    """Open a record in which ada and ben have searched once each."""
    settings = Settings(data_dir=tmp_path)
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    for name in ("ada", "ben"):
        with database.write() as session:
            roles = ["employee"]
            session.add(User(id=name, kind="user", name=name, roles=roles, compartments=[], created_at=1))
        actor = ledger.identify(Principal(name, "user", frozenset({Role.EMPLOYEE})))
        ledger.record(Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, "r", actor), b"words")
    ledger.sealer.seal_all()
    yield ledger, master_key
    ledger.close()
    database.close()


def schedule(ledger: Ledger, **fields: Any) -> RetentionSchedule:
    return RetentionSchedule(ledger, Settings(**fields), clock=lambda: NIGHT)


def contents_left(ledger: Ledger) -> int:
    with ledger.database.read() as session:
        return session.scalar(select(func.count()).select_from(AuditContent)) or 0


def test_all_day_it_ends_backups_and_finishes_erasures(opened: tuple[Ledger, MasterKey]) -> None:
    """What a crash or a busy database left open does not wait for the night; nothing else goes by day."""
    ledger, master_key = opened
    save_keys(ledger, master_key, 1, corr="b")
    begin_erasure(ledger, ErasureWish(user_id="ada"), by=ADMIN, corr="e")
    with ledger.database.write() as session:
        session.execute(update(KeyBackup).values(expires_at=now_ms() - 1))
    schedule(ledger, retention_hour=16, retention_days={"searches": 1})._look()
    with ledger.database.read() as session:
        assert session.scalars(select(KeyBackup)).all() == []
    assert contents_left(ledger) == 1


def test_at_night_it_prunes_once(opened: tuple[Ledger, MasterKey], monkeypatch: pytest.MonkeyPatch) -> None:
    """In its hour, by the days that are set; a second look in the same night does nothing more."""
    ledger, _ = opened
    later, calls = now_ms() + 2 * DAY_MS, []
    monkeypatch.setattr("infra.audit.removal.retention.now_ms", lambda: later)
    prune = retention_schedule.prune

    def counted(*of: Any, **named: Any) -> Any:
        calls.append(of)
        return prune(*of, **named)

    monkeypatch.setattr(retention_schedule, "prune", counted)
    nightly = schedule(ledger, retention_hour=4, retention_days={"searches": 1})
    nightly._look()
    assert contents_left(ledger) == 0
    nightly._look()
    assert len(calls) == 1
