"""Documents, their access lists and their passages. Every read takes an AccessScope.

SQL narrows by the scope, and `infra.access.may_read` decides on each row: two independent steps, so
that a mistake in one of them alone does not show anybody a document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from infra.access import AccessScope, DocumentAccess, may_read
from infra.clock import new_id, now_ms
from infra.database.tables import Chunk, Document, DocumentGrant, DocumentVersion, Group, User
from infra.errors import InvalidInput, NotFound
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

    def granted(effect: str) -> ColumnElement[bool]:
        return exists().where(
            DocumentGrant.document_id == Document.id,
            DocumentGrant.effect == effect,
            DocumentGrant.principal.in_(scope.principals),
        )

    return (
        Document.deleted_at.is_(None)
        & granted("allow")
        & ~granted("deny")
        & (Document.clearance <= scope.clearance)
    )


def access_of(session: Session, document_ids: Iterable[str]) -> dict[str, DocumentAccess]:
    """Return the access lists of documents; one without any grant allows nobody."""
    wanted = list(document_ids)
    allow: dict[str, set[str]] = {}
    deny: dict[str, set[str]] = {}
    for grant in session.scalars(select(DocumentGrant).where(DocumentGrant.document_id.in_(wanted))):
        {"allow": allow, "deny": deny}[grant.effect].setdefault(grant.document_id, set()).add(grant.principal)
    return {
        document.id: DocumentAccess(
            allow=frozenset(allow.get(document.id, ())),
            deny=frozenset(deny.get(document.id, ())),
            clearance=document.clearance,
            compartments=frozenset(document.compartments),
            epoch=document.acl_epoch,
        )
        for document in session.scalars(select(Document).where(Document.id.in_(wanted)))
    }


def list_documents(session: Session, scope: AccessScope) -> list[Document]:
    """List what `scope` may read, newest first."""
    found = session.scalars(
        select(Document).where(readable(scope)).order_by(Document.created_at.desc())
    ).all()
    access = access_of(session, [document.id for document in found])
    return [document for document in found if may_read(scope, access[document.id])]


def get_document(session: Session, scope: AccessScope, document_id: str) -> Document:
    """Return one document, or raise NotFound when it is absent or not theirs."""
    document = session.scalar(select(Document).where(Document.id == document_id, readable(scope)))
    if document is None or not may_read(scope, access_of(session, [document_id])[document_id]):
        raise NotFound(NO_SUCH_FILE)
    return document


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


def find_own_by_name(session: Session, principal_id: str, name: str) -> Document | None:
    """Return the owner's live document with this name, if there is one."""
    return session.scalar(
        select(Document).where(
            Document.owner == principal_id, Document.name == name, Document.deleted_at.is_(None)
        )
    )


def create_document(session: Session, *, owner: str, name: str) -> Document:
    """Add a document that its owner alone may read."""
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


# --- sharing --------------------------------------------------------------------------------------


def share(session: Session, document: Document, principal: str, *, effect: str = "allow") -> bool:
    """Add one line to the access list; returns whether anything changed. The principal must exist."""
    if not principal_exists(session, principal):
        raise InvalidInput("There is no such person or group.", param="principal")
    if session.get(DocumentGrant, (document.id, principal, effect)) is not None:
        return False
    session.add(DocumentGrant(document_id=document.id, principal=principal, effect=effect))
    document.acl_epoch += 1
    return True


def unshare(session: Session, document: Document, principal: str, *, effect: str = "allow") -> None:
    """Remove one line from the access list; the owner's own line stays. Raises NotFound when absent."""
    if principal == document.owner:
        raise InvalidInput("The owner keeps access to their own file.", hint="Delete the file instead.")
    row = session.get(DocumentGrant, (document.id, principal, effect))
    if row is None:
        raise NotFound("It is not shared with that person or group.")
    session.delete(row)
    document.acl_epoch += 1


def principal_exists(session: Session, principal: str) -> bool:
    """Say whether a principal id names a person, a service, a group, or everyone."""
    from infra.access import EVERYONE

    kind, _, rest = principal.partition(":")
    if principal == EVERYONE:
        return True
    if kind == "group":
        return session.get(Group, principal) is not None
    user = session.get(User, rest)
    return user is not None and user.kind == kind


def labels_of(session: Session, principals: Iterable[str]) -> dict[str, str]:
    """Return what people call each principal."""
    from infra.access import EVERYONE

    wanted = set(principals)
    people = {principal.partition(":")[2] for principal in wanted}
    labels = {
        f"{user.kind}:{user.id}": user.name
        for user in session.scalars(select(User).where(User.id.in_(people)))
    }
    labels |= {group.id: group.name for group in session.scalars(select(Group).where(Group.id.in_(wanted)))}
    labels[EVERYONE] = "Everyone"
    return {principal: labels.get(principal, "somebody who left") for principal in wanted}


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
        if not may_read(scope, access[document.id]) or (current_only and document.version_id != version.id):
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
