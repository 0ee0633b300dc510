"""The pulse: lost whenever the ledger does not answer, however it fails, and when nobody asks any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.audit.ledger import Ledger
from services import pulse as pulses
from services.pulse import Pulse
from tests.made_record import made_ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that takes records."""
    with made_ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask often."""
    monkeypatch.setattr(pulses, "PERIOD_S", 0.02)
    monkeypatch.setattr(pulses, "RETRY_S", 0.02)


@contextmanager
def asking(ledger: Ledger) -> Iterator[Pulse]:
    pulse = Pulse()
    pulse.start(ledger)
    try:
        yield pulse
    finally:
        pulse.stop()


def becomes(wanted: Callable[[], bool]) -> bool:
    """Say whether something becomes true within five seconds."""
    deadline = time.monotonic() + 5
    while not wanted() and time.monotonic() < deadline:
        time.sleep(0.01)
    return wanted()


def test_an_unforeseen_failure_is_a_lost_pulse_and_passes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the ledger raises, the thread lives on: it is lost now, and found when it answers again."""
    with asking(ledger) as pulse:
        with monkeypatch.context() as broken:
            broken.setattr(ledger, "healthy", _raise(RuntimeError("can't start new thread")))
            assert becomes(lambda: not pulse.is_beating)
        assert becomes(lambda: pulse.is_beating)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_pulse_that_nobody_asks_is_not_beating(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the thread itself is gone, nobody would notice a ledger that is lost: so nothing is begun."""
    monkeypatch.setattr(ledger, "healthy", _raise(KeyboardInterrupt()))
    with asking(ledger) as pulse:
        assert becomes(lambda: not pulse.is_beating)


def test_what_is_overdue_is_written_once_the_ledger_is_found(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while it is lost, when it would only wait; and a failure there does not end the thread."""
    written: list[bool] = []

    def write() -> None:
        written.append(True)
        raise RuntimeError("not foreseen")

    pulse = Pulse()
    pulse.after_each_beat(write)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "healthy", lambda: False)
        pulse.start(ledger)
        assert becomes(lambda: not pulse.is_beating)
        time.sleep(0.1)
        assert not written
    assert becomes(lambda: len(written) > 1)
    assert pulse.is_beating
    pulse.stop()


def test_it_beats_before_its_start_and_can_start_again(ledger: Ledger) -> None:
    """A server that is starting is not lost, and one that starts a second time asks again."""
    pulse = Pulse()
    assert pulse.is_beating
    for _ in range(2):
        pulse.start(ledger)
        time.sleep(0.1)
        assert pulse.is_beating
        pulse.stop()


def _raise(error: BaseException) -> Callable[[], bool]:
    def healthy() -> bool:
        raise error

    return healthy
