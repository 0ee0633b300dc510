"""One server with people who may read different things, and how to compare what they get to see."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.preloaded import PreloadedServer
from tests.serving import Person, ask, finished_job, upload

EVERYONE = "group:local:everyone"
MERGER = "The merger with Halden Foods is planned for the ninth of October."
MERGER_QUESTION = "When is the merger with Halden Foods planned?"
CANTEEN = "The canteen serves lunch from half past eleven until two."
CANTEEN_QUESTION = "When does the canteen serve lunch?"
_CHANGING = {"id", "created", "receipt", "receipt_url"}


@dataclass
class House:
    """A server and its people. Everybody may read about the canteen, which is Ada's file."""

    server: PreloadedServer
    ada: Person
    ben: Person
    admin: Person
    auditor: Person
    canteen: dict[str, Any]

    @property
    def others(self) -> list[Person]:
        """Everybody but Ada, whatever their role."""
        return [self.ben, self.admin, self.auditor]


def indexed(person: Person, name: str, content: bytes, **fields: Any) -> dict[str, Any]:
    """Upload a file, wait until it answers, and return its file object."""
    entry = upload(person.client, name, content, **fields)
    assert finished_job(person.client, entry["x_job"]["id"])["state"] == "succeeded"
    found: dict[str, Any] = person.client.get(f"/v1/files/{entry['id']}").json()
    return found


def cited_files(person: Person, question: str) -> list[str]:
    """Return the names of all files that an answer cites or offers, in order."""
    found = ask(person.client, question)
    return [citation["file"]["name"] for citation in found["x_citations"]]


def seen(person: Person, question: str) -> dict[str, Any]:
    """Return all that an answer shows, without the answer's own id, time and receipt."""
    found = ask(person.client, question)
    answer = {key: value for key, value in found["x_answer"].items() if key not in _CHANGING}
    return {key: value for key, value in found.items() if key not in _CHANGING} | {"x_answer": answer}


def streamed(person: Person, question: str) -> list[dict[str, Any]]:
    """Return the chunks of a streamed answer, without the answer's own id, time and receipt."""
    body = {
        "model": "strongroom",
        "stream": True,
        "messages": [{"role": "user", "content": question}],
    }
    with person.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    return [_constant(json.loads(line)) for line in lines]


def _constant(chunk: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in chunk.items() if key not in _CHANGING}
    if "x_answer" in kept:
        kept["x_answer"] = {key: value for key, value in kept["x_answer"].items() if key not in _CHANGING}
    return kept
