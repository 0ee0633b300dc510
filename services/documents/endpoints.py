"""`/v1/files` in the shapes of the OpenAI files API, with what we add under `x_…`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from infra import documents, sharing
from infra.access import AccessScope, Role
from infra.audit.event_types import EventType
from infra.database.tables import Document
from infra.errors import NotFound, NotPermitted
from infra.sharing import Effect
from services.deps import CurrentPerson, PartsDep, Person, RequestId, Scope
from services.documents import service
from services.documents.schemas import FileAccess
from services.documents.service import Change, FileView
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=RecordedRoute)

_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "default": "assistants"},
                        "share": {"type": "array", "items": {"type": "string"}},
                        "collection": {"type": "string"},
                        "batch": {"type": "string"},
                        "queue": {"type": "string", "enum": ["interactive", "bulk"]},
                    },
                }
            }
        },
    }
}


@router.post("", status_code=201, openapi_extra=_UPLOAD_BODY)
@writes(EventType.FILE_UPLOADED)
async def upload_file(
    request: Request, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Upload one file; its job turns it into passages.

    `share` names principals who may read it, too; or `collection` names the collection that it stands in.
    """
    length = request.headers.get("content-length", "")
    document_id, what = await service.upload(
        Change(parts, person, corr),
        request.headers.get("content-type", ""),
        int(length) if length.isdigit() else None,
        request.stream(),
    )
    return {**_described(parts, person, scope, document_id), "x_upload": what}


@router.get("")
@reads(EventType.FILES_READ, "files")
def list_files(
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    after: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
) -> dict[str, Any]:
    """List the files that one may read, newest first."""
    with parts.database.read() as session:
        found, has_more = documents.page_of_documents(session, scope, after=after, limit=limit)
        data = [file_object(view) for view in service.views(session, person, found)]
    return {"object": "list", "data": data, "has_more": has_more}


@router.get("/{file_id}")
@reads(EventType.FILES_READ, "file", of="file_id")
def get_file(file_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope) -> dict[str, Any]:
    """Describe one file, with those that say nearly the same."""
    described = _described(parts, person, scope, file_id)
    with parts.database.read() as session:
        document = documents.get_document(session, scope, file_id)
        alike = service.similar(session, scope, document)
    described["x_similar"] = [
        {"id": other.id, "filename": other.name, "similarity": round(similarity, 2)}
        for other, similarity in alike
    ]
    return described


@router.delete("/{file_id}")
@writes(EventType.FILE_DELETED)
def delete_file(file_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Delete one's own file from every store; the counts say what was removed."""
    removed = service.delete(Change(parts, person, corr), file_id)
    return {"id": file_id, "object": "file", "deleted": True, "x_removed": removed}


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
@writes(EventType.SOURCE_OPENED)
def get_content(
    file_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> StreamingResponse:
    """Download the original."""
    with parts.database.read() as session:
        document = documents.get_document(session, scope, file_id)
        version = documents.latest_version(session, document.id)
    service.record_opened(parts, person, corr, "file", document.id, version.id)
    stored: Iterator[bytes] = parts.files.read(version.id, documents.version_key(parts.master_key, version))
    # Always a download: a stored HTML file must not run as a page of ours.
    headers = {"Content-Disposition": _attachment(document.name), "Content-Length": str(version.size)}
    return StreamingResponse(stored, media_type="application/octet-stream", headers=headers)


@router.get("/{file_id}/hidden")
@writes(EventType.SOURCE_OPENED)
def get_hidden(
    file_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Show the owner or a curator the texts of a file that its readers do not see, and why they do not."""
    with parts.database.read() as session:
        document = documents.get_document(session, scope, file_id)
        if document.owner != person.principal.principal_id and Role.CURATOR not in person.principal.roles:
            raise NotPermitted("Hidden texts are shown to a file's owner and to curators.")
        version = documents.latest_version(session, document.id)
        hidden = documents.open_hidden(session, version, parts.master_key)
    service.record_opened(parts, person, corr, "hidden", document.id, version.id)
    data = [{"reason": text.reason, "text": text.text, "place": text.place} for text in hidden]
    return {"object": "list", "data": data, "total": version.hidden_texts}


@router.get("/{file_id}/access")
@reads(EventType.ACCESS_READ, "file", of="file_id")
def get_access(file_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope) -> dict[str, Any]:
    """Tell the owner how their file is narrowed: who of its collection's readers, who not, which label."""
    with parts.database.read() as session:
        document = documents.get_own_document(session, scope, file_id, person.principal.principal_id)
        return access_object(session, person, document)


@router.put("/{file_id}/access")
@writes(EventType.FILE_RESTRICTED)
def set_access(
    file_id: str,
    body: FileAccess,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> dict[str, Any]:
    """Replace the whole restriction of one's own file; `only` is null for all readers of its collection."""
    service.set_access(Change(parts, person, corr), file_id, body.restriction())
    return get_access(file_id, parts, person, scope)


@router.put("/{file_id}/shares/{principal:path}", status_code=204)
@writes(EventType.FILE_SHARED, EventType.FILE_RESTRICTED)
def share_file(
    file_id: str,
    principal: str,
    parts: PartsDep,
    person: CurrentPerson,
    corr: RequestId,
    effect: Effect = "allow",
) -> None:
    """Let a person or a group read one's own file; with `effect=deny`, never let them read it."""
    service.set_share(Change(parts, person, corr), file_id, principal, shared=True, effect=effect)


@router.delete("/{file_id}/shares/{principal:path}", status_code=204)
@writes(EventType.FILE_UNSHARED, EventType.FILE_RESTRICTED)
def unshare_file(
    file_id: str,
    principal: str,
    parts: PartsDep,
    person: CurrentPerson,
    corr: RequestId,
    effect: Effect = "allow",
) -> None:
    """Stop sharing one's own file with a person or a group; with `effect=deny`, stop denying it to them."""
    service.set_share(Change(parts, person, corr), file_id, principal, shared=False, effect=effect)


def _described(parts: Parts, person: Person, scope: AccessScope, document_id: str) -> dict[str, Any]:
    with parts.database.read() as session:
        document = documents.get_document(session, scope, document_id)
        found = service.views(session, person, [document])
    if not found:
        raise NotFound(documents.NO_SUCH_FILE)
    return file_object(found[0])


def file_object(view: FileView) -> dict[str, Any]:
    """Return the OpenAI file object with our additions."""
    document, version, job, collection = view.document, view.version, view.job, view.collection
    status = {"ready": "processed", "failed": "error"}.get(version.state, "uploaded")
    return {
        "id": document.id,
        "object": "file",
        "bytes": version.size,
        "created_at": document.created_at // 1000,
        "filename": document.name,
        "purpose": "assistants",
        "status": status,
        "status_details": job.reason if job is not None and status == "error" else None,
        "x_media_type": version.media_type,
        "x_version": version.number,
        "x_pages": version.pages,
        "x_hidden_texts": version.hidden_texts,
        "x_unread": [{"name": name, "reason": reason} for name, reason in version.unread],
        "x_passages": job.passages if job is not None else None,
        "x_owner": {"id": document.owner, "label": view.owner_label, "me": view.is_mine},
        # Whoever reads a document reads its collection as well: that is the rule.
        "x_collection": {"id": collection.id, "name": collection.name} if collection is not None else None,
        "x_clearance": document.clearance if view.is_mine else None,
        "x_compartments": document.compartments if view.is_mine else None,
        "x_shared_with": view.shared_with,
        "x_other_places": [{"source": place.source, "name": place.name} for place in view.other_places],
        "x_job": {"id": job.id, "state": job.state} if job is not None else None,
    }


def access_object(session: Session, person: Person, document: Document) -> dict[str, Any]:
    """Return how a file is narrowed, in words beside the ids; its owner is never shut out, and left out."""
    restriction = sharing.restriction_of(session, document)
    named = (restriction.only or frozenset()) | restriction.deny
    labels = sharing.labels_for(session, person.principal, named)

    def listed(principals: frozenset[str]) -> list[dict[str, str]]:
        return [{"id": id_, "label": labels[id_]} for id_ in sorted(principals - {document.owner})]

    return {
        "object": "file.access",
        "file_id": document.id,
        "only": listed(restriction.only) if restriction.only is not None else None,
        "deny": listed(restriction.deny),
        "clearance": restriction.clearance,
        "compartments": sorted(restriction.compartments),
    }


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
