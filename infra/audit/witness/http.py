"""The witness's one address: `POST /add-checkpoint`, as C2SP tlog-witness describes it."""

from __future__ import annotations

from typing import Final

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from infra.audit.witness.witness import LARGEST_REQUEST, Refusal, Witness
from infra.logs import get_logger

READ_TIMEOUT_S: Final = 10.0
"""Longest wait for a request to arrive, in seconds."""


def witness_app(witness: Witness) -> Starlette:
    """Return the application that answers for `witness`."""

    async def add_checkpoint(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return PlainTextResponse("The request did not arrive whole.\n", 400)
        try:
            # Storing a checkpoint waits for the disk.
            line = await anyio.to_thread.run_sync(witness.add_checkpoint, body)
        except Refusal as refusal:
            # As a header, since a media type would be given a charset that the protocol does not have.
            return Response(refusal.text, refusal.status, {"content-type": refusal.media_type})
        except OSError as error:
            # What is not on the disk is not cosigned.
            get_logger().error("witness.not_stored", error=type(error).__name__)
            return PlainTextResponse("What was seen could not be stored.\n", 503)
        return PlainTextResponse(line)

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])


async def _body(request: Request) -> bytes | None:
    """Return the body, or None when it is too large, too slow, or broken off."""
    body = bytearray()
    with anyio.move_on_after(READ_TIMEOUT_S) as waiting:
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST_REQUEST:
                    return None
        except ClientDisconnect:
            return None
    return None if waiting.cancelled_caught else bytes(body)
