"""Strict answers: nothing is released before the end is on the record."""

from __future__ import annotations

import asyncio

import pytest
from answer_parts import ADA, LEAVE, QUESTION, Desk, ScriptedModel, WatchedLedger, store_document

from agents.events import Evidence, Outcome, Progress, Question, Released, Sentence
from infra.access import Principal
from infra.clock import new_id
from infra.database.tables import DocumentGrant
from infra.errors import AuditUnavailable, Conflict
from infra.stores import Stores

SAID = (
    "Employees receive 25 days of annual leave in each calendar year. [1] "
    "Up to five days of annual leave may be carried over. [1]"
)
RECORDS = 8


def strict(stores: Stores, *, fails_at: int | None = None, whole: bool = True) -> Desk:
    """Return a desk with one file, whose model says two sentences of it."""
    store_document(stores, "leave.md", LEAVE)
    return Desk(stores, WatchedLedger(stores.ledger, fails_at), ScriptedModel(SAID), whole=whole)


async def heard(desk: Desk, released: list[Released]) -> None:
    """Put into `released` what arrives, progress aside; the record must have its end by then."""
    async for piece in desk.answerer().answer(Question(new_id(), QUESTION), ADA):
        if not isinstance(piece, Progress):
            assert desk.ledger.types[-1] == "answer.finished"
            released.append(piece)


def test_pieces_wait_for_the_end(stores: Stores) -> None:
    """Evidence and sentences come in their order, all of them after the last record."""
    desk, released = strict(stores), list[Released]()
    asyncio.run(heard(desk, released))
    assert [type(piece) for piece in released] == [Evidence, Sentence, Sentence, Outcome]
    assert len(desk.ledger.types) == RECORDS


def test_usually_pieces_do_not_wait(stores: Stores) -> None:
    """The test above can fail: without the setting the evidence is there before the end."""
    with pytest.raises(AssertionError):
        asyncio.run(heard(strict(stores, whole=False), []))


@pytest.mark.parametrize("fails_at", range(RECORDS))
def test_a_record_that_fails_anywhere_releases_nothing(fails_at: int, stores: Stores) -> None:
    """Also at the very last record, when everything had been written."""
    released: list[Released] = []
    with pytest.raises(AuditUnavailable):
        asyncio.run(heard(strict(stores, fails_at=fails_at), released))
    assert released == []


def test_what_was_held_is_checked_again(stores: Stores) -> None:
    """A document that was closed to the reader while the model wrote takes the answer along."""
    desk, released = strict(stores), list[Released]()

    def renewed(principal: Principal) -> Principal:
        # Both ends of the model's call are on the record: only the end of the answer is left.
        if desk.ledger.types.count("answer.generated") == 2:
            with stores.database.write() as session:
                session.query(DocumentGrant).delete()
        return principal

    desk.renewed = renewed
    with pytest.raises(Conflict):
        asyncio.run(heard(desk, released))
    assert released == []
    assert desk.ledger.outcome == "failed"
