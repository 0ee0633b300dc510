"""Requests that begin before somebody loses access and end after it: nothing is shown, nothing is stored."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from api_world import LEAVE, World

_BOUNDARY = "slowly"
_SEARCH = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "search", "arguments": {"query": "annual leave"}},
}
_FILE = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="late.txt"\r\n\r\n'
    f"{LEAVE}\r\n--{_BOUNDARY}--\r\n"
)
SLOW = {
    "/mcp": ("application/json", json.dumps(_SEARCH).encode()),
    "/v1/files": (f"multipart/form-data; boundary={_BOUNDARY}", _FILE.encode()),
}


@contextmanager
def begun(world: World, key: str, path: str) -> Iterator[Any]:
    """Send a request but for the last byte of its body; yields what sends that and returns the status."""
    kind, body = SLOW[path]
    address = urlsplit(world.server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:-1])

        def finish() -> tuple[int, str]:
            connection.sendall(body[-1:])
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return int(answer.split(maxsplit=2)[1]), answer.decode()

        yield finish


@pytest.mark.parametrize("path", SLOW)
@pytest.mark.parametrize("is_revoked", [False, True], ids=["still good", "revoked"])
def test_a_request_counts_when_all_of_it_is_there(world: World, path: str, *, is_revoked: bool) -> None:
    """A key that is withdrawn before the last byte opens nothing, and stores nothing."""
    ada = world.ada
    key = ada.new_key("slow")
    with begun(world, key["key"], path) as finish:
        time.sleep(0.5)  # The server has read the beginning by now; otherwise this would show less.
        if is_revoked:
            assert ada.client.delete(f"/v1/keys/{key['id']}").status_code == 204
        status, answer = finish()
    stored = [
        file["id"] for file in ada.client.get("/v1/files").json()["data"] if file["filename"] == "late.txt"
    ]
    for file_id in stored:
        ada.client.delete(f"/v1/files/{file_id}")
    assert (status in {200, 201}, "leave.pdf" in answer or bool(stored)) == (not is_revoked, not is_revoked)
    assert not is_revoked or status == 401
