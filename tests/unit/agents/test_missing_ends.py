"""An answer whose end could not be written: its reader is told, and the end follows when it can."""

from __future__ import annotations

import asyncio

import pytest
from answer_parts import ADA, LEAVE, Desk, ScriptedModel, WatchedLedger, store_document

from agents.answer import Answerer
from agents.events import Question
from infra.audit.event_types import EventType, Stage
from infra.clock import new_id
from infra.errors import AuditUnavailable
from infra.stores import Stores

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


ENDED_BY = {EventType.ANSWER_ASKED: EventType.ANSWER_FINISHED}


async def heard(answerer: Answerer) -> None:
    """Ask and listen to the end."""
    question = Question(new_id(), "How many days of annual leave do employees receive?")
    async for _ in answerer.answer(question, ADA):
        pass
