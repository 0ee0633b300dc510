"""What happens to every request before an endpoint sees it: an id, a size limit, a log line."""

from __future__ import annotations

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.clock import new_id
from infra.errors import StrongroomError, TooLarge
from infra.logs import get_logger
from services.errors import answer, envelope

MAX_BODY_BYTES: Final = 1024 * 1024
UPLOAD_PATH: Final = "/v1/files"

UNEXPECTED: Final = "Something went wrong on our side; nothing was lost."
_log = get_logger()


class RequestFrame:
    """Gives each request an id (`X-Request-Id`), bounds its body, and logs identifiers only.

    Uploads have their own, larger limit, which is applied while they stream to storage.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frame one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started = new_id(), time.monotonic()
        status: int | None = None
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        bounded = receive if scope["path"] == UPLOAD_PATH else _bounded(receive)
        try:
            await self._app(scope, bounded, send_with_id)
        except TooLarge as error:
            refusal = await answer(Request(scope), error)
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


def _bounded(receive: Receive) -> Receive:
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise TooLarge(
                f"The request is larger than {MAX_BODY_BYTES // 1024} KiB.",
                hint="Upload long texts as files, and ask about them.",
            )
        return message

    return limited
