"""What the file endpoints do: store, version, share and remove, each with its record in one transaction."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import documents, sharing
from infra.access import POLICY, AccessScope
from infra.audit.leaf import Authz, Event, EventType, Resource, Stage
from infra.clock import new_id, now_ms
from infra.database.tables import Document, DocumentGrant, DocumentVersion, Job
from infra.errors import TooLarge
from ingest import jobs
from ingest.index import Removed, refresh_access, remove_document
from ingest.parse.detect import detect
from services.deps import Person
from services.documents.upload import Upload, receive
from services.parts import Parts

# Parts of these containers decide about the type, so the first bytes are not enough to judge them.
_CONTAINERS = (b"PK", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True)
class FileView:
    """A document as its reader sees it."""

    document: Document
    version: DocumentVersion
    job: Job | None
    owner_label: str
    is_mine: bool
    shared_with: list[dict[str, str]]


# --- upload ---------------------------------------------------------------------------------------


async def upload(
    parts: Parts,
    person: Person,
    corr: str,
    content_type: str,
    length: int | None,
    stream: AsyncIterator[bytes],
) -> str:
    """Store an upload and queue its ingestion; returns the document's id.

    The same bytes under the same name are the same version, and nothing is done again; other bytes under
    a name the person already has become its next version.
    """
    limit = parts.settings.upload_max_bytes
    # The multipart frame takes some bytes beside the file.
    if length is not None and length > limit + 1024 * 1024:
        raise TooLarge(_too_large(limit))
    version_id = new_id()
    key, wrapped = documents.new_version_key(parts.master_key, version_id)
    writer = await anyio.to_thread.run_sync(lambda: parts.files.open_writer(version_id, key, limit))
    try:
        received = await receive(content_type, stream, writer)
        _refuse_at_the_door(received)
        size, sha256 = await anyio.to_thread.run_sync(writer.commit)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writer.abort)
        raise
    return await anyio.to_thread.run_sync(
        _register, parts, person, corr, received, version_id, size, sha256, wrapped
    )


def _refuse_at_the_door(received: Upload) -> None:
    """Say at once what the first bytes already show; the rest is the parser's to find."""
    if not received.head or not received.head.startswith(_CONTAINERS):
        detect(io.BytesIO(received.head), received.filename)


def _register(
    parts: Parts,
    person: Person,
    corr: str,
    received: Upload,
    version_id: str,
    size: int,
    sha256: str,
    wrapped: bytes,
) -> str:
    owner = person.principal.principal_id
    try:
        with parts.database.write() as session:
            document, is_new_content = _document_for(session, owner, received.filename, sha256)
            for principal in dict.fromkeys(received.fields.get("share", [])):
                if sharing.share(session, document, principal):
                    _record(
                        session, parts, person, corr, EventType.FILE_SHARED, document, with_whom=principal
                    )
            if is_new_content:
                version = documents.add_version(
                    session, document, version_id=version_id, sha256=sha256, size=size, wrapped_key=wrapped
                )
                jobs.submit(session, document_id=document.id, version_id=version.id, corr=corr)
            else:
                _retry_if_failed(session, document.id)
            _record(session, parts, person, corr, EventType.FILE_UPLOADED, document)
            document_id, lagging = document.id, document.indexed_epoch < document.acl_epoch
    except BaseException:
        parts.files.delete(version_id)
        raise
    if not is_new_content:
        parts.files.delete(version_id)
    if lagging:
        refresh_access(parts.database, parts.index, [document_id])
    parts.relay.kick()
    return document_id


def _document_for(session: Session, owner: str, name: str, sha256: str) -> tuple[Document, bool]:
    document = documents.find_own_by_name(session, owner, name)
    if document is None:
        return documents.create_document(session, owner=owner, name=name), True
    return document, documents.latest_version(session, document.id).sha256 != sha256


def _retry_if_failed(session: Session, document_id: str) -> None:
    job = jobs.latest_jobs(session, [document_id]).get(document_id)
    if job is not None and job.state in {"failed", "cancelled", "quarantined"}:
        jobs.retry(session, job)


# --- reading --------------------------------------------------------------------------------------


def page_of(
    session: Session, scope: AccessScope, *, after: str | None, limit: int
) -> tuple[list[Document], bool]:
    """Return readable documents, newest first, behind the one called `after`; and whether more follow."""
    found = documents.list_documents(session, scope)
    start = next((n + 1 for n, document in enumerate(found) if document.id == after), 0)
    return found[start : start + limit], start + limit < len(found)


def views(session: Session, person: Person, found: Sequence[Document]) -> list[FileView]:
    """Return documents, which the caller has found within the person's scope, with what surrounds them."""
    ids = [document.id for document in found]
    latest = jobs.latest_jobs(session, ids)
    grants: dict[str, list[str]] = {}
    for grant in session.scalars(
        select(DocumentGrant).where(DocumentGrant.document_id.in_(ids), DocumentGrant.effect == "allow")
    ):
        grants.setdefault(grant.document_id, []).append(grant.principal)
    labels = sharing.labels_of(
        session, {document.owner for document in found} | {p for granted in grants.values() for p in granted}
    )
    me = person.principal.principal_id
    return [
        FileView(
            document=document,
            version=documents.latest_version(session, document.id),
            job=latest.get(document.id),
            owner_label=labels[document.owner],
            is_mine=document.owner == me,
            # Whom a document is shared with is its owner's business.
            shared_with=[
                {"id": principal, "label": labels[principal]}
                for principal in sorted(grants.get(document.id, []))
                if document.owner == me and principal != me
            ],
        )
        for document in found
    ]


# --- changing -------------------------------------------------------------------------------------


def set_share(
    parts: Parts,
    person: Person,
    scope: AccessScope,
    corr: str,
    document_id: str,
    principal: str,
    *,
    shared: bool,
) -> None:
    """Share one's own document with a principal, or stop doing so; it bites at the next request."""
    with parts.database.write() as session:
        document = documents.get_own_document(session, scope, document_id, person.principal.principal_id)
        if shared:
            sharing.share(session, document, principal)
        else:
            sharing.unshare(session, document, principal)
        event = EventType.FILE_SHARED if shared else EventType.FILE_UNSHARED
        _record(session, parts, person, corr, event, document, with_whom=principal)
    refresh_access(parts.database, parts.index, [document_id])


def delete(parts: Parts, person: Person, corr: str, document_id: str) -> Removed:
    """Remove one's own document from every store; it answers nothing from the first moment on."""
    with parts.database.write() as session:
        document = documents.get_own_to_delete(session, document_id, person.principal.principal_id)
        document.deleted_at = document.deleted_at or now_ms()
        _record(session, parts, person, corr, EventType.FILE_DELETED, document)
    return remove_document(parts.database, parts.index, parts.files, document_id)


def record_opened(
    parts: Parts, person: Person, corr: str, kind: str, identifier: str, version_id: str
) -> None:
    """Record that somebody looks at a document's content, before they do."""
    actor = parts.ledger.identify(person.principal)
    what = Resource(kind, identifier, version_id)
    parts.ledger.record(Event(EventType.SOURCE_OPENED, Stage.SINGLE, corr, actor, res=what, outcome="ok"))


def _record(
    session: Session,
    parts: Parts,
    person: Person,
    corr: str,
    event_type: EventType,
    document: Document,
    *,
    with_whom: str | None = None,
) -> None:
    actor = parts.ledger.actor_for(session, person.principal)
    what = Resource("file", document.id, document.version_id)
    authz = Authz("allow", POLICY, document.acl_epoch)
    event = Event(event_type, Stage.SINGLE, corr, actor, res=what, authz=authz, outcome="ok")
    # With whom is content, not an identifier of the log: it is encrypted, and can be erased.
    content = json.dumps({"principal": with_whom}).encode() if with_whom else None
    parts.ledger.record_in(session, event, content)


def _too_large(limit: int) -> str:
    return f"The file is larger than the limit of {limit // (1024 * 1024)} MiB."
