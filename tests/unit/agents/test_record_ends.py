"""One end for each answer, whichever thread writes it and however long a commit takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from answer_parts import ADA
from sqlalchemy.orm import Session

from agents.events import Question, Status
from agents.record import AnswerRecord
from infra.audit.event_types import EventType
from infra.audit.leaf import Tokens
from infra.audit.ledger import Ledger
from infra.errors import AuditUnavailable, Conflict
from tests.made_record import made_ledger

TIMEOUT_S = 0.3
QUESTION = Question("answer-1", "How many days?")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that waits no longer than TIMEOUT_S for a commit."""
    with made_ledger(tmp_path / "ledger.sqlite3") as opened:
        opened._commits._timeout_s = TIMEOUT_S
        yield opened


@contextmanager
def slow_commits(ledger: Ledger, pause_s: float) -> Iterator[None]:
    """Let each commit take so long; it succeeds in the end."""
    complete: Callable[[Session], None] = ledger._commits._complete

    def slowly(session: Session) -> None:
        complete(session)
        time.sleep(pause_s)

    ledger._commits._complete = slowly
    try:
        yield
    finally:
        ledger._commits._complete = complete


def asked(ledger: Ledger) -> AnswerRecord:
    """Begin an answer."""
    record = AnswerRecord(ledger, ADA, QUESTION.answer_id)
    record.asked(QUESTION)
    return record


def interrupted_in_the_end(record: AnswerRecord) -> None:
    """Close an answer as the server does: again, until the record takes it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            record.interrupted("interrupted")
        except AuditUnavailable:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the ledger did not take an end")


def written(ledger: Ledger) -> list[tuple[str, str | None]]:
    """Return what the record has of the answer."""
    ledger.sealer.seal_all()
    leaves = [event.leaf for event in ledger.reader.events(corr=QUESTION.answer_id)]
    return [(leaf.type, leaf.outcome) for leaf in leaves if leaf]


ASKED = (EventType.ANSWER_ASKED.value, None)
FINISHED = EventType.ANSWER_FINISHED.value


def test_a_reader_who_leaves_while_the_end_is_written_adds_none(ledger: Ledger) -> None:
    """The end that a thread is writing is the end: leaving waits for it."""
    record = asked(ledger)
    with slow_commits(ledger, TIMEOUT_S / 2):
        ending = threading.Thread(target=record.finished, args=(Status.ANSWERED, ()))
        ending.start()
        time.sleep(TIMEOUT_S / 6)
        record.interrupted("interrupted")
        ending.join()
    assert written(ledger) == [ASKED, (FINISHED, "answered")]


def test_nothing_is_written_after_the_end(ledger: Ledger) -> None:
    """A thread that comes too late, after its answer was closed, is refused."""
    record = asked(ledger)
    record.interrupted("interrupted")
    for late in (
        lambda: record.segment("too late"),
        lambda: record.calling("model", "prompt", {}),
        lambda: record.called(Tokens(read=1, written=1), "ok"),
        lambda: record.finished(Status.ANSWERED, ()),
        lambda: record.asked(QUESTION),
    ):
        with pytest.raises(Conflict):
            late()
    assert written(ledger) == [ASKED, (FINISHED, "interrupted")]


def test_an_end_that_was_committed_late_is_not_written_twice(ledger: Ledger) -> None:
    """Nobody waited for it any longer, and it stands all the same: then it is the only one."""
    record = asked(ledger)
    with slow_commits(ledger, 2 * TIMEOUT_S):
        with pytest.raises(AuditUnavailable):
            record.finished(Status.ANSWERED, ())
        with pytest.raises(AuditUnavailable):
            record.interrupted("failed")
    interrupted_in_the_end(record)
    assert written(ledger) == [ASKED, (FINISHED, "answered")]


def test_a_question_that_was_committed_late_has_its_end(ledger: Ledger) -> None:
    """Whoever asked was told that it did not work; the record has the question, so it has an end as well."""
    record = AnswerRecord(ledger, ADA, QUESTION.answer_id)
    ledger.identify(ADA)
    with slow_commits(ledger, 2 * TIMEOUT_S), pytest.raises(AuditUnavailable):
        record.asked(QUESTION)
    interrupted_in_the_end(record)
    assert written(ledger) == [ASKED, (FINISHED, "interrupted")]


def test_a_question_that_was_never_written_has_no_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused transaction leaves nothing to close."""
    record = AnswerRecord(ledger, ADA, QUESTION.answer_id)
    with monkeypatch.context() as broken:
        broken.setattr(ledger._commits, "_complete", _fail)
        with pytest.raises(TimeoutError):
            raise_cause(record)
    interrupted_in_the_end(record)
    assert written(ledger) == []


def test_a_call_that_was_committed_late_has_its_end(ledger: Ledger) -> None:
    """The model was not called, and the record says how what it has of the call ended."""
    record = asked(ledger)
    with slow_commits(ledger, 2 * TIMEOUT_S), pytest.raises(AuditUnavailable):
        record.calling("model", "prompt", {"temperature": "0"})
    interrupted_in_the_end(record)
    called = EventType.ANSWER_GENERATED.value
    expected = [ASKED, (called, None), (called, "interrupted"), (FINISHED, "interrupted")]
    assert written(ledger) == expected


def _fail(_session: Session) -> None:
    raise TimeoutError


def raise_cause(record: AnswerRecord) -> None:
    """Ask, and raise what the database said."""
    try:
        record.asked(QUESTION)
    except AuditUnavailable as error:
        assert error.__cause__ is not None
        raise error.__cause__ from None
