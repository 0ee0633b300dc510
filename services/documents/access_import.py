"""Apply the access lists of a file share to one's own files, row by row; a row that fails changes nothing.

Every doubt is a failure of its row: an unknown name, two files that a row could mean, two rows that mean
one file, a Windows group that means more people than it seems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import documents, sharing
from infra.access import AccessScope, may_read
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.clock import new_id
from infra.collections import get_collection_to_fill
from infra.database.tables import Collection, Document, DocumentGrant
from infra.errors import Conflict, InvalidInput, NotFound, StrongroomError
from infra.sharing import MAX_LINES, Restriction
from ingest.index import AT_ONCE, refresh_access
from services.documents.access_words import Meanings, look_up
from services.documents.service import Change, as_content
from services.documents.upload import file_name_in

MAX_WORDS: Final = 20_000
"""Most words of all access lists of one import, repeated ones included."""


@dataclass(frozen=True)
class Row:
    """One line of a manifest: a file, the collection it belongs to, and who may read it.

    `path` is a file name or a path whose last part is one. Without `allow`, the file is its owner's alone,
    or readable for all readers of its collection.
    """

    path: str
    collection: str | None = None
    allow: Sequence[str] = ()
    deny: Sequence[str] = ()
    clearance: int = 0
    compartments: Sequence[str] = ()

    @property
    def is_too_long(self) -> bool:
        """Whether the row has more lines than an access list, and so fails without being looked at."""
        return len(self.allow) + len(self.deny) > MAX_LINES

    @property
    def words(self) -> Sequence[str]:
        """Whom the row names, in words that have to be looked up."""
        return () if self.is_too_long else (*self.allow, *self.deny)


@dataclass(frozen=True)
class RowOutcome:
    """What became of one row; `number` counts from 1."""

    number: int
    path: str
    outcome: Literal["applied", "unchanged", "failed"]
    file_id: str | None = None
    error: StrongroomError | None = None


class _NotKept(Exception):
    """Ends a transaction of which nothing shall stay: of a dry run, or of a row that changes nothing."""


@dataclass
class Import:
    """One import. `everyone` lets Windows' groups of everybody mean everyone; a dry run keeps nothing."""

    change: Change
    everyone: bool = False
    dry_run: bool = False
    _changed: list[str] = field(default_factory=list)

    def apply(self, rows: Sequence[Row]) -> list[RowOutcome]:
        """Apply every row in a transaction of its own; the outcomes are in the order of the rows.

        Raises InvalidInput for more than `MAX_WORDS` words, and Conflict while another import of this
        person is under way.
        """
        if sum(len(row.words) for row in rows) > MAX_WORDS:
            raise InvalidInput(
                f"The rows name people and groups {MAX_WORDS:,} times at most.",
                hint="Send the rows in smaller pieces.",
                param="rows",
            )
        with self.change.parts.imports.held_by(self.change.principal_id):
            return self._apply(rows)

    def _apply(self, rows: Sequence[Row]) -> list[RowOutcome]:
        named = Counter(file_name_in(row.path) for row in rows)
        meanings = self._meanings(rows)
        try:
            outcomes = [
                self._tried(number, row, meanings, namesakes=named[file_name_in(row.path)] - 1)
                for number, row in enumerate(rows, 1)
            ]
        finally:
            self._follow()
        self._record_import(outcomes)
        return outcomes

    def _meanings(self, rows: Sequence[Row]) -> Meanings:
        with self.change.parts.database.read() as session:
            return look_up(
                session,
                self.change.person.principal,
                (word for row in rows for word in row.words),
                (row.collection for row in rows if row.collection),
                everyone=self.everyone,
            )

    def _tried(self, number: int, row: Row, meanings: Meanings, *, namesakes: int) -> RowOutcome:
        try:
            file_id, is_changed = self._one(row, meanings, namesakes)
        except (InvalidInput, NotFound, Conflict) as error:
            # Anything else, e.g. a ledger that takes no records, ends the import: no row would do better.
            return RowOutcome(number, row.path, "failed", error=error)
        if is_changed and not self.dry_run:
            self._changed.append(file_id)
        return RowOutcome(number, row.path, "applied" if is_changed else "unchanged", file_id)

    def _one(self, row: Row, meanings: Meanings, namesakes: int) -> tuple[str, bool]:
        """Apply one row; returns the file's id and whether anything changed."""
        if namesakes:
            raise Conflict("More than one row is about a file of this name.", param="path")
        if row.is_too_long:
            raise InvalidInput(f"An access list has at most {MAX_LINES:,} lines.", param="allow")
        # All that can be known before is: while a row has its transaction, nobody else can write.
        allow, deny = meanings.principals(row.allow, "allow"), meanings.principals(row.deny, "deny")
        place = meanings.collection(row.collection) if row.collection else None
        file_id, is_changed = "", False
        with suppress(_NotKept), self.change.of_access() as session:
            file_id, is_changed = self._in_transaction(session, row, place, allow, deny)
            if self.dry_run or not is_changed:
                raise _NotKept
        return file_id, is_changed

    def _in_transaction(
        self, session: Session, row: Row, place: str | None, allow: set[str], deny: set[str]
    ) -> tuple[str, bool]:
        principal = self.change.person.principal
        collection = (
            get_collection_to_fill(session, self.change.scope, place, principal)
            if place is not None
            else None
        )
        document = self._document(session, row.path, collection)
        before = _state(session, document)
        self._place(session, document, collection, allow)
        wanted = Restriction(
            only=frozenset(allow) | {document.owner} if collection is not None and allow else None,
            deny=frozenset(deny),
            clearance=row.clearance,
            compartments=frozenset(row.compartments),
        )
        sharing.restrict(session, document, wanted, principal)
        is_changed = _state(session, document) != before
        if is_changed:
            content = as_content(wanted) | ({"allow": sorted(allow)} if collection is None else {})
            self.change.record_file(session, EventType.FILE_RESTRICTED, document, **content)
        return document.id, is_changed

    def _place(
        self, session: Session, document: Document, collection: Collection | None, allow: set[str]
    ) -> None:
        """Put the document where its row wants it: into a collection, or outside with these readers."""
        if collection is None:
            if document.collection_id is not None:
                raise Conflict("This file stands in a collection; name it in its row.", param="collection")
            sharing.share_only_with(session, document, allow)
        elif document.collection_id != collection.id:
            sharing.put_into(session, document, collection)
            self.change.record_file(session, EventType.FILE_MOVED, document, collection=collection.id)

    def _document(self, session: Session, path: str, collection: Collection | None) -> Document:
        """Return the one own file that a row means: where the row wants it, else wherever it is now."""
        mine = select(Document).where(
            Document.owner == self.change.principal_id,
            Document.name == file_name_in(path),
            Document.deleted_at.is_(None),
        )
        found = _within(session, self.change.scope, session.scalars(mine).all())
        place = collection.id if collection is not None else None
        # Where none of that name is yet, one outside of any collection comes before one that has its place.
        for wanted in (place, None):
            there = [document for document in found if document.collection_id == wanted]
            found = there or found
        if not found:
            raise NotFound("You have no file of this name.", param="path")
        if len(found) > 1:
            raise Conflict("You have several files of this name in other collections.", param="path")
        return found[0]

    def _follow(self) -> None:
        parts = self.change.parts
        for first in range(0, len(self._changed), AT_ONCE):
            refresh_access(parts.database, parts.index, self._changed[first : first + AT_ONCE])

    def _record_import(self, outcomes: Sequence[RowOutcome]) -> None:
        counts = Counter(outcome.outcome for outcome in outcomes)
        told = ",".join(f"{name}={counts[name]}" for name in ("applied", "unchanged", "failed"))
        change = self.change
        event = Event(
            EventType.ACCESS_IMPORTED,
            Stage.SINGLE,
            change.corr,
            change.parts.ledger.identify(change.person.principal),
            res=Resource("manifest", new_id()),
            outcome=f"dry_run,{told}" if self.dry_run else told,
        )
        change.parts.ledger.record(event)


def _within(session: Session, scope: AccessScope, found: Sequence[Document]) -> list[Document]:
    access = documents.access_of(session, [document.id for document in found])
    return [document for document in found if may_read(scope, access[document.id])]


def _state(session: Session, document: Document) -> object:
    """Return all that a row can change about a document, to tell whether it did."""
    session.flush()
    lines = select(DocumentGrant.principal, DocumentGrant.effect)
    own = session.execute(lines.where(DocumentGrant.document_id == document.id)).all()
    labels = (document.clearance, tuple(document.compartments))
    return document.collection_id, document.inherits, labels, frozenset(tuple(line) for line in own)
