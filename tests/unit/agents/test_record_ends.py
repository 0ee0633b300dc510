"""One end for each answer, whichever thread writes it and however long a commit takes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from answer_parts import ADA
from sqlalchemy import select
from sqlalchemy.orm import Session

from agents.events import Question, Status
from agents.record import AnswerRecord
from infra.audit.event_types import EventType
from infra.audit.leaf import AI, Tokens, parse
from infra.audit.ledger import Ledger
from infra.audit.proofs.receipt import verify_receipt
from infra.audit.proofs.receipts import AnswerRecords
from infra.audit.verify import Verdict
from infra.database.tables import AuditLeaf
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


def calls_told(ledger: Ledger) -> tuple[AI, ...]:
    """Return the model calls that the end of the answer tells of; its receipt is sound."""
    ledger.sealer.seal_all()
    with ledger.database.read() as session:
        receipt = AnswerRecords(session, QUESTION.answer_id).receipt(ledger.verifier_key)
    assert verify_receipt(json.dumps(receipt).encode()).verdict is Verdict.SOUND
    with ledger.database.read() as session:
        leaves = [parse(raw) for raw in session.scalars(select(AuditLeaf.leaf).order_by(AuditLeaf.index))]
    (end,) = [leaf for leaf in leaves if leaf.type == FINISHED]
    return end.calls


CALL = AI("model", "prompt", {"temperature": "0"})
TOKENS = Tokens(read=7, written=3)


def test_the_end_repeats_the_model_call(ledger: Ledger) -> None:
    """Model, prompt, parameters and token counts, as the record of the call has them."""
    record = asked(ledger)
    record.calling(CALL.model, CALL.prompt or "", dict(CALL.params))
    record.called(TOKENS, "ok")
    record.finished(Status.ANSWERED, ())
    assert calls_told(ledger) == (replace(CALL, tokens=TOKENS),)


def test_an_end_without_a_model_call_tells_of_none(ledger: Ledger) -> None:
    """Quotes alone call no model."""
    asked(ledger).finished(Status.ANSWERED, ())
    assert calls_told(ledger) == ()


def test_an_end_repeats_a_call_that_broke_off(ledger: Ledger) -> None:
    """The model was called, and nobody knows how many tokens it took."""
    record = asked(ledger)
    record.calling(CALL.model, CALL.prompt or "", dict(CALL.params))
    record.interrupted("interrupted")
    assert calls_told(ledger) == (CALL,)


def test_an_end_in_doubt_learns_its_calls_from_the_record(ledger: Ledger) -> None:
    """The end of a call was committed late: it is told as it stands there."""
    record = asked(ledger)
    record.calling(CALL.model, CALL.prompt or "", dict(CALL.params))
    with slow_commits(ledger, 2 * TIMEOUT_S), pytest.raises(AuditUnavailable):
        record.called(TOKENS, "ok")
    interrupted_in_the_end(record)
    assert calls_told(ledger) == (replace(CALL, tokens=TOKENS),)


def _fail(_session: Session) -> None:
    raise TimeoutError


def raise_cause(record: AnswerRecord) -> None:
    """Ask, and raise what the database said."""
    try:
        record.asked(QUESTION)
    except AuditUnavailable as error:
        assert error.__cause__ is not None
        raise error.__cause__ from None
