"""From what an answer releases to OpenAI's shapes: chunks, messages, annotations, citations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from agents.events import Citation, Evidence, Notice, Outcome, Progress, Released, Sentence
from infra.clock import now_ms
from services.documents.places import place_label

_MARK = re.compile(r"\[(\d+)\]")
_LINK = re.compile(r"\[\[(\d+)\]\]\(([^)\s]+)\)")


@dataclass
class Transcript:
    """One answer on its way out: what was said so far, and how to say the next thing."""

    answer_id: str
    model: str
    base_url: str
    quotes_in_text: bool
    citations: list[Citation] = field(default_factory=list)
    text: str = ""
    outcome: Outcome | None = None

    def chunk(self, piece: Released) -> dict[str, Any]:
        """Return the stream chunk for a released piece, and remember its text."""
        if isinstance(piece, Evidence):
            self.citations = piece.citations
            content = self._linked(f"{piece.text}\n") if self.quotes_in_text else ""
            extra: dict[str, Any] = {
                "x_citations": self.citation_objects(),
                "x_answer": self._state("reading"),
            }
        elif isinstance(piece, Sentence):
            content = self._linked(f"{piece.text} ")
            extra = {"x_sentence": {"citations": list(piece.citations), "support": piece.support}}
        elif isinstance(piece, Progress):
            content, extra = "", {"x_progress": {"stage": piece.stage, "dropped": piece.dropped}}
        elif isinstance(piece, Notice):
            content, extra = piece.text, {"x_notice": True}
        else:
            return self._last(piece)
        self.text += content
        return self._chunk({"content": content}, **extra)

    def opening(self) -> dict[str, Any]:
        """Return the first chunk."""
        return self._chunk({"role": "assistant", "content": ""}, x_answer=self._state("searching"))

    def usage_chunk(self) -> dict[str, Any]:
        """Return the chunk with token counts, which has no choices."""
        return {**self._chunk({}), "choices": [], "usage": self.usage()}

    def completion(self) -> dict[str, Any]:
        """Return the whole answer as one chat completion."""
        message = {"role": "assistant", "content": self.text.strip(), "annotations": self.annotations()}
        return {
            **self._envelope("chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": self.usage(),
            "x_citations": self.citation_objects(),
            "x_answer": self.answer_object(),
        }

    def answer_object(self) -> dict[str, Any]:
        """Return the typed outcome with its receipt."""
        outcome = self.outcome
        if outcome is None:
            return self._state("reading")
        return {
            "id": self.answer_id,
            "status": outcome.status.value,
            "mode": outcome.mode,
            "message": outcome.message,
            "looked_for": outcome.looked_for,
            "dropped": outcome.dropped,
            "receipt": outcome.receipt,
            "receipt_url": f"/v1/answers/{self.answer_id}/receipt",
        }

    def citation_objects(self) -> list[dict[str, Any]]:
        """Return the citations in our own shape."""
        return [self._citation(citation) for citation in self.citations]

    def annotations(self) -> list[dict[str, Any]]:
        """Return OpenAI's `url_citation` annotations for the marks in the text."""
        names = {citation.n: citation.passage.document_name for citation in self.citations}
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": match.start(),
                    "end_index": match.end(),
                    "url": match.group(2),
                    "title": names.get(int(match.group(1)), ""),
                },
            }
            for match in _LINK.finditer(self.text.strip())
        ]

    def usage(self) -> dict[str, int]:
        """Return token counts; zero when no model spoke."""
        read = self.outcome.prompt_tokens if self.outcome else 0
        written = self.outcome.completion_tokens if self.outcome else 0
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _last(self, outcome: Outcome) -> dict[str, Any]:
        self.outcome = outcome
        self.citations = outcome.citations
        chunk = self._chunk(
            {"annotations": self.annotations()},
            x_citations=self.citation_objects(),
            x_answer=self.answer_object(),
        )
        chunk["choices"][0]["finish_reason"] = "stop"
        return chunk

    def _linked(self, text: str) -> str:
        urls = {citation.n: self._url(citation) for citation in self.citations}

        def link(match: re.Match[str]) -> str:
            n = int(match.group(1))
            return f"[[{n}]]({urls[n]})" if n in urls else match.group()

        return _MARK.sub(link, text)

    def _url(self, citation: Citation) -> str:
        start, end = citation.span
        return urljoin(self.base_url, f"/sources/{citation.passage.id}?start={start}&end={end}")

    def _citation(self, citation: Citation) -> dict[str, Any]:
        passage = citation.passage
        return {
            "id": passage.id,
            "n": citation.n,
            "file": {"id": passage.document_id, "name": passage.document_name},
            "version": {"id": passage.version_id, "number": passage.version_number},
            "chunk_hash": passage.sha256,
            "page": passage.place.get("page"),
            "place": place_label(passage),
            "heading": passage.heading or None,
            "boxes": citation.boxes,
            "box": citation.boxes[0] if citation.boxes else None,
            "quote": citation.quote,
            "support": citation.support,
            "shown": citation.shown,
            "span": list(citation.span),
            "url": self._url(citation),
        }

    def _state(self, status: str) -> dict[str, Any]:
        return {"id": self.answer_id, "status": status}

    def _chunk(self, delta: dict[str, Any], **extra: Any) -> dict[str, Any]:
        choices = [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}]
        return {**self._envelope("chat.completion.chunk"), "choices": choices, **extra}

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.answer_id}",
            "object": kind,
            "created": now_ms() // 1000,
            "model": self.model,
        }
