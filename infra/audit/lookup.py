"""What records are looked for by: rows derived from leaves, written in the transaction that seals them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import insert
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
    return {
        "index": index,
        "type": leaf.type[:TYPE_CHARS],
        "sub": leaf.actor.sub[:SUBJECT_CHARS],
        "time": leaf.time,
        "res_id": leaf.res.id[:TEXT_CHARS] if leaf.res else None,
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
