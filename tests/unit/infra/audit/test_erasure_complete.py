"""When an erasure is complete, and that one which is not is done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from infra.access import Principal, Role
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.removal import erasure as erasures
from infra.audit.removal.erasure import ErasureWish, erase, finish_unfinished, is_complete
from infra.conversations import create_conversation
from infra.database import Database
from infra.database.tables import AccessEpoch, Conversation, Erasure, User
from infra.database.traces import database_files, occurrences
from infra.keys import MasterKey

ADMIN = Principal(user_id="admin", kind="user", roles=frozenset({Role.ADMIN}), auth_method="session")
ALICE = "user:alice"


@pytest.fixture(autouse=True)
def people(database: Database) -> None:
    """Give alice and an administrator accounts."""
    with database.write() as session:
        session.execute(insert(AccessEpoch).values(id=1, epoch=0))
        for name, role in (("alice", "employee"), ("admin", "admin")):
            session.add(User(id=name, kind="user", name=name, roles=[role], created_at=1))


def certificate_of(database: Database, erasure_id: str) -> dict[str, Any]:
    with database.read() as session:
        found: dict[str, Any] = json.loads(session.get_one(Erasure, erasure_id).certificate)
    return found


def keep_conversations(database: Database, master_key: MasterKey, count: int) -> list[bytes]:
    """Keep conversations of alice's; returns their keys as they are stored."""
    with database.write() as session:
        for _ in range(count):
            create_conversation(session, master_key, owner=ALICE, title="Mine")
        return list(session.scalars(select(Conversation.wrapped_key)))


def test_a_file_that_could_not_be_written_anew_is_done_again(
    ledger: Ledger, database: Database, event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody else writes there is no VACUUM: the certificate says so, and the next round makes it."""
    ledger.record(event(), b"words")
    with monkeypatch.context() as busy:
        busy.setattr(erasures, "rewrite_database", lambda _database: False)
        made = erase(ledger, ErasureWish(user_id="alice", is_account_too=True), by=ADMIN, corr="r")
    assert made["search"]["disk"]["rewritten"] is False
    assert not is_complete(made, database)
    assert finish_unfinished(database) == 1
    again = certificate_of(database, made["id"])
    assert again["search"]["disk"]["rewritten"] is True
    assert is_complete(again, database)
    assert finish_unfinished(database) == 0


def test_an_erasure_that_finds_a_key_is_not_complete(
    ledger: Ledger, database: Database, event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is still in a file is counted against the certificate, whatever else was removed."""
    ledger.record(event(), b"words")
    with monkeypatch.context() as left:
        left.setattr(erasures, "occurrences", lambda _files, _key: (1, 4096))
        made = erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="r")
    assert (made["search"]["disk"]["key_found"], made["search"]["disk"]["rewritten"]) == (1, True)
    assert not is_complete(made, database)
    assert finish_unfinished(database) == 1


def test_a_copy_of_a_conversations_key_is_found_and_overwritten(
    ledger: Ledger, database: Database, master_key: MasterKey
) -> None:
    """The keys of conversations are searched for as well, also when their owner was never on the record.

    Where SQLite leaves copies is its own affair, so one is planted: a row deleted without `secure_delete`.
    """
    (key,) = keep_conversations(database, master_key, 1)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("CREATE TABLE copies (copy BLOB)")
        connection.exec_driver_sql("INSERT INTO copies VALUES (?)", (key + bytes(64),))
        connection.exec_driver_sql("DELETE FROM copies")
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    made = erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="r")
    disk = made["search"]["disk"]
    assert (disk["rewritten"], disk["key_found"]) == (True, 0)
    assert occurrences(database_files(database), key)[0] == 0
    assert is_complete(made, database)


def test_many_conversations_have_the_file_written_anew(
    ledger: Ledger, database: Database, master_key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More keys than are searched for one by one: then no copy is left to search for."""
    monkeypatch.setattr(erasures, "SEARCHED_CONVERSATIONS", 2)
    keep_conversations(database, master_key, 2)
    few = erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="r")
    keep_conversations(database, master_key, 3)
    many = erase(ledger, ErasureWish(user_id="alice"), by=ADMIN, corr="r2")
    assert [made["search"]["disk"]["rewritten"] for made in (few, many)] == [None, True]
