"""One database with its tables, and somebody with an account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from joining import join
from sqlalchemy.orm import Session

from infra.database import Database
from infra.database.tables import AccessEpoch, Base, User


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database, with the access epoch that migrations put there."""
    opened = Database(f"sqlite:///{tmp_path / 'accounts.sqlite3'}")
    Base.metadata.create_all(opened.engine)
    with opened.write() as session:
        session.add(AccessEpoch(id=1, epoch=1))
    yield opened
    opened.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """One open transaction."""
    with database.write() as opened:
        yield opened


@pytest.fixture
def ada(session: Session) -> User:
    """Somebody who joined by an invitation."""
    return join(session, "ada@example.org")
