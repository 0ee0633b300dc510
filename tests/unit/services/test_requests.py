"""The frame around every request: how long a body may take, and which characters are no text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from services import errors
from services.requests import MAX_BODY_BYTES, UPLOAD_PATH, RequestFrame
from services.web import pages

WAIT_S = 0.2
Answer = tuple[int, dict[bytes, bytes], bytes]


def framed() -> RequestFrame:
    """Return an application that says what it read, behind a frame with short limits."""
    app = FastAPI()

    @app.post("/echo")
    def echo(body: dict[str, Any]) -> list[str]:
        return sorted(body)

    @app.post(UPLOAD_PATH)
    async def take(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    @app.get("/files/{name}")
    def find(name: str, q: str = "") -> list[str]:
        return [name, q]

    errors.install(app, pages.mount(app))
    return RequestFrame(app, body_deadline_s=WAIT_S, upload_idle_s=WAIT_S)


def send(
    pieces: Sequence[bytes | float],
    *,
    method: str = "POST",
    path: str = "/echo",
    query: bytes = b"",
    ends: bool = True,
) -> Answer:
    """Send one request: pieces of its body, and pauses in seconds between them; without an end, wait."""
    return asyncio.run(_send(framed(), list(pieces), method, path, query, ends))


async def _send(
    app: RequestFrame, pieces: list[bytes | float], method: str, path: str, query: bytes, ends: bool
) -> Answer:
    sent: list[Message] = []
    is_over = False

    async def receive() -> Message:
        nonlocal is_over
        while pieces and isinstance(pieces[0], float):
            await asyncio.sleep(pieces.pop(0))
        if pieces:
            is_over = ends and len(pieces) == 1
            return {"type": "http.request", "body": pieces.pop(0), "more_body": not is_over}
        if not is_over and ends:
            is_over = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()  # A client that sends no more, and stays.
        raise AssertionError

    async def take(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"content-type", b"application/json"), (b"host", b"testserver")],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "app": app._app,
    }
    await asyncio.wait_for(app(scope, receive, take), 20)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body


def code(answer: Answer) -> str:
    """Return the code of a refusal."""
    found: str = json.loads(answer[2])["error"]["code"]
    return found


# --- time -----------------------------------------------------------------------------------------


def test_a_body_arrives_in_pieces() -> None:
    """The endpoint reads all of them."""
    assert send([b'{"a"', b": 1}"])[::2] == (200, b'["a"]')


def test_a_body_that_does_not_end_is_refused() -> None:
    """After the deadline as a whole, whatever keeps coming; the connection ends with it."""
    pieces: list[bytes | float] = [b"{"]
    for _ in range(20):
        pieces += [WAIT_S / 4, b" "]
    answer = send(pieces, ends=False)
    assert (answer[0], code(answer), answer[1][b"connection"]) == (408, "too_slow", b"close")


def test_an_upload_may_take_long_but_not_pause() -> None:
    """Each piece has the same time; the whole has none."""
    pieces: list[bytes | float] = []
    for _ in range(8):
        pieces += [WAIT_S / 4, b"piece"]
    assert send(pieces, path=UPLOAD_PATH)[::2] == (200, b"40")
    paused = send([b"piece", WAIT_S * 5, b"piece"], path=UPLOAD_PATH)
    assert (paused[0], code(paused)) == (408, "too_slow")


def test_a_body_that_is_too_large_is_refused() -> None:
    """As soon as it is, without waiting for its end."""
    answer = send([b"x" * MAX_BODY_BYTES, b"x"], ends=False)
    assert (answer[0], code(answer)) == (413, "too_large")


# --- text -----------------------------------------------------------------------------------------

_PAIR = rb"\ud83d\ude00"


@pytest.mark.parametrize(
    "text",
    [
        rb"\ud800",
        rb"\uD800 and more",
        rb"\udc00",
        rb"\ude00\ud83d",
        rb"\ud83d" + _PAIR,
        _PAIR + rb"\ude00",
        rb"\ud83d" + _PAIR + rb"\ude00",
        rb"\\\ud800",
        rb"\n\ud800",
        rb"\\ud83d\ude00",
        rb"\ud83d\\ude00",
        rb"\u0000",
        rb"\\\u0000",
        b"\xed\xa0\x80",
        b"\xff",
    ],
)
def test_what_is_no_text_is_refused(text: bytes) -> None:
    """Halves of surrogate pairs and zero characters, as escapes or as bytes, in keys as well as in values."""
    for body in (b'{"a": "' + text + b'"}', b'{"' + text + b'": 1}'):
        answer = send([body])
        assert (answer[0], code(answer)) == (400, "invalid_input")


def test_other_encodings_are_refused() -> None:
    """JSON between systems is UTF-8; a reader that guessed would let surrogates through."""
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        assert send(['{"a": "\ud800"}'.encode(encoding, "surrogatepass")])[0] == 400


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (_PAIR, "😀"),
        (_PAIR + _PAIR, "😀😀"),
        (rb"\\" + _PAIR, "\\😀"),
        (rb"\n" + _PAIR, "\n😀"),
        (rb"\\ud800", "\\ud800"),
        (rb"\\\\ud800", "\\\\ud800"),
        (rb"\\u0000", "\\u0000"),
        (rb"\u0001", "\x01"),
        (rb"\uE000", "\ue000"),
        ("😀é".encode(), "😀é"),
    ],
)
def test_every_text_passes(text: bytes, read: str) -> None:
    """Whole pairs, and backslashes that only look like escapes."""
    answer = send([b'{"' + text + b'": 1}'])
    assert (answer[0], json.loads(answer[2])) == (200, [read])


def test_a_zero_character_in_the_address_is_refused() -> None:
    """In the path and in the query; an escaped per cent sign before two zeros is text."""
    for path, query in (("/files/a\0b", b""), ("/files/a", b"q=%00")):
        answer = send([b""], method="GET", path=path, query=query)
        assert (answer[0], code(answer)) == (400, "invalid_input")
    assert send([b""], method="GET", path="/files/%00", query=b"q=%2500")[::2] == (200, b'["%00","%00"]')
