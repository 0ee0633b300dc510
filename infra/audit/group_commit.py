"""Group commit: many small writes share one transaction, and nobody waits for it longer than agreed.

One thread writes what has gathered while the last transaction was being made durable. Callers wait for
their own result with a time limit of their own, so that a stuck disk or a held lock becomes an error
instead of a hang.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from infra.database import Database
from infra.errors import AuditUnavailable, StrongroomError
from infra.logs import get_logger

_T = TypeVar("_T")

LARGEST_GROUP: Final = 256


class GroupCommit:
    """Runs pieces of work in shared transactions; each is durable when its caller returns."""

    def __init__(
        self,
        database: Database,
        *,
        timeout_s: float,
        prepare: Callable[[Session, set[str]], None] = lambda _session, _needs: None,
        complete: Callable[[Session], None] = lambda _session: None,
    ) -> None:
        """Share transactions on `database`.

        `prepare` reads at once what the pieces of one transaction need, and `complete` writes at once what
        they gathered: one statement for all of them instead of one for each.
        """
        self._database = database
        self._timeout_s = timeout_s
        self._prepare = prepare
        self._complete = complete
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Callable[[Session], _T], *, needs: str | None = None) -> _T:
        """Run `work` in a transaction and return its result once that is committed.

        What `work` `needs` is prepared before it runs.

        Raises what `work` raises of the StrongroomError family, and AuditUnavailable on a database
        failure or after `timeout_s` seconds. After the latter the work may still be committed if its
        transaction was already under way. `work` must refuse before it writes, and must let errors of
        the database through as they are: one of those ends the transaction for everybody in it.
        """
        entry = _Entry(work, needs)
        with self._changed:
            if self._closed:
                raise unavailable()
            self._waiting.append(entry)
            self._start()
            self._changed.notify_all()
        try:
            result: _T = entry.future.result(self._timeout_s)
        except TimeoutError as error:
            entry.future.cancel()
            raise unavailable() from error
        return result

    def close(self) -> None:
        """Write what is waiting, refuse more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(self._timeout_s + 1)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._loop, name="ledger-writer", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        while group := self._next_group():
            self._write(group)

    def _next_group(self) -> list[_Entry]:
        """Wait for work; an empty list means the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
        return group

    def _write(self, group: list[_Entry]) -> None:
        try:
            with self._database.write(timeout_s=self._timeout_s) as session:
                self._prepare(session, {entry.needs for entry in group if entry.needs is not None})
                for entry in group:
                    entry.attempt(session)
                self._complete(session)
        except (SQLAlchemyError, TimeoutError) as error:
            get_logger().error("ledger.write_failed", error=type(error).__name__, records=len(group))
            failure = unavailable()
            failure.__cause__ = error
            _fail(group, failure)
        except Exception as error:  # noqa: BLE001
            # The edge of the thread: whatever it was, the callers get it, and the thread lives on.
            # No traceback in the log: its local variables would put content there.
            get_logger().error("ledger.write_broken", error=type(error).__name__, records=len(group))
            _fail(group, error)
        else:
            for entry in group:
                entry.finish()


class _Entry:
    """One caller's work, and where its result goes after the commit."""

    def __init__(self, work: Callable[[Session], Any], needs: str | None) -> None:
        self.needs = needs
        self.future: Future[Any] = Future()
        self._work = work
        self._result: Any = None
        self._refusal: StrongroomError | None = None

    def attempt(self, session: Session) -> None:
        # Asked only now, with the writer's lock in hand: whoever gave up while this waited for the lock
        # was told that nothing was recorded, and nothing is.
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self._result = self._work(session)
        except StrongroomError as error:
            self._refusal = error

    def finish(self) -> None:
        if self.future.cancelled():
            return
        if self._refusal is not None:
            self.future.set_exception(self._refusal)
        else:
            self.future.set_result(self._result)

    def fail(self, error: Exception) -> None:
        # Where the transaction never began, the entry is still waiting, or was withdrawn.
        if self.future.running() or (
            not self.future.cancelled() and self.future.set_running_or_notify_cancel()
        ):
            self.future.set_exception(error)


def _fail(group: list[_Entry], error: Exception) -> None:
    for entry in group:
        entry.fail(error)


def unavailable() -> AuditUnavailable:
    """Return the error that stands for a ledger that did not take a record."""
    return AuditUnavailable(
        "The record could not be written, so nothing was done.",
        hint="Try again in a moment; if it stays so, the database or its disk needs attention.",
    )


@contextmanager
def fail_closed() -> Iterator[None]:
    """Turn any failure of the database into AuditUnavailable."""
    try:
        yield
    except (SQLAlchemyError, TimeoutError) as error:
        raise unavailable() from error
