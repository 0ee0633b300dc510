"""Apply the access lists of a file share to one's own files, row by row; a row that fails changes nothing.

Every doubt is a failure of its row: an unknown name, two files that a row could mean, two rows that mean
one file, a Windows group that means more people than it seems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import documents, sharing
from infra.access import EVERYONE, AccessScope, Principal, Role, may_read
from infra.audit.leaf import Event, EventType, Resource, Stage
from infra.clock import new_id
from infra.collections import NO_SUCH_COLLECTION, get_collection_to_fill, list_collections
from infra.database.tables import Collection, Document, DocumentGrant, Group, GroupMember, User
from infra.errors import Conflict, InvalidInput, NotFound, StrongroomError
from infra.sharing import MAX_LINES, Restriction
from ingest.index import AT_ONCE, refresh_access
from services.documents.service import Change, as_content
from services.documents.upload import file_name_in

WINDOWS_EVERYONE: Final = frozenset(
    {"everyone", "authenticated users", "nt authority\\authenticated users", "s-1-1-0", "s-1-5-11"}
)
"""What Windows calls whoever can sign in; the last two are well-known SIDs (MS-DTYP 2.4.2.4)."""
_OURS: Final = "everyone"
"""Our own word for everyone; Windows writes its with a capital."""


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
        """Apply every row in a transaction of its own; the outcomes are in the order of the rows."""
        named = Counter(file_name_in(row.path) for row in rows)
        try:
            outcomes = [
                self._tried(number, row, namesakes=named[file_name_in(row.path)] - 1)
                for number, row in enumerate(rows, 1)
            ]
        finally:
            self._follow()
        self._record_import(outcomes)
        return outcomes

    def _tried(self, number: int, row: Row, *, namesakes: int) -> RowOutcome:
        try:
            file_id, is_changed = self._one(row, namesakes)
        except (InvalidInput, NotFound, Conflict) as error:
            # Anything else, e.g. a ledger that takes no records, ends the import: no row would do better.
            return RowOutcome(number, row.path, "failed", error=error)
        if is_changed and not self.dry_run:
            self._changed.append(file_id)
        return RowOutcome(number, row.path, "applied" if is_changed else "unchanged", file_id)

    def _one(self, row: Row, namesakes: int) -> tuple[str, bool]:
        """Apply one row; returns the file's id and whether anything changed."""
        if namesakes:
            raise Conflict("More than one row is about a file of this name.", param="path")
        if len(row.allow) + len(row.deny) > MAX_LINES:
            raise InvalidInput(f"An access list has at most {MAX_LINES:,} lines.", param="allow")
        file_id, is_changed = "", False
        with suppress(_NotKept), self.change.of_access() as session:
            file_id, is_changed = self._in_transaction(session, row)
            if self.dry_run or not is_changed:
                raise _NotKept
        return file_id, is_changed

    def _in_transaction(self, session: Session, row: Row) -> tuple[str, bool]:
        directory = _Directory(session, self.change.person.principal, everyone=self.everyone)
        allow, deny = directory.principals(row.allow, "allow"), directory.principals(row.deny, "deny")
        collection = self._collection(session, row.collection) if row.collection else None
        document = self._document(session, row.path, collection)
        before = _state(session, document)
        self._place(session, document, collection, allow)
        wanted = Restriction(
            only=frozenset(allow) | {document.owner} if collection is not None and allow else None,
            deny=frozenset(deny),
            clearance=row.clearance,
            compartments=frozenset(row.compartments),
        )
        sharing.restrict(session, document, wanted, self.change.person.principal)
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

    def _collection(self, session: Session, named: str) -> Collection:
        """Return one's own collection of this name, or the one of this id that one may fill.

        Anybody may give their collection any name and share it: a foreign one must be meant by its id.
        """
        scope, principal = self.change.scope, self.change.person.principal
        mine = [
            collection
            for collection in list_collections(session, scope)
            if collection.owner == principal.principal_id and collection.name == named
        ]
        if len(mine) > 1:
            raise Conflict(
                "You have several collections of this name.", hint="Give an id.", param="collection"
            )
        if not mine and not named.isprintable():
            raise NotFound(NO_SUCH_COLLECTION, param="collection")
        return mine[0] if mine else get_collection_to_fill(session, scope, named, principal)

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


@dataclass(frozen=True)
class _Directory:
    """Whom the words of a manifest mean. Raises InvalidInput for each that means nobody for certain."""

    session: Session
    asking: Principal
    everyone: bool

    def principals(self, words: Iterable[str], column: str) -> set[str]:
        """Return the principal ids of one list."""
        return {self._principal(word.strip(), column) for word in words if word.strip()}

    def _principal(self, word: str, column: str) -> str:
        if word == _OURS:
            return EVERYONE
        if word.casefold() in WINDOWS_EVERYONE:
            if self.everyone:
                return EVERYONE
            raise InvalidInput(
                f"“{word}” would mean everybody who can sign in.",
                hint="Say that this is meant with --everyone.",
                param=column,
            )
        found = self._named(word) if word.isprintable() else []
        if len(found) != 1:
            many = "Several groups are called" if found else "There is nobody called"
            raise InvalidInput(f"{many} “{word}”.", param=column)
        return found[0]

    def _named(self, word: str) -> Sequence[str]:
        if sharing.principal_exists(self.session, word):
            return [word]
        if word.startswith("group:"):
            return self._groups(word.removeprefix("group:"))
        if "@" in word:
            address = select(User.id, User.kind).where(User.email == word.lower())
            return [f"{kind}:{id_}" for id_, kind in self.session.execute(address)]
        return []

    def _groups(self, name: str) -> Sequence[str]:
        """Return the groups of a name: all for those who look after people or files, one's own for others.

        To everybody else a group that they are not in looks like one that does not exist.
        """
        wanted = select(Group.id).where(Group.name == name)
        if not {Role.ADMIN, Role.CURATOR} & self.asking.roles:
            mine = select(GroupMember.group_id).where(GroupMember.user_id == self.asking.user_id)
            wanted = wanted.where(Group.id.in_(mine))
        return self.session.scalars(wanted).all()
