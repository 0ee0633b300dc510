"""What a start puts on the record: a digest of the settings, and which of them changed; never a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, select, update

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Leaf
from infra.audit.ledger import Ledger
from infra.audit.starts import record_start
from infra.database import Database
from infra.database.tables import AuditInbox, Choice
from infra.errors import AuditUnavailable
from infra.keys import MasterKey
from infra.setting_marks import setting_marks
from infra.settings import Settings

KEY = MasterKey(b"\x2a" * 32)
PIN = "canary-4711"
Start = Callable[..., list[Leaf]]


@pytest.fixture
def start(open_ledger: Callable[..., Ledger], tmp_path: Path) -> Iterator[Start]:
    """Start a server with settings; returns what that put on the record."""
    ledgers: dict[str, Ledger] = {}

    def _start(name: str = "one", **changed: Any) -> list[Leaf]:
        ledger = ledgers.setdefault(name, open_ledger(name))
        before = len(list(ledger.reader.events(limit=1000)))
        record_start(ledger, setting_marks(Settings(data_dir=tmp_path, **changed), KEY))
        ledger.sealer.seal_all()
        found = [event.leaf for event in ledger.reader.events(limit=1000)][before:]
        return [leaf for leaf in found if leaf is not None]

    yield _start


def said(leaves: list[Leaf]) -> list[tuple[str, str | None]]:
    return [(leaf.type, leaf.outcome) for leaf in leaves]


def test_a_start_carries_the_digest_of_the_settings(start: Start) -> None:
    """The same for the same settings, and the first start has nothing to compare with."""
    (first,) = start(break_glass=True)
    (again,) = start(break_glass=True)
    assert (first.type, first.outcome) == (EventType.SERVER_START, "ok")
    assert first.res == again.res
    assert first.res is not None
    assert (first.res.type, len(first.res.id)) == ("settings", 64)


def test_changed_settings_are_named(start: Start) -> None:
    """Once, at the start that has them; going back is a change as well."""
    start()
    changed = start(break_glass=True, retention_days={"answers": 30}, strict_answers=False)
    assert said(changed) == [
        ("server.start", "ok"),
        ("settings.changed", "break_glass, retention_days"),
    ]
    assert changed[0].res == changed[1].res
    assert len(start(break_glass=True, retention_days={"answers": 30})) == 1
    assert said(start())[1:] == [("settings.changed", "break_glass, retention_days")]


def test_a_changed_secret_is_named_and_nowhere_written(start: Start, database: Database) -> None:
    """Not in the record, not beside it, not as a digest that could be tried out; also within a directory."""

    def settings(secret: str) -> dict[str, Any]:
        ldap = {"name": "corp", "url": "ldaps://ldap.internal", "bind_dn": "cn=x", "base_dn": "dc=x"}
        return {
            "pkcs11_pin": SecretStr(secret),
            "database_url": f"postgresql://strongroom:{secret}@db.internal/strongroom",
            "ldap": [{**ldap, "start_tls": False, "label": "Corp", "bind_password": secret}],
        }

    start(**settings(PIN))
    changed = start(**settings(f"{PIN}2"))
    assert said(changed)[1:] == [("settings.changed", "database_url, ldap, pkcs11_pin")]
    with database.read() as session:
        kept = session.scalars(select(Choice.value)).all()
    assert kept
    files = b"".join(
        path.read_bytes() for path in Path(database.url.removeprefix("sqlite:///")).parent.iterdir()
    )
    assert PIN.encode() not in files


def test_marks_depend_on_the_key(tmp_path: Path) -> None:
    """Without the master key nobody can try values out."""
    settings = Settings(data_dir=tmp_path)
    mine, other = setting_marks(settings, KEY), setting_marks(settings, MasterKey(bytes(32)))
    assert not set(mine.values()) & set(other.values())
    assert set(mine) == set(Settings.model_fields)


def test_each_server_is_compared_with_itself(start: Start) -> None:
    """Replicas may differ; one with a new name is compared with the last start of any."""
    start("one", port=1)
    assert said(start("two", port=2))[1:] == [("settings.changed", "port")]
    assert len(start("one", port=1)) == 1
    assert len(start("two", port=2)) == 1


@pytest.mark.parametrize(
    "spoil", [delete(Choice), update(Choice).values(value="{}"), update(Choice).values(value="[")]
)
def test_what_is_kept_beside_the_record_cannot_hide_a_change(
    start: Start, database: Database, spoil: Any
) -> None:
    """The record knows the digest of the last start; only the names are lost."""
    start()
    with database.write() as session:
        session.execute(spoil)
    assert said(start(break_glass=True))[1:] == [("settings.changed", "names unknown")]
    assert len(start(break_glass=True)) == 1


def test_a_start_from_before_is_nothing_to_compare_with(start: Start, ledger: Ledger) -> None:
    """Older versions recorded starts without a digest."""
    ledger.record(Event(EventType.SERVER_START, Stage.SINGLE, "c", SYSTEM, outcome="ok"))
    ledger.sealer.seal_all()
    assert said(start()) == [("server.start", "ok")]
    assert said(start(break_glass=True))[1:] == [("settings.changed", "break_glass")]


def test_without_a_record_nothing_starts(start: Start, database: Database) -> None:
    """And what was compared stays as it was, so that the change is named at the next start."""
    start()
    with database.write() as session:
        AuditInbox.__table__.drop(session.connection())  # type: ignore[attr-defined]
    with pytest.raises(AuditUnavailable):
        start(break_glass=True)
    with database.write() as session:
        AuditInbox.__table__.create(session.connection())  # type: ignore[attr-defined]
    assert said(start(break_glass=True))[1:] == [("settings.changed", "break_glass")]
