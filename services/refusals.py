"""Put refusals on the record, and slow down whoever offers one bad key after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import anyio
from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from sqlalchemy.exc import SQLAlchemyError

from infra.access import Principal
from infra.accounts import throttle
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import ANONYMOUS, Event, Resource
from infra.errors import DirectoryRefused, NotAuthenticated, StrongroomError, Throttled
from infra.logs import get_logger
from services.accounts.signing_in import client_address
from services.parts import Parts

ANONYMOUS_PER_MINUTE: Final = 120
"""Refusals of strangers, and looks of theirs, that are recorded one by one; more of them are counted."""
WRITERS: Final = 4
"""Threads that record refusals, apart from those that answer requests."""
GRACE_S: Final = 1.0
"""How much longer than the ledger's own limit a refusal waits before it is answered unrecorded."""
_log = get_logger()


class StrangersRecords:
    """Bounds what strangers can write into the record.

    The first of a minute are recorded one by one. The rest are counted, and `services.left_out` records their
    number once a minute. Each replica counts its own.
    """

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], float],
        *,
        summed_up_as: EventType = EventType.REFUSED,
    ) -> None:
        """Admit so many a minute by `clock`, in seconds; the rest is recorded as one of `summed_up_as`."""
        self.summed_up_as = summed_up_as
        self._per_minute = per_minute
        self._clock = clock
        self._minute = -1
        self._recorded = 0
        self._left_out = 0
        self._lock = threading.Lock()

    def admit(self, outcome: str) -> str | None:
        """Return the outcome to record, or None for something that is counted only."""
        with self._lock:
            minute = int(self._clock() // 60)
            if minute != self._minute:
                self._minute, self._recorded = minute, 0
            if self._recorded >= self._per_minute:
                self._left_out += 1
                return None
            self._recorded += 1
            return outcome

    def take_left_out(self) -> int:
        """Return how many were counted only since the last call, and begin to count anew."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
            return left_out

    def put_back(self, number: int) -> None:
        """Count what could not be recorded on."""
        with self._lock:
            self._left_out += number


def install(app: FastAPI) -> None:
    """Prepare `app` for `put_on_record`."""
    app.state.strangers_refusals = StrangersRecords(ANONYMOUS_PER_MINUTE, time.monotonic)
    app.state.refusal_writers = CapacityLimiter(WRITERS)


async def put_on_record(request: Request, error: StrongroomError) -> StrongroomError:
    """Record that a request was refused, and return the error to answer with.

    That is Throttled instead when the client's address has offered too many bad keys. A good key is never
    held up: 256 random bits cannot be guessed, and somebody innocent may share the address. When the
    ledger fails or is slow, the refusal is answered all the same, and a log line says so: nothing was
    done that would have to be on the record.
    """
    parts: Parts | None = getattr(request.app.state, "parts", None)
    if parts is None:
        return error
    writers: CapacityLimiter = request.app.state.refusal_writers
    limit_s = parts.settings.audit_timeout_s + GRACE_S
    answer = error
    with anyio.move_on_after(limit_s) as waiting:
        if _offers_bad_key(request, error):
            address = client_address(request)
            answer = await anyio.to_thread.run_sync(
                _count_bad_key, parts, address, error, limiter=writers, abandon_on_cancel=True
            )
        event_of = _event_of(request, answer)
        if event_of is not None:
            await anyio.to_thread.run_sync(_record, parts, *event_of, limiter=writers, abandon_on_cancel=True)
    if waiting.cancelled_caught:
        _log.error("refusal.unrecorded", id=request.state.request_id, error="timeout")
    return answer


def _offers_bad_key(request: Request, error: StrongroomError) -> bool:
    # A directory's token is signed and expires every few minutes in honest hands: that is no guessing.
    is_bad = isinstance(error, NotAuthenticated) and not isinstance(error, DirectoryRefused)
    return is_bad and _principal(request) is None and bool(request.headers.get("authorization"))


def _count_bad_key(parts: Parts, address: str, error: StrongroomError) -> StrongroomError:
    bucket = throttle.address_bucket(address, "key")
    try:
        with parts.database.read() as session:
            throttle.check_not_blocked(session, bucket)
        with parts.database.write(timeout_s=parts.settings.audit_timeout_s) as session:
            throttle.count_failure(session, bucket)
    except Throttled as throttled:
        return throttled
    except (SQLAlchemyError, TimeoutError) as failure:
        _log.error("refusal.uncounted", error=type(failure).__name__)
    return error


def _event_of(request: Request, error: StrongroomError) -> tuple[Event, Principal | None] | None:
    principal = _principal(request)
    reason = getattr(error, "reason", None)
    outcome: str | None = f"{error.code}: {reason}" if reason else error.code
    if principal is None:
        strangers: StrangersRecords = request.app.state.strangers_refusals
        outcome = strangers.admit(outcome or "")
        if outcome is None:
            return None
    # The template, never the address: ids and what was typed after a question mark are not for the record.
    template = getattr(request.scope.get("route"), "path", "unmatched")
    what = Resource("operation", f"{request.method[:10]} {template}")
    corr = request.state.request_id
    return Event(EventType.REFUSED, Stage.SINGLE, corr, ANONYMOUS, res=what, outcome=outcome), principal


def _record(parts: Parts, event: Event, principal: Principal | None) -> None:
    try:
        if principal is not None:
            event = replace(event, actor=parts.ledger.identify(principal))
        parts.ledger.record(event)
    except (StrongroomError, SQLAlchemyError) as failure:
        _log.error("refusal.unrecorded", id=event.corr, error=type(failure).__name__)


def _principal(request: Request) -> Principal | None:
    found: Principal | None = getattr(request.state, "principal", None)
    return found
