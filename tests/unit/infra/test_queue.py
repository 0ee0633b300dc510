"""Wake-ups: delivered at least once, in order, past failures, and tasks that fail stop nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from infra.database import Database
from infra.database.tables import Base, Outbox
from infra.queue import BULK, INTERACTIVE, LocalWaker, OutboxRelay, Ticker, make_celery, outbox_row


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with an outbox."""
    opened = Database(f"sqlite:///{tmp_path / 'queue.sqlite3'}")
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()


class Waker:
    """Notes wake-ups; refuses the first `outages` of them, as a broker that is away does."""

    def __init__(self, outages: int = 0) -> None:
        self.outages = outages
        self.woken: list[str] = []

    def wake(self, task: str, argument: str, queue: str = "interactive") -> None:
        """Take one."""
        if self.outages > 0:
            self.outages -= 1
            raise ConnectionError("no broker")
        self.woken.append(argument)


def put(database: Database, *arguments: str) -> None:
    """Put wake-ups into the outbox, one transaction each."""
    for argument in arguments:
        with database.write() as session:
            session.add(outbox_row("task", argument))


def waiting(database: Database) -> int:
    """Count what waits."""
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Outbox)) or 0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait up to ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_wake_ups_arrive_in_order_and_are_forgotten(database: Database) -> None:
    """After a delivery the outbox is empty, and a second one finds nothing."""
    put(database, "a", "b", "c")
    waker = Waker()
    relay = OutboxRelay(database, waker)
    assert relay.deliver() == 3
    assert waker.woken == ["a", "b", "c"]
    assert waiting(database) == relay.deliver() == 0


def test_an_outage_loses_nothing(database: Database) -> None:
    """What the broker did not take stays, and is delivered later."""
    put(database, "a", "b")
    waker = Waker(outages=1)
    relay = OutboxRelay(database, waker)
    with pytest.raises(ConnectionError):
        relay.deliver()
    assert waiting(database) == 2
    relay.deliver()
    assert waker.woken == ["a", "b"]


def test_the_relay_outlives_an_outage_and_hears_a_kick(database: Database) -> None:
    """Its thread goes on after a failure, and a kick spares the wait for the next turn."""
    waker = Waker(outages=1)
    relay = OutboxRelay(database, waker, period_s=0.05)
    relay.start()
    try:
        put(database, "a")
        relay.kick()
        wait_until(lambda: waker.woken == ["a"])
    finally:
        relay.stop()


def test_tasks_run_one_after_the_other_and_a_failure_stops_nobody() -> None:
    """The thread runs the registered Celery tasks in order, and goes on after one that fails."""
    app = make_celery("memory://")
    ran: list[str] = []
    at_once: list[int] = []

    @app.task(name="work", shared=False)
    def work(argument: str) -> None:
        at_once.append(threading.active_count())
        ran.append(argument)
        if argument == "bad":
            raise ValueError("bad input")

    waker = LocalWaker(app)
    waker.start()
    try:
        for argument in ("one", "bad", "two"):
            waker.wake("work", argument)
        wait_until(lambda: ran == ["one", "bad", "two"])
    finally:
        waker.stop()
    assert len(set(at_once)) == 1


def test_the_most_urgent_task_comes_first() -> None:
    """What a person waits for overtakes an import, which overtakes upkeep; within a queue order is kept."""
    app = make_celery("memory://")
    begun, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    @app.task(name="work", shared=False)
    def work(argument: str) -> None:
        begun.set()
        go_on.wait(10)
        ran.append(argument)

    waker = LocalWaker(app)
    waker.start()
    try:
        waker.wake("work", "under way", "bulk")
        assert begun.wait(10)
        for argument, queue in (
            ("upkeep", "maintenance"),
            ("import 1", "bulk"),
            ("import 2", "bulk"),
            ("person 1", "interactive"),
            ("person 2", "interactive"),
        ):
            waker.wake("work", argument, queue)
        go_on.set()
        wait_until(lambda: len(ran) == 6)
    finally:
        waker.stop()
    assert ran == ["under way", "person 1", "person 2", "import 1", "import 2", "upkeep"]


def test_a_wake_up_keeps_its_queue(database: Database) -> None:
    """The relay delivers to the queue that the work was put into."""
    heard: list[tuple[str, str]] = []

    class Listening:
        def wake(self, task: str, argument: str, queue: str = "interactive") -> None:
            heard.append((argument, queue))

    with database.write() as session:
        session.add_all([outbox_row("task", "a", "bulk"), outbox_row("task", "b")])
    OutboxRelay(database, Listening()).deliver()
    assert heard == [("a", "bulk"), ("b", "interactive")]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://127.0.0.1/0", {"queue_order_strategy": "priority", "visibility_timeout": 3600}),
        ("amqp://guest@127.0.0.1//", {"confirm_publish": True}),
        ("memory://", {}),
    ],
)
def test_each_broker_is_asked_for_what_it_can_do(url: str, options: dict[str, object]) -> None:
    """Options are the transport's own: RabbitMQ's client would not connect with those of Redis."""
    app = make_celery(url)
    assert app.conf.broker_transport_options == options
    assert [queue.name for queue in app.conf.task_queues] == ["interactive", "bulk", "maintenance"]
    assert (app.conf.task_acks_late, app.conf.worker_prefetch_multiplier) == (True, 1)
    assert app.conf.accept_content == ["json"]


def test_stopping_leaves_waiting_tasks_alone() -> None:
    """The task at hand is finished, the ones behind it are not begun: their rows wait for the next start."""
    app = make_celery("memory://")
    begun, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    @app.task(name="work", shared=False)
    def work(argument: str) -> None:
        begun.set()
        go_on.wait(10)
        ran.append(argument)

    waker = LocalWaker(app)
    waker.start()
    waker.wake("work", "one")
    waker.wake("work", "two")
    assert begun.wait(10)
    threading.Timer(0.1, go_on.set).start()
    waker.stop()
    assert ran == ["one"]


def test_a_ticker_goes_on_after_a_bad_turn() -> None:
    """One failure does not end the pace, and after `stop` it is over."""
    turns: list[int] = []

    def turn() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise ValueError("a bad turn")

    ticker = Ticker(turn, period_s=0.02, name="test")
    ticker.start()
    wait_until(lambda: len(turns) >= 3)
    ticker.stop()
    after = len(turns)
    time.sleep(0.1)
    assert len(turns) == after


def test_what_a_person_waits_for_does_not_wait_for_an_import() -> None:
    """While every other thread is at an import, the one that is kept free takes an upload at once."""
    app = make_celery("memory://")
    started, release, urgent = threading.Semaphore(0), threading.Event(), threading.Event()

    @app.task(name="work", shared=False)
    def work(argument: str) -> None:
        if argument == "upload":
            urgent.set()
            return
        started.release()
        assert release.wait(20)

    waker = LocalWaker(app, threads=2, keeps_one_free=True)
    waker.start()
    try:
        for number in range(4):
            waker.wake("work", f"import {number}", BULK)
        assert all(started.acquire(timeout=20) for _ in range(2))
        assert not started.acquire(timeout=0.2)
        waker.wake("work", "upload", INTERACTIVE)
        assert urgent.wait(20)
    finally:
        release.set()
        waker.stop()
