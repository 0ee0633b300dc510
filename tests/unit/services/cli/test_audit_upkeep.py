"""`strongroom audit prune`, `backup-keys`, `restore-keys` on a data folder without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from infra.access import Principal, Role
from infra.audit.content import ContentErased
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.clock import now_ms
from infra.database.tables import KeyBackup, SubjectKey
from infra.errors import Conflict, NotFound
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from services.cli.audit_upkeep import backup_keys, prune_record, restore_backup

ALICE = Principal(user_id="alice", kind="user", roles=frozenset({Role.EMPLOYEE}))
DAY_MS = 86_400_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder with a record, and a day for searches."""
    made = Settings(data_dir=tmp_path / "data", retention_days={"searches": 1, "answers": 0})
    made.data_dir.mkdir()
    return made


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The record of that folder, open beside the command, with one search."""
    database, master_key = open_database(settings)
    opened = open_ledger(settings, database, master_key)
    opened.record(Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, "r", opened.identify(ALICE)), b"words")
    opened.sealer.seal_all()
    yield opened
    opened.close()
    database.close()


def content_of_search(ledger: Ledger) -> bytes:
    found = next(one for one in ledger.reader.events() if one.leaf and one.leaf.content)
    return ledger.reader.read_content(found.id)


def test_prune_takes_what_is_old(
    ledger: Ledger,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is no day old stays; two days later it goes, and the output counts it."""
    prune_record(settings, as_json=True)
    assert json.loads(capsys.readouterr().out)["contents"] == {"searches": 0}
    later = now_ms() + 2 * DAY_MS
    monkeypatch.setattr("infra.audit.removal.retention.now_ms", lambda: later)
    prune_record(settings, as_json=True)
    assert json.loads(capsys.readouterr().out)["contents"] == {"searches": 1}
    with pytest.raises(ContentErased):
        content_of_search(ledger)


def test_prune_says_when_nothing_is_set(
    ledger: Ledger, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without days everything stays, and the reader learns why."""
    prune_record(settings.model_copy(update={"retention_days": {}}), as_json=False)
    assert "kept for ever" in capsys.readouterr().out
    assert content_of_search(ledger) == b"words"


def test_prune_ends_backups(
    ledger: Ledger, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup whose days are over cannot be restored after it."""
    backup_keys(settings, tmp_path / "keys", 1, as_json=True)
    with ledger.database.write() as session:
        for row in session.scalars(select(KeyBackup)):
            row.expires_at = now_ms() - 1
    prune_record(settings, as_json=False)
    assert "1 backups of keys have ended" in capsys.readouterr().out
    with pytest.raises(NotFound):
        restore_backup(settings, tmp_path / "keys", as_json=True)


def test_keys_go_out_and_come_back(
    ledger: Ledger, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is its owner's alone, and restores what was lost."""
    file = tmp_path / "keys.backup"
    backup_keys(settings, file, 30, as_json=False)
    assert "can be restored until" in capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    with ledger.database.write() as session:
        session.execute(delete(SubjectKey))
    restore_backup(settings, file, as_json=False)
    assert "1 keys were restored" in capsys.readouterr().out
    assert content_of_search(ledger) == b"words"


def test_a_backup_overwrites_nothing(ledger: Ledger, settings: Settings, tmp_path: Path) -> None:
    """A file that is there stays as it is, and no backup is made."""
    file = tmp_path / "keys.backup"
    file.write_text("precious")
    with pytest.raises(Conflict):
        backup_keys(settings, file, 30, as_json=False)
    assert file.read_text() == "precious"
    with ledger.database.read() as session:
        assert session.scalars(select(KeyBackup)).all() == []


def test_a_folder_without_a_record_is_left_empty(tmp_path: Path) -> None:
    """A mistyped folder does not become a new data folder."""
    with pytest.raises(NotFound):
        prune_record(Settings(data_dir=tmp_path / "nowhere"), as_json=False)
    assert not (tmp_path / "nowhere").exists()
