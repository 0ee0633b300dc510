"""An operator's running server as the subject: it is asked over HTTP, as whoever the key belongs to.

Every question lands on that server's record like any other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from infra.errors import ModelUnavailable
from services.evaluation.sets import SetQuestion
from services.evaluation.subject import DEPTH, Given, Ranking, Statement

ASSISTANT: Final = "strongroom"
QUOTES: Final = "strongroom-quote"
_LINK: Final = re.compile(r"\s*\[\[\d+\]\]\([^)\s]*\)")


class Server(Protocol):
    """Requests to a server, with a key; the command line's connection is one."""

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the JSON document at `path`."""
        ...

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a JSON document to `path`, and return the one that answers."""
        ...

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask and yield the answer's chunks as they come."""
        ...


class Served:
    """A running server; a subject of measurement.

    The set names documents as `name`, `name#page=N`, or by the file's id. What the server raises passes
    through: Refused, NotRunning.
    """

    def __init__(self, server: Server, *, generated: bool) -> None:
        self._server = server
        self._model = ASSISTANT if generated else QUOTES
        self._texts: dict[str, str] = {}

    @property
    def configuration(self) -> dict[str, str]:
        """What is known from outside."""
        return {
            "documents": "on a running server",
            "answers": "generated" if self._model == ASSISTANT else "quotes",
        }

    @property
    def passages(self) -> None:
        """Not known: a server does not tell how many passages it has."""
        return

    def rank(self, question: SetQuestion) -> Ranking:
        """Search over HTTP; the time includes the way there and back."""
        started = time.perf_counter()
        found = self._server.post("/v1/search", {"query": question.text, "limit": DEPTH})
        seconds = time.perf_counter() - started
        return Ranking(tuple(dict.fromkeys(_document(hit, question) for hit in found["data"])), seconds)

    def answer(self, question: SetQuestion) -> Given:
        """Ask over HTTP, and read the answer to its end."""
        heard = _Heard()
        messages = [{"role": "user", "content": question.text}]
        body = {"model": self._model, "messages": messages, "x_evidence": "field"}
        for chunk in self._server.stream(body):
            heard.take(chunk)
        if heard.answer is None:
            raise ModelUnavailable("An answer had no end.")
        statements = tuple(
            Statement(text, tuple(self._source(heard.citations[n]) for n in numbers if n in heard.citations))
            for text, numbers in heard.said()
        )
        cited = sorted({n for _, numbers in heard.said() for n in numbers if n in heard.citations})
        supports = [citation["support"] / 100 for citation in heard.citations.values()]
        return Given(
            status=heard.answer["status"],
            mode=heard.answer["mode"],
            cited=tuple(_document(heard.citations[n], question) for n in cited),
            statements=statements,
            evidence_score=max(supports, default=0.0),
            first_s=heard.first_s,
            seconds=heard.seconds,
        )

    def _source(self, citation: Mapping[str, Any]) -> str:
        """Return what a cited passage says; it is opened once, on the record."""
        passage_id = citation["id"]
        if passage_id not in self._texts:
            found = self._server.get(f"/v1/sources/{passage_id}")
            parts = (citation["file"]["name"], found.get("heading") or "", found["text"])
            self._texts[passage_id] = "\n".join(parts)
        return self._texts[passage_id]


class _Heard:
    """What a streamed answer has said so far."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._sentences: list[tuple[str, tuple[int, ...]]] = []
        self._has_shown = False
        self.citations: dict[int, dict[str, Any]] = {}
        self.first_s: float | None = None
        self.seconds = 0.0
        self.answer: dict[str, Any] | None = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Hear one chunk."""
        self.seconds = time.perf_counter() - self._started
        told = chunk.get("x_answer", {})
        if chunk.get("x_citations"):
            self.citations = {citation["n"]: citation for citation in chunk["x_citations"]}
            if "mode" not in told:
                # The quotes come before the end; those that come with it were judged too weak to show.
                self._has_shown = True
                self.first_s = self.seconds if self.first_s is None else self.first_s
        if "x_sentence" in chunk:
            text = _LINK.sub("", chunk["choices"][0]["delta"].get("content") or "").strip()
            self._sentences.append((text, tuple(chunk["x_sentence"]["citations"])))
        if "mode" in told:
            self.answer = told

    def said(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the sentences with the numbers of their sources; without any, the quotes that were shown."""
        if self._sentences or not self._has_shown:
            return self._sentences
        return [(each["quote"], (n,)) for n, each in self.citations.items() if each.get("shown", True)]


def _document(found: Mapping[str, Any], question: SetQuestion) -> str:
    """Return a passage's document as the set names documents: by file id, by page, or by name."""
    name, file_id = str(found["file"]["name"]), str(found["file"]["id"])
    page = f"{name}#page={found.get('page')}"
    if file_id in question.grades:
        return file_id
    return page if any(known.startswith(f"{name}#page=") for known in question.grades) else name
