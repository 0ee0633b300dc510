"""Documents, their access lists and their passages. Every read takes an AccessScope.

SQL narrows by the scope, and `infra.access.may_read` decides on each row: two independent steps, so
that a mistake in one of them alone does not show anybody a document.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection as Sized
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from infra.access import AccessScope, DocumentAccess, may_read
from infra.clock import new_id, now_ms
from infra.database.batches import AT_ONCE, in_batches
from infra.database.tables import (
    Chunk,
    Collection,
    CollectionGrant,
    Document,
    DocumentGrant,
    DocumentVersion,
    HiddenText,
    User,
)
from infra.errors import NotFound
from infra.keys import MasterKey, new_key, seal, unseal

NO_SUCH_FILE = "There is no such file."


@dataclass(frozen=True)
class Passage:
    """A chunk that the scope may read, opened. `lines` are spans of `text` with boxes on pages (points)."""

    id: str
    document_id: str
    version_id: str
    version_number: int
    document_name: str
    media_type: str
    ordinal: int
    sha256: str
    text: str
    title: str
    heading: str
    place: dict[str, Any]
    lines: list[list[float]]
    created_at: int


def readable(scope: AccessScope) -> ColumnElement[bool]:
    """Return the SQL condition for what `scope` may read; compartments are left to `may_read`."""

    def of_document(effect: str) -> ColumnElement[bool]:
        return exists().where(
            DocumentGrant.document_id == Document.id,
            DocumentGrant.effect == effect,
            DocumentGrant.principal.in_(scope.principals),
        )

    def of_collection(effect: str) -> ColumnElement[bool]:
        return exists().where(
            CollectionGrant.collection_id == Document.collection_id,
            CollectionGrant.effect == effect,
            CollectionGrant.principal.in_(scope.principals),
        )

    too_high = exists().where(Collection.id == Document.collection_id, Collection.clearance > scope.clearance)
    return (
        Document.deleted_at.is_(None)
        & (of_document("allow") | (Document.inherits & Document.collection_id.is_not(None)))
        & (of_collection("allow") | Document.collection_id.is_(None))
        & ~of_document("deny")
        & ~of_collection("deny")
        & (Document.clearance <= scope.clearance)
        & ~too_high
    )


def access_of(session: Session, document_ids: Iterable[str]) -> dict[str, DocumentAccess]:
    """Return who may read each document, its collection's rules included; without a grant, nobody."""
    access: dict[str, DocumentAccess] = {}
    # Of nothing as well: a document that is hidden takes the same statements as one that is not there, so
    # that time does not tell them apart.
    for batch in list(in_batches(document_ids)) or [[]]:
        access |= _access(session, session.scalars(select(Document).where(Document.id.in_(batch))).all())
    return access


def _access(session: Session, found: Sequence[Document]) -> dict[str, DocumentAccess]:
    """Return who may read each of these documents, at most AT_ONCE."""
    own = _grants(session, DocumentGrant.document_id, DocumentGrant, [document.id for document in found])
    collections = {document.collection_id for document in found if document.collection_id is not None}
    shared = _grants(session, CollectionGrant.collection_id, CollectionGrant, collections)
    labels = {
        collection.id: collection
        for collection in session.scalars(select(Collection).where(Collection.id.in_(collections)))
    }
    return {
        document.id: _effective(
            document,
            own[document.id],
            labels.get(document.collection_id or ""),
            shared[document.collection_id or ""],
        )
        for document in found
    }


_Lines = dict[str, set[str]]  # effect -> principals


def _effective(
    document: Document, own: _Lines, collection: Collection | None, shared: _Lines
) -> DocumentAccess:
    if collection is None:
        return DocumentAccess(
            allow=frozenset(own["allow"]),
            deny=frozenset(own["deny"]),
            clearance=document.clearance,
            compartments=frozenset(document.compartments),
            epoch=document.acl_epoch,
        )
    return DocumentAccess(
        allow=frozenset(shared["allow"] if document.inherits else own["allow"]),
        within=frozenset(shared["allow"]),
        deny=frozenset(own["deny"] | shared["deny"]),
        clearance=max(document.clearance, collection.clearance),
        compartments=frozenset(document.compartments) | frozenset(collection.compartments),
        epoch=document.acl_epoch,
    )


def _grants(
    session: Session,
    key: InstrumentedAttribute[str],
    table: type[DocumentGrant | CollectionGrant],
    wanted: Iterable[str],
) -> defaultdict[str, _Lines]:
    lines: defaultdict[str, _Lines] = defaultdict(lambda: {"allow": set(), "deny": set()})
    for holder, effect, principal in session.execute(
        select(key, table.effect, table.principal).where(key.in_(list(wanted)))
    ):
        lines[holder][effect].add(principal)
    return lines


def readable_documents(
    session: Session,
    scope: AccessScope,
    *,
    collection_ids: Sized[str] | None = None,
    after: Document | None = None,
) -> Generator[Document, None, None]:
    """Yield what `scope` may read, newest first, however much it is; of some collections, if they are named.

    `after` begins behind that document. Close the iterator when you stop before its end.
    """
    wanted = select(Document).where(readable(scope))
    if collection_ids is not None:
        wanted = wanted.where(Document.collection_id.in_(collection_ids))
    if after is not None:
        newest_first = tuple_(Document.created_at, Document.id)
        wanted = wanted.where(newest_first < (after.created_at, after.id))
    wanted = wanted.order_by(Document.created_at.desc(), Document.id.desc())
    with closing(session.scalars(wanted.execution_options(yield_per=AT_ONCE))) as rows:
        for found in rows.partitions():
            access = _access(session, found)
            yield from (document for document in found if may_read(scope, access[document.id]))


def list_documents(
    session: Session, scope: AccessScope, *, collection_id: str | None = None
) -> list[Document]:
    """List what `scope` may read, newest first; of one collection, if it is named."""
    only = None if collection_id is None else {collection_id}
    return list(readable_documents(session, scope, collection_ids=only))


def page_of_documents(
    session: Session, scope: AccessScope, *, after: str | None, limit: int
) -> tuple[list[Document], bool]:
    """Return at most `limit` readable documents, newest first, behind `after`; and whether more follow.

    Raises NotFound for an `after` that is not there or not theirs: where it stands would tell its age.
    """
    last = get_document(session, scope, after) if after is not None else None
    with closing(readable_documents(session, scope, after=last)) as found:
        page = list(islice(found, limit + 1))
    return page[:limit], len(page) > limit


def get_document(session: Session, scope: AccessScope, document_id: str) -> Document:
    """Return one document, or raise NotFound when it is absent or not theirs."""
    found = session.scalars(select(Document).where(Document.id == document_id, readable(scope))).all()
    # Looked up also for nothing, so that time does not tell what is hidden from what is not there.
    access = _access(session, found)
    if not found or not may_read(scope, access[document_id]):
        raise NotFound(NO_SUCH_FILE)
    return found[0]


def get_own_document(session: Session, scope: AccessScope, document_id: str, principal_id: str) -> Document:
    """Return a document that this principal owns; otherwise raise NotFound."""
    document = get_document(session, scope, document_id)
    if document.owner != principal_id:
        raise NotFound(NO_SUCH_FILE)
    return document


def get_own_to_delete(session: Session, document_id: str, principal_id: str) -> Document:
    """Return a document of this owner, even one whose deletion was interrupted; raises NotFound otherwise."""
    document = session.get(Document, document_id)
    if document is None or document.owner != principal_id:
        raise NotFound(NO_SUCH_FILE)
    return document


def hold_names(session: Session, *owners: str) -> None:
    """Let nobody else give names to documents of these owners until this transaction ends.

    On PostgreSQL two uploads of one new name at the same moment would otherwise make two documents. Hold
    names before any access list changes: whoever takes these locks in another order could wait forever.
    """
    accounts = sorted({owner.partition(":")[2] for owner in owners})
    for batch in in_batches(accounts):
        locked = select(User.id).where(User.id.in_(batch)).order_by(User.id)
        # FOR NO KEY UPDATE: rows that merely refer to the account need not wait.
        session.execute(locked.with_for_update(key_share=True)).all()


def settle_name(session: Session, document: Document) -> None:
    """Number a document's name, as file managers do, where its owner has another one of that name there.

    Hold the owner's names before.
    """
    stem, dot, ending = document.name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (document.name, "")
    others = select(Document.name).where(
        Document.owner == document.owner,
        Document.collection_id == document.collection_id,
        Document.deleted_at.is_(None),
        Document.id != document.id,
        Document.name.startswith(stem, autoescape=True),
    )
    taken, number = set(session.scalars(others)), 1
    while document.name in taken:
        number += 1
        document.name = f"{stem} ({number}){ending}"


def find_own_by_name(
    session: Session, principal_id: str, name: str, *, collection_id: str | None = None
) -> Document | None:
    """Return the owner's live document with this name in a collection, or outside of any."""
    return session.scalar(
        select(Document).where(
            Document.owner == principal_id,
            Document.name == name,
            Document.collection_id == collection_id,
            Document.deleted_at.is_(None),
        )
    )


def create_document(session: Session, *, owner: str, name: str) -> Document:
    """Add a document outside of any collection, that its owner alone may read; hold its name before."""
    document = Document(
        id=new_id(),
        owner=owner,
        name=name,
        compartments=[],
        created_at=now_ms(),
        acl_epoch=0,
        indexed_epoch=0,
    )
    session.add(document)
    session.add(DocumentGrant(document_id=document.id, principal=owner, effect="allow"))
    session.flush()
    return document


def new_version_key(master_key: MasterKey, version_id: str) -> tuple[bytes, bytes]:
    """Return a fresh key for one version and its wrapped form."""
    key = new_key()
    return key, master_key.wrap(key, context=f"version:{version_id}")


def version_key(master_key: MasterKey, version: DocumentVersion) -> bytes:
    """Open the key of one version."""
    return master_key.unwrap(version.wrapped_key, context=f"version:{version.id}")


def add_version(
    session: Session,
    document: Document,
    *,
    version_id: str,
    sha256: str,
    size: int,
    wrapped_key: bytes,
) -> DocumentVersion:
    """Add a version whose file is stored already; it answers nothing until it is indexed."""
    last = session.scalar(
        select(func.max(DocumentVersion.number)).where(DocumentVersion.document_id == document.id)
    )
    version = DocumentVersion(
        id=version_id,
        document_id=document.id,
        number=(last or 0) + 1,
        media_type="application/octet-stream",
        sha256=sha256,
        size=size,
        state="pending",
        wrapped_key=wrapped_key,
        created_at=now_ms(),
    )
    session.add(version)
    session.flush()
    return version


def latest_version(session: Session, document_id: str) -> DocumentVersion:
    """Return the newest version, indexed or not; raises NotFound when there is none."""
    found = session.scalar(
        select(DocumentVersion)
        .where(DocumentVersion.document_id == document_id)
        .order_by(DocumentVersion.number.desc())
        .limit(1)
    )
    if found is None:
        raise NotFound(NO_SUCH_FILE)
    return found


def latest_versions(session: Session, document_ids: Iterable[str]) -> dict[str, DocumentVersion]:
    """Return the newest version of each document, indexed or not."""
    newest: dict[str, DocumentVersion] = {}
    for batch in in_batches(document_ids):
        versions = select(DocumentVersion).where(DocumentVersion.document_id.in_(batch))
        for version in session.scalars(versions.order_by(DocumentVersion.number)):
            newest[version.document_id] = version
    return newest


# --- passages -------------------------------------------------------------------------------------


def seal_passage(key: bytes, chunk_id: str, content: dict[str, Any]) -> bytes:
    """Encrypt one passage's text, heading, place and line boxes under its version's key."""
    return seal(key, json.dumps(content, ensure_ascii=False).encode(), context=f"chunk:{chunk_id}")


def open_passages(
    session: Session,
    scope: AccessScope,
    chunk_ids: Sequence[str],
    master_key: MasterKey,
    *,
    current_only: bool = True,
) -> list[Passage]:
    """Open passages in the given order, leaving out every one that `scope` may not read now.

    This is the re-check after a search: the index is a cache, the database is the truth. With
    `current_only`, passages of replaced versions are left out as well.
    """
    rows = session.execute(
        select(Chunk, Document, DocumentVersion)
        .join(Document, Document.id == Chunk.document_id)
        .join(DocumentVersion, DocumentVersion.id == Chunk.version_id)
        .where(Chunk.id.in_(chunk_ids), readable(scope))
    ).all()
    access = access_of(session, {document.id for _, document, _ in rows})
    keys: dict[str, bytes] = {}
    opened: dict[str, Passage] = {}
    for chunk, document, version in rows:
        # A document that was removed in this very moment has no access list any more: nobody may read it.
        is_theirs = may_read(scope, access.get(document.id, DocumentAccess()))
        if not is_theirs or (current_only and document.version_id != version.id):
            continue
        key = keys.setdefault(version.id, version_key(master_key, version))
        opened[chunk.id] = _open(chunk, document, version, key)
    return [opened[chunk_id] for chunk_id in chunk_ids if chunk_id in opened]


def _open(chunk: Chunk, document: Document, version: DocumentVersion, key: bytes) -> Passage:
    content = json.loads(unseal(key, chunk.sealed, context=f"chunk:{chunk.id}"))
    return Passage(
        id=chunk.id,
        document_id=document.id,
        version_id=version.id,
        version_number=version.number,
        document_name=document.name,
        media_type=version.media_type,
        ordinal=chunk.ordinal,
        sha256=chunk.sha256,
        text=content["text"],
        title=content["title"],
        heading=content["heading"],
        place=content["place"],
        lines=content["lines"],
        created_at=version.created_at,
    )


@dataclass(frozen=True)
class Hidden:
    """A text that a reader of the file would not see; `reason` says why, `place` where it stands."""

    reason: str
    text: str
    place: dict[str, Any]


def keep_hidden(session: Session, version_id: str, key: bytes, texts: Sequence[Hidden]) -> None:
    """Replace what is kept of a version's hidden texts, each sealed under the version's key."""
    session.execute(delete(HiddenText).where(HiddenText.version_id == version_id))
    session.add_all(
        HiddenText(
            version_id=version_id,
            ordinal=ordinal,
            reason=hidden.reason,
            sealed=seal(
                key,
                json.dumps({"text": hidden.text, "place": hidden.place}, ensure_ascii=False).encode(),
                context=f"hidden:{version_id}:{ordinal}",
            ),
        )
        for ordinal, hidden in enumerate(texts)
    )


def open_hidden(session: Session, version: DocumentVersion, master_key: MasterKey) -> list[Hidden]:
    """Open a version's hidden texts in the file's order; the caller has checked who may see them."""
    rows = session.scalars(
        select(HiddenText).where(HiddenText.version_id == version.id).order_by(HiddenText.ordinal)
    ).all()
    key = version_key(master_key, version) if rows else b""
    opened = []
    for row in rows:
        content = json.loads(unseal(key, row.sealed, context=f"hidden:{version.id}:{row.ordinal}"))
        opened.append(Hidden(row.reason, content["text"], content["place"]))
    return opened


def passage_hash(text: str) -> str:
    """Return the SHA-256 of a passage's text, as the ledger records it."""
    return hashlib.sha256(text.encode()).hexdigest()


def count_passages(session: Session, document_id: str) -> int:
    """Count the passages of a document, over all versions."""
    return (
        session.scalar(select(func.count()).select_from(Chunk).where(Chunk.document_id == document_id)) or 0
    )


def remove_passages(session: Session, *, version_id: str) -> int:
    """Remove the passages of one version; returns how many there were."""
    removed = session.execute(delete(Chunk).where(Chunk.version_id == version_id).returning(Chunk.id)).all()
    return len(removed)
