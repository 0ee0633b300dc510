"""An answer whose end could not be written: its reader is told, and the end follows when it can."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from answer_parts import ADA, LEAVE, Desk, ScriptedModel, WatchedLedger, store_document

from agents.answer import Answerer
from agents.events import Question
from infra.audit.event_types import EventType, Stage
from infra.clock import new_id
from infra.errors import AuditUnavailable
from infra.stores import Stores
from services import pulse as pulses

SAID = "Employees receive 25 days of annual leave in each calendar year. [1]"


@pytest.mark.parametrize("fails_at", range(1, 7))
def test_a_missing_end_follows_with_the_next_answer(fails_at: int, stores: Stores) -> None:
    """Wherever the record failed, each start has its end once another answer has ended."""
    store_document(stores, "leave.md", LEAVE)
    desk = Desk(stores, WatchedLedger(stores.ledger, fails_at), ScriptedModel(SAID))
    answerer = desk.answerer()
    with pytest.raises(AuditUnavailable):
        asyncio.run(heard(answerer))
    desk.ledger.fails_at = None
    asyncio.run(heard(answerer))
    stages = [(event.corr, event.type, event.stage) for event, _ in desk.ledger.written]
    begun = {(corr, ENDED_BY.get(kind, kind)) for corr, kind, stage in stages if stage is Stage.START}
    assert begun == {(corr, kind) for corr, kind, stage in stages if stage is Stage.END}
    assert len({corr for corr, _ in begun}) == 2


class HoldingModel(ScriptedModel):
    """Takes the database's one writer when it begins to speak, as a stuck backup would."""

    writer: sqlite3.Connection

    async def __aiter__(self) -> AsyncIterator[str]:
        self.writer.execute("BEGIN IMMEDIATE")
        async for piece in super().__aiter__():
            yield piece


def test_a_missing_end_follows_as_soon_as_the_record_is_back(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks again and nothing restarts: the pulse finds the ledger, and the end is written."""
    monkeypatch.setattr(pulses, "PERIOD_S", 0.05)
    monkeypatch.setattr(pulses, "RETRY_S", 0.05)
    monkeypatch.setattr(stores.ledger._commits, "_timeout_s", 0.3)
    store_document(stores, "leave.md", LEAVE)
    model = HoldingModel(SAID)
    model.writer = sqlite3.connect(tmp_path / "data" / "strongroom.sqlite3", isolation_level=None)
    ledger = WatchedLedger(stores.ledger)
    answerer = Desk(stores, ledger, model).answerer()
    with pytest.raises(AuditUnavailable):
        asyncio.run(heard(answerer))
    assert ledger.types[-1] == "answer.generated"
    pulse = pulses.Pulse()
    pulse.after_each_beat(answerer.write_missing_ends)
    pulse.start(stores.ledger)
    try:
        assert becomes(lambda: not pulse.is_beating)
        begun = len(ledger.written)
        model.writer.execute("ROLLBACK")
        assert becomes(lambda: len(ledger.written) == begun + 2)
    finally:
        pulse.stop()
        model.writer.close()
    ends = [(event.type, event.stage, event.outcome) for event, _ in ledger.written[begun:]]
    assert ends == [
        (EventType.ANSWER_GENERATED, Stage.END, "failed"),
        (EventType.ANSWER_FINISHED, Stage.END, "failed"),
    ]


def becomes(wanted: Callable[[], bool]) -> bool:
    """Say whether something becomes true within five seconds."""
    deadline = time.monotonic() + 5
    while not wanted() and time.monotonic() < deadline:
        time.sleep(0.01)
    return wanted()


ENDED_BY = {EventType.ANSWER_ASKED: EventType.ANSWER_FINISHED}


async def heard(answerer: Answerer) -> None:
    """Ask and listen to the end."""
    question = Question(new_id(), "How many days of annual leave do employees receive?")
    async for _ in answerer.answer(question, ADA):
        pass
