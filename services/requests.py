"""What happens to every request before an endpoint sees it: an id, limits of size and time, a log line."""

from __future__ import annotations

import re
import time
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.clock import new_id
from infra.errors import InvalidInput, StrongroomError, TooLarge, TooSlow
from infra.logs import get_logger
from services.errors import answer, envelope
from services.scim.answers import PREFIX as SCIM_PREFIX
from services.scim.answers import refuse as refuse_scim

MAX_BODY_BYTES: Final = 1024 * 1024
BODY_DEADLINE_S: Final = 30.0
"""How long a body of at most MAX_BODY_BYTES may take to arrive, in seconds."""
UPLOAD_PATH: Final = "/v1/files"
RESUMABLE_PATH: Final = "/v1/uploads"
RESUMABLE_HEADERS: Final = ((b"tus-resumable", b"1.0.0"), (b"tus-version", b"1.0.0"))
"""Stand on every answer there, refusals included (https://tus.io/protocols/resumable-upload)."""
UPLOAD_IDLE_S: Final = 60.0
"""How long an upload may pause, in seconds; as a whole it may take as long as it needs."""
# Escapes in JSON text (RFC 8259, section 7), each behind a whole number of escaped backslashes.
_PAIR: Final = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_NO_TEXT: Final = re.compile(rb"(?<!\\)(?:\\\\)*+\\u(?:0000|[dD][89a-fA-F])")

UNEXPECTED: Final = "Something went wrong on our side; nothing was lost."
_log = get_logger()


class RequestFrame:
    """Gives each request an id (`X-Request-Id`), bounds its body, and logs identifiers only.

    Uploads have their own, larger limit, which is applied while they stream to storage.
    """

    def __init__(
        self, app: ASGIApp, *, body_deadline_s: float = BODY_DEADLINE_S, upload_idle_s: float = UPLOAD_IDLE_S
    ) -> None:
        """Frame `app`; the limits are in seconds."""
        self._app = app
        self._body_deadline_s = body_deadline_s
        self._upload_idle_s = upload_idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frame one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started = new_id(), time.monotonic()
        status: int | None = None
        scope.setdefault("state", {})["request_id"] = request_id
        fixed = [(b"x-request-id", request_id.encode())]
        if _is_resumable(scope):
            fixed += RESUMABLE_HEADERS

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *fixed]
            await send(message)

        try:
            _check_address(scope)
            await self._app(scope, self._bounded(scope, receive), send_with_id)
        except (InvalidInput, TooLarge, TooSlow) as error:
            if status is not None:
                raise
            in_its_shape = refuse_scim if scope["path"].startswith(SCIM_PREFIX) else answer
            refusal = await in_its_shape(Request(scope), error)
            await refusal(scope, receive, send_with_id)
        except Exception as error:
            _log.error("request.failed", id=request_id, error=type(error).__name__, exc_info=error)
            if status is not None:
                raise  # The response has begun; the connection ends, and the client sees that.
            hint = f"Tell your administrator this request id: {request_id}"
            failure = JSONResponse(envelope(StrongroomError(UNEXPECTED, hint=hint)), 500)
            await failure(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            took_ms = round((time.monotonic() - started) * 1000)
            _log.info(
                "request", id=request_id, method=scope["method"], route=route, status=status, ms=took_ms
            )

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        is_part = _is_resumable(scope) and scope["method"] == "PATCH"
        if scope["path"] == UPLOAD_PATH or is_part:
            return _never_idle(receive, self._upload_idle_s)
        return _whole(receive, self._body_deadline_s)


def _is_resumable(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == RESUMABLE_PATH or path.startswith(f"{RESUMABLE_PATH}/")


def _check_address(scope: Scope) -> None:
    """Refuse a zero character in path or query: PostgreSQL cannot hold one, so nothing has it in its name."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise InvalidInput("The address holds a zero character.")


def _whole(receive: Receive, deadline_s: float) -> Receive:
    """Hand the body over in one piece, once all of it has arrived within its limits and is text."""
    has_body = False

    async def read() -> Message:
        nonlocal has_body
        if has_body:
            return await receive()
        with anyio.move_on_after(deadline_s):
            message = await _read_whole(receive)
            has_body = True
            return message
        raise _too_slow()

    return read


async def _read_whole(receive: Receive) -> Message:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(
                f"The request is larger than {MAX_BODY_BYTES // 1024} KiB.",
                hint="Upload long texts as files, and ask about them.",
            )
        more = message.get("more_body", False)
    _check_text(bytes(body))
    return {"type": "http.request", "body": bytes(body), "more_body": False}


def _check_text(body: bytes) -> None:
    """Refuse what JSON readers accept although it is no text: zero characters, halves of surrogate pairs.

    Neither can be stored, hashed or sent on as UTF-8. JSON between systems is UTF-8 (RFC 8259, section 8.1),
    and Python's reader would take other encodings, and surrogates in them, as well.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("The request body is not UTF-8.") from error
    if b"\0" in body or _NO_TEXT.search(_PAIR.sub(rb"\1_", body)):
        raise InvalidInput("The request holds characters that are no text.")


def _never_idle(receive: Receive, idle_s: float) -> Receive:
    """Let an upload take its time, but not pause for longer than `idle_s`."""
    is_complete = False

    async def read() -> Message:
        nonlocal is_complete
        if is_complete:
            return await receive()
        with anyio.move_on_after(idle_s):
            message = await receive()
            is_complete = not message.get("more_body", False)
            return message
        raise _too_slow()

    return read


def _too_slow() -> TooSlow:
    return TooSlow("The request did not arrive in time.", hint="Try again on a steadier connection.")
