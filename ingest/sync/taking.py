"""What a look does with one file: take it in, or remove it; each in one transaction with its records.

The row of `synced_items` that says so is written in the same transaction, so that a crash between two files
leaves nothing half done: the next look goes on from there.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import documents, places
from infra.access import AccessScope, Principal, scope_of
from infra.accounts.people import principal_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Authz, Event, Resource
from infra.clock import new_id, now_ms
from infra.collections import get_collection_to_fill
from infra.database.tables import Collection, Document, DocumentPlace, SyncedItem, User
from infra.epoch import raise_epoch
from infra.errors import Conflict, NotFound, StrongroomError, TooLarge, UnreadableFile
from infra.sources import WatchedBucket, WatchedFolder
from infra.stores import Stores
from ingest import jobs
from ingest.index import refresh_access, remove_document
from ingest.intake import Arrival, Stored, Taken, enqueue, place_of
from ingest.parse.detect import HEAD_BYTES, detect
from ingest.sync import standing
from ingest.sync.source import NotReadable, Seen, Source, is_usable_name, item_of
from ingest.sync.standing import Lease

RENEW_MS: Final = standing.LEASE_MS // 3
# Parts of these containers decide about the type, so the first bytes are not enough to judge them.
_CONTAINERS: Final = (b"PK", b"\xd0\xcf\x11\xe0")
_AUTHZ: Final = Authz("allow", "system", 0)


class NoTarget(StrongroomError):
    """The account or the collection that documents shall belong to is not there. `code` is in `reasons`."""

    def __init__(self, code: str) -> None:
        super().__init__("A watched folder or bucket has nowhere to put its documents.")
        self.code = code


@dataclass(frozen=True)
class Target:
    """Whose documents the files of a source become, and where they stand, at this moment."""

    owner: Principal
    collection: Collection | None

    @property
    def scope(self) -> AccessScope:
        """What the owner may read."""
        return scope_of(self.owner)

    @property
    def collection_id(self) -> str | None:
        """The collection's id, if there is one."""
        return self.collection.id if self.collection is not None else None


@dataclass(frozen=True)
class Taking:
    """Takes in and removes files of one source during one look; `corr` ties the records of the look."""

    stores: Stores
    watched: WatchedFolder | WatchedBucket
    source: Source
    lease: Lease
    max_bytes: int
    corr: str
    check: Callable[[], None]
    """Called between pieces and files; raises when the server is stopping."""

    def take_in(self, seen: Seen) -> bool:
        """Take one file in, or note why not; returns whether it is in.

        Raises Unsettled, SourceUnavailable, NoTarget, LostLease, or what keeps every file from being stored.
        """
        try:
            stored = self._stored(seen)
            self._registered(seen, stored)
        except UnreadableFile as error:
            self._set_aside(seen, error.code, seen.state)
        except (TooLarge, NotReadable, _LeftAside) as error:
            # Passing by nature: tried again later, although the file itself may stay as it is.
            self._set_aside(seen, error.code, "")
        else:
            return True
        return False

    def take_out(self, item: str, left: list[DocumentPlace]) -> int:
        """Remove what is gone; `left` are the places that it had. Returns how many documents went."""
        with self.stores.database.write() as session:
            doomed = [place.document_id for place in left if self._leave(session, place)]
            standing.hold(session, self.lease)
            row = session.get(SyncedItem, (self.watched.name, item))
            if row is not None:
                session.delete(row)
        for document_id in doomed:
            remove_document(self.stores.database, self.stores.index, self.stores.files, document_id)
        return len(doomed)

    def places_of(self, items: Iterable[str]) -> dict[str, list[DocumentPlace]]:
        """Return the places that each of these items has among the documents; most have one."""
        found: dict[str, list[DocumentPlace]] = {item: [] for item in items}
        if found:
            with self.stores.database.read() as session:
                wanted = select(DocumentPlace).where(DocumentPlace.source == self.watched.name)
                for place in session.scalars(wanted):
                    found.get(item_of(place.name), []).append(place)
        return found

    def count_lost(self, gone: dict[str, list[DocumentPlace]]) -> int:
        """Count the documents that would have no place left."""
        going = Counter(place.document_id for left in gone.values() for place in left)
        with self.stores.database.read() as session:
            having = places.places_of(session, going)
        return sum(len(having.get(document_id, [])) <= count for document_id, count in going.items())

    # --- one file in --------------------------------------------------------------------------

    def _stored(self, seen: Seen) -> Stored:
        """Stream a file into encrypted storage; its name, size and first bytes are judged before."""
        if not is_usable_name(seen.name):
            raise _LeftAside("bad_name")
        if seen.size > self.max_bytes:
            raise TooLarge("The file is larger than the limit.")
        version_id = new_id()
        key, wrapped = documents.new_version_key(self.stores.master_key, version_id)
        with self.stores.files.open_writer(version_id, key, self.max_bytes) as writer:
            for piece in self._judged(seen):
                writer.write(piece)
            size, sha256 = writer.commit()
        return Stored(version_id, sha256, size, wrapped)

    def _judged(self, seen: Seen) -> Iterator[bytes]:
        head, is_judged, renewed = b"", False, now_ms()
        with closing(self.source.read(seen)) as pieces:
            for piece in pieces:
                self.check()
                if now_ms() - renewed > RENEW_MS:
                    renewed = now_ms()
                    with self.stores.database.write() as session:
                        standing.hold(session, self.lease)
                if is_judged:
                    yield piece
                    continue
                head += piece
                if len(head) >= HEAD_BYTES:
                    is_judged = True
                    _refuse_at_the_door(head, seen.name)
                    yield head
        if not is_judged:
            _refuse_at_the_door(head, seen.name)
            yield head

    def _registered(self, seen: Seen, stored: Stored) -> None:
        stores = self.stores
        try:
            with stores.database.write() as session:
                taken = self._placed(session, seen, stored)
                document = taken.document
                lagging = document.indexed_epoch < document.acl_epoch
        except BaseException:
            stores.files.delete(stored.version_id)
            raise
        if not taken.keeps_bytes:
            stores.files.delete(stored.version_id)
        if lagging:
            refresh_access(stores.database, stores.index, [document.id])

    def _placed(self, session: Session, seen: Seen, stored: Stored) -> Taken:
        target = target_of(session, self.watched, held=True)
        owner = target.owner.principal_id
        self._refuse_taken_name(session, target, seen, stored)
        arrival = Arrival(owner, seen.name, stored, target.collection, self.watched.name)
        try:
            taken = place_of(session, target.scope, arrival)
        except Conflict as error:
            raise _LeftAside("not_permitted") from error
        if taken.keeps_bytes:
            enqueue(session, taken.document, stored, corr=self.corr, queue=jobs.BULK)
        if taken.what == "new" and target.collection is not None:
            self._record(session, EventType.FILE_MOVED, taken.document)
        self._record(session, EventType.FILE_UPLOADED, taken.document)
        standing.hold(session, self.lease)
        self._note(session, seen.item, seen.state, document_id=taken.document.id, reason=None)
        return taken

    def _refuse_taken_name(self, session: Session, target: Target, seen: Seen, stored: Stored) -> None:
        """Leave alone what stands under this name but did not come from here.

        A person's upload must not become a version of a folder's file, nor one source's file another's.
        """
        found = documents.find_own_by_name(
            session, target.owner.principal_id, seen.name, collection_id=target.collection_id
        )
        if found is None or session.get(DocumentPlace, (found.id, self.watched.name, seen.name)) is not None:
            return
        if documents.latest_version(session, found.id).sha256 != stored.sha256:
            raise _LeftAside("name_taken")

    def _set_aside(self, seen: Seen, reason: str, state: str) -> None:
        with self.stores.database.write() as session:
            standing.hold(session, self.lease)
            row = session.get(SyncedItem, (self.watched.name, seen.item))
            # What was read before goes on answering, as after an upload that fails.
            before = row.document_id if row is not None else None
            self._note(session, seen.item, state, document_id=before, reason=reason)

    # --- one file out -------------------------------------------------------------------------

    def _leave(self, session: Session, place: DocumentPlace) -> bool:
        """Drop a document's place; returns whether that was its last one, and the document is to go."""
        document = session.get(Document, place.document_id)
        if document is None or document.deleted_at is not None:
            return False
        documents.hold_names(session, document.owner)
        raise_epoch(session)
        if places.forget(session, document.id, source=place.source, name=place.name):
            self._record(session, EventType.FILE_UNPLACED, document)
            return False
        document.deleted_at = now_ms()
        self._record(session, EventType.FILE_DELETED, document)
        return True

    # --- what is written about it -------------------------------------------------------------

    def _note(
        self, session: Session, item: str, state: str, *, document_id: str | None, reason: str | None
    ) -> None:
        row = session.get(SyncedItem, (self.watched.name, item))
        if row is None:
            row = SyncedItem(source=self.watched.name, item=item)
            session.add(row)
        row.state, row.document_id, row.reason, row.seen_at = state, document_id, reason, now_ms()

    def _record(self, session: Session, event_type: EventType, document: Document) -> None:
        what = Resource("file", document.id, document.version_id)
        event = Event(event_type, Stage.SINGLE, self.corr, SYSTEM, res=what, authz=_AUTHZ, outcome="ok")
        self.stores.ledger.record_in(session, event)


class _LeftAside(StrongroomError):
    """One file is not taken in, for a reason of its own; `code` is in `reasons`."""

    def __init__(self, code: str) -> None:
        super().__init__("A file of a watched folder or bucket is left aside.")
        self.code = code


def target_of(session: Session, watched: WatchedFolder | WatchedBucket, *, held: bool = False) -> Target:
    """Return whose the documents of a source are; raises NoTarget.

    `held`: nobody closes the account, gives its names or removes the collection before this transaction ends.
    """
    user = _owner(session, watched.owner)
    if user is None:
        raise NoTarget("no_owner")
    if held:
        documents.hold_names(session, f"{user.kind}:{user.id}")
        session.refresh(user)
    principal = principal_of(session, user, auth_method="sync", secret_hash="")
    if principal is None:
        raise NoTarget("no_owner")
    if watched.collection is None:
        return Target(principal, None)
    if held:
        raise_epoch(session)
    try:
        found = get_collection_to_fill(session, scope_of(principal), watched.collection, principal)
    except NotFound as error:
        raise NoTarget("no_collection") from error
    return Target(principal, found)


def _owner(session: Session, named: str) -> User | None:
    if "@" in named:
        return session.scalar(select(User).where(User.email == named.strip().lower()))
    kind, _, user_id = named.partition(":")
    return session.scalar(select(User).where(User.id == user_id, User.kind == kind))


def _refuse_at_the_door(head: bytes, name: str) -> None:
    """Say at once what the first bytes already show; the rest is the parser's to find."""
    if not head.startswith(_CONTAINERS):
        # One strange file must not stop the look at all others: its parser judges it in a child.
        with suppress(ValueError, LookupError, EOFError):
            detect(io.BytesIO(head), name)
