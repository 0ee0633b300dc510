"""What the file endpoints do: store, version, share and remove, each with its record in one transaction."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import anyio
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import accounts, documents, places, sharing
from infra.access import POLICY, AccessScope, DocumentAccess, may_read, scope_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Authz, Event, Resource
from infra.clock import new_id, now_ms
from infra.collections import get_collection_to_fill
from infra.database.batches import in_batches
from infra.database.tables import Collection, Document, DocumentGrant, DocumentPlace, DocumentVersion, Job
from infra.epoch import raise_epoch
from infra.errors import Conflict, InvalidInput, NotAuthenticated, TooLarge
from infra.resemblance import similar_to
from infra.sharing import Effect, Restriction
from ingest import jobs
from ingest.batches import asked_place
from ingest.index import refresh_access, remove_document
from ingest.intake import Arrival, Stored, Taken, What, enqueue, place_of
from ingest.parse.detect import detect
from services.deps import Person
from services.documents.upload import Upload, receive
from services.parts import Parts

if TYPE_CHECKING:
    from infra.vectors.index import Dense

# Parts of these containers decide about the type, so the first bytes are not enough to judge them.
_CONTAINERS = (b"PK", b"\xd0\xcf\x11\xe0")

PROBED: Final = 10
"""Passages that the search for a deleted document asks for; one would tell."""


@dataclass(frozen=True)
class FileView:
    """A document as its reader sees it.

    `shared_with` is for its owner, and for files in no collection; `other_places` is for its owner.
    """

    document: Document
    version: DocumentVersion
    job: Job | None
    collection: Collection | None
    owner_label: str
    is_mine: bool
    shared_with: list[dict[str, str]]
    other_places: list[DocumentPlace]


@dataclass(frozen=True)
class Change:
    """Who changes something, and under which request id it goes on the record."""

    parts: Parts
    person: Person
    corr: str

    @property
    def principal_id(self) -> str:
        """The person's id in access lists."""
        return self.person.principal.principal_id

    @property
    def scope(self) -> AccessScope:
        """What the person may read."""
        return scope_of(self.person.principal)

    @contextmanager
    def of_access(self, *owners: str) -> Iterator[Session]:
        """Yield a write session that nobody else changes access lists, or names of `owners`, beside.

        On PostgreSQL two changes of one list could otherwise each decide by what the other is replacing.
        """
        with self.parts.database.write() as session:
            documents.hold_names(session, self.principal_id, *owners)
            raise_epoch(session)
            yield session

    def record(
        self,
        session: Session,
        event_type: EventType,
        what: Resource,
        *,
        epoch: int,
        content: dict[str, Any] | None = None,
    ) -> None:
        """Record the change in its own transaction; `content` is kept encrypted, and can be erased."""
        actor = self.parts.ledger.actor_for(session, self.person.principal)
        authz = Authz("allow", POLICY, epoch)
        event = Event(event_type, Stage.SINGLE, self.corr, actor, res=what, authz=authz, outcome="ok")
        sealed = json.dumps(content).encode() if content else None
        self.parts.ledger.record_in(session, event, sealed)

    def record_file(
        self, session: Session, event_type: EventType, document: Document, **content: Any
    ) -> None:
        """Record a change of one document. With whom or with what is content, never an identifier."""
        what = Resource("file", document.id, document.version_id)
        self.record(session, event_type, what, epoch=document.acl_epoch, content=content)


# --- upload ---------------------------------------------------------------------------------------


async def upload(
    change: Change, content_type: str, length: int | None, stream: AsyncIterator[bytes]
) -> tuple[str, What]:
    """Store an upload and queue its ingestion; returns the document's id, and what was new about it.

    `ingest.intake` says when it is a new version, a duplicate, or nothing new.
    """
    parts = change.parts
    limit = parts.settings.upload_max_bytes
    # The multipart frame takes some bytes beside the file.
    if length is not None and length > limit + 1024 * 1024:
        raise TooLarge(_too_large(limit))
    version_id = new_id()
    key, wrapped = documents.new_version_key(parts.master_key, version_id)
    writer = await anyio.to_thread.run_sync(lambda: parts.files.open_writer(version_id, key, limit))
    try:
        received = await receive(content_type, stream, writer)
        refuse_at_the_door(received)
        size, sha256 = await anyio.to_thread.run_sync(writer.commit)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writer.abort)
        raise
    stored = Stored(version_id, sha256, size, wrapped)
    return await anyio.to_thread.run_sync(register_stored, change, received, stored)


def refuse_at_the_door(received: Upload) -> None:
    """Say at once what the first bytes already show; the rest is the parser's to find."""
    if not received.head or not received.head.startswith(_CONTAINERS):
        detect(io.BytesIO(received.head), received.filename)


def register_stored(
    change: Change,
    received: Upload,
    stored: Stored,
    settle: Callable[[Session, str], None] = lambda session, document_id: None,
) -> tuple[str, What]:
    """Put stored bytes where they belong; returns the document's id, and what was new about it.

    `settle` is called with that id in the same transaction. The stored file is removed where it is not
    needed, and after a refusal.
    """
    parts = change.parts
    try:
        with parts.database.write() as session:
            change = _by_now(session, change)
            taken = _take_in(session, change, received, stored)
            document_id, lagging = taken.document.id, taken.document.indexed_epoch < taken.document.acl_epoch
            settle(session, document_id)
    except BaseException:
        parts.files.delete(stored.version_id)
        raise
    if not taken.keeps_bytes:
        parts.files.delete(stored.version_id)
    if lagging:
        refresh_access(parts.database, parts.index, [document_id])
    parts.relay.kick()
    return document_id, taken.what


def _take_in(session: Session, change: Change, received: Upload, stored: Stored) -> Taken:
    """Put an upload where it belongs, with its shares, its job and its records."""
    collection = _collection_for(session, change, received)
    place = asked_place(session, change.principal_id, received.fields)
    arrival = Arrival(change.principal_id, received.filename, stored, collection)
    taken = place_of(session, change.scope, arrival)
    document = taken.document
    if taken.what == "new" and collection is not None:
        change.record_file(session, EventType.FILE_MOVED, document, collection=collection.id)
    shares = dict.fromkeys(received.fields.get("share", []))
    sharing.refuse_foreign_groups(change.person.principal, shares)
    for principal in shares:
        if sharing.share(session, document, principal):
            change.record_file(session, EventType.FILE_SHARED, document, principal=principal)
    if taken.keeps_bytes:
        enqueue(session, document, stored, corr=change.corr, queue=place.queue, batch_id=place.batch_id)
    else:
        _retry_if_failed(session, document.id)
    change.record_file(session, EventType.FILE_UPLOADED, document)
    return taken


def _by_now(session: Session, change: Change) -> Change:
    """Return the change as the person's who they are now: an upload may take hours from its first byte on.

    Raises NotAuthenticated when their account is closed, or their key or sign-in has ended.
    """
    # Held first: nobody closes the account between this look and the end of the transaction.
    documents.hold_names(session, change.principal_id)
    principal = accounts.renewed(session, change.person.principal)
    if principal is None:
        raise NotAuthenticated(accounts.SIGNED_OUT)
    return replace(change, person=replace(change.person, principal=principal))


def _collection_for(session: Session, change: Change, received: Upload) -> Collection | None:
    named = [value for value in received.fields.get("collection", []) if value]
    if not named:
        return None
    if len(named) > 1:
        raise InvalidInput("A file stands in one collection at most.", param="collection")
    if received.fields.get("share"):
        raise Conflict(
            "A collection decides who may read its files.",
            hint="Share the collection, or upload without one.",
            param="share",
        )
    # Held against its own removal: nothing may end in a collection that is about to go.
    raise_epoch(session)
    return get_collection_to_fill(session, change.scope, named[0], change.person.principal)


def _retry_if_failed(session: Session, document_id: str) -> None:
    job = jobs.latest_jobs(session, [document_id]).get(document_id)
    if job is not None and job.state in {"failed", "cancelled", "quarantined"}:
        jobs.retry(session, job)


# --- reading --------------------------------------------------------------------------------------


def views(session: Session, person: Person, found: Sequence[Document]) -> list[FileView]:
    """Return documents, which the caller has found within the person's scope, with what surrounds them."""
    ids = [document.id for document in found]
    me = person.principal.principal_id
    versions, latest = documents.latest_versions(session, ids), jobs.latest_jobs(session, ids)
    collections = _collections_of(session, found)
    # Whom a document is shared with is its owner's business.
    grants = _shares(session, [d.id for d in found if d.owner == me and d.collection_id is None])
    readers = {principal for granted in grants.values() for principal in granted} - {me}
    named = {document.owner for document in found} | readers
    labels = sharing.labels_for(session, person.principal, named)
    found_at = places.places_of(session, [document.id for document in found if document.owner == me])
    return [
        FileView(
            document=document,
            version=versions[document.id],
            job=latest.get(document.id),
            collection=collections.get(document.collection_id or ""),
            owner_label=labels[document.owner],
            is_mine=document.owner == me,
            shared_with=[
                {"id": principal, "label": labels[principal]}
                for principal in sorted(grants.get(document.id, []))
                if principal != me
            ],
            other_places=[place for place in found_at.get(document.id, []) if place.name != document.name],
        )
        for document in found
        # One that is being removed at this moment may have lost its versions already.
        if document.id in versions
    ]


def _collections_of(session: Session, found: Sequence[Document]) -> dict[str, Collection]:
    wanted = {document.collection_id for document in found if document.collection_id is not None}
    return {
        collection.id: collection
        for batch in in_batches(wanted)
        for collection in session.scalars(select(Collection).where(Collection.id.in_(batch)))
    }


def _shares(session: Session, document_ids: Sequence[str]) -> dict[str, list[str]]:
    grants: dict[str, list[str]] = {}
    for batch in in_batches(document_ids):
        allowed = select(DocumentGrant).where(
            DocumentGrant.document_id.in_(batch), DocumentGrant.effect == "allow"
        )
        for grant in session.scalars(allowed):
            grants.setdefault(grant.document_id, []).append(grant.principal)
    return grants


# --- changing -------------------------------------------------------------------------------------


def set_share(change: Change, document_id: str, principal: str, *, shared: bool, effect: Effect) -> None:
    """Add or remove one line of one's own document's access list; it bites at the next request.

    Raises Conflict for a denial that would shut its owner out.
    """
    with change.of_access() as session:
        document = documents.get_own_document(session, change.scope, document_id, change.principal_id)
        if shared:
            sharing.refuse_foreign_groups(change.person.principal, [principal])
            sharing.share(session, document, principal, effect=effect)
            sharing.refuse_lockout(session, document, change.person.principal)
        else:
            sharing.unshare(session, document, principal, effect=effect)
        if effect == "deny":
            change.record_file(
                session, EventType.FILE_RESTRICTED, document, principal=principal, denied=shared
            )
        else:
            event = EventType.FILE_SHARED if shared else EventType.FILE_UNSHARED
            change.record_file(session, event, document, principal=principal)
    refresh_access(change.parts.database, change.parts.index, [document_id])


def set_access(change: Change, document_id: str, wanted: Restriction) -> None:
    """Replace the restriction of one's own document as a whole; its owner is always among `only`."""
    if wanted.only is not None:
        wanted = replace(wanted, only=wanted.only | {change.principal_id})
    with change.of_access() as session:
        document = documents.get_own_document(session, change.scope, document_id, change.principal_id)
        named = (wanted.only or frozenset()) | wanted.deny
        # Who has left a group must still be able to keep its lines: dropping a denial would widen access.
        new = named - sharing.principals_on(session, document)
        sharing.refuse_foreign_groups(change.person.principal, new)
        sharing.restrict(session, document, wanted, change.person.principal)
        change.record_file(session, EventType.FILE_RESTRICTED, document, **as_content(wanted))
    refresh_access(change.parts.database, change.parts.index, [document_id])


def as_content(wanted: Restriction) -> dict[str, Any]:
    """Return a restriction as the record keeps it, encrypted."""
    return {
        "only": sorted(wanted.only) if wanted.only is not None else None,
        "deny": sorted(wanted.deny),
        "clearance": wanted.clearance,
        "compartments": sorted(wanted.compartments),
    }


def delete(change: Change, document_id: str) -> dict[str, int]:
    """Remove one's own document from every store; it answers nothing from the first moment on.

    Returns the counts by store, and what a search of this document's passages found before and after.
    """
    parts = change.parts
    with parts.database.write() as session:
        document = documents.get_own_to_delete(session, document_id, change.principal_id)
        document.deleted_at = document.deleted_at or now_ms()
        change.record_file(session, EventType.FILE_DELETED, document)
        name = document.name
    vector = parts.embedder.embed_query(name)
    before = _found_by_search(change, document_id, name, vector)
    removed = remove_document(parts.database, parts.index, parts.files, document_id)
    after = _found_by_search(change, document_id, name, vector)
    if after:
        raise Conflict("Some passages can still be found.", hint="Delete the file again.")
    return {**removed.as_dict(), "found_before": before, "found_after": after}


def _found_by_search(change: Change, document_id: str, text: str, vector: Dense) -> int:
    """Search for anything of one document, as its owner, past the database: what the index itself gives."""
    found = change.parts.index.search(change.scope, vector, text, PROBED, document_ids=[document_id])
    return len(found)


def similar(session: Session, scope: AccessScope, document: Document) -> list[tuple[Document, float]]:
    """Return the documents that say nearly the same and that the person may read, with their similarity."""
    alike = similar_to(session, document)
    access = documents.access_of(session, [other.document_id for other in alike])
    return [
        (session.get_one(Document, other.document_id), other.similarity)
        for other in alike
        if may_read(scope, access.get(other.document_id, DocumentAccess()))
    ]


def record_opened(
    parts: Parts, person: Person, corr: str, kind: str, identifier: str, version_id: str
) -> None:
    """Record that somebody looks at a document's content, before they do."""
    actor = parts.ledger.identify(person.principal)
    what = Resource(kind, identifier, version_id)
    parts.ledger.record(Event(EventType.SOURCE_OPENED, Stage.SINGLE, corr, actor, res=what, outcome="ok"))


def _too_large(limit: int) -> str:
    return f"The file is larger than the limit of {limit // (1024 * 1024)} MiB."
