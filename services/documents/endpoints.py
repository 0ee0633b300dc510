"""`/v1/files` in the shapes of the OpenAI files API, with what we add under `x_…`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from infra import documents
from infra.access import AccessScope
from services.deps import CurrentPerson, PartsDep, Person, RequestId, Scope
from services.documents import service
from services.documents.service import FileView
from services.parts import Parts

router = APIRouter(prefix="/v1/files", tags=["files"])

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
                    },
                }
            }
        },
    }
}


@router.post("", status_code=201, openapi_extra=_UPLOAD_BODY)
async def upload_file(
    request: Request, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Upload one file; its job turns it into passages. `share` names principals who may read it, too."""
    length = request.headers.get("content-length", "")
    document_id = await service.upload(
        parts,
        person,
        corr,
        request.headers.get("content-type", ""),
        int(length) if length.isdigit() else None,
        request.stream(),
    )
    return _described(parts, person, scope, document_id)


@router.get("")
def list_files(
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    after: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
) -> dict[str, Any]:
    """List the files that one may read, newest first."""
    with parts.database.read() as session:
        found, has_more = service.page_of(session, scope, after=after, limit=limit)
        data = [file_object(view) for view in service.views(session, person, found)]
    return {"object": "list", "data": data, "has_more": has_more}


@router.get("/{file_id}")
def get_file(file_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope) -> dict[str, Any]:
    """Describe one file."""
    return _described(parts, person, scope, file_id)


@router.delete("/{file_id}")
def delete_file(file_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Delete one's own file from every store; the counts say what was removed."""
    removed = service.delete(parts, person, corr, file_id)
    return {"id": file_id, "object": "file", "deleted": True, "x_removed": removed.as_dict()}


@router.get("/{file_id}/content")
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


@router.put("/{file_id}/shares/{principal}", status_code=204)
def share_file(
    file_id: str, principal: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> None:
    """Let a person or a group read one's own file."""
    service.set_share(parts, person, scope, corr, file_id, principal, shared=True)


@router.delete("/{file_id}/shares/{principal}", status_code=204)
def unshare_file(
    file_id: str, principal: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> None:
    """Stop sharing one's own file with a person or a group."""
    service.set_share(parts, person, scope, corr, file_id, principal, shared=False)


def _described(parts: Parts, person: Person, scope: AccessScope, document_id: str) -> dict[str, Any]:
    with parts.database.read() as session:
        document = documents.get_document(session, scope, document_id)
        return file_object(service.views(session, person, [document])[0])


def file_object(view: FileView) -> dict[str, Any]:
    """Return the OpenAI file object with our additions."""
    document, version, job = view.document, view.version, view.job
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
        "x_passages": job.passages if job is not None else None,
        "x_owner": {"id": document.owner, "label": view.owner_label, "me": view.is_mine},
        "x_shared_with": view.shared_with,
        "x_job": {"id": job.id, "state": job.state} if job is not None else None,
    }


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
