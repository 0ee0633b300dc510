"""How each source stands: who looks at it now, when it was last looked at, what stopped that, who asked.

It is one row of `synced_items`, the one whose item is the empty string. A worker that looks holds a lease;
each transaction of its look names the lease and renews it, so that one which lost it can change nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import SyncedItem
from infra.errors import Conflict

ITSELF: Final = ""
LEASE_MS: Final = 60_000
MUST_BE_CONFIRMED: Final = frozenset({"empty", "many_missing"})
"""Reasons for which deletions wait until somebody confirms them."""


class LostLease(Exception):
    """Another worker looks at this source by now; whatever this one does no longer counts."""


@dataclass(frozen=True)
class Standing:
    """How a source stands. Times are in milliseconds since 1970; `looked_at` is when the last look began.

    `missing` counts files that the last look missed and did not remove; `accepted` how many of them somebody
    said may go. `lease_id` is the worker's that looks until `lease_until`.
    """

    looked_at: int = 0
    asked_at: int = 0
    missing: int = 0
    accepted: int = 0
    lease_until: int = 0
    lease_id: str = ""
    reason: str | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether somebody asked for a look that has not begun."""
        return 0 < self.looked_at <= self.asked_at or self.looked_at == 0 < self.asked_at

    def is_being_looked_at(self, now: int) -> bool:
        """Whether a worker is at it."""
        return self.lease_until > now


@dataclass(frozen=True)
class Lease:
    """A worker's right to one look, with what stood when it began."""

    source: str
    id: str
    began_at: int
    before: Standing


def standing_of(session: Session, source: str) -> Standing:
    """Return how a source stands; of one that was never looked at, nothing."""
    row = session.get(SyncedItem, (source, ITSELF))
    return Standing() if row is None else _read(row)


def take(database: Database, source: str) -> Lease | None:
    """Begin a look; None while another worker is at it."""
    now = now_ms()
    try:
        with database.write() as session:
            row = _held(session, source)
            before = Standing() if row is None else _read(row)
            if before.is_being_looked_at(now):
                return None
            lease = Lease(source, new_id(), max(now, before.asked_at + 1), before)
            _write(session, row, source, replace(before, lease_id=lease.id, lease_until=now + LEASE_MS))
    except IntegrityError:
        return None  # Two workers met at a source that was never looked at; the other one has it.
    return lease


def hold(session: Session, lease: Lease) -> None:
    """Renew a lease in the transaction that relies on it; raises LostLease."""
    row = _held(session, lease.source)
    if row is None or _read(row).lease_id != lease.id:
        raise LostLease
    _write(session, row, lease.source, replace(_read(row), lease_until=now_ms() + LEASE_MS))


def end(session: Session, lease: Lease, *, reason: str | None, missing: int) -> None:
    """End a look; raises LostLease. A confirmation counts for the look that follows it and no other."""
    hold(session, lease)
    row = _held(session, lease.source)
    now = standing_of(session, lease.source)
    ended = replace(
        now,
        looked_at=lease.began_at,
        missing=missing,
        accepted=now.accepted if now.asked_at >= lease.began_at else 0,
        lease_until=0,
        lease_id="",
        reason=reason,
    )
    _write(session, row, lease.source, ended)


def release(session: Session, lease: Lease) -> None:
    """Give a look up that did not come to its end; whatever asked for it still does. Raises LostLease."""
    hold(session, lease)
    row, now = _held(session, lease.source), standing_of(session, lease.source)
    _write(session, row, lease.source, replace(now, lease_until=0, lease_id=""))


def ask(session: Session, source: str, *, accept_deletions: bool) -> Standing:
    """Ask for a look, and say that what the last one missed may go; Conflict when it missed nothing."""
    row = _held(session, source)
    now = Standing() if row is None else _read(row)
    if accept_deletions and now.reason not in MUST_BE_CONFIRMED:
        raise Conflict(
            "No deletions of this source wait for a confirmation.", hint="`strongroom sync` lists what waits."
        )
    asked = replace(now, asked_at=max(now_ms(), now.looked_at))
    if accept_deletions:
        asked = replace(asked, accepted=now.missing)
    _write(session, row, source, asked)
    return asked


def problems_of(session: Session, source: str) -> Counter[str]:
    """Count the files of a source that were left aside, by reason."""
    counted = (
        select(SyncedItem.reason, func.count())
        .where(SyncedItem.source == source, SyncedItem.item != ITSELF, SyncedItem.reason.is_not(None))
        .group_by(SyncedItem.reason)
    )
    return Counter({str(reason): count for reason, count in session.execute(counted)})


def count_files(session: Session, source: str) -> int:
    """Count the files of a source that are in step with it."""
    wanted = select(func.count()).where(
        SyncedItem.source == source, SyncedItem.item != ITSELF, SyncedItem.reason.is_(None)
    )
    return session.scalar(wanted) or 0


def _held(session: Session, source: str) -> SyncedItem | None:
    return session.get(SyncedItem, (source, ITSELF), with_for_update=True, populate_existing=True)


def _read(row: SyncedItem) -> Standing:
    kept: list[Any] = json.loads(row.state)
    asked_at, missing, accepted, lease_until, lease_id = kept
    return Standing(row.seen_at, asked_at, missing, accepted, lease_until, lease_id, row.reason)


def _write(session: Session, row: SyncedItem | None, source: str, now: Standing) -> None:
    if row is None:
        row = SyncedItem(source=source, item=ITSELF)
        session.add(row)
    kept = [now.asked_at, now.missing, now.accepted, now.lease_until, now.lease_id]
    row.state = json.dumps(kept, separators=(",", ":"))
    row.seen_at, row.reason = now.looked_at, now.reason
    session.flush()
