"""Take a stored file in: which document it belongs to, what is new about it, and the job that reads it.

One rule for every way in: the same bytes under the same name are nothing new; other bytes under a known
name are the next version; known bytes under a new name are one more place of the document that has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, delete, func, select
from sqlalchemy.orm import Session, aliased

from infra import documents, places, sharing
from infra.access import AccessScope, may_read
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Collection, Document, DocumentGrant, DocumentPlace, DocumentVersion
from infra.epoch import raise_epoch
from infra.errors import Conflict
from infra.files import FileStore
from infra.keys import MasterKey
from infra.places import UPLOADED
from ingest import jobs

What = Literal["new", "version", "unchanged", "duplicate"]


@dataclass(frozen=True)
class Stored:
    """Bytes that lie encrypted in the file store under `version_id`; `size` in bytes, `sha256` in hex."""

    version_id: str
    sha256: str
    size: int
    wrapped_key: bytes


@dataclass(frozen=True)
class Arrival:
    """A file that has come in: whose, by what name, from where, for which collection."""

    owner: str
    name: str
    stored: Stored
    collection: Collection | None = None
    source: str = UPLOADED


@dataclass(frozen=True)
class Taken:
    """What became of an arrival. `what` is `new`, `version`, `unchanged` or `duplicate`.

    Only the first two keep the stored bytes; the caller removes them otherwise, after its commit.
    """

    document: Document
    what: What

    @property
    def keeps_bytes(self) -> bool:
        """Whether the stored file belongs to the document now."""
        return self.what in ("new", "version")


def place_of(session: Session, scope: AccessScope, arrival: Arrival) -> Taken:
    """Find or make the document of an arrival, and remember its place; hold the owner's names before.

    Raises Conflict when the owner's file of that name is one that `scope` may not read at present.
    """
    collection_id = arrival.collection.id if arrival.collection is not None else None
    sha256 = arrival.stored.sha256
    document = documents.find_own_by_name(session, arrival.owner, arrival.name, collection_id=collection_id)
    if document is not None:
        _refuse_unreadable(session, scope, document)
        is_same = documents.latest_version(session, document.id).sha256 == sha256
        _remember(session, document, arrival)
        return Taken(document, "unchanged" if is_same else "version")
    other = places.find_own_by_place(
        session, arrival.owner, source=arrival.source, name=arrival.name, collection_id=collection_id
    )
    if other is not None:
        # It had the bytes of that document; whatever it has now, it finds its place anew.
        places.forget(session, other.id, source=arrival.source, name=arrival.name)
    twin = places.find_own_twin(session, arrival.owner, sha256=sha256, collection_id=collection_id)
    if twin is not None and _reads(session, scope, twin):
        _remember(session, twin, arrival)
        return Taken(twin, "unchanged" if other is not None and twin.id == other.id else "duplicate")
    document = documents.create_document(session, owner=arrival.owner, name=arrival.name)
    if arrival.collection is not None:
        sharing.put_into(session, document, arrival.collection)
    _remember(session, document, arrival)
    return Taken(document, "new")


def enqueue(
    session: Session,
    document: Document,
    stored: Stored,
    *,
    corr: str,
    queue: str = jobs.INTERACTIVE,
    batch_id: str | None = None,
) -> None:
    """Add the stored bytes as the document's next version, with the job that reads them."""
    version = documents.add_version(
        session,
        document,
        version_id=stored.version_id,
        sha256=stored.sha256,
        size=stored.size,
        wrapped_key=stored.wrapped_key,
    )
    jobs.submit(
        session, document_id=document.id, version_id=version.id, corr=corr, queue=queue, batch_id=batch_id
    )


def _remember(session: Session, document: Document, arrival: Arrival) -> None:
    places.remember(session, document, source=arrival.source, name=arrival.name, sha256=arrival.stored.sha256)


def _reads(session: Session, scope: AccessScope, document: Document) -> bool:
    return may_read(scope, documents.access_of(session, [document.id])[document.id])


def _refuse_unreadable(session: Session, scope: AccessScope, document: Document) -> None:
    if not _reads(session, scope, document):
        raise Conflict(
            "You have a file of this name that you may not read at present.",
            hint="Delete it, or upload this one under another name.",
        )


# --- places that a document has left behind -------------------------------------------------------


def settle_places(
    database: Database,
    files: FileStore,
    ledger: Ledger,
    master_key: MasterKey,
    document_id: str | None = None,
) -> int:
    """Give places whose document has moved on to other bytes a document of their own; returns how many.

    Two names of the same bytes share a document until one of them changes. The other keeps what it had:
    the earlier version's bytes are copied, with the access lists as they are now. `document_id` names the
    one that has just changed; without it, all are looked at, as after a start.
    """
    with database.read() as session:
        left_behind = _left_behind(session, document_id)
    for owner_id, sha256, version_id in left_behind:
        _split_off(database, files, ledger, master_key, owner_id, sha256, version_id)
    return len(left_behind)


def _left_behind(session: Session, document_id: str | None) -> list[tuple[str, str, str]]:
    """Return (document, bytes, newest version with them) where a place has other bytes than the newest."""
    later = aliased(DocumentVersion)
    has_later = (
        select(later.id)
        .where(later.document_id == DocumentVersion.document_id, later.number > DocumentVersion.number)
        .exists()
    )
    wanted = (
        select(DocumentPlace.document_id, DocumentPlace.sha256, func.max(DocumentVersion.id))
        .join(Document, Document.id == DocumentPlace.document_id)
        .join(
            DocumentVersion,
            and_(
                DocumentVersion.document_id == DocumentPlace.document_id,
                DocumentVersion.sha256 == DocumentPlace.sha256,
            ),
        )
        .where(Document.deleted_at.is_(None), DocumentPlace.name != Document.name, has_later)
        .group_by(DocumentPlace.document_id, DocumentPlace.sha256)
    )
    if document_id is not None:
        wanted = wanted.where(DocumentPlace.document_id == document_id)
    return [
        (found, sha256, version_id)
        for found, sha256, version_id in session.execute(wanted)
        if documents.latest_version(session, found).sha256 != sha256
    ]


def _split_off(
    database: Database,
    files: FileStore,
    ledger: Ledger,
    master_key: MasterKey,
    document_id: str,
    sha256: str,
    version_id: str,
) -> None:
    with database.read() as session:
        old = session.get_one(DocumentVersion, version_id)
    old_key, old_size = documents.version_key(master_key, old), old.size
    copy_id = new_id()
    key, wrapped = documents.new_version_key(master_key, copy_id)
    size, copied = files.write(copy_id, key, files.read(version_id, old_key), old_size)
    try:
        with database.write() as session:
            document = session.get(Document, document_id)
            moving = _moving(session, document_id, sha256)
            if document is None or document.deleted_at is not None or not moving:
                files.delete(copy_id)
                return
            made = _sibling(session, document, moving[0].name)
            for place in moving:
                places.forget(session, document_id, source=place.source, name=place.name)
                places.remember(session, made, source=place.source, name=place.name, sha256=sha256)
            stored = Stored(copy_id, copied, size, wrapped)
            corr = new_id()
            enqueue(session, made, stored, corr=corr, queue=jobs.BULK)
            what = Resource("file", made.id, copy_id)
            event = Event(EventType.FILE_UPLOADED, Stage.SINGLE, corr, SYSTEM, res=what, outcome="ok")
            ledger.record_in(session, event)
    except BaseException:
        files.delete(copy_id)
        raise


def _moving(session: Session, document_id: str, sha256: str) -> list[DocumentPlace]:
    """Return the places that still wait to leave, oldest first, held until the transaction ends."""
    document = session.get(Document, document_id, with_for_update=True)
    waiting = places.places_of(session, [document_id]).get(document_id, [])
    return [
        place
        for place in waiting
        if document is not None and place.sha256 == sha256 and place.name != document.name
    ]


def _sibling(session: Session, document: Document, name: str) -> Document:
    """Make a document beside another one, with the same owner, collection and access lists."""
    documents.hold_names(session, document.owner)
    made = documents.create_document(session, owner=document.owner, name=name)
    made.collection_id, made.inherits = document.collection_id, document.inherits
    made.clearance, made.compartments = document.clearance, list(document.compartments)
    session.execute(delete(DocumentGrant).where(DocumentGrant.document_id == made.id))
    lines = select(DocumentGrant).where(DocumentGrant.document_id == document.id)
    session.add_all(
        DocumentGrant(document_id=made.id, principal=line.principal, effect=line.effect)
        for line in session.scalars(lines)
    )
    session.flush()
    documents.settle_name(session, made)
    raise_epoch(session)
    return made
