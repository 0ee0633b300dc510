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
from infra.queue import LocalWaker, OutboxRelay, Ticker, make_celery, outbox_row


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

    def wake(self, task: str, argument: str) -> None:
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
