"""Back up the subjects' keys for a number of days, and restore them; what was erased stays erased.

A backup is a file with every wrapped key, sealed under a key of its own. That key stays here, wrapped by the
master key, and is destroyed when the days are over: from then on no copy of the file opens, wherever it lies.
Restoring refuses the keys of subjects that were erased since.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
from infra.audit.records import InboxSeal
from infra.audit.removal.erasure import certified_subjects
from infra.audit.removal.holds import take_turns
from infra.audit.removal.removals import proven_removals
from infra.clock import new_id, now_ms
from infra.database.tables import KeyBackup, SubjectKey
from infra.errors import InvalidInput, NotFound
from infra.keys import MasterKey, SealBroken, new_key, seal, unseal

FORMAT: Final = "strongroom key backup 1"
MAX_DAYS: Final = 366
DAY_MS: Final = 86_400_000


class BackupUnreadable(InvalidInput):
    """A file that is no backup of keys, or was changed."""

    code = "backup_unreadable"


class BackupExpired(NotFound):
    """A backup whose own key was destroyed when its days were over, or that another server made."""

    code = "backup_expired"


@dataclass(frozen=True)
class Restored:
    """What became of the keys of a backup, as counts."""

    restored: int
    present: int
    """Keys that were still here."""
    erased: int
    """Keys of subjects that were erased since; they were refused."""


def save_keys(ledger: Ledger, master_key: MasterKey, days: int, *, corr: str) -> bytes:
    """Return a backup of every subject's key, which can be opened for `days` days, 1 to 366.

    That it was made is on the record, in the transaction that keeps what opens it.
    """
    if not 1 <= days <= MAX_DAYS:
        raise InvalidInput(f"A backup of keys lasts 1 to {MAX_DAYS} days.", param="days")
    backup_id, key, now = new_id(), new_key(), now_ms()
    expires_at = now + days * DAY_MS
    with ledger.database.write() as session:
        take_turns(session)
        rows = [_key_as_json(row) for row in session.scalars(select(SubjectKey))]
        wrapped = master_key.wrap(key, context=_backup_context(backup_id, expires_at))
        session.add(KeyBackup(id=backup_id, wrapped_key=wrapped, created_at=now, expires_at=expires_at))
        _record(ledger, session, EventType.KEYS_SAVED, corr, backup_id, f"{len(rows)} keys")
    sealed = seal(key, json.dumps(rows).encode(), context=_backup_context(backup_id, expires_at))
    document = {
        "format": FORMAT,
        "id": backup_id,
        "created_at": now,
        "expires_at": expires_at,
        "sealed": base64.b64encode(sealed).decode(),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def restore_keys(ledger: Ledger, master_key: MasterKey, backup: bytes, *, corr: str) -> Restored:
    """Put back the keys of a backup that are missing here.

    Raises BackupUnreadable for anything that is no backup, BackupExpired when its days are over.
    """
    backup_id, sealed = _parsed(backup)
    with ledger.database.write() as session:
        take_turns(session)
        row = session.get(KeyBackup, backup_id)
        if row is None or row.expires_at <= now_ms():
            raise BackupExpired(
                "This backup cannot be opened any more, or belongs to another server.",
                hint="The key that opens it is destroyed when its days are over.",
            )
        context = _backup_context(backup_id, row.expires_at)
        try:
            keys = json.loads(
                unseal(master_key.unwrap(row.wrapped_key, context=context), sealed, context=context)
            )
        except SealBroken as error:
            raise BackupUnreadable("This backup was changed.") from error
        restored = _put_back(session, keys, InboxSeal(master_key))
        outcome = f"{restored.restored} restored, {restored.erased} refused as erased"
        _record(ledger, session, EventType.KEYS_RESTORED, corr, backup_id, outcome)
    return restored


def expire_backups(ledger: Ledger, *, corr: str, at_ms: int | None = None) -> int:
    """Destroy what opens the backups whose days are over; returns how many those were."""
    now = now_ms() if at_ms is None else at_ms
    over = KeyBackup.expires_at <= now
    with ledger.database.read() as session:
        if session.scalar(select(KeyBackup.id).where(over).limit(1)) is None:
            return 0
    with ledger.database.write() as session:
        expired = session.scalars(delete(KeyBackup).where(over).returning(KeyBackup.id)).all()
        for backup_id in expired:
            _record(ledger, session, EventType.KEYS_EXPIRED, corr, backup_id, "ok")
    return len(expired)


def _put_back(session: Session, keys: list[dict[str, str]], inbox: InboxSeal) -> Restored:
    erased = proven_removals(session, inbox).erased | certified_subjects(session)
    known = set(session.scalars(select(SubjectKey.subject_id)))
    missing = [key for key in keys if key["subject"] not in erased and key["subject"] not in known]
    for key in missing:
        wrapped = base64.b64decode(key["wrapped"])
        session.add(SubjectKey(key_id=key["key"], subject_id=key["subject"], wrapped_key=wrapped))
    session.flush()
    refused = sum(1 for key in keys if key["subject"] in erased)
    return Restored(len(missing), len(keys) - len(missing) - refused, refused)


def _parsed(backup: bytes) -> tuple[str, bytes]:
    """Return the id of a backup and what is sealed in it; raises BackupUnreadable."""
    try:
        document: Any = json.loads(backup)
        known, backup_id = document["format"] == FORMAT, str(document["id"])
        sealed = base64.b64decode(document["sealed"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise BackupUnreadable("This is no backup of keys.") from error
    if not known:
        raise BackupUnreadable("This backup of keys is in a format that is not known here.")
    return backup_id, sealed


def _key_as_json(row: SubjectKey) -> dict[str, str]:
    wrapped = base64.b64encode(row.wrapped_key).decode()
    return {"key": row.key_id, "subject": row.subject_id, "wrapped": wrapped}


def _record(
    ledger: Ledger, session: Session, kind: EventType, corr: str, backup_id: str, outcome: str
) -> None:
    event = Event(kind, Stage.SINGLE, corr, SYSTEM, res=Resource("key_backup", backup_id), outcome=outcome)
    ledger.record_in(session, event)


def _backup_context(backup_id: str, expires_at: int) -> str:
    # The expiry is authenticated: nobody makes a backup last longer by writing another one into its row.
    return f"key backup {backup_id} {expires_at}"
