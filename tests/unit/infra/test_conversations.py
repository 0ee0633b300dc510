"""Kept conversations in the database: sealed, shown to few, and never more than their citations allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra import conversations, documents, sharing
from infra.access import EVERYONE, Principal, Role, scope_of
from infra.clock import new_id, now_ms
from infra.conversations import KeptCitation, KeptTurn, ReadableTurn, WithheldTurn
from infra.database import Database
from infra.database.tables import (
    AccessEpoch,
    Base,
    Chunk,
    Conversation,
    ConversationShare,
    ConversationTurn,
    Document,
    Group,
    User,
)
from infra.errors import Conflict, InvalidInput, NotFound
from infra.keys import MasterKey, SealBroken

ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}))
BEN = Principal("ben", "user", frozenset({Role.ADMIN, Role.AUDITOR, Role.EMPLOYEE}))
LEGAL = "group:local:legal"
KEY = MasterKey(b"\x17" * 32)
QUOTE = "The gate closes at ten."


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One open transaction; Ada and Ben have accounts, and there is a group."""
    database = Database(f"sqlite:///{tmp_path / 'conversations.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as opened:
        opened.add(AccessEpoch(id=1, epoch=0))
        for name in ("ada", "ben"):
            opened.add(User(id=name, kind="user", name=name, roles=[], compartments=[], created_at=now_ms()))
        opened.add(Group(id=LEGAL, directory="local", name="Legal", created_at=now_ms()))
        opened.flush()
        yield opened
    database.close()


@pytest.fixture
def talk(session: Session) -> Conversation:
    """A conversation of Ada's without a title."""
    return conversations.create_conversation(session, KEY, owner="user:ada", title="")


def stored_passage(session: Session, text: str = QUOTE) -> tuple[Document, str]:
    """Add a document of Ada's with one passage; returns it and the passage's id."""
    document = documents.create_document(session, owner="user:ada", name="gate.md")
    version_id, chunk_id = new_id(), new_id()
    key, wrapped = documents.new_version_key(KEY, version_id)
    documents.add_version(
        session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
    )
    document.version_id = version_id
    content = {"text": text, "title": "", "heading": "", "place": {}, "lines": []}
    session.add(
        Chunk(
            id=chunk_id,
            version_id=version_id,
            document_id=document.id,
            ordinal=0,
            sha256=documents.passage_hash(text),
            sealed=documents.seal_passage(key, chunk_id, content),
        )
    )
    session.flush()
    return document, chunk_id


def answer(*chunk_ids: str, text: str = f"> {QUOTE} [1]") -> KeptTurn:
    """Return an answer that cites these passages."""
    citations = tuple(
        KeptCitation(n=n, passage_id=chunk, quote=QUOTE, span=(0, len(QUOTE)), support=90, shown=True)
        for n, chunk in enumerate(chunk_ids, start=1)
    )
    return KeptTurn("assistant", text, citations, answer_id="a", model="strongroom", status="answered")


def add(session: Session, talk: Conversation, *turns: KeptTurn) -> None:
    """Add turns as Ada."""
    conversations.add_turns(session, scope_of(ADA), talk.id, "user:ada", KEY, turns)


def seen(session: Session, who: Principal, talk: Conversation) -> list[ReadableTurn | WithheldTurn]:
    """Return all turns as somebody sees them."""
    return conversations.read_turns(session, scope_of(who), talk.id, KEY)[0]


def texts(session: Session, who: Principal, talk: Conversation) -> list[str | None]:
    """Return the texts that somebody sees, None for an answer that is withheld."""
    return [
        entry.turn.text if isinstance(entry, ReadableTurn) else None for entry in seen(session, who, talk)
    ]


def test_a_conversation_is_its_owners_alone(session: Session, talk: Conversation) -> None:
    """Hidden from Ben, admin and auditor, as if it did not exist. Visible to Ada."""
    assert conversations.list_conversations(session, scope_of(ADA), limit=10) == ([talk], False)
    assert conversations.list_conversations(session, scope_of(BEN), limit=10) == ([], False)
    for conversation_id in (talk.id, new_id()):
        with pytest.raises(NotFound, match=conversations.NO_SUCH_CONVERSATION):
            conversations.get_conversation(session, scope_of(BEN), conversation_id)
        with pytest.raises(NotFound, match=conversations.NO_SUCH_CONVERSATION):
            conversations.read_turns(session, scope_of(BEN), conversation_id, KEY)


def test_what_was_said_comes_back_as_it_was(session: Session, talk: Conversation) -> None:
    """Both turns, their order, the citation with its span, and the passage opened for the viewer."""
    _, chunk = stored_passage(session)
    asked, said = KeptTurn("user", "When does the gate close?"), answer(chunk)
    add(session, talk, asked, said)
    found = seen(session, ADA, talk)
    assert [entry.turn for entry in found if isinstance(entry, ReadableTurn)] == [asked, said]
    assert [entry.number for entry in found] == [1, 2]
    assert isinstance(found[1], ReadableTurn)
    assert found[1].passages[chunk].text == QUOTE


def test_a_share_shows_the_conversation_and_no_document(session: Session, talk: Conversation) -> None:
    """Hidden from Ben: the answer, whose document he may not read, and that. Visible: the question."""
    document, chunk = stored_passage(session)
    add(session, talk, KeptTurn("user", "When?"), answer(chunk))
    assert conversations.share_conversation(session, talk, "user:ben")
    assert texts(session, BEN, talk) == ["When?", None]
    assert documents.list_documents(session, scope_of(BEN)) == []
    sharing.share(session, document, "user:ben")
    session.flush()
    assert texts(session, BEN, talk) == ["When?", f"> {QUOTE} [1]"]


def test_one_unreadable_citation_withholds_the_whole_answer(session: Session, talk: Conversation) -> None:
    """Hidden from Ben: the answer, although he may read one of its two sources. Visible: it, to Ada."""
    (first, one), (_, two) = stored_passage(session), stored_passage(session)
    sharing.share(session, first, "user:ben")
    conversations.share_conversation(session, talk, "user:ben")
    add(session, talk, answer(one, two))
    assert texts(session, BEN, talk) == [None]
    assert texts(session, ADA, talk) == [f"> {QUOTE} [1]"]


def test_a_withheld_answer_is_always_the_same(session: Session, talk: Conversation) -> None:
    """Hidden from Ben: which documents, how many, and how long the answer is. Visible: its place."""
    chunks = [stored_passage(session)[1] for _ in range(3)]
    conversations.share_conversation(session, talk, "user:ben")
    other = conversations.create_conversation(session, KEY, owner="user:ada", title="")
    conversations.share_conversation(session, other, "user:ben")
    add(session, talk, answer(chunks[0], text="Short."))
    add(session, other, answer(*chunks, text="Long. " * 500))
    assert seen(session, BEN, talk) == seen(session, BEN, other) == [WithheldTurn(1)]


def test_a_revoked_share_bites_the_owner_as_well(session: Session, talk: Conversation) -> None:
    """Hidden from Ada once she is denied: her own stored answer. Visible: her own question."""
    document, chunk = stored_passage(session)
    add(session, talk, KeptTurn("user", "When?"), answer(chunk))
    sharing.share(session, document, "user:ada", effect="deny")
    session.flush()
    assert texts(session, ADA, talk) == ["When?", None]


@pytest.mark.parametrize("gone", ["deleted", "clearance", "compartment", "passages removed"])
def test_whatever_closes_a_document_closes_answers_about_it(
    session: Session, talk: Conversation, gone: str
) -> None:
    """Hidden: the answer, after the document was deleted or labelled. Visible before."""
    document, chunk = stored_passage(session)
    add(session, talk, answer(chunk))
    assert texts(session, ADA, talk) != [None]
    if gone == "deleted":
        document.deleted_at = now_ms()
    elif gone == "clearance":
        document.clearance = 1
    elif gone == "compartment":
        document.compartments = ["board"]
    else:
        documents.remove_passages(session, version_id=document.version_id or "")
    session.flush()
    assert texts(session, ADA, talk) == [None]


def test_an_answer_about_a_replaced_version_stays(session: Session, talk: Conversation) -> None:
    """A new version does not withhold what was said about the old one."""
    document, chunk = stored_passage(session)
    add(session, talk, answer(chunk))
    document.version_id = new_id()
    session.flush()
    assert texts(session, ADA, talk) == [f"> {QUOTE} [1]"]


def test_a_share_with_a_group_follows_its_members(session: Session, talk: Conversation) -> None:
    """Hidden from Ben outside the group. Visible inside it; unsharing ends it at once."""
    conversations.share_conversation(session, talk, LEGAL)
    inside = Principal("ben", "user", frozenset(), group_ids=frozenset({LEGAL}))
    assert conversations.get_conversation(session, scope_of(inside), talk.id) is talk
    assert conversations.list_conversations(session, scope_of(inside), limit=10)[0] == [talk]
    with pytest.raises(NotFound):
        conversations.get_conversation(session, scope_of(BEN), talk.id)
    conversations.unshare_conversation(session, talk, LEGAL)
    with pytest.raises(NotFound):
        conversations.get_conversation(session, scope_of(inside), talk.id)


def test_a_viewer_may_not_continue_or_own(session: Session, talk: Conversation) -> None:
    """A share is for looking: adding turns and owner's rights are refused like an unknown conversation."""
    conversations.share_conversation(session, talk, "user:ben")
    with pytest.raises(NotFound):
        conversations.get_own_conversation(session, scope_of(BEN), talk.id, "user:ben")
    with pytest.raises(NotFound):
        conversations.add_turns(session, scope_of(BEN), talk.id, "user:ben", KEY, [KeptTurn("user", "Hi")])
    assert texts(session, ADA, talk) == []


def test_shares_name_somebody_else_who_exists(session: Session, talk: Conversation) -> None:
    """Oneself, nobody and malformed ids are refused; everyone is possible; the same share again is none."""
    for principal in ("user:ada", "user:nobody", "group:local:none", "", "everyone"):
        with pytest.raises(InvalidInput):
            conversations.share_conversation(session, talk, principal)
    assert conversations.share_conversation(session, talk, EVERYONE)
    assert not conversations.share_conversation(session, talk, EVERYONE)
    with pytest.raises(NotFound):
        conversations.unshare_conversation(session, talk, "user:ben")


def test_a_conversation_has_few_shares(
    session: Session, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the limit is refused."""
    monkeypatch.setattr(conversations, "MAX_SHARES", 1)
    conversations.share_conversation(session, talk, "user:ben")
    with pytest.raises(InvalidInput, match="at most 1"):
        conversations.share_conversation(session, talk, LEGAL)


def test_a_title_is_typed_or_the_first_words_asked(session: Session, talk: Conversation) -> None:
    """A typed title stays; without one, the first question's first words become it, and stay as well."""
    assert conversations.title_of(talk, KEY) == ""
    add(session, talk, KeptTurn("user", "When does\nthe gate close?"), KeptTurn("assistant", "At ten."))
    add(session, talk, KeptTurn("user", "And the door?"))
    assert conversations.title_of(talk, KEY) == "When does the gate close?"
    typed = conversations.create_conversation(session, KEY, owner="user:ada", title=" Gates ")
    add(session, typed, KeptTurn("user", "one two three"))
    assert conversations.title_of(typed, KEY) == "Gates"


def test_a_long_question_makes_a_short_title(session: Session, talk: Conversation) -> None:
    """It is cut at words or characters, and says so."""
    add(session, talk, KeptTurn("user", "word " * 40))
    assert conversations.title_of(talk, KEY) == "word " * 10 + "…"
    other = conversations.create_conversation(session, KEY, owner="user:ada", title="")
    add(session, other, KeptTurn("user", "x" * 500))
    assert conversations.title_of(other, KEY) == "x" * 80 + " …"


@pytest.mark.parametrize("title", ["x" * 201, "two\nlines", "\x00"])
def test_an_unusable_title_is_refused(session: Session, title: str) -> None:
    """Too long, or not printable."""
    with pytest.raises(InvalidInput):
        conversations.create_conversation(session, KEY, owner="user:ada", title=title)


def test_nothing_readable_is_stored(session: Session, talk: Conversation) -> None:
    """Neither title nor turns nor quotes stand in the tables as text."""
    _, chunk = stored_passage(session)
    add(session, talk, KeptTurn("user", "When does the gate close?"), answer(chunk))
    stored = talk.sealed_title + b"".join(session.scalars(select(ConversationTurn.sealed)))
    assert b"gate" not in stored
    assert chunk.encode() not in stored


def test_a_turn_moved_to_another_place_does_not_open(session: Session, talk: Conversation) -> None:
    """The seal binds a turn to its conversation, its number and its role."""
    add(session, talk, KeptTurn("user", "One."), KeptTurn("assistant", "Two."))
    first = session.get_one(ConversationTurn, (talk.id, 1))
    first.role = "assistant"
    session.flush()
    with pytest.raises(SealBroken):
        seen(session, ADA, talk)


def test_pages_go_both_ways(session: Session, talk: Conversation) -> None:
    """Oldest and newest first, behind a number, with whether more follow."""
    add(session, talk, *(KeptTurn("user", str(n)) for n in range(1, 6)))

    def page(**options: object) -> tuple[list[int], bool]:
        found, more = conversations.read_turns(session, scope_of(ADA), talk.id, KEY, **options)  # type: ignore[arg-type]  # options are named by the test
        return [entry.number for entry in found], more

    assert page(limit=2) == ([1, 2], True)
    assert page(limit=3, after=2) == ([3, 4, 5], False)
    assert page(limit=2, newest_first=True) == ([5, 4], True)
    assert page(limit=9, after=4, newest_first=True) == ([3, 2, 1], False)


def test_the_list_has_pages_too(session: Session, talk: Conversation) -> None:
    """Newest first, behind the one that is named."""
    more = [conversations.create_conversation(session, KEY, owner="user:ada", title=str(n)) for n in range(2)]
    first, follows = conversations.list_conversations(session, scope_of(ADA), limit=2)
    assert (first, follows) == ([more[1], more[0]], True)
    rest = conversations.list_conversations(session, scope_of(ADA), after=first[-1].id, limit=2)
    assert rest == ([talk], False)


def test_a_full_conversation_takes_no_more(
    session: Session, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last turn there is a conflict, and none before."""
    monkeypatch.setattr(conversations, "MAX_TURNS", 2)
    add(session, talk, KeptTurn("user", "One."))
    conversations.refuse_when_full(session, talk.id)
    add(session, talk, KeptTurn("assistant", "Two."))
    with pytest.raises(Conflict):
        conversations.refuse_when_full(session, talk.id)


def test_deleting_leaves_nothing(session: Session, talk: Conversation) -> None:
    """Turns and shares go with the conversation and its key."""
    add(session, talk, KeptTurn("user", "One."))
    conversations.share_conversation(session, talk, "user:ben")
    conversations.delete_conversation(session, talk)
    for table in (Conversation, ConversationTurn, ConversationShare):
        assert session.scalar(select(func.count()).select_from(table)) == 0
    with pytest.raises(NotFound):
        add(session, talk, KeptTurn("user", "Two."))


def test_each_of_the_two_checks_alone_hides_a_conversation(
    session: Session, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden from Ben with the SQL condition alone and with the check in Python alone."""
    with monkeypatch.context() as patched:
        patched.setattr(conversations, "_may_look", lambda *_: True)
        with pytest.raises(NotFound):
            conversations.get_conversation(session, scope_of(BEN), talk.id)
    with monkeypatch.context() as patched:
        patched.setattr(conversations, "_visible", lambda _: Conversation.id.is_not(None))
        with pytest.raises(NotFound):
            conversations.get_conversation(session, scope_of(BEN), talk.id)
        assert conversations.list_conversations(session, scope_of(BEN), limit=10)[0] == []
