"""What records are looked for by: rows derived from leaves, written in the transaction that seals them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from infra.audit.leaf import Leaf
from infra.database.tables import AuditLookup, AuditPassage

TYPE_CHARS: Final = 64
SUBJECT_CHARS: Final = 64
TEXT_CHARS: Final = 200
ID_CHARS: Final = 36
"""Widths of the columns. What is longer is cut: the leaf is the truth, and a row only helps to find it."""


def lookup_row(index: int, leaf: Leaf) -> dict[str, Any]:
    """Return the row that finds the record at `index` by who, what, when and outcome."""
    version = leaf.res.ver if leaf.res else None
    return {
        "index": index,
        "type": leaf.type[:TYPE_CHARS],
        "sub": leaf.actor.sub[:SUBJECT_CHARS],
        "time": leaf.time,
        "res_id": leaf.res.id[:TEXT_CHARS] if leaf.res else None,
        "res_ver": version[:ID_CHARS] if version else None,
        "outcome": leaf.outcome[:TEXT_CHARS] if leaf.outcome else None,
    }


def passage_rows(index: int, leaf: Leaf) -> list[dict[str, Any]]:
    """Return a row for each document version that the record at `index` names, each once."""
    named = dict.fromkeys((passage.doc[:ID_CHARS], passage.ver[:ID_CHARS]) for passage in leaf.ret)
    return [{"doc": doc, "ver": ver, "index": index} for doc, ver in named]


def insert_lookups(session: Session, leaves: list[tuple[int, Leaf]]) -> None:
    """Make sealed records findable."""
    rows = [lookup_row(index, leaf) for index, leaf in leaves]
    passages = [row for index, leaf in leaves for row in passage_rows(index, leaf)]
    if rows:
        session.execute(insert(AuditLookup), rows)
    if passages:
        session.execute(insert(AuditPassage), passages)


# --- checking -------------------------------------------------------------------------------------

_PassageRow = tuple[str, str]


class StoredLookups:
    """The look-up rows of the records from `start` to before `end`, to be compared with their leaves."""

    def __init__(self, session: Session, start: int, end: int) -> None:
        """Read the rows of one window; a few columns each, so a window may hold thousands."""
        within = (AuditLookup.index >= start, AuditLookup.index < end)
        columns = select(*AuditLookup.__table__.columns).where(*within)
        self._rows: dict[int, dict[str, Any]] = {
            row["index"]: dict(row) for row in session.execute(columns).mappings()
        }
        self._passages: dict[int, set[_PassageRow]] = defaultdict(set)
        named = select(AuditPassage.index, AuditPassage.doc, AuditPassage.ver)
        for index, doc, ver in session.execute(
            named.where(AuditPassage.index >= start, AuditPassage.index < end)
        ):
            self._passages[index].add((doc, ver))

    def differs(self, index: int, leaf: Leaf | None) -> bool:
        """Tell whether the rows of the record at `index` are not those that its leaf gives.

        Whoever changes one could keep a record from being found without touching the log. `leaf` is None
        for a record that cannot be read, which has no rows.
        """
        return differs(index, leaf, self._rows.get(index), self._passages.get(index, set()))


def differs(index: int, leaf: Leaf | None, row: dict[str, Any] | None, passages: set[_PassageRow]) -> bool:
    """Tell whether `row` and `passages`, pairs of document and version, are not what `leaf` gives."""
    if leaf is None:
        return row is not None or bool(passages)
    named = {(passage["doc"], passage["ver"]) for passage in passage_rows(index, leaf)}
    return row != lookup_row(index, leaf) or passages != named


def surplus(session: Session, first: int, size: int) -> int:
    """Count look-up rows of records before `first` or from `size` on, which are no records of the log."""
    total = 0
    for table in (AuditLookup, AuditPassage):
        outside = or_(table.index < first, table.index >= size)
        total += session.scalar(select(func.count()).select_from(table).where(outside)) or 0
    return total
