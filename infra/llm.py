"""The language model, by the OpenAI protocol, at a private address and by no other way.

`LanguageModel.stream` yields text as it is generated, `complete` returns it whole, `probe` tells whether
somebody is there. Every failure is a ModelUnavailable whose message a person can read; what the server
said is not repeated in it, because servers quote prompts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio
import httpx2
import openai
from openai.types import CompletionUsage, Model
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

from infra.errors import AddressRefused, ModelUnavailable
from infra.network import check_private_url, private_client

_PROBE_TIMEOUT_S: Final = 5.0
_HINT: Final = "Quote mode answers without a language model; `strongroom doctor` checks the connection."

Message = Mapping[str, str]
"""One turn of the conversation: `role` (system, user or assistant) and `content`."""


@dataclass(frozen=True)
class Completion:
    """What was generated. Token counts are the server's, or None where it does not tell.

    `finish_reason` is "stop" at a natural end, "length" when `max_tokens` cut it off.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None


@dataclass(frozen=True)
class ModelFacts:
    """What a probe found. `context` is the longest prompt plus answer in tokens, where the server tells."""

    reachable: bool
    name: str | None = None
    context: int | None = None
    problem: str | None = None


class LanguageModel:
    """One model at one private OpenAI-compatible server.

    `base_url` ends in /v1; a function is asked before each request, for a server whose address changes (the
    built-in one, after a restart). `model` None means the server's first. `digest` is the SHA-256 of the
    model file where it is known. `timeout_s` bounds one whole answer, in seconds. Raises AddressRefused for
    an address that is not private.
    """

    def __init__(
        self,
        base_url: str | Callable[[], str],
        api_key: str | None = None,
        model: str | None = None,
        *,
        allowed_hosts: Collection[str] = (),
        timeout_s: float = 120.0,
        digest: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        if isinstance(base_url, str):
            check_private_url(base_url, allowed_hosts)
        self._base_url = base_url
        self._model = model
        self._timeout_s = timeout_s
        self._file_digest = digest
        self._client = openai.AsyncOpenAI(
            # The library refuses to start without a key; servers without one ignore it.
            api_key=api_key or "none",
            base_url=base_url if isinstance(base_url, str) else "http://127.0.0.1:9/v1",
            http_client=private_client(allowed_hosts, timeout_s=timeout_s, ca_file=ca_file),
            # A second attempt would double the wait of somebody who already waits; quote mode is better.
            max_retries=0,
        )

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        cache_salt: str | None = None,
        stop: Sequence[str] | None = None,
    ) -> CompletionStream:
        """Return the answer to `messages` as a stream of text pieces; nothing is sent before the first.

        `max_tokens` bounds the answer. `cache_salt` separates the prefix caches of people who may read
        different things (vLLM; other servers ignore it). Use it in `async with`, so that leaving early
        closes the connection, at which the server stops generating.
        """
        request = self._request(messages, max_tokens, temperature, cache_salt, stop)
        return CompletionStream(lambda: self._open(request), time_limit_s=self._timeout_s)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        cache_salt: str | None = None,
        stop: Sequence[str] | None = None,
        json_schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Return the whole answer; with `json_schema`, one that the server forces into that shape.

        It is streamed underneath, so that giving up stops the server too.
        """
        request = self._request(messages, max_tokens, temperature, cache_salt, stop)
        if json_schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(json_schema), "strict": True},
            }
        async with CompletionStream(lambda: self._open(request), time_limit_s=self._timeout_s) as stream:
            async for _piece in stream:
                pass
        return stream.completion

    async def probe(self) -> ModelFacts:
        """Ask the server which models it has; never raises for a server that is away or unwell."""
        try:
            with anyio.fail_after(_PROBE_TIMEOUT_S):
                return self._facts(await self._offered())
        except (ModelUnavailable, AddressRefused) as error:
            return ModelFacts(False, self._model, problem=error.message)
        except _FAILURES as error:
            return ModelFacts(False, self._model, problem=_translated(error).message)

    async def _offered(self) -> object:
        try:
            page = await self._connected().models.list()
        except (AttributeError, TypeError) as error:
            # The library trips over itself when the answer is JSON but no object.
            raise _NotTheProtocol("the list of models is no object") from error
        return page.data

    def _facts(self, offered: object) -> ModelFacts:
        entries = offered if isinstance(offered, list) else []
        served = {entry.id: entry.model_dump() for entry in entries if isinstance(entry, Model)}
        name = self._model or next(iter(served), None)
        if name is None or name not in served:
            return ModelFacts(False, name, problem="The server does not offer this model.")
        return ModelFacts(True, name, _context_of(served[name]))

    async def name(self) -> str:
        """Return the model's name at the server, asking for its first one if none was configured."""
        if self._model is None:
            facts = await self.probe()
            if not facts.reachable or facts.name is None:
                raise ModelUnavailable(facts.problem or "The server offers no model.", hint=_HINT)
            self._model = facts.name
        return self._model

    async def digest(self) -> str:
        """Return what the ledger records: `sha256:…` of the file, or the name with a hash of the address.

        The second kind identifies what was asked, not what answered: a remote server shows no file.
        """
        if self._file_digest is not None:
            return f"sha256:{self._file_digest}"
        url = self._base_url if isinstance(self._base_url, str) else "local"
        return f"{await self.name()}@{hashlib.sha256(url.encode()).hexdigest()[:16]}"

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _request(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        temperature: float,
        cache_salt: str | None,
        stop: Sequence[str] | None,
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if stop:
            request["stop"] = list(stop)
        if cache_salt:
            # vLLM refuses an empty one; llama.cpp ignores fields that it does not know.
            request["extra_body"] = {"cache_salt": cache_salt}
        return request

    async def _open(self, request: dict[str, Any]) -> openai.AsyncStream[ChatCompletionChunk]:
        model = await self.name()
        stream = await self._connected().chat.completions.create(model=model, **request)
        if not isinstance(stream, openai.AsyncStream):
            raise ModelUnavailable("The language model did not answer with a stream.", hint=_HINT)
        return stream

    def _connected(self) -> openai.AsyncOpenAI:
        """Return the client, pointed at where the server is now."""
        if isinstance(self._base_url, str):
            return self._client
        return self._client.with_options(base_url=self._base_url())


class CompletionStream(AsyncIterator[str]):
    """Text pieces as they are generated; `completion` holds what has come so far, in the end all of it."""

    def __init__(
        self,
        open_stream: Callable[[], Any],
        *,
        time_limit_s: float,
    ) -> None:
        self._open_stream = open_stream
        self._time_limit_s = time_limit_s
        self._deadline: float | None = None
        self._stream: openai.AsyncStream[ChatCompletionChunk] | None = None
        self._pieces: list[str] = []
        self._usage: tuple[int | None, int | None] = (None, None)
        self._finish_reason: str | None = None
        self._closed = False

    @property
    def completion(self) -> Completion:
        """What was generated so far; `finish_reason` is None until the server has said that it is done."""
        return Completion("".join(self._pieces), *self._usage, self._finish_reason)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Return the next piece, never empty; raises ModelUnavailable when the server fails or is slow."""
        if self._closed:
            raise StopAsyncIteration
        try:
            with anyio.fail_after(self._time_left()):
                piece = await self._next_piece()
        except StopAsyncIteration:
            await self.aclose()
            raise
        except _FAILURES as error:
            await self.aclose()
            raise _translated(error) from error
        except BaseException:
            # Cancelled: the person went away, and the server should stop generating for them.
            await self.aclose()
            raise
        return piece

    async def aclose(self) -> None:
        """Close the connection, at which the server stops generating. Safe to call twice."""
        self._closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            with anyio.CancelScope(shield=True):
                await stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _next_piece(self) -> str:
        if self._stream is None:
            self._stream = await self._open_stream()
        async for chunk in self._stream:
            piece = self._take(chunk)
            if piece:
                return piece
        if self._finish_reason is None:
            # The connection ended without the server saying so: an answer cut off must not look whole.
            raise ModelUnavailable("The language model broke off in the middle of its answer.", hint=_HINT)
        raise StopAsyncIteration

    def _take(self, chunk: ChatCompletionChunk) -> str:
        """Note what a chunk tells and return its text. Reasoning, which some servers add, is left out."""
        # The library builds chunks without validating them, so nothing in one is surely what its type says.
        if not isinstance(chunk, ChatCompletionChunk) or not isinstance(chunk.choices, list):
            raise _NotTheProtocol("a chunk without choices")
        if isinstance(chunk.usage, CompletionUsage):
            self._usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        piece = "".join(self._take_choice(choice) for choice in chunk.choices)
        if piece:
            self._pieces.append(piece)
        return piece

    def _take_choice(self, choice: object) -> str:
        if not isinstance(choice, Choice):
            raise _NotTheProtocol("something else in the place of a choice")
        self._finish_reason = choice.finish_reason or self._finish_reason
        content = choice.delta.content if isinstance(choice.delta, ChoiceDelta) else None
        return content if isinstance(content, str) else ""

    def _time_left(self) -> float:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._time_limit_s
        return max(0.0, self._deadline - time.monotonic())


class _NotTheProtocol(Exception):
    """A chunk that is JSON, but not of the protocol's shape."""


# ValueError is what the library lets through when the server's text is not JSON.
_FAILURES: Final = (openai.OpenAIError, httpx2.HTTPError, TimeoutError, ValueError, _NotTheProtocol)


def _translated(error: Exception) -> ModelUnavailable:
    """Say in a sentence what went wrong; the status decides, the server's own words are not repeated."""
    match error:
        case openai.APIStatusError():
            message = _status_message(error)
        case openai.APITimeoutError() | httpx2.TimeoutException() | TimeoutError():
            message = "The language model took too long to answer."
        case openai.APIConnectionError() | httpx2.TransportError():
            message = "The language model's server cannot be reached."
        case openai.APIError():
            message = "The language model reported an error in the middle of its answer."
        case _:
            message = "The language model's server sent something that is not the OpenAI protocol."
    return ModelUnavailable(message, hint=_HINT)


def _status_message(error: openai.APIStatusError) -> str:
    match error.status_code:
        case 401 | 403:
            return "The language model's server refused the key in STRONGROOM_MODEL_API_KEY."
        case 404:
            return "The server does not know this model or has no such address; its URL should end in /v1."
        case 400 | 413 | 422 if _says_too_long(error):
            return "The question and its passages are longer than the language model's context."
        case 429 | 503:
            return "The language model is busy or still loading; try again in a moment."
        case status if status >= 500:
            return f"The language model's server failed (status {status})."
        case status:
            return f"The language model's server did not accept the request (status {status})."


def _says_too_long(error: openai.APIStatusError) -> bool:
    """Recognise llama.cpp's `exceed_context_size_error`, OpenAI's code, and vLLM's prose."""
    told = f"{error.type} {error.code} {error.message}".lower()
    return "exceed_context_size" in told or "context_length_exceeded" in told or "context length" in told


def _context_of(entry: Mapping[str, Any]) -> int | None:
    """Read the context length where vLLM (`max_model_len`) or llama.cpp (`meta.n_ctx`) puts it."""
    meta = entry.get("meta")
    told = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return told if isinstance(told, int) else None
