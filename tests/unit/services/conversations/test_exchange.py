"""What of an answer is kept, and what of a kept conversation comes back into the next question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kept_documents import KEY, TEXT, stored_passage
from sqlalchemy import func, select

from agents.events import Citation, Evidence, Notice, Outcome, Progress, Question, Released, Sentence, Status
from infra import conversations, documents, sharing
from infra.access import Principal, Role, scope_of
from infra.audit.ledger import Ledger
from infra.clock import new_id, now_ms
from infra.conversations import KeptTurn, ReadableTurn
from infra.database import Database
from infra.database.tables import AccessEpoch, AuditInbox, Base, ConversationTurn, Document, User
from infra.documents import Passage
from infra.errors import AuditUnavailable, Conflict, NotFound
from services.conversations.exchange import Exchange, history_of
from services.deps import Person

ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}), auth_method="test")


@dataclass
class Desk:
    """Real stores with a conversation of Ada's, and two documents of hers with one passage each."""

    parts: Any
    person: Person
    talk: str
    documents: list[str]
    passages: list[Passage]

    def exchange(self, *, quotes_in_text: bool = True) -> Exchange:
        """Begin an exchange as Ada."""
        return Exchange(
            self.parts,
            self.person,
            self.talk,
            Question(new_id(), "When does the gate close?"),
            model="strongroom",
            quotes_in_text=quotes_in_text,
        )

    def citation(self, n: int, *, shown: bool = True) -> Citation:
        """Cite the passage of document `n`, from 1."""
        return Citation(
            n=n, passage=self.passages[n - 1], quote=TEXT, span=(0, len(TEXT)), support=90, shown=shown
        )

    def kept(self) -> list[KeptTurn]:
        """Return what Ada sees."""
        with self.parts.database.read() as session:
            found, _ = conversations.read_turns(session, scope_of(ADA), self.talk, self.parts.master_key)
        return [entry.turn for entry in found if isinstance(entry, ReadableTurn)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Prepare a real database and a real ledger."""
    database = Database(f"sqlite:///{tmp_path / 'exchange.sqlite3'}")
    Base.metadata.create_all(database.engine)
    ledger = Ledger(database, KEY, origin="test", source="test", timeout_s=2)
    parts = SimpleNamespace(database=database, master_key=KEY, ledger=ledger)
    chunks, ids = [], []
    with database.write() as session:
        session.add(AccessEpoch(id=1, epoch=0))
        session.add(User(id="ada", kind="user", name="Ada", roles=[], compartments=[], created_at=now_ms()))
        for name in ("one.md", "two.md"):
            document = documents.create_document(session, owner="user:ada", name=name)
            chunks.append(stored_passage(session, document))
            ids.append(document.id)
        talk = conversations.create_conversation(session, KEY, owner="user:ada", title="").id
    with database.read() as session:
        passages = documents.open_passages(session, scope_of(ADA), chunks, KEY)
    yield Desk(parts, Person(ADA, "Ada", None), talk, ids, passages)
    database.close()


def outcome(citations: list[Citation]) -> Outcome:
    """End an answer well."""
    return Outcome(Status.ANSWERED, "generated", "", "gate", 0, citations, 0, 0, {})


def hear(exchange: Exchange, *pieces: Released) -> Exchange:
    """Let an exchange hear pieces."""
    for piece in pieces:
        exchange.hear(piece)
    return exchange


def test_question_and_answer_are_kept_with_plain_marks(desk: Desk) -> None:
    """Everything that was part of the answer's text, without links, and how it ended."""
    cited = [desk.citation(1)]
    exchange = hear(
        desk.exchange(),
        Evidence(cited, f"> {TEXT} [1]\n", sufficient=True),
        Progress("reading"),
        Sentence("It closes at ten. [1]", (1,), 90),
        Notice("That is all."),
        outcome(cited),
    )
    asyncio.run(exchange.keep())
    asked, said = desk.kept()
    assert (asked.role, asked.text) == ("user", "When does the gate close?")
    assert said.text == f"> {TEXT} [1]\n\nIt closes at ten. [1] That is all."
    assert (said.status, said.model) == ("answered", "strongroom")
    assert [citation.passage_id for citation in said.citations] == [desk.passages[0].id]


def test_only_what_the_answer_rests_on_is_kept(desk: Desk) -> None:
    """A passage that was merely near is left out; one that a sentence names is not."""
    near = [desk.citation(1), desk.citation(2, shown=False)]
    asyncio.run(hear(desk.exchange(), Evidence(near, "", sufficient=True), outcome(near)).keep())
    named = hear(desk.exchange(), Evidence(near, "", sufficient=True), Sentence("Ten. [2]", (2,), 90))
    asyncio.run(named.keep())
    first, second = (turn for turn in desk.kept() if turn.role == "assistant")
    assert [citation.n for citation in first.citations] == [1]
    assert [citation.n for citation in second.citations] == [1, 2]


def test_quotes_that_were_not_in_the_text_stay_out_of_it(desk: Desk) -> None:
    """They are kept as citations."""
    cited = [desk.citation(1)]
    exchange = hear(desk.exchange(quotes_in_text=False), Evidence(cited, TEXT, sufficient=True))
    asyncio.run(exchange.keep())
    said = desk.kept()[1]
    assert said.text == ""
    assert [citation.quote for citation in said.citations] == [TEXT]


def test_what_was_released_before_an_interruption_is_kept(desk: Desk) -> None:
    """Without an outcome the answer is marked as interrupted; with nothing released, there is none."""
    cited = [desk.citation(1)]
    broken = hear(desk.exchange(), Evidence(cited, f"> {TEXT} [1]\n", sufficient=True))
    asyncio.run(broken.keep_what_was_released())
    asyncio.run(desk.exchange().keep_what_was_released())
    assert [(turn.role, turn.status) for turn in desk.kept()] == [
        ("user", ""),
        ("assistant", "interrupted"),
        ("user", ""),
    ]


def test_nothing_is_kept_twice(desk: Desk) -> None:
    """The end of a stream keeps nothing that was kept already."""
    exchange = hear(desk.exchange(), Notice("Nothing."))
    asyncio.run(exchange.keep())
    asyncio.run(exchange.keep_what_was_released())
    assert len(desk.kept()) == 2


def test_without_its_record_nothing_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The turns and the record of them stand in one transaction."""

    def fails(*_: object) -> None:
        raise AuditUnavailable("The record could not be written, so nothing was done.")

    monkeypatch.setattr(desk.parts.ledger, "record_in", fails)
    with pytest.raises(AuditUnavailable):
        asyncio.run(hear(desk.exchange(), Notice("Nothing.")).keep())
    assert desk.kept() == []


def test_a_conversation_deleted_meanwhile_takes_nothing(desk: Desk) -> None:
    """Keeping says that it is not there; at the end of a broken stream nobody is told. No record is left."""
    with desk.parts.database.write() as session:
        talk = conversations.get_conversation(session, scope_of(ADA), desk.talk)
        conversations.delete_conversation(session, talk)
    with pytest.raises(NotFound):
        asyncio.run(hear(desk.exchange(), Notice("Nothing.")).keep())
    asyncio.run(desk.exchange().keep_what_was_released())
    with desk.parts.database.read() as session:
        for table in (ConversationTurn, AuditInbox):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_revoked_answers_do_not_come_back_into_a_prompt(desk: Desk) -> None:
    """Hidden once Ada is denied: the answer that rests on the document. Visible: her question, the other."""
    for n in (1, 2):
        cited = [desk.citation(n)]
        said = Evidence(cited, f"> {TEXT} [{n}]\n", sufficient=True)
        asyncio.run(hear(desk.exchange(), said, outcome(cited)).keep())
    before = history_of(desk.parts, desk.person, desk.talk, max_chars=10_000)
    assert [turn.role for turn in before] == ["user", "assistant"] * 2
    with desk.parts.database.write() as session:
        document = session.get_one(Document, desk.documents[0])
        sharing.share(session, document, "user:ada", effect="deny")
    after = history_of(desk.parts, desk.person, desk.talk, max_chars=10_000)
    assert after == (before[0], before[2], before[3])


def test_history_is_the_latest_that_has_room(desk: Desk) -> None:
    """Whole turns, the newest ones, in their order."""
    turns = [KeptTurn("user", letter * 10) for letter in "abc"]
    with desk.parts.database.write() as session:
        conversations.add_turns(session, scope_of(ADA), desk.talk, "user:ada", desk.parts.master_key, turns)
    found = history_of(desk.parts, desk.person, desk.talk, max_chars=25)
    assert [turn.text[0] for turn in found] == ["b", "c"]


def test_only_the_owner_continues_and_only_while_there_is_room(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody else is told that there is none; a full conversation is a conflict."""
    stranger = Person(Principal("ben", "user", frozenset()), "Ben", None)
    with pytest.raises(NotFound):
        history_of(desk.parts, stranger, desk.talk, max_chars=100)
    monkeypatch.setattr(conversations, "MAX_TURNS", 0)
    with pytest.raises(Conflict):
        history_of(desk.parts, desk.person, desk.talk, max_chars=100)
