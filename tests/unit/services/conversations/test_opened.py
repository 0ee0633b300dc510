"""Opening a kept conversation: each passage that it shows to its viewer is on the record before it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kept_documents import KEY, TEXT, stored_passage

from infra import conversations, documents, sharing
from infra.access import POLICY, Principal, Role, scope_of
from infra.audit.event_types import EventType, Stage
from infra.audit.group_commit import unavailable
from infra.audit.leaf import LARGEST_LEAF, Authz, Event, Leaf, Resource
from infra.audit.ledger import Ledger
from infra.audit.reading.reach import people_reached, reach_counts, target_of
from infra.clock import new_id, now_ms
from infra.conversations import KeptCitation, KeptTurn, ReadableTurn, WithheldTurn
from infra.database import Database
from infra.database.tables import AccessEpoch, Base, Document, User
from infra.documents import Passage
from infra.epoch import current_epoch
from infra.errors import AuditUnavailable, NotFound
from services.conversations import service
from services.conversations.opened import MOST_PASSAGES, shown_in
from services.deps import Person

ADA, BEN = (
    Principal(name, "user", frozenset({Role.EMPLOYEE}), auth_method="session") for name in ("ada", "ben")
)


@dataclass
class House:
    """A conversation of Ada's that Ben may look at: its answers rest on `open`, and on `closed` as well."""

    parts: Any
    talk: str
    open: str
    closed: str
    passages: dict[str, Passage]

    def look(self, who: Principal, **how: Any) -> list[ReadableTurn | WithheldTurn]:
        """Open the conversation as somebody; returns what they are shown."""
        person = Person(who, who.user_id, None)
        return service.open_turns(self.parts, person, scope_of(who), new_id(), self.talk, **how).turns

    def unshare(self, document_id: str) -> None:
        """Close a document to Ben."""
        with self.parts.database.write() as session:
            document = session.get(Document, document_id)
            assert document is not None
            sharing.unshare(session, document, BEN.principal_id)

    def opened(self) -> list[Leaf]:
        """Return the records of openings, oldest first."""
        ledger: Ledger = self.parts.ledger
        ledger.sealer.seal_all()
        found = [event.leaf for event in ledger.reader.events(limit=100)]
        return [leaf for leaf in found if leaf and leaf.type == EventType.CONVERSATION_OPENED]

    def counts(self, document_id: str) -> dict[str, int]:
        """Return how far a document reached."""
        self.parts.ledger.sealer.seal_all()
        with self.parts.database.read() as session:
            return reach_counts(session, target_of(session, document_id, None))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Prepare a real database and a real ledger; `open` is shared with Ben, `closed` is Ada's alone."""
    database = Database(f"sqlite:///{tmp_path / 'opened.sqlite3'}")
    Base.metadata.create_all(database.engine)
    ledger = Ledger(database, KEY, origin="test", source="test", timeout_s=2)
    chunks: list[str] = []
    with database.write() as session:
        session.add(AccessEpoch(id=1, epoch=7))
        for name in ("ada", "ben"):
            session.add(
                User(id=name, kind="user", name=name.title(), roles=[], compartments=[], created_at=now_ms())
            )
        session.flush()
        stored = [
            documents.create_document(session, owner=ADA.principal_id, name=f"{name}.md")
            for name in ("open", "closed")
        ]
        chunks = [stored_passage(session, document) for document in stored]
        sharing.share(session, stored[0], BEN.principal_id)
        conversation = conversations.create_conversation(session, KEY, owner=ADA.principal_id, title="Gates")
        conversations.share_conversation(session, conversation, BEN.principal_id)
        turns = [KeptTurn("user", "When?"), said(chunks[0]), KeptTurn("user", "And?"), said(*chunks)]
        conversations.add_turns(
            session, scope_of(ADA), conversation.id, ADA.principal_id, KEY, [*turns, said(chunks[0])]
        )
        ids = [document.id for document in stored]
    with database.read() as session:
        found = documents.open_passages(session, scope_of(ADA), chunks, KEY)
    parts = SimpleNamespace(database=database, master_key=KEY, ledger=ledger)
    yield House(parts, conversation.id, ids[0], ids[1], {passage.document_id: passage for passage in found})
    ledger.close()
    database.close()


def said(*chunks: str) -> KeptTurn:
    """Return a kept answer that cites these passages."""
    citations = [KeptCitation(n, chunk, TEXT, (0, len(TEXT)), 90, True) for n, chunk in enumerate(chunks, 1)]
    return KeptTurn("assistant", TEXT, tuple(citations), answer_id=new_id(), status="answered")


def test_the_record_names_what_the_viewer_is_shown(house: House) -> None:
    """Ben is shown the answers that rest on what he may read, and the record names those passages alone."""
    turns = house.look(BEN)
    assert [isinstance(turn, WithheldTurn) for turn in turns] == [False, False, False, True, False]
    (leaf,) = house.opened()
    passage = house.passages[house.open]
    (shown,) = leaf.ret
    expected = (house.open, passage.version_id, passage.id, passage.sha256, 1, 1)
    assert (shown.doc, shown.ver, shown.chunk, shown.hash, shown.rank, shown.cited) == expected
    assert leaf.actor.sub == house.parts.ledger.identify(BEN).sub
    with house.parts.database.read() as session:
        assert leaf.authz == Authz("allow", POLICY, current_epoch(session))


def test_reach_counts_whoever_was_shown_a_document(house: House) -> None:
    """The closed document reached its owner alone; the open one both, and Ben each time that he looked."""
    house.look(ADA)
    house.look(BEN)
    house.look(BEN)
    none = {"answers": 0, "searches": 0, "openings": 0, "other": 0}
    assert house.counts(house.closed) == {**none, "people": 1, "conversations": 1}
    assert house.counts(house.open) == {**none, "people": 2, "conversations": 3}
    with house.parts.database.read() as session:
        people = people_reached(session, target_of(session, house.open, None), after=None, limit=9)
    assert {person.subject: person.counts["conversations"] for person in people} == {
        house.parts.ledger.identify(ADA).sub: 1,
        house.parts.ledger.identify(BEN).sub: 2,
    }


def test_only_the_turns_of_the_page_count(house: House) -> None:
    """The first question names nothing yet, and is on the record all the same."""
    house.look(ADA, limit=1)
    (leaf,) = house.opened()
    assert leaf.ret == ()


def test_without_the_record_nothing_is_shown(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is not taken is an error, and no turn comes back."""

    def refuse(_events: list[Event]) -> None:
        raise unavailable()

    monkeypatch.setattr(house.parts.ledger, "record_all", refuse)
    with pytest.raises(AuditUnavailable):
        house.look(ADA)


def test_a_share_that_ends_while_the_record_is_written_shows_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record has it, because it could have been seen; it is not."""
    ledger: Ledger = house.parts.ledger
    record_all = ledger.record_all

    def slowly(events: list[Event]) -> None:
        record_all(events)
        house.unshare(house.open)

    monkeypatch.setattr(ledger, "record_all", slowly)
    turns = house.look(BEN)
    assert [isinstance(turn, WithheldTurn) for turn in turns] == [False, True, False, True, True]
    assert house.counts(house.open)["conversations"] == 1


def test_a_conversation_that_is_closed_meanwhile_is_not_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ben may not look at it any more: not even at its questions."""
    record_all = house.parts.ledger.record_all

    def slowly(events: list[Event]) -> None:
        record_all(events)
        with house.parts.database.write() as session:
            conversation = conversations.get_conversation(session, scope_of(ADA), house.talk)
            conversations.unshare_conversation(session, conversation, BEN.principal_id)

    monkeypatch.setattr(house.parts.ledger, "record_all", slowly)
    with pytest.raises(NotFound):
        house.look(BEN)


# --- more than one record holds -------------------------------------------------------------------


def turn_of(passages: list[Passage]) -> ReadableTurn:
    """Return an answer that cites so many passages."""
    return ReadableTurn(1, 1, KeptTurn("assistant", TEXT), {passage.id: passage for passage in passages})


def made(house: House, document_id: str, count: int) -> list[Passage]:
    """Return passages of one document, with ids as long as the server makes them."""
    one = house.passages[house.open]
    return [replace(one, id=new_id(), document_id=document_id) for _ in range(count)]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], [0]),
        ([MOST_PASSAGES], [MOST_PASSAGES]),
        ([30, 30], [30, 30]),
        ([20, 30, 1], [50, 1]),
        ([MOST_PASSAGES + 1, 3], [MOST_PASSAGES, 4]),
        ([3, 2 * MOST_PASSAGES], [3, MOST_PASSAGES, MOST_PASSAGES]),
    ],
)
def test_a_document_stands_in_one_record_if_it_fits(
    house: House, counts: list[int], expected: list[int]
) -> None:
    """Passages of several answers are put together by document, each once, with a place of its own."""
    found = [made(house, new_id(), count) for count in counts]
    turns = [turn_of(passages[half::2]) for half in (0, 1) for passages in found]
    records = shown_in([WithheldTurn(9), *turns, *turns])
    assert [len(record) for record in records] == expected
    together = [entry for record in records for entry in record]
    assert [entry.rank for entry in together] == list(range(1, sum(counts) + 1))
    assert {entry.chunk for entry in together} == {passage.id for passages in found for passage in passages}


def test_the_longest_record_fits_into_a_leaf(house: House) -> None:
    """As many passages as one record holds, with ids and hashes in full."""
    ledger: Ledger = house.parts.ledger
    (shown,) = shown_in([turn_of(made(house, new_id(), MOST_PASSAGES))])
    actor = replace(ledger.identify(ADA), sess="c" * 64, kind="service")
    event = Event(
        EventType.CONVERSATION_OPENED,
        Stage.SINGLE,
        new_id(),
        actor,
        res=Resource("conversation", new_id()),
        authz=Authz("allow", POLICY, 2**53 - 1),
        outcome="ok",
        ret=shown,
    )
    assert len(ledger.record(event).leaf) < LARGEST_LEAF
