"""Collections: documents with a common access list. Every read takes an AccessScope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from infra.access import AccessScope, DocumentAccess, Principal, Role, may_read
from infra.clock import new_id, now_ms
from infra.database.tables import Collection, CollectionGrant, Document
from infra.documents import list_documents
from infra.epoch import raise_epoch
from infra.errors import InvalidInput, NotFound
from infra.sharing import take_out

NO_SUCH_COLLECTION: Final = "There is no such collection."
MAX_NAME_CHARS: Final = 200


def create_collection(session: Session, *, owner: str, name: str) -> Collection:
    """Add a collection that its owner alone may read."""
    collection = Collection(
        id=new_id(), owner=owner, name=checked_name(name), clearance=0, compartments=[], created_at=now_ms()
    )
    session.add(collection)
    session.flush()
    session.add(CollectionGrant(collection_id=collection.id, principal=owner, effect="allow"))
    session.flush()
    return collection


def checked_name(name: str) -> str:
    """Return a collection's name without outer spaces; raises InvalidInput for an unusable one."""
    stripped = name.strip()
    if not 0 < len(stripped) <= MAX_NAME_CHARS or not stripped.isprintable():
        raise InvalidInput(f"A name has 1 to {MAX_NAME_CHARS} printable characters.", param="name")
    return stripped


def list_collections(session: Session, scope: AccessScope) -> list[Collection]:
    """List the collections that `scope` may read, newest first."""
    found = session.scalars(
        select(Collection).where(_let_in(scope)).order_by(Collection.created_at.desc())
    ).all()
    access = collection_access(session, found)
    return [collection for collection in found if may_read(scope, access[collection.id])]


def get_collection(session: Session, scope: AccessScope, collection_id: str) -> Collection:
    """Return one collection, or raise NotFound when it is absent or not theirs to read."""
    found = session.scalars(select(Collection).where(Collection.id == collection_id, _let_in(scope))).all()
    # Looked up also for nothing, so that time does not tell what is hidden from what is not there.
    access = collection_access(session, found)
    if not found or not may_read(scope, access[collection_id]):
        raise NotFound(NO_SUCH_COLLECTION)
    return found[0]


def _let_in(scope: AccessScope) -> ColumnElement[bool]:
    """Return the SQL condition that a collection allows `scope` in; all else is left to `may_read`."""
    allowed = select(CollectionGrant.collection_id).where(
        CollectionGrant.effect == "allow", CollectionGrant.principal.in_(scope.principals)
    )
    return Collection.id.in_(allowed)


def get_own_collection(
    session: Session, scope: AccessScope, collection_id: str, principal_id: str
) -> Collection:
    """Return a collection that this principal owns; otherwise raise NotFound."""
    collection = get_collection(session, scope, collection_id)
    if collection.owner != principal_id:
        raise NotFound(NO_SUCH_COLLECTION)
    return collection


def get_collection_to_fill(
    session: Session, scope: AccessScope, collection_id: str, principal: Principal
) -> Collection:
    """Return a collection that this principal may put documents into: its owner, or a curator in it."""
    collection = get_collection(session, scope, collection_id)
    if collection.owner != principal.principal_id and Role.CURATOR not in principal.roles:
        raise NotFound(NO_SUCH_COLLECTION)
    return collection


def documents_in(session: Session, scope: AccessScope, collection_id: str) -> list[Document]:
    """List the documents of a collection that `scope` may read, newest first."""
    get_collection(session, scope, collection_id)
    return list_documents(session, scope, collection_id=collection_id)


def delete_collection(session: Session, collection: Collection) -> list[str]:
    """Remove a collection; its documents become their owners' alone. Returns their ids."""
    inside = session.scalars(select(Document).where(Document.collection_id == collection.id)).all()
    for document in inside:
        take_out(session, document)
    session.flush()
    session.delete(collection)
    raise_epoch(session)
    return [document.id for document in inside]


def collection_access(session: Session, found: Iterable[Collection]) -> dict[str, DocumentAccess]:
    """Return who may read each collection."""
    wanted: Sequence[Collection] = list(found)
    lines: dict[str, dict[str, set[str]]] = {
        collection.id: {"allow": set(), "deny": set()} for collection in wanted
    }
    for line in session.scalars(select(CollectionGrant).where(CollectionGrant.collection_id.in_(lines))):
        lines[line.collection_id][line.effect].add(line.principal)
    return {
        collection.id: DocumentAccess(
            allow=frozenset(lines[collection.id]["allow"]),
            deny=frozenset(lines[collection.id]["deny"]),
            clearance=collection.clearance,
            compartments=frozenset(collection.compartments),
        )
        for collection in wanted
    }
