"""`/v1/vector_stores` in the shapes of the OpenAI vector store API, with what we add under `x_…`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Query

from infra import collections
from infra.access import AccessScope
from infra.audit.event_types import EventType
from infra.errors import InvalidInput
from infra.sharing import Effect
from services.collections import service
from services.collections.schemas import CollectionChange, FilePlacement, Label, NewCollection
from services.collections.service import CollectionView, Standing, StoredFile
from services.deps import CurrentPerson, PartsDep, Person, RequestId, Scope
from services.documents.service import Change
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/vector_stores", tags=["collections"], route_class=RecordedRoute)

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=36)]
Order = Literal["asc", "desc"]
_COUNTED: Final[tuple[Standing, ...]] = ("in_progress", "completed", "failed", "cancelled")
_T = TypeVar("_T")


# --- collections ----------------------------------------------------------------------------------


@router.post("", status_code=201)
@writes(EventType.COLLECTION_CREATED)
def create_collection(
    body: NewCollection, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Make a collection that one alone may read, with own files put into it."""
    body.refuse_expiry()
    created = service.create(Change(parts, person, corr), body.name, body.file_ids)
    return _described(parts, person, scope, created)


@router.get("")
@reads(EventType.COLLECTIONS_READ, "collections")
def list_collections(
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    after: Cursor = None,
    before: Cursor = None,
    limit: Limit = 20,
    order: Order = "desc",
) -> dict[str, Any]:
    """List the collections that one may read."""
    with parts.database.read() as session:
        found = collections.list_collections(session, scope)
        page, has_more = _page(found, lambda one: one.id, after, before, limit, order)
        data = [collection_object(view) for view in service.views(session, person, scope, page)]
    return _listed(data, has_more=has_more)


@router.get("/{collection_id}")
@reads(EventType.COLLECTIONS_READ, "collection", of="collection_id")
def get_collection(
    collection_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope
) -> dict[str, Any]:
    """Describe one collection; counts and bytes are of the files that one may read."""
    return _described(parts, person, scope, collection_id)


@router.post("/{collection_id}")
@writes(EventType.COLLECTION_CHANGED)
def change_collection(
    collection_id: str,
    body: CollectionChange,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> dict[str, Any]:
    """Rename one's own collection."""
    body.refuse_expiry()
    service.rename(Change(parts, person, corr), collection_id, body.name)
    return _described(parts, person, scope, collection_id)


@router.delete("/{collection_id}")
@writes(EventType.COLLECTION_DELETED)
def delete_collection(
    collection_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId
) -> dict[str, Any]:
    """Remove one's own collection; its files stay, and become their owners' alone."""
    service.delete(Change(parts, person, corr), collection_id)
    return {"id": collection_id, "object": "vector_store.deleted", "deleted": True}


@router.patch("/{collection_id}/label")
@writes(EventType.COLLECTION_CHANGED)
def label_collection(
    collection_id: str,
    body: Label,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> dict[str, Any]:
    """Set the clearance and compartments that every reader of one's own collection needs."""
    change = Change(parts, person, corr)
    service.label(change, collection_id, clearance=body.clearance, compartments=body.compartments)
    return _described(parts, person, scope, collection_id)


@router.put("/{collection_id}/shares/{principal:path}", status_code=204)
@writes(EventType.COLLECTION_SHARED)
def share_collection(
    collection_id: str,
    principal: str,
    parts: PartsDep,
    person: CurrentPerson,
    corr: RequestId,
    effect: Effect = "allow",
) -> None:
    """Let a person or a group read one's own collection; with `effect=deny`, never let them read it."""
    service.set_share(Change(parts, person, corr), collection_id, principal, shared=True, effect=effect)


@router.delete("/{collection_id}/shares/{principal:path}", status_code=204)
@writes(EventType.COLLECTION_UNSHARED)
def unshare_collection(
    collection_id: str,
    principal: str,
    parts: PartsDep,
    person: CurrentPerson,
    corr: RequestId,
    effect: Effect = "allow",
) -> None:
    """Remove one line of one's own collection's access list."""
    service.set_share(Change(parts, person, corr), collection_id, principal, shared=False, effect=effect)


# --- their files ----------------------------------------------------------------------------------


@router.post("/{collection_id}/files")
@writes(EventType.FILE_MOVED)
def put_file(
    collection_id: str,
    body: FilePlacement,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> dict[str, Any]:
    """Put one's own file into a collection; its readers may read the file from the next request on."""
    service.put_file(Change(parts, person, corr), collection_id, body.file_id)
    return _file(parts, scope, collection_id, body.file_id)


@router.get("/{collection_id}/files")
@reads(EventType.COLLECTIONS_READ, "collection", of="collection_id")
def list_collection_files(
    collection_id: str,
    parts: PartsDep,
    scope: Scope,
    after: Cursor = None,
    before: Cursor = None,
    limit: Limit = 20,
    order: Order = "desc",
    standing: Annotated[Standing | None, Query(alias="filter")] = None,
) -> dict[str, Any]:
    """List the files of a collection that one may read."""
    with parts.database.read() as session:
        collections.get_collection(session, scope, collection_id)
        found = [
            stored
            for stored in service.stored_files(session, scope, {collection_id})
            if standing in {None, stored.standing}
        ]
    page, has_more = _page(found, lambda stored: stored.document.id, after, before, limit, order)
    return _listed([collection_file_object(stored) for stored in page], has_more=has_more)


@router.get("/{collection_id}/files/{file_id}")
@reads(EventType.FILES_READ, "file", of="file_id")
def get_collection_file(collection_id: str, file_id: str, parts: PartsDep, scope: Scope) -> dict[str, Any]:
    """Describe one file of a collection."""
    return _file(parts, scope, collection_id, file_id)


@router.delete("/{collection_id}/files/{file_id}")
@writes(EventType.FILE_MOVED)
def take_file_out(
    collection_id: str, file_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId
) -> dict[str, Any]:
    """Take a file out of a collection: it stays, and its owner alone may read it then."""
    service.take_file_out(Change(parts, person, corr), collection_id, file_id)
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


# --- shapes ---------------------------------------------------------------------------------------


def collection_object(view: CollectionView) -> dict[str, Any]:
    """Return OpenAI's vector store object with our additions."""
    collection, counts = view.collection, {name: view.counts.get(name, 0) for name in _COUNTED}
    return {
        "id": collection.id,
        "object": "vector_store",
        "created_at": collection.created_at // 1000,
        "name": collection.name,
        "usage_bytes": view.size,
        "file_counts": {**counts, "total": sum(counts.values())},
        "status": "in_progress" if counts["in_progress"] else "completed",
        "expires_after": None,
        "expires_at": None,
        # Not kept: when somebody last asked here is nobody else's business.
        "last_active_at": None,
        "metadata": {},
        "x_owner": {"id": collection.owner, "label": view.owner_label, "me": view.is_mine},
        "x_shared_with": view.shared_with,
        "x_denied": view.denied,
        # Whoever reads a collection has what its label asks for.
        "x_clearance": collection.clearance,
        "x_compartments": collection.compartments,
    }


def collection_file_object(stored: StoredFile) -> dict[str, Any]:
    """Return OpenAI's vector store file object with our additions."""
    document, standing = stored.document, stored.standing
    reason = stored.job.reason if stored.job is not None and standing == "failed" else None
    return {
        "id": document.id,
        "object": "vector_store.file",
        "created_at": document.created_at // 1000,
        "vector_store_id": document.collection_id,
        "status": standing,
        "usage_bytes": stored.version.size,
        "last_error": {"code": "invalid_file", "message": reason} if reason else None,
        "attributes": {},
        "chunking_strategy": {"type": "other"},
        "x_filename": document.name,
    }


def _described(parts: Parts, person: Person, scope: AccessScope, collection_id: str) -> dict[str, Any]:
    with parts.database.read() as session:
        collection = collections.get_collection(session, scope, collection_id)
        return collection_object(service.views(session, person, scope, [collection])[0])


def _file(parts: Parts, scope: AccessScope, collection_id: str, file_id: str) -> dict[str, Any]:
    with parts.database.read() as session:
        return collection_file_object(service.stored_file(session, scope, collection_id, file_id))


def _page(
    newest_first: Sequence[_T],
    id_of: Callable[[_T], str],
    after: str | None,
    before: str | None,
    limit: int,
    order: Order,
) -> tuple[Sequence[_T], bool]:
    """Return one page behind `after` or ahead of `before`, and whether more follow in that direction.

    Raises InvalidInput for a cursor that is not in the list, whatever it may be elsewhere.
    """
    found = list(newest_first) if order == "desc" else list(reversed(newest_first))
    places = {id_of(item): place for place, item in enumerate(found)}
    for name, cursor in (("after", after), ("before", before)):
        if cursor is not None and cursor not in places:
            raise InvalidInput("There is nothing with this id in the list.", param=name)
    start = places[after] + 1 if after is not None else 0
    end = places[before] if before is not None else len(found)
    inside = found[start:end]
    # Without `after`, a page ahead of `before` is the nearest one, as when somebody scrolls back.
    backwards = before is not None and after is None
    return inside[-limit:] if backwards else inside[:limit], len(inside) > limit


def _listed(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
