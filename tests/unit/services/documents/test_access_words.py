"""Whom the words of a manifest mean: vouched addresses and known groups only, and in a few statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from infra import collections
from infra.access import EVERYONE, Principal, Role
from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import Base, Group, User
from infra.errors import Conflict, InvalidInput, NotFound
from services.documents.access_words import Meanings, look_up

BOARD = "group:local:board"
ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}))
MEMBER = Principal("ada", "user", frozenset({Role.EMPLOYEE}), group_ids=frozenset({BOARD}))
CURATOR = Principal("ada", "user", frozenset({Role.CURATOR}))
WORDS = ("Ben@Example.org ", "eve@example.org", "nobody@example.org", BOARD, "group:Board", "user:eve")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Ada; Ben, whose address an administrator stated; Eve, who typed hers; and a group."""
    database = Database(f"sqlite:///{tmp_path / 'words.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as session:
        for name in ("ada", "ben", "eve"):
            session.add(_user(name, vouched=name == "ben"))
        session.add(Group(id=BOARD, name="Board", created_at=now_ms()))
        session.flush()
        yield session
    database.close()


def test_an_address_counts_when_somebody_else_stated_it(session: Session) -> None:
    """Eve waits under an address that she typed herself; it means nobody, just like one of no account."""
    meanings = meant(session, ADA)
    assert meanings.principals([" Ben@Example.org"], "allow") == {"user:ben"}
    told = [refusal(meanings, f"{name}@example.org") for name in ("eve", "nobody")]
    assert told[0] == told[1]


def test_an_account_is_named_by_its_id_whatever_its_address(session: Session) -> None:
    """The id is what the hint asks for."""
    assert meant(session, ADA).principals(["user:eve", "everyone"], "deny") == {"user:eve", EVERYONE}


@pytest.mark.parametrize("word", [BOARD, "group:Board"])
def test_a_group_is_named_by_those_who_know_it(session: Session, word: str) -> None:
    """Hidden from Ada by id and by name, visible inside and to a curator."""
    for who in (MEMBER, CURATOR):
        assert meant(session, who).principals([word], "allow") == {BOARD}
    refusal(meant(session, ADA), word)


def test_two_groups_of_a_name_mean_neither(session: Session) -> None:
    """A directory may call a group like one of ours."""
    session.add(Group(id="group:corp:board", directory="corp", name="Board", created_at=now_ms()))
    session.flush()
    assert "Several" in refusal(meant(session, CURATOR), "group:Board")[0]
    assert meant(session, MEMBER).principals(["group:Board"], "allow") == {BOARD}


def test_ten_thousand_repeated_words_cost_a_few_statements(session: Session) -> None:
    """No word is looked up twice, nor alone."""
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *args: statements.append(args[2]))
    words = [f"{word}{number % 500}" for number in range(10_000) for word in ("a@b.c", "user:", "group:")]
    look_up(session, ADA, words, [str(number) for number in range(1000)], everyone=False)
    assert 0 < len(statements) < 20


def test_a_collection_is_meant_by_its_name_when_it_is_ones_own(session: Session) -> None:
    """Anything else may be an id; two of one name are neither, and no id holds a zero character."""
    mine = collections.create_collection(session, owner="user:ada", name="Mine").id
    collections.create_collection(session, owner="user:eve", name="Hers")
    for _ in range(2):
        collections.create_collection(session, owner="user:ada", name="Twice")
    meanings = look_up(session, ADA, [], ["Mine", "Hers", "Twice", "\x00"], everyone=False)
    assert [meanings.collection(named) for named in ("Mine", "Hers")] == [mine, "Hers"]
    with pytest.raises(Conflict):
        meanings.collection("Twice")
    with pytest.raises(NotFound):
        meanings.collection("\x00")


def meant(session: Session, who: Principal) -> Meanings:
    """Look up the words of these tests."""
    return look_up(session, who, WORDS, [], everyone=False)


def refusal(meanings: Meanings, word: str) -> tuple[str, str | None]:
    """Return what is said about a word that means nobody, but for the word."""
    with pytest.raises(InvalidInput) as refused:
        meanings.principals([word], "allow")
    return refused.value.message.replace(word, "…"), refused.value.hint


def _user(name: str, *, vouched: bool) -> User:
    return User(
        id=name,
        kind="user",
        name=name,
        email=f"{name}@example.org",
        email_vouched=vouched,
        roles=[],
        compartments=[],
        created_at=now_ms(),
    )
