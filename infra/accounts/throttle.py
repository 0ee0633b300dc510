"""Slow down guessing: failed attempts per account and per network address, with a wait that doubles.

The counts are in the database, so they survive a restart and hold for all replicas together. An attempt is
counted before the secret is looked at and taken back when it was right, so that many attempts at the same
moment get no more guesses than one after the other. An account is counted by the name that was typed,
whether or not it exists, so nothing can be learned from being held up.

The price of counting per account is that strangers can hold up a person's sign-in, for 15 minutes at most
after their last attempt; sessions and keys that the person has already go on working.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.clock import now_ms
from infra.database.tables import Throttle
from infra.errors import Throttled

LONGEST_WAIT_S: Final = 15 * 60
_DOUBLINGS: Final = 11
"""Failures beyond the free ones after which the wait is the longest; more than these are not counted."""
_DAY_MS: Final = 86_400_000
_UNSEEN: Final = frozenset(map(chr, (0x034F, 0x1806, 0x180B, 0x180C, 0x180D, 0xFFFC, *range(0xFE00, 0xFE10))))
"""What a directory leaves out of a name although it is no control character (RFC 4518, section 2.2)."""
SWEPT_AT_ONCE: Final = 100
"""Rows that one new row removes at most, so that sweeping never makes an attempt slow."""


Purpose = Literal["sign-in", "invitation", "key"]


@dataclass(frozen=True, order=True)
class Bucket:
    """What attempts are counted for. `free` failures cost no wait; one is forgotten every `recovers_s`."""

    id: str
    free: int
    recovers_s: int


def account_bucket(name: str, directory: str | None = None) -> Bucket:
    """Return the bucket of an account, by the e-mail address or name that was typed here or for a directory.

    Spellings that a directory may take for one name are one bucket (RFC 4518, section 2).
    """
    kind = "account" if directory is None else f"account in {directory}"
    return Bucket(_hashed(kind, _folded(name)), free=5, recovers_s=3600)


def subject_bucket(directory: str, subject: str) -> Bucket:
    """Return the bucket of a directory's person, whichever of their names was typed."""
    return Bucket(_hashed(f"subject in {directory}", subject), free=5, recovers_s=3600)


def address_bucket(address: str, purpose: Purpose = "sign-in") -> Bucket:
    """Return the bucket of a network address; an IPv6 /64 is one, because one machine has all of it.

    Each purpose has its own: a program with a withdrawn key must not keep the people who share its address
    from signing in. For the same people's sake failures are forgotten sooner than an account's.
    """
    return Bucket(_hashed(f"address for {purpose}", _network(address)), free=20, recovers_s=180)


def begin_attempt(session: Session, buckets: Iterable[Bucket]) -> None:
    """Count an attempt, before its secret is looked at; needs a write transaction of its own.

    Raises Throttled while one of the buckets is blocked; then nothing is counted, because the
    transaction is rolled back.
    """
    for bucket in sorted(buckets):  # in one order everywhere, so that two attempts never wait for each other
        _count(session, bucket)


def check_not_blocked(session: Session, bucket: Bucket) -> None:
    """Raise Throttled while the bucket is blocked; counts nothing."""
    row = session.get(Throttle, bucket.id)
    if row is not None:
        _refuse_while_blocked(row, now_ms())


def count_failure(session: Session, bucket: Bucket) -> None:
    """Count a failure that is known as one already, of a secret too long to be guessed.

    Raises Throttled while the bucket is blocked.
    """
    _count(session, bucket)


def attempt_succeeded(
    session: Session, *, account: Bucket, address: Bucket, subject: Bucket | None = None
) -> None:
    """Clear the failures of the account, and take back the one that this attempt counted for the address."""
    for bucket in sorted({account, address} | ({subject} if subject else set())):
        if bucket is address:
            attempt_harmless(session, bucket)
        else:
            session.execute(delete(Throttle).where(Throttle.bucket == bucket.id))


def attempt_harmless(session: Session, *buckets: Bucket) -> None:
    """Take back one counted attempt that said nothing about a secret, e.g. because a server was down."""
    for bucket in sorted(buckets):
        session.execute(
            update(Throttle)
            .where(Throttle.bucket == bucket.id, Throttle.failures > 0)
            .values(failures=Throttle.failures - 1, blocked_until=0)
        )


def wait_s(failures: int, free: int) -> int:
    """Return the wait after so many failures: nothing at first, then 1 s, doubling to 15 minutes."""
    beyond = min(failures - free, _DOUBLINGS)
    return 0 if beyond <= 0 else min(LONGEST_WAIT_S, 2 ** (beyond - 1))


def _count(session: Session, bucket: Bucket) -> None:
    row, now = _locked_row(session, bucket), now_ms()
    _refuse_while_blocked(row, now)
    _forget_some(row, bucket, now)
    row.failures = min(row.failures + 1, bucket.free + _DOUBLINGS)
    row.blocked_until = now + wait_s(row.failures, bucket.free) * 1000
    session.flush()


def _forget_some(row: Throttle, bucket: Bucket, now: int) -> None:
    period = bucket.recovers_s * 1000
    forgotten = min(row.failures, (now - row.last_at) // period)
    row.failures -= forgotten
    row.last_at = row.last_at + forgotten * period if row.failures else now


def _locked_row(session: Session, bucket: Bucket) -> Throttle:
    """Return the bucket's row, made if need be, and held until the end of the transaction."""
    row = session.get(Throttle, bucket.id, with_for_update=True)
    if row is not None:
        return row
    _sweep(session)
    fresh = Throttle(bucket=bucket.id, failures=0, last_at=now_ms(), blocked_until=0)
    try:
        with session.begin_nested():
            session.add(fresh)
    except IntegrityError:
        # Another replica made it at the same moment.
        return session.get_one(Throttle, bucket.id, with_for_update=True)
    return fresh


def _sweep(session: Session) -> None:
    """Remove some forgotten rows. Each new row sweeps, so they stay bounded by what a day brings."""
    old = select(Throttle.bucket).where(Throttle.last_at < now_ms() - _DAY_MS).limit(SWEPT_AT_ONCE)
    session.execute(delete(Throttle).where(Throttle.bucket.in_(old)))


def _refuse_while_blocked(row: Throttle, now: int) -> None:
    if row.blocked_until > now:
        raise Throttled(
            "Too many attempts failed. Wait a moment, then try again.",
            retry_after_s=math.ceil((row.blocked_until - now) / 1000),
        )


def _folded(name: str) -> str:
    shown = "".join(
        char
        for char in unicodedata.normalize("NFKC", name)
        if char not in _UNSEEN and (char.isspace() or unicodedata.category(char)[0] != "C")
    )
    return unicodedata.normalize("NFKC", " ".join(shown.split()).casefold())


def _hashed(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}:{value}".encode(errors="surrogatepass")).hexdigest()


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
