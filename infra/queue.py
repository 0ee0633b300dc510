"""Wake-ups for background work. The job table is the truth (design §6); a message only says "look now".

Task definitions are Celery's in both profiles. The server profile sends them to a broker; the embedded
profile runs the same registered tasks on one thread of this process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from celery import Celery
from sqlalchemy import delete, select

from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import Outbox
from infra.logs import get_logger

_log = get_logger()


class Waker(Protocol):
    """Delivers a wake-up to whoever runs the task."""

    def wake(self, task: str, argument: str) -> None:
        """Ask for `task` to run with its one argument, soon."""
        ...


def make_celery(broker_url: str) -> Celery:
    """Return the Celery application: JSON only, one message at a time, acknowledged when done."""
    app = Celery("strongroom", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # Threads, because a forked child would share its parent's database connections. One at a time:
        # the embedder uses every core by itself; more workers are more processes.
        worker_pool="threads",
        worker_concurrency=1,
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        enable_utc=True,
    )
    return app


class BrokerWaker:
    """Sends wake-ups through the broker of the server profile."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def wake(self, task: str, argument: str) -> None:
        """Send a message; a worker picks it up."""
        self._app.send_task(task, args=[argument])


class LocalWaker:
    """Runs registered tasks one after the other on a thread of this process."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)

    def start(self) -> None:
        """Begin to run tasks."""
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish the task at hand and stop; what still waits stays in the job table."""
        with self._waiting.mutex:
            self._waiting.queue.clear()
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def wake(self, task: str, argument: str) -> None:
        """Queue a task behind the ones that wait."""
        self._waiting.put((task, argument))

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            task, argument = item
            # `apply` runs the very task that a Celery worker would run; its failure is its own to record.
            result = self._app.tasks[task].apply(args=(argument,))
            if result.failed():
                _log.error(
                    "task.failed",
                    task=task,
                    argument=argument,
                    error=type(result.result).__name__,
                    exc_info=result.result,
                )


class OutboxRelay:
    """Delivers what transactions left in the outbox, at least once, in order."""

    def __init__(self, database: Database, waker: Waker, *, period_s: float = 2.0) -> None:
        self._database = database
        self._waker = waker
        self._period_s = period_s
        self._kicked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch at hand."""
        self._stopping = True
        self._kicked.set()
        self._thread.join(10)

    def kick(self) -> None:
        """Deliver now instead of at the next turn; call it after the commit."""
        self._kicked.set()

    def deliver(self) -> int:
        """Send every waiting wake-up, then forget it; returns how many.

        On PostgreSQL the rows are locked meanwhile, so that of several relays each sends its own.
        """
        oldest = select(Outbox).order_by(Outbox.id).limit(500)
        with self._database.read() as session:
            if session.scalar(select(Outbox.id).limit(1)) is None:
                return 0
        with self._database.write() as session:
            rows = session.scalars(oldest.with_for_update(skip_locked=True)).all()
            for row in rows:
                self._waker.wake(row.task, row.argument)
            session.execute(delete(Outbox).where(Outbox.id.in_([row.id for row in rows])))
            return len(rows)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.deliver()
            except Exception as error:  # noqa: BLE001 - the edge of a thread that must outlive a broker outage
                _log.warning("outbox.delivery_failed", error=type(error).__name__, exc_info=error)
            self._kicked.wait(self._period_s)
            self._kicked.clear()


class Ticker:
    """Calls something at a steady pace on a thread of its own, until stopped."""

    def __init__(self, action: Callable[[], None], *, period_s: float, name: str) -> None:
        self._action = action
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after one period."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait for a call under way."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                self._action()
            except Exception as error:  # noqa: BLE001 - the edge of a thread: one bad turn must not end the pace
                _log.warning(
                    "ticker.failed", name=self._thread.name, error=type(error).__name__, exc_info=error
                )


def outbox_row(task: str, argument: str) -> Outbox:
    """Return the row to add in the transaction that makes the work."""
    return Outbox(task=task, argument=argument, created_at=now_ms())
