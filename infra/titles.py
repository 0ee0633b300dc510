"""Suggest titles and file names while somebody types, from what they may read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from infra.access import AccessScope, may_read
from infra.database.tables import Collection, Document, DocumentVersion
from infra.documents import access_of, readable

MAX_SUGGESTIONS: Final = 8
LOOKED_THROUGH: Final = 20_000
"""How many readable documents are looked through, newest first; older ones are not suggested."""
_FETCHED_AT_ONCE: Final = 200
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Suggestion:
    """A document that the scope may read: its file's name, and the title or name that matched."""

    document_id: str
    name: str
    text: str


def suggest(session: Session, scope: AccessScope, typed: str) -> list[Suggestion]:
    """Return at most 8 documents, newest first, with words that begin with what was typed.

    Case and accents do not matter; nothing typed finds the newest documents. Names are compared here and
    not in SQL, because LIKE folds no accents and databases disagree about case.
    """
    wanted = _words(typed)
    if typed.strip() and not wanted.strip():
        return []
    found: list[Suggestion] = []
    batch: list[Suggestion] = []
    for document_id, name, title in _newest_first(session, scope):
        text = _matching(wanted, title, name)
        if text is not None:
            batch.append(Suggestion(document_id, name, text))
        if len(batch) == MAX_SUGGESTIONS:
            found += _re_checked(session, scope, batch)
            batch = []
        if len(found) >= MAX_SUGGESTIONS:
            break
    return (found + _re_checked(session, scope, batch))[:MAX_SUGGESTIONS]


def _newest_first(session: Session, scope: AccessScope) -> Iterator[tuple[str, str, str | None]]:
    """Yield id, name and title of readable documents; what compartments hide counts towards no limit.

    Ids are UUIDv7, so their order is the order in which documents were made, and an index has it.
    """
    # An alias, because the condition looks collections up by itself and would take this one for its own.
    around = aliased(Collection)
    wanted = (
        select(
            Document.id,
            Document.name,
            DocumentVersion.title,
            Document.compartments,
            around.compartments.label("outer_compartments"),
        )
        .outerjoin(DocumentVersion, DocumentVersion.id == Document.version_id)
        .outerjoin(around, around.id == Document.collection_id)
        .where(readable(scope))
        .order_by(Document.id.desc())
        .execution_options(yield_per=_FETCHED_AT_ONCE)
    )
    seen = 0
    for row in session.execute(wanted):
        if scope.compartments.issuperset([*row.compartments, *(row.outer_compartments or ())]):
            seen += 1
            yield row.id, row.name, row.title
        if seen >= LOOKED_THROUGH:
            return


def _re_checked(session: Session, scope: AccessScope, batch: Sequence[Suggestion]) -> list[Suggestion]:
    access = access_of(session, [suggestion.document_id for suggestion in batch])
    return [s for s in batch if s.document_id in access and may_read(scope, access[s.document_id])]


def _matching(wanted: str, title: str | None, name: str) -> str | None:
    """Return the title or the file name, whichever has the words; the title is what people know."""
    return next((text for text in (title, name) if text and wanted in _words(text)), None)


def _words(text: str) -> str:
    """Return the words of a text, each after a blank, without case and accents.

    So a text has words that begin with what was typed when the one string contains the other.
    """
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return "".join(f" {word}" for word in _WORD.findall(folded))
