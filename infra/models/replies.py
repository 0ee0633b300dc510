"""What a model server sent, read without trust: nothing in it is surely what the protocol says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

REASONING_FIELDS: Final = ("reasoning_content", "reasoning")
"""Where servers put thinking; vLLM renamed the first one to the second."""

_ENOUGH_PIECES: Final = 8


@dataclass(frozen=True)
class Reply:
    """A whole answer: its status and media type, and its pieces with the moment each came (seconds)."""

    status: int
    kind: str
    pieces: tuple[tuple[float, bytes], ...]

    def document(self) -> Any:
        """Return the body as JSON, or None where it is none."""
        try:
            return json.loads(b"".join(piece for _moment, piece in self.pieces))
        except (ValueError, RecursionError):
            return None

    def lines(self) -> Iterator[tuple[float, str]]:
        """Yield each line with the moment at which it was whole."""
        rest = b""
        for moment, piece in self.pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield moment, line.decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class Stream:
    """What a stream of events held: the moments at which text came, and whether it ended as it should."""

    times: tuple[float, ...]
    tokens: int | None
    finished: bool
    marked_end: bool
    garbled: bool

    @classmethod
    def read(cls, reply: Reply) -> Self:
        """Read the events of a reply (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
        times: list[float] = []
        tokens, finished, marked_end, garbled = None, False, False, False
        for moment, line in reply.lines():
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                marked_end = True
                continue
            chunk = parsed_json(data)
            if not isinstance(chunk, dict) or "error" in chunk:
                garbled = True
                continue
            usage = chunk.get("usage")
            told = usage.get("completion_tokens") if isinstance(usage, dict) else None
            tokens = told if isinstance(told, int) and not isinstance(told, bool) else tokens
            for choice in objects_in(chunk.get("choices")):
                delta = choice.get("delta")
                if isinstance(delta, dict) and any(
                    text_in(delta, key) for key in ("content", *REASONING_FIELDS)
                ):
                    times.append(moment)
                finished = finished or isinstance(choice.get("finish_reason"), str)
        return cls(tuple(times), tokens, finished, marked_end, garbled)

    def fault(self, reply: Reply) -> str | None:
        """Say what is wrong with the stream, or None."""
        if reply.kind != "text/event-stream":
            return "the answer is no stream of events"
        if self.garbled:
            return "an event is an error, or not of the protocol"
        if len(self.times) < 2:
            return "the text did not come in pieces"
        if not self.finished or not self.marked_end:
            return "the stream has no proper end"
        if len(self.times) > _ENOUGH_PIECES and len(set(self.times)) == 1:
            return "all pieces came at once: something on the way collects them"
        return None


def message_of(reply: Reply) -> Mapping[str, Any] | None:
    """Return the message of a whole answer, or None where there is none."""
    document = reply.document() if reply.status == 200 else None
    choices = objects_in(document.get("choices")) if isinstance(document, dict) else []
    message = choices[0].get("message") if choices else None
    return message if isinstance(message, dict) else None


def objects_in(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_in(message: Mapping[str, Any], key: str = "content") -> str:
    """Return a field that is a text, else an empty one."""
    value = message.get(key)
    return value if isinstance(value, str) else ""


def parsed_json(text: str) -> Any:
    """Return what JSON text says, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
