"""Ask a running OpenAI-compatible server what it can do: nothing but constant, harmless prompts is sent.

Each look is one request with an end in time and size. A server's own words are never repeated, because
servers quote what they were sent; the verdicts carry reasons of ours. Addresses are private ones only, as
everywhere (`infra.network`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import httpx2

from infra.models.replies import REASONING_FIELDS, Reply, Stream, message_of, objects_in, parsed_json, text_in
from infra.network import check_private_url, private_sync_client

_LARGEST_BODY: Final = 1024 * 1024
_TOOL: Final = "city_time"
_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": _TOOL,
            "description": "Tells the time in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
_SCHEMA: Final = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": ["harbour"]}, "number": {"type": "integer"}},
    "required": ["word", "number"],
    "additionalProperties": False,
}
_THINKING_MARKS: Final = ("<think>", "</think>", "[THINK]", "<|channel|>")
_TOOL_MARKS: Final = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", f'"{_TOOL}"', f"{_TOOL}(")


_EMPTY: Final = "the answer is empty: thinking may have used up its tokens"


class Verdict(StrEnum):
    """How a look ended. `not offered` is no fault: the server or the model does without."""

    WORKS = "works"
    FAILS = "does not work"
    ABSENT = "not offered"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `value` is what was measured or told, in the unit that `reason` names."""

    name: str
    verdict: Verdict
    reason: str
    value: str | int | float | None = None


class ServerProbe:
    """Looks at one server and one of its models; to be used in `with`.

    `base_url` ends in /v1, or names the server alone. `model` None takes the first one. `timeout_s` bounds
    each look, in seconds. Raises AddressRefused for an address that is not private.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        model: str | None = None,
        allowed_hosts: Collection[str] = (),
        timeout_s: float = 60.0,
    ) -> None:
        check_private_url(base_url, allowed_hosts)
        self.url = _with_version(base_url)
        self.model = model
        self._entry: Mapping[str, Any] = {}
        self._stream: Stream | None = None
        self._timeout_s = timeout_s
        self._client = private_sync_client(allowed_hosts, timeout_s=timeout_s)
        # Some servers close after a stream without saying so, which must not fail the next look.
        self._client.headers["Connection"] = "close"
        if key:
            self._client.headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.close()

    def findings(self) -> Iterator[Finding]:
        """Yield one finding after the other; only the first one where no model answers to be asked."""
        listed = self._guarded("models list", self._list)
        yield listed
        if listed.verdict is not Verdict.WORKS:
            return
        looks: tuple[tuple[str, Callable[[str], Finding]], ...] = (
            ("context length", self._context),
            ("streaming", self._streaming),
            ("tokens per second", self._speed),
            ("tool calls", self._tools),
            ("structured output", self._structured_output),
            ("reasoning field", self._reasoning),
        )
        for name, look in looks:
            yield self._guarded(name, look)

    @staticmethod
    def _guarded(name: str, look: Callable[[str], Finding]) -> Finding:
        try:
            return look(name)
        except _NoReply as error:
            return Finding(name, Verdict.FAILS, str(error))

    def _list(self, name: str) -> Finding:
        reply = self._send("GET", "models")
        entries = _entries(reply)
        if entries is None:
            return Finding(name, Verdict.FAILS, _refusal(reply) or "the answer is no list of models")
        if not entries:
            return Finding(name, Verdict.FAILS, "the server offers no model")
        chosen = self.model or next(iter(entries))
        if chosen not in entries:
            return Finding(name, Verdict.FAILS, "the server does not offer this model")
        self.model, self._entry = chosen, entries[chosen]
        count = "one model" if len(entries) == 1 else f"{len(entries)} models"
        return Finding(name, Verdict.WORKS, f"{count} offered", chosen)

    def _context(self, name: str) -> Finding:
        """Read the context where vLLM (`max_model_len`) or llama.cpp (`meta.n_ctx`) tells it."""
        meta = self._entry.get("meta")
        told = self._entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
        if not isinstance(told, int) or isinstance(told, bool) or told <= 0:
            return Finding(name, Verdict.ABSENT, "the server does not tell it")
        return Finding(name, Verdict.WORKS, "in tokens, as the server tells", told)

    def _streaming(self, name: str) -> Finding:
        """Ask for a stream, and keep it for the look at its speed."""
        reply = self._ask(
            "Count from one to thirty in words.", stream=True, stream_options={"include_usage": True}
        )
        stream = Stream.read(reply)
        fault = _refusal(reply) or stream.fault(reply)
        if fault is not None:
            return Finding(name, Verdict.FAILS, fault)
        self._stream = stream
        return Finding(name, Verdict.WORKS, f"{len(stream.times)} pieces, then the end mark")

    def _speed(self, name: str) -> Finding:
        """Count the tokens a second from the first piece to the last."""
        stream = self._stream
        elapsed = stream.times[-1] - stream.times[0] if stream else 0.0
        if stream is None or elapsed <= 0:
            return Finding(name, Verdict.ABSENT, "no stream to measure, or too short a one")
        count = stream.tokens if stream.tokens is not None else len(stream.times)
        how = "as the server counts" if stream.tokens is not None else "counted as pieces: no usage is told"
        # The first token's time belongs to reading the prompt.
        return Finding(name, Verdict.WORKS, f"one answer alone, {how}", round(max(count - 1, 1) / elapsed, 1))

    def _tools(self, name: str) -> Finding:
        reply = self._ask("What time is it in Oslo? Use the tool.", tools=_TOOLS, tool_choice="auto")
        message = message_of(reply)
        if message is None:
            return _without(name, reply, "the server takes no tools with this model")
        calls, text = message.get("tool_calls"), text_in(message)
        if _is_sound_call(calls):
            return Finding(name, Verdict.WORKS, "the tool was called with sound arguments")
        if calls:
            fault = "a call came with another name or unsound arguments"
        elif any(mark in text for mark in _TOOL_MARKS):
            fault = "the call stands in the text: the server lacks the tool parser"
        elif text.strip():
            fault = "the model answered in words instead of calling the tool"
        else:
            fault = _EMPTY
        return Finding(name, Verdict.FAILS, fault)

    def _structured_output(self, name: str) -> Finding:
        shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True}}
        reply = self._ask("Write two lines about the sea.", response_format=shape)
        message = message_of(reply)
        if message is None:
            return _without(name, reply, "the server takes no JSON schema")
        if _is_in_shape(text_in(message)):
            return Finding(name, Verdict.WORKS, "the answer has the shape that was asked for")
        fault = "the shape that was asked for is ignored" if text_in(message).strip() else _EMPTY
        return Finding(name, Verdict.FAILS, fault)

    def _reasoning(self, name: str) -> Finding:
        reply = self._ask("Which is larger, 9.11 or 9.9? Think it through, then answer in one word.")
        message = message_of(reply)
        if message is None:
            return Finding(name, Verdict.FAILS, _refusal(reply) or "the answer has no message")
        if any(mark in text_in(message) for mark in _THINKING_MARKS):
            fault = "thinking stands in the answer: the server lacks the reasoning parser"
            return Finding(name, Verdict.FAILS, fault)
        field = next((field for field in REASONING_FIELDS if text_in(message, field).strip()), None)
        if field is None:
            return Finding(name, Verdict.ABSENT, "no thinking came apart from the answer")
        return Finding(name, Verdict.WORKS, "thinking comes apart from the answer", field)

    def _ask(self, question: str, **more: Any) -> Reply:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 1024,
            "temperature": 0.0,
        }
        return self._send("POST", "chat/completions", {**body, **more})

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """Send one request and read its answer to the end; raises _NoReply with the reason."""
        deadline = time.monotonic() + self._timeout_s
        pieces: list[tuple[float, bytes]] = []
        size = 0
        try:
            with self._client.stream(method, f"{self.url}/{path}", json=body) as answer:
                for piece in answer.iter_bytes():
                    now = time.monotonic()
                    size += len(piece)
                    if now > deadline:
                        raise _NoReply(f"no end within {self._timeout_s:g} seconds")
                    if size > _LARGEST_BODY:
                        raise _NoReply("the answer has no end")
                    pieces.append((now, piece))
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                return Reply(answer.status_code, kind, tuple(pieces))
        except httpx2.TimeoutException as error:
            raise _NoReply(f"no answer within {self._timeout_s:g} seconds") from error
        except httpx2.HTTPError as error:
            raise _NoReply("the server cannot be reached, or broke off") from error


class _NoReply(Exception):
    """There is no whole answer; the message says why, in words of ours."""


def _with_version(base_url: str) -> str:
    """Return the address with /v1, which servers expect, where only the server is named."""
    url = base_url.rstrip("/")
    return url if httpx2.URL(url).path not in ("", "/") else f"{url}/v1"


def _entries(reply: Reply) -> dict[str, Mapping[str, Any]] | None:
    """Return the models that a list offers by name, or None where it is no list."""
    document = reply.document() if reply.status == 200 else None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return None
    return {entry["id"]: entry for entry in objects_in(document["data"]) if isinstance(entry.get("id"), str)}


def _refusal(reply: Reply) -> str | None:
    """Say what a status means, or None for success."""
    match reply.status:
        case 200:
            return None
        case 401 | 403:
            return "the server wants a key, or another one"
        case 404:
            return "there is no such address: it should end in /v1"
        case 429 | 503:
            return "the server is busy or still loading"
        case status:
            return f"the server refused (status {status})"


def _without(name: str, reply: Reply, what: str) -> Finding:
    """Tell a server that does without (400, 422, 501) from one that failed."""
    if reply.status in (400, 422, 501):
        return Finding(name, Verdict.ABSENT, f"{what} (status {reply.status})")
    return Finding(name, Verdict.FAILS, _refusal(reply) or "the answer has no message")


def _is_sound_call(calls: object) -> bool:
    for call in objects_in(calls):
        function = call.get("function")
        if isinstance(function, dict) and function.get("name") == _TOOL:
            arguments = parsed_json(text_in(function, "arguments"))
            return isinstance(arguments, dict) and isinstance(arguments.get("city"), str)
    return False


def _is_in_shape(text: str) -> bool:
    answer = parsed_json(text)
    return (
        isinstance(answer, dict)
        and answer.keys() == {"word", "number"}
        and answer["word"] == "harbour"
        and isinstance(answer["number"], int)
        and not isinstance(answer["number"], bool)
    )
