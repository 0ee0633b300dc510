"""Look-up rows are what their leaves give, and any difference is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from infra.audit.event_types import EventType
from infra.audit.leaf import Event, Leaf, Resource, Retrieved
from infra.audit.ledger import Ledger
from infra.audit.reading.lookup import StoredLookups, differs, lookup_row, passage_rows, surplus
from infra.database import Database
from infra.database.tables import AuditLookup, AuditPassage

MakeEvent = Callable[..., Event]


@pytest.fixture
def leaf(ledger: Ledger, event: MakeEvent) -> Leaf:
    """The one sealed record of a log, at index 0."""
    passages = (
        Retrieved(doc="d", ver="v", chunk="c", hash="ab" * 32, rank=1),
        Retrieved(doc="d", ver="v", chunk="c2", hash="ab" * 32, rank=2),
        Retrieved(doc="d", ver="w", chunk="c3", hash="ab" * 32, rank=3),
    )
    made = event(EventType.SEARCH_PERFORMED, res=Resource("file", "f", "f-1"), ret=passages, outcome="ok")
    recorded = ledger.record(made)
    ledger.sealer.seal_all()
    found = ledger.reader.event(recorded.id).leaf
    assert found is not None
    return found


def test_the_stored_rows_are_the_leafs(database: Database, leaf: Leaf) -> None:
    """What the sequencer wrote does not differ; two passages of one version are one row."""
    assert len(passage_rows(0, leaf)) == 2
    with database.read() as session:
        assert not StoredLookups(session, 0, 1).differs(0, leaf)


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "file.shared"},
        {"sub": "somebody"},
        {"time": 1},
        {"res_id": "another"},
        {"res_id": None},
        {"res_ver": "another"},
        {"outcome": "failed"},
    ],
)
def test_a_changed_column_is_noticed(database: Database, leaf: Leaf, changed: dict[str, Any]) -> None:
    """Each column by itself would hide the record from somebody who looks for it."""
    with database.write() as session:
        session.execute(update(AuditLookup).values(changed))
        assert StoredLookups(session, 0, 1).differs(0, leaf)


@pytest.mark.parametrize("statement", [delete(AuditLookup), delete(AuditPassage)])
def test_a_missing_row_is_noticed(database: Database, leaf: Leaf, statement: Any) -> None:
    """A record that cannot be found, or a document whose reach looks smaller."""
    with database.write() as session:
        session.execute(statement)
        assert StoredLookups(session, 0, 1).differs(0, leaf)


def test_a_passage_that_was_added_is_noticed(database: Database, leaf: Leaf) -> None:
    """A document's reach cannot be made larger either."""
    with database.write() as session:
        session.execute(insert(AuditPassage).values(index=0, doc="x", ver="y"))
        assert StoredLookups(session, 0, 1).differs(0, leaf)
        assert surplus(session, 0, 1) == 0


def test_rows_of_no_record_are_counted(database: Database, leaf: Leaf) -> None:
    """Rows behind the end of the log, or before the first record that is kept, belong to nothing."""
    with database.write() as session:
        session.execute(insert(AuditLookup).values(lookup_row(7, leaf)))
        session.execute(insert(AuditPassage).values(index=8, doc="x", ver="y"))
        assert surplus(session, 0, 1) == 2
        assert surplus(session, 1, 9) == 3


def test_a_record_that_cannot_be_read_has_no_rows(leaf: Leaf) -> None:
    """A row beside an unreadable record is one that nothing vouches for."""
    assert not differs(0, None, None, set())
    assert differs(0, None, lookup_row(0, leaf), set())
    assert differs(0, None, None, {("d", "v")})


def test_what_is_too_long_is_cut_and_still_agrees(leaf: Leaf) -> None:
    """A row only helps to find a record; the leaf keeps the whole."""
    long = replace(leaf, outcome="o" * 500, res=Resource("file", "f" * 500, "v" * 500))
    row = lookup_row(0, long)
    assert (len(row["outcome"]), len(row["res_id"]), len(row["res_ver"])) == (200, 200, 36)
    passages = {(each["doc"], each["ver"]) for each in passage_rows(0, long)}
    assert not differs(0, long, row, passages)
