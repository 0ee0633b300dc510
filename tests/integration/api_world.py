"""The people and files of one server that the API tests share, and small ways to talk to it."""

from __future__ import annotations

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
