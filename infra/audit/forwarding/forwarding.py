"""Forward the record to a SIEM while the server runs: every record, in order, at least once.

A cursor in the database says which record is next. It moves when a connection that carried records was ended
in order, and never before, so that after a crash on either side the same records are sent again rather than
lost; the index in each message tells a receiver which ones it has. No record is written for a message, only
when the receiver is lost or found again: forwarding never feeds itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType
from infra.audit.forwarding.syslog import ReceiverLost, SyslogReceiver, syslog_message
from infra.audit.leaf import Resource
from infra.audit.ledger import Ledger
from infra.audit.records import LoggedEvent
from infra.audit.state_record import StateRecord
from infra.database.tables import AuditLeaf, AuditMark
from infra.errors import AddressRefused, StrongroomError
from infra.logs import get_logger

MARK: Final = "forward:syslog"
"""Name of the cursor: the index of the next record to forward."""
INTERVAL_S: Final = 1.0
"""How often new records are looked for, in seconds."""
LONGEST_PAUSE_S: Final = 60.0
READ_AT_ONCE: Final = 500
WINDOW: Final = 5000
"""Records that one connection carries at most, and that are sent again when it breaks."""
FORWARDING_LOCK: Final = 0x53524F464F52
"""PostgreSQL advisory lock, so that of several replicas one forwards at a time and order is kept."""

CURSOR_BEYOND: Final = "the cursor is beyond the end of the record"
"""Why nothing is forwarded when somebody moved the cursor, or cut the record."""

State = Literal["new", "reached", "unreachable"]


class CursorBeyondTheEnd(StrongroomError):
    """The cursor names a record that does not exist yet: going on would leave records out."""

    code = "forwarding_cursor"

    def __init__(self) -> None:
        super().__init__(CURSOR_BEYOND)


@dataclass(frozen=True)
class ForwardingStatus:
    """How it stands with the receiver."""

    state: State = "new"
    reason: str = ""
    """Why it is unreachable, in a few words."""
    next_index: int = 0
    """The first record that is not known to have arrived."""


class Forwarding:
    """A thread that brings new records to the receiver, and outlives its absence."""

    def __init__(self, ledger: Ledger, receiver: SyslogReceiver, *, interval_s: float = INTERVAL_S) -> None:
        """Forward the records of `ledger` to `receiver`."""
        self.status = ForwardingStatus()
        self._ledger = ledger
        self._receiver = receiver
        self._interval_s = interval_s
        self._pause_s = interval_s
        what = Resource("receiver", f"{receiver.host}:{receiver.port}")
        self._changes = StateRecord(ledger, EventType.AUDIT_FORWARDED, what)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin where the cursor stands; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="record-forwarding", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; what was not delivered by now is delivered after the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _loop(self) -> None:
        while not self._stopping.is_set():
            if self._round():
                continue  # There may be more already.
            self._stopping.wait(self._pause_s)

    def _round(self) -> bool:
        """Deliver what waits; returns whether something was delivered."""
        try:
            delivered = self.forward()
        except (ReceiverLost, AddressRefused, CursorBeyondTheEnd) as error:
            self._failed(error.message)
        except Exception as error:  # noqa: BLE001
            # The edge of the thread: nothing moved the cursor, so the next round tries the same again.
            self._failed(type(error).__name__)
        else:
            self._pause_s = self._interval_s
            if delivered:
                self._changes.note("reached")
            return delivered > 0
        return False

    def _failed(self, reason: str) -> None:
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
        self.status = ForwardingStatus("unreachable", reason, self.status.next_index)
        get_logger().warning("record.not_forwarded", reason=reason, retry_s=self._pause_s)
        self._changes.note("unreachable", reason)

    def forward(self) -> int:
        """Deliver at most WINDOW records and move the cursor; returns how many.

        Returns 0 when nothing is new, or another replica is at it. Raises ReceiverLost or AddressRefused
        when they did not arrive for certain, and CursorBeyondTheEnd when there is no such place.
        """
        with self._turn() as mine:
            if not mine:
                return 0
            cursor = self._cursor()
            first = self._next(cursor)
            if not first:
                return 0
            delivered, reached = self._deliver(first)
            self._move(reached)
        return delivered

    def _deliver(self, records: list[LoggedEvent]) -> tuple[int, int]:
        """Send `records` and those that follow over one connection; returns how many, and the next index."""
        sent = 0
        with self._receiver.connect() as connection:
            while True:
                connection.send(map(self._message, records))
                sent += len(records)
                reached = _index(records[-1]) + 1
                records = self._next(reached) if sent < WINDOW else []
                if not records:
                    break
            connection.finish()
        return sent, reached

    def _message(self, record: LoggedEvent) -> bytes:
        return syslog_message(record, log_name=self._ledger.origin)

    def _next(self, index: int) -> list[LoggedEvent]:
        return self._ledger.reader.events(index - 1, READ_AT_ONCE)

    def _cursor(self) -> int:
        """Return the next index; raises CursorBeyondTheEnd, since nobody forwarded what does not exist."""
        with self._ledger.database.read() as session:
            cursor = next_to_forward(session)
            newest = session.scalar(select(func.max(AuditLeaf.index)))
        if cursor > (0 if newest is None else newest + 1):
            raise CursorBeyondTheEnd
        return cursor

    def _move(self, index: int) -> None:
        with self._ledger.database.write() as session:
            session.merge(AuditMark(name=MARK, index=index))
        self.status = ForwardingStatus("reached", next_index=index)

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Yield whether this process is the one that forwards now."""
        database = self._ledger.database
        if database.is_sqlite:
            yield True
            return
        with database.engine.connect() as connection, connection.begin():
            lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
            yield bool(connection.scalar(lock, {"lock": FORWARDING_LOCK}))


def next_to_forward(session: Session) -> int:
    """Return the first record that the receiver has not confirmed yet; 0 before the first."""
    mark = session.get(AuditMark, MARK)
    return mark.index if mark else 0


def _index(record: LoggedEvent) -> int:
    if record.index is None:
        raise ValueError("a sealed record has its index")
    return record.index
