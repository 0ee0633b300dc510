"""Every quiet hour has a checkpoint: the sequencer breaks the silence, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.audit.checkpoint import read_checkpoint
from infra.audit.event_types import EventType
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.sequencer import ALIVE_AFTER_MS, Sequencer
from infra.clock import now_ms

HOUR_MS = 60 * 60 * 1000


class MovedClock:
    """The time, moved forward by as much as a test says."""

    def __init__(self) -> None:
        self.moved_ms = 0

    def __call__(self) -> int:
        return now_ms() + self.moved_ms


@contextmanager
def sealing(ledger: Ledger, clock: Callable[[], int]) -> Iterator[None]:
    """Run a quick sequencer."""
    sequencer = Sequencer(ledger.sealer, interval_s=0.01, now=clock)
    sequencer.start()
    try:
        yield
    finally:
        sequencer.stop()


def types(ledger: Ledger) -> list[str]:
    """Return the types of all sealed records."""
    return [event.leaf.type for event in ledger.reader.events(limit=1000) if event.leaf]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def size(ledger: Ledger) -> int:
    """Return how many records the newest checkpoint speaks for."""
    note = ledger.proofs.checkpoint()
    return read_checkpoint(note).size if note else 0


def test_a_quiet_hour_gets_a_record_and_a_checkpoint(ledger: Ledger, event: Callable[..., Event]):
    """When nothing was signed for an hour, a record says so and is signed for."""
    ledger.record(event())
    clock = MovedClock()
    with sealing(ledger, clock):
        wait_for(lambda: size(ledger) == 1)
        clock.moved_ms = HOUR_MS
        wait_for(lambda: size(ledger) == 2)
    assert types(ledger)[-1] == EventType.LEDGER_ALIVE
    assert ledger.verify().is_sound


def test_the_silence_is_broken_once_an_hour(ledger: Ledger, event: Callable[..., Event]):
    """A quiet night has one record for each hour, however often the sequencer looks."""
    ledger.record(event())
    clock = MovedClock()
    with sealing(ledger, clock):
        wait_for(lambda: size(ledger) == 1)
        for hour in range(1, 5):
            clock.moved_ms = hour * HOUR_MS
            # `created_at` is stamped with the real time, so only the sequencer's own memory holds it back.
            wait_for(lambda hour=hour: size(ledger) == 1 + hour)
            time.sleep(0.05)
    assert types(ledger).count(EventType.LEDGER_ALIVE) == 4


def test_nothing_is_written_before_the_hour_is_over(ledger: Ledger, event: Callable[..., Event]):
    """A minute before its time there is no record yet."""
    ledger.record(event())
    ledger.sealer.seal_all()
    clock = MovedClock()
    clock.moved_ms = ALIVE_AFTER_MS - 60_000
    with sealing(ledger, clock):
        time.sleep(0.1)
    assert EventType.LEDGER_ALIVE not in types(ledger)


def test_a_restart_after_a_quiet_hour_breaks_the_silence(ledger: Ledger, event: Callable[..., Event]):
    """The quiet time is counted from the stored checkpoint, so a restart does not begin it anew."""
    ledger.record(event())
    ledger.sealer.seal_all()
    clock = MovedClock()
    clock.moved_ms = HOUR_MS
    with sealing(ledger, clock):
        wait_for(lambda: size(ledger) == 2)


def test_replicas_break_one_silence_together(open_ledger: Callable[..., Ledger], event: Callable[..., Event]):
    """A replica that signed within the hour speaks for the others, too."""
    one, two = open_ledger("one"), open_ledger("two")
    one.record(event())
    clock = MovedClock()
    with sealing(one, clock), sealing(two, now_ms):
        wait_for(lambda: size(one) == 1)
        clock.moved_ms = HOUR_MS
        wait_for(lambda: size(one) == 2)
        time.sleep(0.1)
    assert types(one).count(EventType.LEDGER_ALIVE) == 1


def test_an_empty_log_stays_empty(ledger: Ledger):
    """Before its first record a log has nothing to be silent about."""
    clock = MovedClock()
    clock.moved_ms = HOUR_MS
    with sealing(ledger, clock):
        time.sleep(0.05)
    assert types(ledger) == []


def test_a_checkpoint_is_at_most_a_second_behind(ledger: Ledger, event: Callable[..., Event]):
    """With records coming in all the time, each is signed for within a second."""
    sequencer = Sequencer(ledger.sealer)
    sequencer.start()
    try:
        for number in range(1, 101):
            ledger.record(event())
            if number % 25 == 0:
                written = time.monotonic()
                wait_for(lambda number=number: size(ledger) >= number)
                assert time.monotonic() - written < 1.0
    finally:
        sequencer.stop()
