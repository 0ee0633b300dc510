"""Backups of keys: they restore what was lost, never what was erased, and end when their days are over."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from sqlalchemy import delete, func, insert, select, update

from infra.access import Principal, Role
from infra.audit.content import ContentErased
from infra.audit.event_types import EventType
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.removal import key_backups
from infra.audit.removal.erasure import ErasureWish, erase
from infra.audit.removal.key_backups import (
    BackupExpired,
    BackupUnreadable,
    Restored,
    expire_backups,
    restore_keys,
    save_keys,
)
from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import AccessEpoch, Erasure, KeyBackup, SubjectKey, User
from infra.errors import InvalidInput
from infra.keys import MasterKey

MakeEvent = Callable[..., Event]
ADMIN = Principal(user_id="admin", kind="user", roles=frozenset({Role.ADMIN}))
DAY_MS = 86_400_000
QUESTION = b"How many days of notice?"


@pytest.fixture(autouse=True)
def people(database: Database) -> None:
    """Give alice an account."""
    with database.write() as session:
        session.execute(insert(AccessEpoch).values(id=1, epoch=0))
        session.add(User(id="alice", kind="user", name="alice", roles=["employee"], created_at=1))


def lose_keys(database: Database) -> None:
    with database.write() as session:
        session.execute(delete(SubjectKey))


def test_a_lost_key_comes_back(
    ledger: Ledger, database: Database, master_key: MasterKey, event: MakeEvent
) -> None:
    """What could not be opened without its key can be read again, and the log is whole."""
    mine = ledger.record(event(), QUESTION)
    backup = save_keys(ledger, master_key, 7, corr="b")
    lose_keys(database)
    with pytest.raises(ContentErased):
        ledger.reader.read_content(mine.id)
    assert restore_keys(ledger, master_key, backup, corr="b") == Restored(restored=1, present=0, erased=0)
    assert ledger.reader.read_content(mine.id) == QUESTION
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound


def test_keys_that_are_here_stay(ledger: Ledger, master_key: MasterKey, alice: Principal) -> None:
    """Restoring twice changes nothing."""
    ledger.identify(alice)
    backup = save_keys(ledger, master_key, 7, corr="b")
    assert restore_keys(ledger, master_key, backup, corr="b") == Restored(restored=0, present=1, erased=0)


@pytest.mark.parametrize("certificate_is_lost", [False, True])
def test_an_erasure_survives_a_restore(
    ledger: Ledger,
    database: Database,
    master_key: MasterKey,
    event: MakeEvent,
    bob: Principal,
    certificate_is_lost: bool,
) -> None:
    """Alice's key does not come back, bob's does; either of log and certificate is enough to know."""
    mine = ledger.record(event(), QUESTION)
    theirs = ledger.record(event(actor=ledger.identify(bob)), b"bob asks")
    backup = save_keys(ledger, master_key, 7, corr="b")
    erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="e")
    with database.write() as session:
        session.execute(delete(SubjectKey))
        if certificate_is_lost:
            session.execute(delete(Erasure))
    assert restore_keys(ledger, master_key, backup, corr="b") == Restored(restored=1, present=0, erased=1)
    assert ledger.reader.read_content(theirs.id) == b"bob asks"
    with pytest.raises(ContentErased):
        ledger.reader.read_content(mine.id)


def test_a_backup_ends_when_its_days_are_over(
    ledger: Ledger, database: Database, master_key: MasterKey, event: MakeEvent
) -> None:
    """What opens it is destroyed, so that no copy of the file opens any more."""
    ledger.record(event(), QUESTION)
    short, long = (save_keys(ledger, master_key, days, corr="b") for days in (1, 30))
    assert expire_backups(ledger, corr="x", at_ms=now_ms() + 2 * DAY_MS) == 1
    assert expire_backups(ledger, corr="x", at_ms=now_ms() + 2 * DAY_MS) == 0
    with pytest.raises(BackupExpired):
        restore_keys(ledger, master_key, short, corr="b")
    assert restore_keys(ledger, master_key, long, corr="b").present == 1


def test_an_expired_backup_is_refused_before_its_key_is_destroyed(
    ledger: Ledger, master_key: MasterKey, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment counts, not the next run of the clean-up."""
    ledger.record(event(), QUESTION)
    backup = save_keys(ledger, master_key, 1, corr="b")
    later = now_ms() + 2 * DAY_MS
    monkeypatch.setattr(key_backups, "now_ms", lambda: later)
    with pytest.raises(BackupExpired):
        restore_keys(ledger, master_key, backup, corr="b")


def test_nobody_prolongs_a_backup(
    ledger: Ledger, database: Database, master_key: MasterKey, event: MakeEvent
) -> None:
    """The day it ends is sealed in: another one in the database opens nothing."""
    ledger.record(event(), QUESTION)
    backup = save_keys(ledger, master_key, 1, corr="b")
    with database.write() as session:
        session.execute(update(KeyBackup).values(expires_at=now_ms() + 400 * DAY_MS))
    with pytest.raises(BackupUnreadable):
        restore_keys(ledger, master_key, backup, corr="b")


def changed(backup: bytes) -> bytes:
    document = json.loads(backup)
    sealed = bytearray(base64.b64decode(document["sealed"]))
    sealed[20] ^= 1
    return json.dumps(document | {"sealed": base64.b64encode(bytes(sealed)).decode()}).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        changed,
        lambda _: b"",
        lambda _: b"{}",
        lambda _: b"[1]",
        lambda _: b"\xff\xfe",
        lambda backup: backup[: len(backup) // 2],
        lambda backup: backup.replace(b"backup 1", b"backup 2"),
    ],
)
def test_what_is_no_backup_is_refused(
    ledger: Ledger, master_key: MasterKey, event: MakeEvent, spoil: Callable[[bytes], bytes]
) -> None:
    """A changed, cut or foreign file is told apart, and changes nothing."""
    ledger.record(event(), QUESTION)
    backup = save_keys(ledger, master_key, 7, corr="b")
    with pytest.raises(BackupUnreadable):
        restore_keys(ledger, master_key, spoil(backup), corr="b")


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_backup_has_an_end(ledger: Ledger, master_key: MasterKey, days: int) -> None:
    """It lasts a day at least and a year at most."""
    with pytest.raises(InvalidInput):
        save_keys(ledger, master_key, days, corr="b")


def test_the_file_holds_no_key_in_the_open(ledger: Ledger, master_key: MasterKey, event: MakeEvent) -> None:
    """Neither ids nor wrapped keys can be read from it."""
    ledger.record(event(), QUESTION)
    backup = save_keys(ledger, master_key, 7, corr="b")
    with ledger.database.read() as session:
        row = session.scalars(select(SubjectKey)).one()
        assert session.scalar(select(func.count()).select_from(KeyBackup)) == 1
    sealed = base64.b64decode(json.loads(backup)["sealed"])
    for secret in (row.key_id.encode(), row.subject_id.encode(), base64.b64encode(row.wrapped_key)):
        assert secret not in sealed
        assert secret not in backup


def test_a_certificate_says_until_when_backups_open(
    ledger: Ledger, master_key: MasterKey, event: MakeEvent
) -> None:
    """Without a backup nothing could be restored; with one, until its last day."""
    ledger.record(event(), QUESTION)
    save_keys(ledger, master_key, 3, corr="b")
    made = erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="e")
    assert abs(made["key_backups_until"] - (now_ms() + 3 * DAY_MS)) < 60_000
    expire_backups(ledger, corr="x", at_ms=now_ms() + 4 * DAY_MS)
    assert erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="e")["key_backups_until"] is None


def test_each_step_is_on_the_record(ledger: Ledger, master_key: MasterKey, event: MakeEvent) -> None:
    """Saved, restored, expired: each with the backup's id."""
    ledger.record(event(), QUESTION)
    backup = save_keys(ledger, master_key, 1, corr="b")
    restore_keys(ledger, master_key, backup, corr="b")
    expire_backups(ledger, corr="x", at_ms=now_ms() + 2 * DAY_MS)
    ledger.sealer.seal_all()
    told = [
        (leaf.type, leaf.res.id)
        for found in ledger.reader.events()
        if (leaf := found.leaf) and leaf.res and leaf.res.type == "key_backup"
    ]
    backup_id = json.loads(backup)["id"]
    kinds = (EventType.KEYS_SAVED, EventType.KEYS_RESTORED, EventType.KEYS_EXPIRED)
    assert told == [(kind.value, backup_id) for kind in kinds]
