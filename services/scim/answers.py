"""How the SCIM endpoints answer: in SCIM's media type, refusals in its error shape (RFC 7644, 3.12)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from scim2_models import Error, SCIMException
from starlette.exceptions import HTTPException

from infra.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, StrongroomError, Throttled
from services.errors import status_of
from services.on_record import RecordedRoute
from services.refusals import put_on_record

MEDIA_TYPE: Final = "application/scim+json"
PREFIX: Final = "/scim/"
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": "Refused or failed, as a SCIM error (RFC 7644, section 3.12).",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["schemas", "status"],
                    "properties": {
                        "schemas": {"const": ["urn:ietf:params:scim:api:messages:2.0:Error"]},
                        "status": {"type": "string"},
                        "scimType": {"type": "string"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
    for status in ("4XX", "5XX")
}
"""What the OpenAPI document says of the failures of every operation here."""
_Refusal: TypeAlias = StrongroomError | SCIMException | RequestValidationError | HTTPException
_SCIM_TYPES: Final[dict[type[StrongroomError], str]] = {
    InvalidInput: "invalidValue",
    Conflict: "uniqueness",
}


class ScimResponse(JSONResponse):
    """JSON under SCIM's own media type (RFC 7644, section 8.1)."""

    media_type = MEDIA_TYPE


class ScimRoute(RecordedRoute):
    """A route whose refusals, whoever raised them, reach the directory in the shape that it understands."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with its refusals translated."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (StrongroomError, SCIMException, RequestValidationError, HTTPException) as error:
                return await refuse(request, error)

        return answer


async def refuse(request: Request, error: _Refusal) -> Response:
    """Answer a request that is refused because of `error`; it is on the record before."""
    found = _error_of(error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if 400 <= (found.status or 400) < 500:
        ours = _ours(error, found)
        judged = await put_on_record(request, ours)
        if judged is not ours:
            found, headers = _error_of(judged), {}
        headers |= _headers_of(judged)
    return ScimResponse(found.model_dump(), found.status or 400, headers)


def _ours(error: _Refusal, found: Error) -> StrongroomError:
    """Return a refusal as one of our own errors, which the record names by their codes."""
    for known in (error, error.__cause__):
        if isinstance(known, StrongroomError):
            return known
    kind = {404: NotFound, 409: Conflict}.get(found.status or 400, InvalidInput)
    return kind(found.detail or "")


def _headers_of(error: StrongroomError) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, Throttled) else {}


def _error_of(error: _Refusal) -> Error:
    if isinstance(error, SCIMException):
        return error.to_error()
    if isinstance(error, HTTPException) and isinstance(error.__cause__, StrongroomError):
        # FastAPI wraps whatever stops it from reading a body; what stopped it is the better answer.
        return _error_of(error.__cause__)
    if isinstance(error, StrongroomError):
        scim_type = next((_SCIM_TYPES[kind] for kind in type(error).__mro__ if kind in _SCIM_TYPES), None)
        return Error(status=status_of(error), scim_type=scim_type, detail=error.message)
    if isinstance(error, RequestValidationError):
        return _malformed(error)
    # What FastAPI itself cannot read, such as JSON that is nested too deeply, is a 400 without a type.
    scim_type = "invalidSyntax" if error.status_code == 400 else None
    return Error(status=error.status_code, scim_type=scim_type, detail=str(error.detail))


def _malformed(error: RequestValidationError) -> Error:
    first = error.errors()[0]
    in_body = first["loc"][0] == "body"
    where = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str))
    detail = "The request body is no JSON object." if in_body else f"{where}: {first['msg']}"
    return Error(status=400, scim_type="invalidSyntax" if in_body else "invalidValue", detail=detail)
