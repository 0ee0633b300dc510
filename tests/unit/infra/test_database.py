"""Transactions: what a reader sees while somebody writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One table with one row."""
    opened = Database(f"sqlite:///{tmp_path / 'moments.sqlite3'}")
    with opened.write() as session:
        session.execute(text("CREATE TABLE labels (clearance INTEGER)"))
        session.execute(text("INSERT INTO labels VALUES (0)"))
    yield opened
    opened.close()


def clearance(session) -> int:
    found: int = session.execute(text("SELECT clearance FROM labels")).scalar_one()
    return found


def test_a_reader_sees_one_moment(database: Database) -> None:
    """A change between two statements of one read does not show: an access list is never read half-way."""
    with database.read() as reader:
        assert clearance(reader) == 0
        with database.write() as writer:
            writer.execute(text("UPDATE labels SET clearance = 3"))
        assert clearance(reader) == 0
    with database.read() as reader:
        assert clearance(reader) == 3


def test_what_a_reader_writes_is_not_kept(database: Database) -> None:
    """A read rolls back at its end."""
    with database.read() as reader:
        reader.execute(text("UPDATE labels SET clearance = 9"))
    with database.read() as reader:
        assert clearance(reader) == 0
