"""The OpenAI protocol against a scripted server: streams, failures, and leaving early."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from infra.errors import AddressRefused, ModelUnavailable
from infra.llm import LanguageModel, ModelFacts

QUESTION = [{"role": "user", "content": "What is the notice period?"}]


CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def event(data: object) -> bytes:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def piece(text: str | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return event(
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )


USAGE = event(
    {**CHUNK, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
)
DONE = event("[DONE]")
ANSWER = [piece("Three"), piece(""), piece(" months."), piece(None, "stop"), USAGE, DONE]


class ScriptedServer:
    """Answers each request with raw bytes, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict]] = []
        self.status = 200
        self.body: list[bytes] | bytes = ANSWER
        self.hang_after: int | None = None
        self.client_left = asyncio.Event()
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path, headers = _parse(head)
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append((path, headers, json.loads(content) if content else {}))
            await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streamed = isinstance(self.body, list)
        kind = "text/event-stream" if streamed else "application/json"
        length = "" if streamed else f"Content-Length: {len(self.body)}\r\n"
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n".encode()
        )
        for number, part in enumerate(self.body if streamed else [self.body]):
            if number == self.hang_after:
                await reader.read()
                self.client_left.set()
                return
            writer.write(part)
            await writer.drain()


def _parse(head: str) -> tuple[str, dict[str, str]]:
    first, *lines = head.strip().split("\r\n")
    return first.split()[1], {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedServer]:
    script = ScriptedServer()
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield script


def with_server(
    test: Callable[[ScriptedServer, LanguageModel], Awaitable[object]], **options: object
) -> None:
    """Run `test` with a scripted server and a model that is pointed at it."""

    async def run() -> None:
        async with scripted() as server:
            model = LanguageModel(server.url, "secret", "m", **options)
            try:
                await test(server, model)
            finally:
                await model.close()

    asyncio.run(run())


def test_pieces_arrive_and_the_completion_is_whole():
    """Non-empty pieces in order; then text, token counts and the reason of the end."""

    async def test(_server, model):
        async with model.stream(QUESTION, max_tokens=20) as stream:
            assert [text async for text in stream] == ["Three", " months."]
        completion = stream.completion
        assert completion.text == "Three months."
        assert (completion.prompt_tokens, completion.completion_tokens) == (7, 2)
        assert completion.finish_reason == "stop"

    with_server(test)


def test_the_request_is_what_the_protocol_says():
    """Key, model, limits, usage, stop words and the cache salt are sent."""

    async def test(server, model):
        await model.complete(QUESTION, max_tokens=20, cache_salt="salt", stop=["\n\n"])
        [(path, headers, body)] = server.requests
        assert (path, headers["authorization"]) == ("/v1/chat/completions", "Bearer secret")
        assert body == {
            "model": "m",
            "messages": QUESTION,
            "max_tokens": 20,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "stop": ["\n\n"],
            "cache_salt": "salt",
        }

    with_server(test)


def test_no_salt_is_sent_when_there_is_none():
    """vLLM refuses an empty one."""

    async def test(server, model):
        await model.complete(QUESTION, max_tokens=20)
        assert "cache_salt" not in server.requests[0][2]

    with_server(test)


def test_a_schema_is_sent_as_response_format():
    """In the shape that both vLLM and llama.cpp understand."""

    async def test(server, model):
        schema = {"type": "object"}
        await model.complete(QUESTION, max_tokens=20, json_schema=schema)
        sent = server.requests[0][2]["response_format"]
        assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", schema)

    with_server(test)


def test_leaving_early_closes_the_connection():
    """The server sees the person go, and can stop generating."""

    async def test(server, model):
        server.hang_after = 1
        async with model.stream(QUESTION, max_tokens=20) as stream:
            assert await anext(stream) == "Three"
        await asyncio.wait_for(server.client_left.wait(), 5)
        assert stream.completion.finish_reason is None
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    with_server(test)


def test_cancellation_closes_the_connection():
    """A cancelled task does not leave the server generating for nobody."""

    async def test(server, model):
        server.hang_after = 1
        stream = model.stream(QUESTION, max_tokens=20)
        await anext(stream)
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(server.client_left.wait(), 5)

    with_server(test)


def test_a_slow_answer_ends_at_the_time_limit():
    """The limit is for the whole answer, not for each piece."""

    async def test(server, model):
        server.hang_after = 2
        with pytest.raises(ModelUnavailable, match="too long"):
            await model.complete(QUESTION, max_tokens=20)
        await asyncio.wait_for(server.client_left.wait(), 5)

    with_server(test, timeout_s=0.3)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([piece("Three")], "broke off"),
        ([piece("Three"), event("{not json")], "not the OpenAI protocol"),
        ([piece("Three"), event("5")], "not the OpenAI protocol"),
        ([event({"choices": "none"})], "not the OpenAI protocol"),
        ([event({"choices": [5]})], "not the OpenAI protocol"),
        ([b"<html>hello</html>"], "broke off"),
        (
            [piece("Three"), event({"error": {"message": "died: What is", "code": 500}})],
            "in the middle",
        ),
        ([], "broke off"),
    ],
)
def test_a_broken_stream_is_never_taken_for_an_answer(body, sentence):
    """Cut off, garbled, or an error in the middle: each is a failure with a kind sentence."""

    async def test(server, model):
        server.body = body
        with pytest.raises(ModelUnavailable, match=sentence) as failure:
            await model.complete(QUESTION, max_tokens=20)
        assert "What is" not in f"{failure.value} {failure.value.hint}"

    with_server(test)


VLLM_TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
}
OLD_VLLM_TOO_LONG = {
    "object": "error",
    "message": "This model's maximum context length is 4096 tokens.",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
LLAMA_TOO_LONG = {
    "error": {"code": 400, "message": "request (6031 tokens) exceeds", "type": "exceed_context_size_error"}
}


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, {"error": {"message": "Invalid API Key"}}, "refused the key"),
        (403, {}, "refused the key"),
        (404, {"object": "error", "message": "The model `m` does not exist.", "code": 404}, "does not know"),
        (400, VLLM_TOO_LONG, "longer than the language model's context"),
        (400, OLD_VLLM_TOO_LONG, "longer than the language model's context"),
        (400, LLAMA_TOO_LONG, "longer than the language model's context"),
        (400, {"error": {"message": "bad"}}, "did not accept"),
        (429, {}, "busy"),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, "busy or still loading"),
        (500, {"error": {"message": "boom"}}, "failed .status 500"),
        (502, None, "failed .status 502"),
    ],
)
def test_each_status_becomes_a_sentence(status, body, sentence):
    """For vLLM's two error shapes, llama.cpp's, and a proxy's page; asked once, not retried."""

    async def test(server, model):
        server.status, server.body = status, b"<html>" if body is None else json.dumps(body).encode()
        with pytest.raises(ModelUnavailable, match=sentence):
            await model.complete(QUESTION, max_tokens=20)
        assert len(server.requests) == 1

    with_server(test)


def test_a_server_that_is_away_is_said_to_be_unreachable():
    """Connection refused."""

    async def run() -> None:
        async with scripted() as server:
            url = server.url
        model = LanguageModel(url, None, "m")
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            await model.complete(QUESTION, max_tokens=20)
        facts = await model.probe()
        assert (facts.reachable, facts.problem) == (False, "The language model's server cannot be reached.")
        await model.close()

    asyncio.run(run())


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://8.8.8.8/v1", "http://vllm:8000/v1"])
def test_a_public_address_is_refused_at_once(url):
    """Making the object is enough; nothing is looked up."""
    with pytest.raises(AddressRefused):
        LanguageModel(url)


def test_a_public_address_is_refused_later_as_well():
    """An address that is asked for at each request is checked at each request, and not retried or wrapped."""

    async def run() -> None:
        model = LanguageModel(lambda: "http://203.0.113.1/v1", None, "m")
        with pytest.raises(AddressRefused):
            await model.complete(QUESTION, max_tokens=20)
        await model.close()

    asyncio.run(run())


def models(*entries: dict) -> bytes:
    listed = [{"object": "model", "created": 1, "owned_by": "x", **entry} for entry in entries]
    return json.dumps({"object": "list", "data": listed}).encode()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (models({"id": "m", "max_model_len": 8192}), ModelFacts(True, "m", 8192)),
        (models({"id": "m", "meta": {"n_ctx": 4096}}), ModelFacts(True, "m", 4096)),
        (models({"id": "m"}), ModelFacts(True, "m", None)),
        (models({"id": "other"}), ModelFacts(False, "m", problem="The server does not offer this model.")),
        (b'{"data": null}', ModelFacts(False, "m", problem="The server does not offer this model.")),
        (b"[1]", None),
        (b"<html>", None),
    ],
)
def test_a_probe_tells_what_is_there(listed, expected):
    """vLLM's and llama.cpp's context length, a model that is missing, and answers that make no sense."""

    async def test(server, model):
        server.body = listed
        facts = await model.probe()
        assert facts == expected if expected else not facts.reachable

    with_server(test)


def test_without_a_name_the_first_model_is_asked():
    """The name is learnt once, from the server."""

    async def run() -> None:
        async with scripted() as server:
            server.body = models({"id": "served"})
            model = LanguageModel(server.url)
            assert await model.name() == "served"
            server.body = ANSWER
            await model.complete(QUESTION, max_tokens=20)
            assert server.requests[-1][2]["model"] == "served"
            await model.close()

    asyncio.run(run())


def test_the_digest_is_the_files_or_names_the_server():
    """A local file's SHA-256 where it is known, else the name with a hash of the address."""

    async def run() -> None:
        url = "http://127.0.0.1:1/v1"
        known, remote = LanguageModel(url, None, "m", digest="ab" * 32), LanguageModel(url, None, "m")
        assert await known.digest() == "sha256:" + "ab" * 32
        assert await remote.digest() == f"m@{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        await known.close()
        await remote.close()

    asyncio.run(run())
