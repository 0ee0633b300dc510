"""Looking at a model server: one that behaves, and many that do not, over real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from infra.errors import AddressRefused
from infra.models.probing import Finding, ServerProbe, Verdict
from infra.models.replies import Reply, Stream

NAMES = [
    *("models list", "context length", "streaming", "tokens per second"),
    *("tool calls", "structured output", "reasoning field"),
]
SECRET = "sk-do-not-tell"


class Behaviour:
    """What a scripted server answers; each part can be replaced by a test."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.models: Any = {"object": "list", "data": [{"id": "qwen3-8b", "max_model_len": 8192}]}
        self.status: dict[str, int] = {}
        self.message: dict[str, dict[str, Any]] = {
            "tools": {
                "content": None,
                "tool_calls": [{"function": {"name": "city_time", "arguments": '{"city": "Oslo"}'}}],
            },
            "shape": {"content": '{"word": "harbour", "number": 7}'},
            "plain": {"content": "9.9", "reasoning_content": "9.9 is 9.90."},
        }
        self.stream: Callable[[], Iterator[bytes]] = good_stream
        self.kind = "text/event-stream; charset=utf-8"

    def which(self, body: dict[str, Any]) -> str:
        """Name the kind of question."""
        if body.get("stream"):
            return "stream"
        return "tools" if "tools" in body else "shape" if "response_format" in body else "plain"


def event(data: object) -> bytes:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def piece(text: str, key: str = "content", finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {key: text}, "finish_reason": finish}]})


USAGE = event({"choices": [], "usage": {"completion_tokens": 41}})
END = [piece("", finish="stop"), USAGE, event("[DONE]")]


def good_stream() -> Iterator[bytes]:
    yield from (*(piece(f" {number}") for number in range(5)), *END)


def slow_stream() -> Iterator[bytes]:
    """Yield pieces far enough apart to be told from each other on a busy machine."""
    for number in range(4):
        yield piece(f" {number}")
        time.sleep(0.1)
    yield from END


class Handler(BaseHTTPRequestHandler):
    """Answers as its behaviour says."""

    behaviour: ClassVar[Behaviour]

    def log_message(self, *_words: object) -> None:
        """Say nothing on standard error."""

    def do_GET(self) -> None:
        self.behaviour.requests.append((self.path, dict(self.headers), {}))
        self._json(self.behaviour.status.get("models", 200), self.behaviour.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.behaviour.requests.append((self.path, dict(self.headers), body))
        which = self.behaviour.which(body)
        status = self.behaviour.status.get(which, 200)
        if which != "stream" or status != 200:
            quoted = {"error": {"message": f"You said: {body['messages']} with {SECRET}"}}
            message = self.behaviour.message.get(which)
            self._json(status, {"choices": [{"message": message}]} if status == 200 else quoted)
            return
        self.send_response(200)
        self.send_header("Content-Type", self.behaviour.kind)
        self.end_headers()
        try:
            for part in self.behaviour.stream():
                self.wfile.write(part)
        except OSError:
            return  # The prober had enough.

    def _json(self, status: int, document: Any) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Serve `behaviour` on a free port of this machine; yields the address without /v1."""
    handler = type("Scripted", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def probe(behaviour: Behaviour, **options: Any) -> dict[str, Finding]:
    """Look at a scripted server, and return the findings by name."""
    with serving(behaviour) as url, ServerProbe(url, **{"timeout_s": 5.0, **options}) as looking:
        return {finding.name: finding for finding in looking.findings()}


def test_a_server_that_behaves():
    """Everything works, with what was measured."""
    behaviour = Behaviour()
    behaviour.stream = slow_stream
    found = probe(behaviour)
    assert list(found) == NAMES
    assert {finding.verdict for finding in found.values()} == {Verdict.WORKS}
    assert found["models list"].value == "qwen3-8b"
    assert found["context length"].value == 8192
    assert found["reasoning field"].value == "reasoning_content"
    assert found["tokens per second"].reason.endswith("as the server counts")
    assert found["tokens per second"].value > 0


def test_only_harmless_questions_are_sent_and_no_key_without_being_told():
    """The requests hold constant words, and no authorization."""
    behaviour = Behaviour()
    probe(behaviour)
    assert [path for path, _headers, _body in behaviour.requests] == ["/v1/models"] + [
        "/v1/chat/completions"
    ] * 4
    for _path, headers, body in behaviour.requests:
        assert "authorization" not in {name.lower() for name in headers}
        assert len(body.get("messages", [])) in (0, 1)
    assert {body.get("model") for _path, _headers, body in behaviour.requests[1:]} == {"qwen3-8b"}


def test_each_look_has_a_connection_of_its_own():
    """llama.cpp may close after a stream without a word, and the next request would be lost."""
    behaviour = Behaviour()
    probe(behaviour)
    assert {headers["Connection"] for _path, headers, _body in behaviour.requests} == {"close"}


def test_a_given_key_and_model_are_used():
    """For servers that want one, or have several."""
    behaviour = Behaviour()
    behaviour.models = {"data": [{"id": "a"}, {"id": "b"}]}
    found = probe(behaviour, key="k", model="b")
    assert found["models list"].value == "b"
    assert all(headers["Authorization"] == "Bearer k" for _path, headers, _body in behaviour.requests)


@pytest.mark.parametrize(
    ("status", "models", "reason"),
    [
        (401, {"error": SECRET}, "key"),
        (404, {}, "/v1"),
        (500, {}, "status 500"),
        (200, b"<html>", "no list"),
        (200, b"[" * 100_000, "no list"),
        (200, [], "no list"),
        (200, {"data": "none"}, "no list"),
        (200, {"data": []}, "no model"),
        (200, {"data": [{"id": 7}, "x"]}, "no model"),
        (200, {"data": [{"id": "other"}]}, "not offer"),
    ],
)
def test_without_a_list_there_is_nothing_more_to_look_at(status, models, reason):
    """One finding, with a reason of ours, and no question asked."""
    behaviour = Behaviour()
    behaviour.status["models"], behaviour.models = status, models
    found = probe(behaviour, model="qwen3-8b")
    assert list(found) == ["models list"]
    assert found["models list"].verdict is Verdict.FAILS
    assert reason in found["models list"].reason
    assert SECRET not in found["models list"].reason
    assert len(behaviour.requests) == 1


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"meta": {"n_ctx": 2048}}, 2048),
        ({}, None),
        ({"max_model_len": "many"}, None),
        ({"max_model_len": True}, None),
        ({"max_model_len": -1}, None),
        ({"meta": 5}, None),
    ],
)
def test_the_context_is_read_where_servers_tell_it(entry, value):
    """vLLM's place and llama.cpp's; nonsense is not offered rather than believed."""
    behaviour = Behaviour()
    behaviour.models = {"data": [{"id": "m", **entry}]}
    found = probe(behaviour)["context length"]
    assert found.value == value
    assert found.verdict is (Verdict.WORKS if value else Verdict.ABSENT)


def at_once() -> Iterator[bytes]:
    yield b"".join([*(piece(f" {number}") for number in range(20)), *END])


def without_end() -> Iterator[bytes]:
    yield from (piece("a"), piece("b"))


def without_mark() -> Iterator[bytes]:
    yield from (piece("a"), piece("b"), piece("", finish="stop"))


def one_piece() -> Iterator[bytes]:
    yield from (piece("all of it"), *END)


def garbled() -> Iterator[bytes]:
    yield from (piece("a"), event("{no json"), piece("b"), *END)


def an_error() -> Iterator[bytes]:
    yield from (piece("a"), event({"error": {"message": SECRET}}), *END)


def strange() -> Iterator[bytes]:
    yield from (event({"choices": [5, {"delta": "x"}, {"delta": {"content": 5}}], "usage": 3}), *END)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (at_once, "at once"),
        (without_end, "proper end"),
        (without_mark, "proper end"),
        (one_piece, "in pieces"),
        (garbled, "not of the protocol"),
        (an_error, "not of the protocol"),
        (strange, "in pieces"),
    ],
)
def test_a_bad_stream_is_told(stream, reason):
    """Each fault has its own words; the other looks go on."""
    behaviour = Behaviour()
    behaviour.stream = stream
    found = probe(behaviour)
    assert found["streaming"].verdict is Verdict.FAILS
    assert reason in found["streaming"].reason
    assert SECRET not in found["streaming"].reason
    assert found["tokens per second"].verdict is Verdict.ABSENT
    assert found["tool calls"].verdict is Verdict.WORKS


def test_an_answer_that_is_no_stream():
    """A server that ignores `stream`."""
    behaviour = Behaviour()
    behaviour.kind = "application/json"
    assert "no stream" in probe(behaviour)["streaming"].reason


def test_thinking_counts_as_streamed_text():
    """A reasoning model may spend all of its tokens on thinking."""

    def thinking() -> Iterator[bytes]:
        yield from (piece("9", key="reasoning"), piece(".9", key="reasoning"), *END)

    behaviour = Behaviour()
    behaviour.stream = thinking
    assert probe(behaviour)["streaming"].verdict is Verdict.WORKS


def test_without_usage_pieces_are_counted():
    """And the reason says that it is so."""

    def silent() -> Iterator[bytes]:
        for number in range(3):
            yield piece(f" {number}")
            time.sleep(0.1)
        yield from (END[0], END[2])

    behaviour = Behaviour()
    behaviour.stream = silent
    found = probe(behaviour)["tokens per second"]
    assert found.verdict is Verdict.WORKS
    assert "no usage" in found.reason


def test_a_stream_is_read_with_its_moments():
    """Whole lines count when they are whole, however the network cuts them."""
    first, second = piece("a"), piece("b")
    cut = (*((2.0, bytes([byte])) for byte in first), (5.0, second + b"".join(END)))
    stream = Stream.read(Reply(200, "text/event-stream", cut))
    assert (stream.times, stream.tokens, stream.finished, stream.marked_end) == ((2.0, 5.0), 41, True, True)
    assert stream.fault(Reply(200, "text/event-stream", cut)) is None


def test_a_stream_without_end_is_left():
    """By its time, whatever it goes on sending."""

    def forever() -> Iterator[bytes]:
        while True:
            yield piece("a")
            time.sleep(0.02)

    behaviour = Behaviour()
    behaviour.stream = forever
    started = time.monotonic()
    found = probe(behaviour, timeout_s=0.5)["streaming"]
    assert time.monotonic() - started < 5
    assert (found.verdict, found.reason) == (Verdict.FAILS, "no end within 0.5 seconds")


def test_an_endless_flood_is_left():
    """By its size."""

    def flood() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    behaviour = Behaviour()
    behaviour.stream = flood
    assert probe(behaviour)["streaming"].reason == "the answer has no end"


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": "It is noon."}, "in words"),
        ({"content": '<tool_call>{"name": "city_time"}</tool_call>'}, "tool parser"),
        ({"content": "[city_time(city='Oslo')]"}, "tool parser"),
        ({"content": ""}, "used up"),
        ({"content": None}, "used up"),
        (call("weather", '{"city": "Oslo"}'), "another name"),
        (call("city_time", "{city: Oslo}"), "unsound"),
        (call("city_time", {"city": "Oslo"}), "unsound"),
        (call("city_time", '{"city": 7}'), "unsound"),
        ({"content": None, "tool_calls": "city_time"}, "unsound"),
    ],
)
def test_tool_calls_that_do_not_work(message, reason):
    """In the text, with wrong arguments, or not at all."""
    behaviour = Behaviour()
    behaviour.message["tools"] = message
    found = probe(behaviour)["tool calls"]
    assert found.verdict is Verdict.FAILS
    assert reason in found.reason


@pytest.mark.parametrize(("which", "name"), [("tools", "tool calls"), ("shape", "structured output")])
def test_what_a_server_does_without_is_no_fault(which, name):
    """vLLM answers 400 without a tool parser; a broken server answers 500."""
    behaviour = Behaviour()
    behaviour.status[which] = 400
    assert probe(behaviour)[name].verdict is Verdict.ABSENT
    behaviour.status[which] = 500
    found = probe(behaviour)[name]
    assert (found.verdict, found.reason) == (Verdict.FAILS, "the server refused (status 500)")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("The sea is wide.", "ignored"),
        ('{"word": "wave", "number": 1}', "ignored"),
        ('{"word": "harbour", "number": true}', "ignored"),
        ('{"word": "harbour", "number": 1, "more": 2}', "ignored"),
        ("[]", "ignored"),
        ("", "used up"),
    ],
)
def test_structured_output_that_is_ignored(content, reason):
    """Some servers take the field and do nothing with it."""
    behaviour = Behaviour()
    behaviour.message["shape"] = {"content": content}
    found = probe(behaviour)["structured output"]
    assert found.verdict is Verdict.FAILS
    assert reason in found.reason


@pytest.mark.parametrize(
    ("message", "verdict", "value"),
    [
        ({"content": "9.9", "reasoning": "hm"}, Verdict.WORKS, "reasoning"),
        (
            {"content": "9.9", "reasoning_content": "hm", "reasoning": "hm"},
            Verdict.WORKS,
            "reasoning_content",
        ),
        ({"content": "9.9", "reasoning_content": None}, Verdict.ABSENT, None),
        ({"content": "9.9"}, Verdict.ABSENT, None),
        ({"content": "<think>hm</think>9.9"}, Verdict.FAILS, None),
        ({"content": "hm</think>9.9", "reasoning": "x"}, Verdict.FAILS, None),
    ],
)
def test_where_thinking_comes(message, verdict, value):
    """Apart, in the answer, or not at all."""
    behaviour = Behaviour()
    behaviour.message["plain"] = message
    found = probe(behaviour)["reasoning field"]
    assert (found.verdict, found.value) == (verdict, value)


def test_a_server_that_is_not_there():
    """One finding with a plain reason."""
    with ServerProbe("http://127.0.0.1:9", timeout_s=2.0) as looking:
        [found] = looking.findings()
    assert (found.verdict, found.reason) == (Verdict.FAILS, "the server cannot be reached, or broke off")


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8/v1", "http://example.org/v1", "ftp://127.0.0.1", "http://a@127.0.0.1"]
)
def test_only_private_addresses_are_looked_at(url):
    """Nothing is sent anywhere else."""
    with pytest.raises(AddressRefused):
        ServerProbe(url)
