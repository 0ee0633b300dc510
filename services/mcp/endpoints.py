"""`POST /mcp`: one message of the Model Context Protocol, answered as JSON, nothing kept afterwards.

Streamable HTTP in its stateless form: each message stands by itself, with the caller's key or session, so
there is no session id that could outlive a revoked key, and no event stream to resume.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Message

from infra.audit.event_types import EventType
from infra.errors import InvalidInput, NotPermitted
from services.deps import CurrentPerson, PartsDep, RequestId
from services.mcp.tools import Caller, server_for
from services.on_record import RecordedRoute, reads
from services.parts import Parts
from services.refusals import put_on_record
from services.requests import MAX_BODY_BYTES

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_MESSAGE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "One JSON-RPC 2.0 request or notification of the Model Context Protocol.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["jsonrpc", "method"],
                    "properties": {
                        "jsonrpc": {"const": "2.0"},
                        "id": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                        "method": {"type": "string", "examples": ["tools/list", "tools/call"]},
                        "params": {"type": "object"},
                    },
                }
            }
        },
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The JSON-RPC response.", "content": {"application/json": {"schema": {}}}},
    202: {"description": "A notification was taken; there is no body."},
    400: {"description": "Not a message of the protocol, as a JSON-RPC error."},
    404: {"description": "A method that is not offered here, as a JSON-RPC error."},
    406: {"description": "The client does not accept `application/json`."},
}


def _refuse_foreign_origin(request: Request, parts: PartsDep) -> None:
    """Refuse what a page of another site sends, also one whose name was re-bound to this machine.

    The Host header cannot tell: such a page sends its own name there as well. So the origin is compared with
    the addresses that this server knows to be its own. Programs send no origin and are not concerned.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin not in _own_origins(parts, request):
        raise NotPermitted("This request came from another site.")


def _own_origins(parts: Parts, request: Request) -> set[str]:
    _, port = request.scope.get("server") or (None, None)
    own = {f"http://{name}:{port}" for name in (*_LOOPBACK, parts.settings.host)} if port else set()
    public = urlsplit(parts.settings.public_url or "")
    return own | {f"{public.scheme}://{public.netloc}"} if public.netloc else own


async def _whole_body(request: Request) -> bytes:
    """Read the body; what the endpoint depends on after this is looked up when all of it is there.

    Somebody may send it slowly, and lose meanwhile what they could read when they began.
    """
    return await request.body()


router = APIRouter(prefix="/mcp", tags=["mcp"], route_class=RecordedRoute)


@router.post("", response_class=Response, responses=_ANSWERS, openapi_extra=_MESSAGE)
@reads(EventType.TOOLS_READ, "tools", at="mcp")
async def exchange_message(
    request: Request,
    parts: PartsDep,
    _origin: Annotated[None, Depends(_refuse_foreign_origin)],
    # Before the person, because dependencies are solved in this order.
    body: Annotated[bytes, Depends(_whole_body)],
    person: CurrentPerson,
    corr: RequestId,
) -> Response:
    """Answer one message of the Model Context Protocol with the tools `search`, `fetch` and `ask`."""
    base_url = parts.settings.public_url or str(request.base_url)
    server = server_for(
        Caller(parts, person, corr, base_url),
        version=request.app.version,
        refused=partial(put_on_record, request),
    )
    manager = StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
    )
    exchange = _Exchange(request, body)
    async with manager.run():
        await manager.handle_request(request.scope, exchange.receive, exchange.send)
    answer = exchange.answer()
    if 400 <= answer.status_code < 500:
        # The protocol's library refuses in the protocol's own shape, and tells nobody but the client.
        await put_on_record(request, InvalidInput("This is no message of the protocol that is taken here."))
    return answer


class _Exchange:
    """Hands a body that was read already to the protocol's library, and takes its answer."""

    def __init__(self, request: Request, body: bytes) -> None:
        self._request = request
        self._unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._status = 500
        self._headers: dict[str, str] = {}
        self._body = b""

    async def receive(self) -> Message:
        """Return the body once, then whatever the client does (ASGI 3)."""
        return self._unread.pop() if self._unread else await self._request.receive()

    async def send(self, message: Message) -> None:
        """Take a part of the answer (ASGI 3)."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def answer(self) -> Response:
        """Return what was taken as one response."""
        return Response(self._body, self._status, headers=self._headers)
