"""Forgetting an account: nothing that names the person is left, and nobody else loses anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from infra import accounts
from infra.access import Role
from infra.accounts.forgetting import FORGOTTEN_NAME, forget_account
from infra.database import Database
from infra.database.tables import (
    AccessEpoch,
    ApiKey,
    Base,
    DirectoryRecord,
    Group,
    GroupMember,
    Identity,
    Invitation,
    User,
    WebSession,
)
from infra.errors import Conflict, NotFound


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with an administrator, and with Ada and Ben, who have everything that names somebody."""
    opened = Database(f"sqlite:///{tmp_path / 'accounts.sqlite3'}")
    Base.metadata.create_all(opened.engine)
    with opened.write() as session:
        session.execute(insert(AccessEpoch).values(id=1, epoch=0))
        session.add(Group(id="group:local:g", name="Group", created_at=1))
        add_person(session, "boss", Role.ADMIN)
        session.flush()
        for name in ("ada", "ben"):
            add_person(session, name, Role.EMPLOYEE)
            session.flush()
            add_traces(session, name)
    yield opened
    opened.close()


def add_person(session: Any, name: str, role: Role) -> None:
    email = f"{name}@example.org"
    session.add(User(id=f"id-{name}", kind="user", name=name, email=email, roles=[role.value], created_at=1))


def add_traces(session: Any, name: str) -> None:
    user_id = f"id-{name}"
    accounts.open_session(session, user_id, hours=1)
    accounts.create_key(session, user_id, f"{name}'s laptop")
    accounts.invite(session, [Role.EMPLOYEE], created_by=None, email=f"{name}@example.org")
    session.add(Identity(directory="sso", subject=f"sub-{name}", user_id=user_id))
    session.add(GroupMember(group_id="group:local:g", user_id=user_id))
    session.add(
        DirectoryRecord(
            directory="scim",
            kind="user",
            id=user_id,
            unique_name=f"{name}@example.org",
            external_id=name,
            attributes={"displayName": name},
            created_at=1,
            changed_at=1,
        )
    )


def everything(database: Database) -> str:
    """Return every row that can name somebody, as one text."""
    tables = (User, WebSession, ApiKey, Identity, GroupMember, Invitation, DirectoryRecord)
    with database.read() as session:
        rows = [dict(row._mapping) for table in tables for row in session.execute(select(table.__table__))]
    return json.dumps(rows, default=repr)


def test_nothing_names_the_person_any_more(database: Database) -> None:
    """Name, address, sign-ins, keys, invitation, directory entries: gone, but for the account's id."""
    assert everything(database).count("ada") > 5
    with database.write() as session:
        assert forget_account(session, "id-ada") == 7
    left = everything(database).replace("id-ada", "")
    assert "ada" not in left
    assert FORGOTTEN_NAME in left


def test_nobody_else_loses_anything(database: Database) -> None:
    """Ben's account, key, memberships and directory entry are what they were."""
    before = everything(database).count("ben")
    with database.write() as session:
        forget_account(session, "id-ada")
    assert everything(database).count("ben") == before


def test_the_last_administrator_stays(database: Database) -> None:
    """As with closing an account: somebody has to be left to administrate."""
    with pytest.raises(Conflict), database.write() as session:
        forget_account(session, "id-boss")
    assert "boss@example.org" in everything(database)


def test_nobody_cannot_be_forgotten(database: Database) -> None:
    """An id that names no account."""
    with pytest.raises(NotFound), database.write() as session:
        forget_account(session, "id-nobody")
