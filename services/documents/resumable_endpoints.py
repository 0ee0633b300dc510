"""`/v1/uploads`: uploads that survive a broken connection (tus 1.0.0).

https://tus.io/protocols/resumable-upload, with the extensions creation, expiration, termination and
checksum; any tus client works.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response

from infra.audit.event_types import EventType
from infra.database.tables import PartialUpload
from infra.errors import UnsupportedVersion, WrongContentType
from services.deps import CurrentPerson, PartsDep, RequestId
from services.documents import resumable
from services.documents.resumable import CHECKSUMS
from services.documents.service import Change
from services.on_record import RecordedRoute, reads, writes

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,expiration,termination,checksum"
PART_TYPE: Final = "application/offset+octet-stream"
router = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=RecordedRoute)

_PART_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {PART_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def _check_version(_person: CurrentPerson, tus_resumable: Annotated[str | None, Header()] = None) -> None:
    # Who nobody knows is told that before anything else.
    if tus_resumable != VERSION:
        raise UnsupportedVersion(
            f"This server speaks tus {VERSION}.",
            hint=f"Send Tus-Resumable: {VERSION}.",
            param="Tus-Resumable",
        )


_Spoken: Final = Depends(_check_version)


@router.options("", status_code=204, include_in_schema=False)
def describe(parts: PartsDep) -> Response:
    """Say which parts of the protocol are understood."""
    headers = {
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(parts.settings.upload_max_bytes),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }
    return Response(status_code=204, headers=headers)


@router.post("", status_code=201, dependencies=[_Spoken])
@writes(EventType.UPLOAD_BEGUN)
def begin_upload(
    parts: PartsDep,
    person: CurrentPerson,
    corr: RequestId,
    response: Response,
    upload_length: Annotated[int, Header(ge=1)],
    upload_metadata: Annotated[str, Header()],
) -> dict[str, Any]:
    """Begin an upload; its metadata are the fields of `POST /v1/files`, with `filename`.

    The answer's `Location` takes the parts.
    """
    upload = resumable.begin(Change(parts, person, corr), upload_length, upload_metadata)
    response.headers.update(_state(upload) | {"Location": f"/v1/uploads/{upload.id}"})
    return {"id": upload.id, "object": "upload", "bytes": upload.length, "expires_at": upload.expires_at}


@router.head("/{upload_id}", dependencies=[_Spoken], response_class=Response)
@reads(EventType.FILES_READ, "upload", of="upload_id")
def get_upload(upload_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> Response:
    """Say how many bytes have arrived; `X-File-Id` names the file that it became."""
    upload, metadata = resumable.look(Change(parts, person, corr), upload_id)
    headers = _state(upload) | {
        "Upload-Length": str(upload.length),
        "Upload-Metadata": metadata,
        "Cache-Control": "no-store",
    }
    if upload.document_id is not None:
        headers["X-File-Id"] = upload.document_id
    return Response(headers=headers)


@router.patch(
    "/{upload_id}",
    status_code=204,
    dependencies=[_Spoken],
    response_class=Response,
    openapi_extra=_PART_BODY,
)
@writes(EventType.UPLOAD_CONTINUED, EventType.FILE_UPLOADED)
async def continue_upload(
    upload_id: str,
    request: Request,
    parts: PartsDep,
    person: CurrentPerson,
    corr: RequestId,
    upload_offset: Annotated[int, Header(ge=0)],
    upload_checksum: Annotated[str | None, Header()] = None,
) -> Response:
    """Send the next bytes. With the last ones the upload becomes a file: `X-File-Id`, and `X-Upload` as
    `x_upload` of `POST /v1/files`.
    """
    if request.headers.get("content-type", "") != PART_TYPE:
        raise WrongContentType(f"Parts come as {PART_TYPE}.", param="Content-Type")
    length = request.headers.get("content-length", "")
    arrived = await resumable.receive_part(
        Change(parts, person, corr),
        upload_id,
        offset=upload_offset,
        length=int(length) if length.isdigit() else None,
        checksum=resumable.checksum_of(upload_checksum),
        stream=request.stream(),
    )
    headers = {"Upload-Offset": str(arrived.received)}
    if arrived.document_id is not None and arrived.what is not None:
        headers |= {"X-File-Id": arrived.document_id, "X-Upload": arrived.what}
    return Response(status_code=204, headers=headers)


@router.delete("/{upload_id}", status_code=204, dependencies=[_Spoken])
@writes(EventType.UPLOAD_DROPPED)
def drop_upload(upload_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> None:
    """Give an upload up; what had arrived is removed. A file that it has become stays."""
    resumable.drop(Change(parts, person, corr), upload_id)


def _state(upload: PartialUpload) -> dict[str, str]:
    return {
        "Upload-Offset": str(upload.received),
        "Upload-Expires": formatdate(upload.expires_at / 1000, usegmt=True),
    }
