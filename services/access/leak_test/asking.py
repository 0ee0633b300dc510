"""Requests to this server, through everything that a request from outside passes, as one account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import httpx2

from services.access.leak_test.people import Player

_VARYING: Final = frozenset({"x-request-id", "content-length"})
"""Headers that are no difference between two answers: what they tell is new each time, or in the body."""
_BUSY: Final = frozenset({429, 503})
_PAUSES_S: Final = (0.2, 1.0, 3.0)


@dataclass(frozen=True)
class Ask:
    """One request. `file` is a name and the bytes, sent as a form with `fields`."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    file: tuple[str, bytes] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def says(self, mark: str) -> bool:
        """Say whether the request itself holds `mark`, so that an answer with it tells nothing."""
        said = (self.path, self.body, dict(self.query), dict(self.fields))
        return any(mark in json.dumps(each) for each in said)


@dataclass(frozen=True)
class Told:
    """What an answer told; `head` are its headers, as one text."""

    status: int
    head: str
    body: str

    @property
    def is_busy(self) -> bool:
        """Say that the server had no time, which is no answer to what was asked."""
        return self.status in _BUSY


async def told(client: httpx2.AsyncClient, player: Player, ask: Ask) -> Told:
    """Send a request as `player`, again for some seconds while the server is busy; return what came back."""
    for pause_s in _PAUSES_S:
        answer = await _sent(client, player, ask)
        if not answer.is_busy:
            return answer
        await anyio.sleep(pause_s)
    return await _sent(client, player, ask)


async def _sent(client: httpx2.AsyncClient, player: Player, ask: Ask) -> Told:
    form: dict[str, Any] = {"files": {"file": ask.file}, "data": ask.fields} if ask.file else {}
    answer = await client.request(
        ask.method,
        ask.path,
        params=dict(ask.query),
        json=ask.body,
        headers={
            "authorization": f"Bearer {player.key}",
            "accept": "application/json, text/event-stream",
            **ask.headers,
        },
        **form,
    )
    lines = [f"{name}: {value}" for name, value in answer.headers.items() if name not in _VARYING]
    return Told(answer.status_code, "\n".join(lines), answer.content.decode(errors="replace"))
