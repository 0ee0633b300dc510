"""Filters and pages of the record, against the same question asked of every leaf."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import event as hooks
from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from infra.access import Principal, Role
from infra.audit.ledger import Ledger
from infra.audit.reading.filters import Direction, EventFilter, Place, find_page
from infra.audit.reading.reach import cited_chunks, people_reached, reach_counts, reach_page, target_of
from infra.audit.reading.scan import Range, scan
from infra.audit.records import InboxSeal
from infra.database import Database
from infra.database.tables import AuditInbox, AuditLeaf, AuditLookup, Base
from infra.keys import MasterKey
from tests.made_log import FILTERS, RECORDS, SEED, Log, is_wanted, leaves_of, made_log, walk, wanted_ones


@pytest.fixture
def log(ledger: Ledger, alice: Principal, bob: Principal) -> Log:
    """A log that the test may add to."""
    return made_log(ledger, alice, bob)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """A log that nobody adds to."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('log') / 'ledger.sqlite3'}")
    Base.metadata.create_all(database.engine)
    ledger = Ledger(database, MasterKey(b"\x2a" * 32), origin="log.example/t", source="one", timeout_s=5.0)
    people = [Principal(name, "user", frozenset({Role.EMPLOYEE})) for name in ("alice", "bob")]
    yield made_log(ledger, *people)
    ledger.close()
    database.close()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_pages_hold_what_every_leaf_says(still: Log, name: str, newest_first: bool) -> None:
    """Page by page, a filter finds each record that meets it once, in order, and no other."""
    wanted = EventFilter(**FILTERS[name](still.leaves))
    found = [each for page in walk(still.database, wanted, newest_first=newest_first) for each in page]
    assert found == wanted_ones(still.leaves, wanted, newest_first=newest_first)


def test_every_filter_leaves_something_and_takes_something(still: Log) -> None:
    """The comparisons above compare something: but for the last, each filter splits this log."""
    for name, wanted_in in FILTERS.items():
        count = sum(is_wanted(leaf, EventFilter(**wanted_in(still.leaves))) for leaf in still.leaves)
        assert (count == 0) is (name == "nothing")
        assert (count == RECORDS) is (name == "everything")


def test_a_time_is_found_although_a_clock_was_set_back(log: Log) -> None:
    """A record with an older time than those before it is still within its time."""
    early = log.leaves[3].time
    with log.database.write() as session:
        session.execute(update(AuditLookup).where(AuditLookup.index == RECORDS - 1).values(time=early))
        page = find_page(session, EventFilter(until=early + 1), None, limit=500, newest_first=True)
    assert page.events[0].index == RECORDS - 1


# --- pages while records are added ----------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_do_not_shift_while_records_are_added(log: Log, newest_first: bool) -> None:
    """Records that are added between two pages are neither missed nor shown twice."""
    random, wanted = Random(SEED + 1), EventFilter(type="file.")
    found: list[str] = []
    for number, page in enumerate(walk(log.database, wanted, newest_first=newest_first, limit=30)):
        found += page
        if number < 5:
            for _ in range(7):
                log.add(random)
    # Going back in time, what was added lies behind one.
    expected = log.leaves if newest_first else leaves_of(log.ledger)
    assert found == wanted_ones(expected, wanted, newest_first=newest_first)


def test_a_page_read_again_is_the_same(log: Log) -> None:
    """The place that led to a page leads to the same records after others were added."""
    with log.database.read() as session:
        first = find_page(session, EventFilter(), None, limit=20, newest_first=True)
        second = find_page(session, EventFilter(), first.older, limit=20, newest_first=True)
    log.add(Random(3))
    with log.database.read() as session:
        again = find_page(session, EventFilter(), first.older, limit=20, newest_first=True)
    assert [each.id for each in again.events] == [each.id for each in second.events]


def test_one_can_go_back_a_page(log: Log) -> None:
    """`newer` of the second page leads to the first one again, in the same order."""
    wanted = EventFilter(document="doc-a")
    with log.database.read() as session:
        first = find_page(session, wanted, None, limit=20, newest_first=True)
        second = find_page(session, wanted, first.older, limit=20, newest_first=True)
        back = find_page(session, wanted, second.newer, limit=20, newest_first=True)
    assert [each.id for each in back.events] == [each.id for each in first.events]


def test_what_is_added_later_is_newer_than_the_first_page(log: Log) -> None:
    """`newer` of the newest page is empty now, and brings exactly what came after it."""
    with log.database.read() as session:
        first = find_page(session, EventFilter(), None, limit=20, newest_first=True)
        assert find_page(session, EventFilter(), first.newer, limit=20, newest_first=True).events == []
    added = log.add(Random(4))
    with log.database.read() as session:
        later = find_page(session, EventFilter(), first.newer, limit=20, newest_first=True)
    assert [each.id for each in later.events] == [added]


def test_an_empty_log_has_one_empty_page(database: Database) -> None:
    """Nothing is older, and whatever comes first will be newer."""
    with database.read() as session:
        page = find_page(session, EventFilter(), None, limit=20, newest_first=True)
    assert (page.events, page.older, page.has_more) == ([], None, False)
    assert page.newer == Place(Direction.NEWER, -1)


@pytest.mark.parametrize("wanted", [EventFilter(), EventFilter(without=("file.",))])
def test_a_record_that_cannot_be_read_is_listed(log: Log, wanted: EventFilter) -> None:
    """A record in no known format has no look-up row, and must not vanish from the list for that."""
    with log.database.write() as session:
        mac = InboxSeal(MasterKey(b"\x2a" * 32)).mac("unreadable", b"{}")
        session.execute(insert(AuditInbox).values(id="unreadable", leaf=b"{}", mac=mac))
    log.ledger.sealer.seal_all()
    with log.database.read() as session:
        page = find_page(session, wanted, None, limit=5, newest_first=True)
    assert (page.events[0].id, page.events[0].leaf) == ("unreadable", None)


# --- bounded work ---------------------------------------------------------------------------------


def test_a_scan_looks_at_no_more_than_its_budget(still: Log) -> None:
    """A condition that nothing meets ends after so many candidates, and the next scan goes on there."""
    from infra.audit.reading.filters import _by

    never = AuditLookup.outcome == "never happened"
    with still.database.read() as session:
        first = scan(session, Range(0, RECORDS - 1, False), _by(AuditLeaf), never, limit=5, budget=300)
        assert (first.indices, first.reached, first.is_complete) == ([], 299, False)
        rest = Range(first.reached + 1, RECORDS - 1, False)
        assert scan(session, rest, _by(AuditLeaf), never, limit=5, budget=1000).is_complete


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "everything"])
def test_no_filter_reads_a_whole_table(still: Log, name: str) -> None:
    """SQLite's own plan of each statement searches by a key or an index; it scans its own results only."""
    wanted = EventFilter(**FILTERS[name](still.leaves))
    ran = planned(still, lambda session: find_page(session, wanted, None, limit=20, newest_first=True))
    assert len(ran) >= 2
    assert whole_tables(ran) == []


def test_reach_reads_no_whole_table(still: Log) -> None:
    """The same holds for the list, the people and the counts of a document's reach."""

    def reach(session: Session) -> None:
        for version in (None, "doc-a-v1"):
            target = target_of(session, "doc-a", version)
            page = reach_page(session, target, None, limit=20, newest_first=True)
            cited_chunks(session, page.events)
            reach_counts(session, target)
            people_reached(session, target, after="x", limit=20)

    ran = planned(still, reach)
    assert len(ran) >= 10
    assert whole_tables(ran) == []


def planned(log: Log, act: Callable[[Session], object]) -> list[tuple[str, list[str]]]:
    """Return every query of `act` with SQLite's plan for it."""
    ran: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            ran.append((statement, parameters))

    with log.database.read() as session:
        hooks.listen(log.database.engine, "before_cursor_execute", note)
        act(session)
        hooks.remove(log.database.engine, "before_cursor_execute", note)
        connection = session.connection().connection
        plans = [
            connection.execute(f"EXPLAIN QUERY PLAN {statement}", given).fetchall()
            for statement, given in ran
        ]
    return [(statement, [row[3] for row in plan]) for (statement, _), plan in zip(ran, plans, strict=True)]


def whole_tables(ran: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """Return the steps that read a table of the record from one end to the other."""
    return [(query, step) for query, plan in ran for step in plan if re.match(r"SCAN audit_\w+$", step)]


def test_a_scanned_table_would_be_noticed(still: Log) -> None:
    """What the test above looks for is what SQLite says of a statement without an index."""
    ran = planned(
        still, lambda session: session.execute(text("SELECT id FROM audit_leaves WHERE leaf = 'x'"))
    )
    assert len(whole_tables(ran)) == 1
