"""Wake-ups for background work. The job table is the truth (design §6); a message only says "look now".

Task definitions are Celery's in both profiles. The server profile sends them to a broker; the embedded
profile runs the same registered tasks on one thread of this process. Both know three queues, of which the
first that has something is served first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Protocol

from celery import Celery
from kombu import Exchange, Queue
from sqlalchemy import delete, select

from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import Outbox
from infra.logs import get_logger

INTERACTIVE: Final = "interactive"
"""What a person waits for."""
BULK: Final = "bulk"
"""What an import brought."""
MAINTENANCE: Final = "maintenance"
"""What nobody waits for."""
QUEUES: Final = (INTERACTIVE, BULK, MAINTENANCE)
"""The queues, the most urgent first."""
VISIBILITY_S: Final = 3600
"""After how many seconds Redis hands out an unacknowledged message again; a job under way has its lease."""

_log = get_logger()


class Waker(Protocol):
    """Delivers a wake-up to whoever runs the task."""

    def wake(self, task: str, argument: str, queue: str = INTERACTIVE) -> None:
        """Ask for `task` to run with its one argument, soon; `queue` is one of QUEUES."""
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
        task_queues=[_queue(name) for name in QUEUES],
        task_default_queue=INTERACTIVE,
        task_default_exchange=_EXCHANGE,
        task_default_exchange_type=_EXCHANGE_TYPE,
        task_default_routing_key=INTERACTIVE,
        broker_transport_options=_transport_options(broker_url),
    )
    return app


_EXCHANGE: Final = "strongroom"
_EXCHANGE_TYPE: Final = "topic"
"""Delivers by name as `direct` does; with quorum queues Celery warns about any other."""


def _queue(name: str) -> Queue:
    # RabbitMQ keeps quorum queues over a crash, and Celery then limits each consumer by itself instead of the
    # whole channel, which RabbitMQ is giving up (https://www.rabbitmq.com/docs/quorum-queues#global-qos).
    # Other brokers take no notice.
    return Queue(
        name,
        Exchange(_EXCHANGE, _EXCHANGE_TYPE),
        routing_key=name,
        queue_arguments={"x-queue-type": "quorum"},
    )


def _transport_options(broker_url: str) -> dict[str, Any]:
    if broker_url.startswith(("amqp", "pyamqp")):
        # A wake-up leaves the outbox when the broker has it, not when it was put on the wire.
        return {"confirm_publish": True}
    if broker_url.startswith(("redis", "rediss", "valkey", "sentinel")):
        return {"queue_order_strategy": "priority", "visibility_timeout": VISIBILITY_S}
    return {}


class BrokerWaker:
    """Sends wake-ups through the broker of the server profile."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def wake(self, task: str, argument: str, queue: str = INTERACTIVE) -> None:
        """Send a message; a worker picks it up."""
        self._app.send_task(task, args=[argument], queue=queue)


_Item = tuple[int, int, tuple[str, str] | None]
"""Rank of its queue, order of arrival, task and argument; None is the end, before everything else."""


class LocalWaker:
    """Runs registered tasks on threads of this process, the most urgent first.

    `threads` of them take whatever is most urgent, so that one task's work on the processor goes on while
    another one waits for it. With `keeps_one_free`, one more takes only what a person waits for: it never
    waits behind an import. Such a task may be run twice, and the second run must find nothing to do.
    """

    def __init__(self, app: Celery, *, threads: int = 1, keeps_one_free: bool = False) -> None:
        self._app = app
        self._waiting: queue.PriorityQueue[_Item] = queue.PriorityQueue()
        self._urgent: queue.PriorityQueue[_Item] | None = queue.PriorityQueue() if keeps_one_free else None
        self._arrivals = count()
        lines = [self._waiting] * threads + ([self._urgent] if self._urgent is not None else [])
        self._threads = [
            (line, threading.Thread(target=self._run, args=(line,), name="tasks", daemon=True))
            for line in lines
        ]

    def start(self) -> None:
        """Begin to run tasks."""
        for _, thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish the tasks at hand and stop; what still waits stays in the job table."""
        for line, _ in self._threads:
            with line.mutex:
                line.queue.clear()
        for line, _ in self._threads:
            line.put((-1, next(self._arrivals), None))
        deadline = time.monotonic() + timeout_s
        for _, thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self, task: str, argument: str, queue: str = INTERACTIVE) -> None:
        """Queue a task behind those of its queue, and of more urgent ones, that wait."""
        item = (QUEUES.index(queue), next(self._arrivals), (task, argument))
        self._waiting.put(item)
        if queue == INTERACTIVE and self._urgent is not None:
            self._urgent.put(item)

    def _run(self, line: queue.PriorityQueue[_Item]) -> None:
        while (item := line.get()[2]) is not None:
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
                self._waker.wake(row.task, row.argument, row.queue)
            session.execute(delete(Outbox).where(Outbox.id.in_([row.id for row in rows])))
            return len(rows)

    def _run(self) -> None:
        while not self._stopping:
            self._deliver_if_possible()
            self._kicked.wait(self._period_s)
            self._kicked.clear()
        # What stopping itself has put there: jobs handed back, which another worker may take at once.
        self._deliver_if_possible()

    def _deliver_if_possible(self) -> None:
        try:
            self.deliver()
        except Exception as error:  # noqa: BLE001 - the edge of a thread that must outlive a broker outage
            _log.warning("outbox.delivery_failed", error=type(error).__name__, exc_info=error)


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


def outbox_row(task: str, argument: str, queue: str = INTERACTIVE) -> Outbox:
    """Return the row to add in the transaction that makes the work; `queue` is one of QUEUES."""
    return Outbox(task=task, argument=argument, queue=queue, created_at=now_ms())
