"""Our errors become HTTP here, once, in the OpenAI error envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from infra.audit.group_commit import unavailable
from infra.errors import (
    AuditUnavailable,
    ChecksumMismatch,
    Conflict,
    DatabaseBusy,
    DirectoryUnavailable,
    Expired,
    InvalidInput,
    ModelUnavailable,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    StrongroomError,
    Throttled,
    TooLarge,
    TooSlow,
    UnreadableFile,
    UnsupportedVersion,
    WrongContentType,
)
from infra.files import StorageFull
from infra.logs import get_logger
from infra.vectors import IndexUnavailable
from services import refusals
from services.web.pages import Pages

_log = get_logger()
_STATUS: dict[type[StrongroomError], int] = {
    InvalidInput: 400,
    UnreadableFile: 422,
    NotAuthenticated: 401,
    NotPermitted: 403,
    NotFound: 404,
    TooSlow: 408,
    Conflict: 409,
    Expired: 410,
    UnsupportedVersion: 412,
    TooLarge: 413,
    WrongContentType: 415,
    Throttled: 429,
    # The number that the tus protocol has for it (https://tus.io/protocols/resumable-upload#checksum).
    ChecksumMismatch: 460,
    AuditUnavailable: 503,
    ModelUnavailable: 503,
    IndexUnavailable: 503,
    DatabaseBusy: 503,
    DirectoryUnavailable: 503,
    StorageFull: 507,
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ErrorDetail(BaseModel):
    """What went wrong; `code` is stable, `param` names the offending field, `hint` says what helps."""

    message: str
    type: str
    code: str
    param: str | None
    hint: str | None


class ErrorEnvelope(BaseModel):
    """The OpenAI error envelope, with our hint beside the rest; `envelope` writes it."""

    error: ErrorDetail


DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorEnvelope, "description": "Refused: `code` says why."},
    "5XX": {"model": ErrorEnvelope, "description": "Failed, or a part of the server is not there just now."},
}
"""What the OpenAPI document says of the failures of every operation."""


def envelope(error: StrongroomError) -> dict[str, Any]:
    """Return the OpenAI error envelope, with our hint beside it."""
    status = status_of(error)
    return {
        "error": {
            "message": error.message,
            "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "code": error.code,
            "param": error.param,
            "hint": error.hint,
        }
    }


def status_of(error: StrongroomError) -> int:
    """Return the HTTP status for one of our errors; the nearest class decides."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def _is_browsing(request: Request) -> bool:
    wants_page = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and wants_page and not request.url.path.startswith("/v1/")


def _is_file(request: Request) -> bool:
    """Tell whether an unknown address is one that browsers ask for by themselves, which is no refusal."""
    return request.method in {"GET", "HEAD"} and not request.url.path.startswith("/v1/")


def install(app: FastAPI, pages: Pages) -> None:
    """Answer every failure with the envelope; a browser at an unknown address gets a page.

    What nobody expected is answered by `services.requests`, which knows the request's id.
    """

    refusals.install(app)

    @app.exception_handler(StrongroomError)
    async def _ours(request: Request, error: StrongroomError) -> JSONResponse:
        return await answer(request, error)

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeout)
    async def _database_gone(request: Request, error: SQLAlchemyError) -> JSONResponse:
        # The record is kept in the same database: what cannot be written there cannot be recorded.
        _log.error("database.unavailable", id=request.state.request_id, error=type(error).__name__)
        return await answer(request, unavailable())

    @app.exception_handler(RequestValidationError)
    async def _malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # The first part says where it stood (body, query, path), the others name the field.
        where = ".".join(str(part) for part in first["loc"][1:])
        if first["type"] == "json_invalid":
            return await answer(request, InvalidInput("The request body is not valid JSON."))
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return await answer(request, InvalidInput(message, param=where or None))

    @app.exception_handler(HTTPException)
    async def _plain(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, StrongroomError):
            # FastAPI wraps whatever stops it from reading a body; what stopped it is the better answer.
            return await answer(request, error.__cause__)
        if error.status_code == 404:
            if _is_browsing(request):
                return pages.error(request, status=404, message="There is nothing at this address.")
            missing = NotFound("There is nothing at this address.")
            if _is_file(request):
                return JSONResponse(envelope(missing), 404)
            return await answer(request, missing)
        wrapped = InvalidInput(str(error.detail))
        return await answer(request, wrapped, status=error.status_code, headers=error.headers)


async def answer(
    request: Request,
    error: StrongroomError,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the envelope of a failure; what the client could have avoided is on the record before."""
    if 400 <= (status or status_of(error)) < 500:
        judged = await refusals.put_on_record(request, error)
        if judged is not error:
            error, status, headers = judged, None, None
    return JSONResponse(
        envelope(error), status or status_of(error), headers={**(headers or {}), **_headers_of(error)}
    )


def _headers_of(error: StrongroomError) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Throttled):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, TooSlow):
        # The rest of the body may still come, and is nobody's next request.
        return {"Connection": "close"}
    return {}
