"""The people of the access tests, and who of them reads what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session

from infra import documents
from infra.access import Principal, Role, scope_of
from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import AccessEpoch, Base, Document, Group, User
from infra.errors import NotFound

TEAM = "group:local:team"
ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}))
BEN = Principal("ben", "user", frozenset({Role.EMPLOYEE}), group_ids=frozenset({TEAM}))
CLEO = Principal("cleo", "user", frozenset({Role.ADMIN, Role.CURATOR, Role.EMPLOYEE}))
DAN = Principal("dan", "user", frozenset({Role.AUDITOR}), clearance=2, compartments=frozenset({"board"}))
EVERYBODY = (ADA, BEN, CLEO, DAN)


@contextmanager
def opened(folder: Path) -> Iterator[Session]:
    """Yield one write transaction in a fresh database that knows everybody and the team."""
    database = Database(f"sqlite:///{folder / 'access.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as session:
        people(session)
        yield session
    database.close()


def people(session: Session) -> None:
    """Give everybody an account, and make the team."""
    session.add(AccessEpoch(id=1, epoch=0))
    session.add(Group(id=TEAM, name="Team", created_at=now_ms()))
    for who in EVERYBODY:
        name = who.user_id
        session.add(User(id=name, kind="user", name=name, roles=[], compartments=[], created_at=now_ms()))
    session.flush()


def cleared(who: Principal, clearance: int, *compartments: str) -> Principal:
    """Return the same person with more clearance and compartments."""
    return replace(who, clearance=clearance, compartments=frozenset(compartments))


def readers(session: Session, document: Document) -> set[str]:
    """Return who of everybody reads a document, by both of the ways that there are to it."""
    session.flush()
    found = set()
    for who in EVERYBODY:
        listed = document in documents.list_documents(session, scope_of(who))
        assert listed == is_open(session, document, who)
        if listed:
            found.add(who.user_id)
    return found


def is_open(session: Session, document: Document, who: Principal) -> bool:
    """Say whether somebody gets a document by its id."""
    try:
        documents.get_document(session, scope_of(who), document.id)
    except NotFound:
        return False
    return True
