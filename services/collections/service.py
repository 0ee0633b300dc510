"""What the collection endpoints do, each with its record in one transaction."""

from __future__ import annotations

from collections.abc import Collection as Sized
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import collections, documents, sharing
from infra.access import AccessScope, may_read
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import Collection, CollectionGrant, Document, DocumentVersion, Job
from infra.epoch import current_epoch
from infra.errors import Conflict, NotFound
from infra.sharing import Effect
from ingest import jobs
from ingest.index import refresh_access, refresh_lagging
from services.deps import Person
from services.documents.service import Change
from services.parts import Parts

Standing = Literal["in_progress", "completed", "failed", "cancelled"]


@dataclass(frozen=True)
class StoredFile:
    """One file of a collection, as its reader sees it."""

    document: Document
    version: DocumentVersion
    job: Job | None

    @property
    def standing(self) -> Standing:
        """How far it is, in OpenAI's words."""
        if self.job is not None and self.job.state == "cancelled":
            return "cancelled"
        return _STANDINGS.get(self.version.state, "in_progress")


_STANDINGS: Final[dict[str, Standing]] = {"ready": "completed", "failed": "failed"}


@dataclass
class CollectionView:
    """A collection as its reader sees it: counts and bytes are of the files that they may read.

    The access list is its owner's business and empty for everybody else.
    """

    collection: Collection
    owner_label: str
    is_mine: bool
    counts: dict[Standing, int] = field(default_factory=dict)
    size: int = 0
    shared_with: list[dict[str, str]] = field(default_factory=list)
    denied: list[dict[str, str]] = field(default_factory=list)


# --- reading --------------------------------------------------------------------------------------


def views(
    session: Session, person: Person, scope: AccessScope, found: Sequence[Collection]
) -> list[CollectionView]:
    """Return collections, which the caller has found within the scope, with what surrounds them."""
    me = person.principal.principal_id
    lines = _lines(session, [collection for collection in found if collection.owner == me])
    named = {line.principal for line in lines} | {collection.owner for collection in found}
    labels = sharing.labels_for(session, person.principal, named)
    made = {
        collection.id: CollectionView(collection, labels[collection.owner], collection.owner == me)
        for collection in found
    }
    for line in lines:
        if line.effect == "deny" or line.principal != me:
            view = made[line.collection_id]
            side = view.denied if line.effect == "deny" else view.shared_with
            side.append({"id": line.principal, "label": labels[line.principal]})
    for stored in stored_files(session, scope, made.keys()):
        view = made[stored.document.collection_id or ""]
        view.counts[stored.standing] = view.counts.get(stored.standing, 0) + 1
        view.size += stored.version.size
    return list(made.values())


def stored_files(session: Session, scope: AccessScope, collection_ids: Sized[str]) -> list[StoredFile]:
    """List the files of some collections that `scope` may read, newest first."""
    found = list(documents.readable_documents(session, scope, collection_ids=collection_ids))
    return _stored(session, found)


def stored_file(session: Session, scope: AccessScope, collection_id: str, file_id: str) -> StoredFile:
    """Return one file of a collection; raises NotFound when it is not there, or either is not theirs."""
    collections.get_collection(session, scope, collection_id)
    document = documents.get_document(session, scope, file_id)
    stored = _stored(session, [document]) if document.collection_id == collection_id else []
    if not stored:
        raise NotFound(documents.NO_SUCH_FILE)
    return stored[0]


def _stored(session: Session, found: Sequence[Document]) -> list[StoredFile]:
    ids = [document.id for document in found]
    versions, latest = documents.latest_versions(session, ids), jobs.latest_jobs(session, ids)
    return [
        StoredFile(document, versions[document.id], latest.get(document.id))
        for document in found
        if document.id in versions
    ]


def _lines(session: Session, found: Sequence[Collection]) -> Sequence[CollectionGrant]:
    wanted = [collection.id for collection in found]
    lines = select(CollectionGrant).where(CollectionGrant.collection_id.in_(wanted))
    return session.scalars(lines.order_by(CollectionGrant.principal)).all()


# --- the collection -------------------------------------------------------------------------------


def create(change: Change, name: str, file_ids: Sequence[str]) -> str:
    """Make a collection, with own files put into it; returns its id."""
    with change.of_access() as session:
        collection = collections.create_collection(session, owner=change.principal_id, name=name)
        _record(session, change, EventType.COLLECTION_CREATED, collection)
        for file_id in dict.fromkeys(file_ids):
            _put(session, change, collection, file_id)
        created = collection.id
    if file_ids:
        _follow(change.parts)
    return created


def rename(change: Change, collection_id: str, name: str | None) -> None:
    """Give one's own collection another name; None leaves it."""
    with _own(change, collection_id) as (session, collection):
        if name is not None:
            collection.name = collections.checked_name(name)
        _record(session, change, EventType.COLLECTION_CHANGED, collection, name=collection.name)


def label(
    change: Change, collection_id: str, *, clearance: int | None, compartments: Sequence[str] | None
) -> None:
    """Set what readers of one's own collection need; None leaves it.

    Raises Conflict for more than the owner has.
    """
    with _own(change, collection_id) as (session, collection):
        sharing.label_collection(
            session,
            collection,
            clearance=collection.clearance if clearance is None else clearance,
            compartments=frozenset(collection.compartments if compartments is None else compartments),
        )
        _refuse_lockout(session, change, collection)
        wanted = {"clearance": collection.clearance, "compartments": collection.compartments}
        _record(session, change, EventType.COLLECTION_CHANGED, collection, **wanted)
    _follow(change.parts)


def set_share(change: Change, collection_id: str, principal: str, *, shared: bool, effect: Effect) -> None:
    """Add or remove one line of one's own collection's access list; it bites at the next request.

    Raises Conflict for a denial that would shut its owner out.
    """
    with _own(change, collection_id) as (session, collection):
        if shared:
            sharing.refuse_foreign_groups(change.person.principal, [principal])
            sharing.share_collection(session, collection, principal, effect=effect)
            _refuse_lockout(session, change, collection)
        else:
            sharing.unshare_collection(session, collection, principal, effect=effect)
        event = EventType.COLLECTION_SHARED if shared else EventType.COLLECTION_UNSHARED
        _record(session, change, event, collection, principal=principal, effect=effect)
    _follow(change.parts)


def delete(change: Change, collection_id: str) -> None:
    """Remove one's own collection; its files stay, and become their owners' alone."""
    with change.parts.database.read() as session:
        owners = set(
            session.scalars(select(Document.owner).where(Document.collection_id == collection_id).distinct())
        )
    with _own(change, collection_id, *owners) as (session, collection):
        _record(session, change, EventType.COLLECTION_DELETED, collection)
        for document_id in collections.delete_collection(session, collection):
            document = session.get_one(Document, document_id)
            documents.settle_name(session, document)
            change.record_file(session, EventType.FILE_MOVED, document)
    _follow(change.parts)


# --- its files ------------------------------------------------------------------------------------


def put_file(change: Change, collection_id: str, file_id: str) -> None:
    """Put one's own file into a collection that one may fill, whose readers become its readers.

    Raises NotFound for either that is not theirs, Conflict for a file that stands in another collection,
    and for one whose name they have used there.
    """
    with change.of_access() as session:
        collection = collections.get_collection_to_fill(
            session, change.scope, collection_id, change.person.principal
        )
        _put(session, change, collection, file_id)
    refresh_access(change.parts.database, change.parts.index, [file_id])


def _put(session: Session, change: Change, collection: Collection, file_id: str) -> None:
    document = documents.get_own_document(session, change.scope, file_id, change.principal_id)
    if document.collection_id != collection.id:
        _refuse_namesake(session, change, collection, document)
        sharing.put_into(session, document, collection)
    change.record_file(session, EventType.FILE_MOVED, document, collection=collection.id)


def _refuse_namesake(session: Session, change: Change, collection: Collection, document: Document) -> None:
    namesake = documents.find_own_by_name(
        session, change.principal_id, document.name, collection_id=collection.id
    )
    if namesake is not None:
        raise Conflict(
            "A file of yours with this name stands in the collection already.",
            hint="Upload this one there as its next version, or take the other one out.",
        )


def take_file_out(change: Change, collection_id: str, file_id: str) -> None:
    """Take a file out of a collection; its owner alone may read it then.

    The file must be one's own, or one that one may read in one's own collection; else raises NotFound.
    """
    with change.parts.database.read() as session:
        owner = stored_file(session, change.scope, collection_id, file_id).document.owner
    with change.of_access(owner) as session:
        document = stored_file(session, change.scope, collection_id, file_id).document
        collection = session.get_one(Collection, collection_id)
        if change.principal_id not in {document.owner, collection.owner}:
            raise NotFound(documents.NO_SUCH_FILE)
        sharing.take_out(session, document)
        documents.settle_name(session, document)
        change.record_file(session, EventType.FILE_MOVED, document)
    refresh_access(change.parts.database, change.parts.index, [file_id])


# --- how a change is made -------------------------------------------------------------------------


@contextmanager
def _own(change: Change, collection_id: str, *owners: str) -> Iterator[tuple[Session, Collection]]:
    with change.of_access(*owners) as session:
        collection = collections.get_own_collection(session, change.scope, collection_id, change.principal_id)
        yield session, collection


def _refuse_lockout(session: Session, change: Change, collection: Collection) -> None:
    session.flush()
    if not may_read(change.scope, collections.collection_access(session, [collection])[collection.id]):
        raise Conflict("With this you could not read the collection yourself any more.")


def _record(
    session: Session, change: Change, event_type: EventType, collection: Collection, **content: Any
) -> None:
    what = Resource("collection", collection.id)
    change.record(session, event_type, what, epoch=current_epoch(session), content=content)


def _follow(parts: Parts) -> None:
    """Let the index follow at once; the re-check in the database bites without it."""
    refresh_lagging(parts.database, parts.index)
