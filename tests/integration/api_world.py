"""The people and files of one server that the API tests share, and small ways to talk to it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from random import randrange
from typing import Any

import httpx2

from tests.preloaded import PreloadedServer
from tests.serving import Person

LEAVE = "Employees receive 25 days of annual leave in each calendar year."
CARRY = "Up to five unused days are carried over and lapse at the end of March."
QUESTION = "How many days of annual leave do employees receive?"
UPLOAD_LIMIT = 3 * 1024 * 1024


@dataclass
class World:
    """A server in quote mode with two employees, an administrator and an auditor; Ada has a leave policy."""

    server: PreloadedServer
    ada: Person
    ben: Person
    admin: Person
    auditor: Person
    policy: dict[str, Any]

    def stranger(self, address: str | None = None) -> httpx2.Client:
        """Return a client that nobody signed in, at an address nobody else has by default; close it."""
        headers = {"x-forwarded-for": address or f"2001:db8:0:{randrange(2**16):x}::1"}
        return httpx2.Client(base_url=self.server.url, timeout=60, headers=headers)


@contextmanager
def record_held(world: World) -> Iterator[None]:
    """Hold the database, so that nothing can be put on the record; afterwards the server finds it again."""
    file = world.server.data_dir / "strongroom.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as held:
        held.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            held.execute("ROLLBACK")
    deadline = time.monotonic() + 10
    while httpx2.get(f"{world.server.url}/readyz", timeout=10).status_code != 200:
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not find its record again")
        time.sleep(0.1)


def error_of(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """Return the one typed error of a refusal, after checking the envelope's whole shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param", "hint"}
    assert body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


def question(text: str, **fields: Any) -> dict[str, Any]:
    """Return a chat request with one message."""
    return {"model": "strongroom-quote", "messages": [{"role": "user", "content": text}], **fields}
