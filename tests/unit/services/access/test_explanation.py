"""Explanations: each rule says what it decides, and the whole says what `infra.access` decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from infra import sharing
from infra.access import EVERYONE, Principal, Role
from infra.accounts import add_member, create_group
from infra.clock import now_ms
from infra.collections import create_collection
from infra.database import Database
from infra.database.tables import Document, User
from infra.documents import create_document
from infra.errors import NotFound
from infra.settings import Settings
from infra.sharing import Restriction
from infra.stores import open_database
from services.access.explanation import account_named, document_with, explanation

ADA = Principal(
    user_id="ada",
    kind="user",
    roles=frozenset({Role.EMPLOYEE}),
    clearance=9,
    compartments=frozenset({"board", "works"}),
)
NAME = "merger-with-halden.pdf"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a fresh database with Ada, Ben, a service, and Ada's file."""
    opened, _ = open_database(Settings(data_dir=tmp_path))
    with opened.write() as session:
        session.add(account("ada", clearance=9, compartments=["board", "works"]))
        session.add(account("ben", email="ben@example.org"))
        session.add(account("robot", kind="service"))
        session.flush()
        create_document(session, owner="user:ada", name=NAME)
    yield opened
    opened.close()


def account(identifier: str, *, kind: str = "user", **fields: Any) -> User:
    """Return an account."""
    return User(
        id=identifier,
        kind=kind,
        name=identifier.title(),
        roles=["employee"],
        created_at=now_ms(),
        **{"compartments": [], **fields},
    )


def the_file(session: Session) -> Document:
    """Return the one file."""
    return session.query(Document).one()


def explained(database: Database, user: str = "ben") -> dict[str, Any]:
    """Explain the one file for an account."""
    with database.read() as session:
        return explanation(session, account_named(session, user), the_file(session))


def denials(found: dict[str, Any]) -> list[str]:
    """Return the rules that deny."""
    return [rule["rule"] for rule in found["rules"] if not rule["granted"]]


def test_a_line_for_a_group_is_named(database: Database) -> None:
    """Access through a group says which group."""
    with database.write() as session:
        group = create_group(session, "Legal")
        add_member(session, group.id, "ben")
        sharing.share(session, the_file(session), group.id)
    found = explained(database)
    assert (found["decision"], denials(found)) == ("allow", [])
    allow = next(rule for rule in found["rules"] if rule["rule"] == "allow")
    assert allow["because"] == [{"id": group.id, "label": "Legal"}]


@pytest.mark.parametrize(
    ("restriction", "rule", "because"),
    [
        (Restriction(deny=frozenset({"user:ben"})), "deny", ["Ben"]),
        (Restriction(clearance=3), "clearance", []),
        (Restriction(compartments=frozenset({"board", "works"})), "compartments", ["board", "works"]),
    ],
    ids=["deny", "clearance", "compartments"],
)
def test_each_rule_alone_denies(
    database: Database, restriction: Restriction, rule: str, because: list[str]
) -> None:
    """The file is shared with everyone, and one rule still says no; it says because of what."""
    with database.write() as session:
        sharing.share(session, the_file(session), EVERYONE)
    assert explained(database)["decision"] == "allow"
    with database.write() as session:
        sharing.restrict(session, the_file(session), restriction, ADA)
    found = explained(database)
    assert (found["decision"], denials(found)) == ("deny", [rule])
    said = next(each for each in found["rules"] if each["rule"] == rule)
    assert [each["label"] for each in said["because"]] == because
    assert explained(database, "ada")["decision"] == "allow"


def test_the_collection_is_a_rule_of_its_own(database: Database) -> None:
    """In a collection that does not let somebody in, nothing else helps; its name is not told."""
    with database.write() as session:
        collection = create_collection(session, owner="user:ada", name="Merger papers")
        sharing.put_into(session, the_file(session), collection)
        sharing.share_collection(session, collection, "service:robot")
        sharing.restrict(
            session, the_file(session), Restriction(only=frozenset({"user:ada", "user:ben"})), ADA
        )
    found = explained(database)
    assert (found["decision"], denials(found)) == ("deny", ["collection"])
    assert found["collection"] == {"id": collection.id}
    assert denials(explained(database, "service:robot")) == ["allow"]
    assert "Merger" not in str(found)


def test_a_closed_account_is_denied(database: Database) -> None:
    """Even the owner's, and the explanation says that this is why."""
    assert explained(database, "ada")["decision"] == "allow"
    with database.write() as session:
        session.get_one(User, "ada").disabled_at = now_ms()
    found = explained(database, "ada")
    assert (found["decision"], denials(found)) == ("deny", ["account"])
    assert found["user"]["closed"] is True
    assert "The account is closed." in [rule["text"] for rule in found["rules"]]


def test_an_index_that_lags_is_told(database: Database) -> None:
    """After a change of the access list the index has an older one until it is refreshed."""
    assert explained(database)["index_agrees"] is True
    with database.write() as session:
        sharing.share(session, the_file(session), "user:ben")
    lagging = explained(database)
    assert lagging["index_agrees"] is False
    assert lagging["epochs"]["index"] < lagging["epochs"]["document"]
    assert lagging["epochs"]["access"] > 0


def test_nothing_of_the_file_is_told(database: Database) -> None:
    """Its name is content to an administrator."""
    assert "halden" not in str(explained(database, "ada")).lower()


@pytest.mark.parametrize("named", ["ben", "user:ben", "ben@example.org", " BEN@example.org"])
def test_an_account_is_found_in_each_way(database: Database, named: str) -> None:
    """By id, principal id, or e-mail address."""
    with database.read() as session:
        assert account_named(session, named).id == "ben"


@pytest.mark.parametrize(
    "named", ["", "benny", "service:ben", "user:robot", ":ben", "group:ben", "x:user:ben"]
)
def test_anything_else_is_nobody(database: Database, named: str) -> None:
    """A wrong kind is not ignored."""
    with database.read() as session, pytest.raises(NotFound):
        account_named(session, named)


def test_a_deleted_file_is_not_there(database: Database) -> None:
    """From the first moment of a deletion on."""
    with database.write() as session:
        document = the_file(session)
        assert document_with(session, document.id) is document
        document.deleted_at = 1
    with database.read() as session, pytest.raises(NotFound):
        document_with(session, document.id)
