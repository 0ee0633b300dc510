"""The built-in model server, with a real model: what it offers, to whom, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.errors import ConfigurationError, ModelUnavailable
from infra.llama_server import RESTARTS, LlamaServer, ServerState
from infra.llm import LanguageModel
from infra.models.files import installed
from infra.network import private_sync_client
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SECRET = "zebrafish-severance"
QUESTION = [{"role": "user", "content": f"Say the word {SECRET} and count to fifty."}]


def smallest_model() -> Path | None:
    folder = Settings().models_dir
    found = installed(folder if folder.is_absolute() else ROOT / folder)
    return min(found, key=lambda model: model.size).path if found else None


@pytest.fixture(scope="module")
def gguf() -> Path:
    found = smallest_model()
    if found is None:
        pytest.skip("no model in the models folder (STRONGROOM_MODELS_DIR)")
    return found


@pytest.fixture(scope="module")
def server(gguf, tmp_path_factory):
    """One running server for the tests that only ask it things."""
    running = LlamaServer(
        gguf, log_file=tmp_path_factory.mktemp("llama") / "llama.log", threads=2, context=1024
    )
    running.start()
    running.wait_ready(60)
    yield running
    running.stop()


@pytest.fixture
def own_server(gguf, tmp_path):
    """A server that the test may break."""
    running = LlamaServer(gguf, log_file=tmp_path / "llama.log", threads=2, context=512)
    running.start()
    running.wait_ready(60)
    yield running
    running.stop()


def child_of(pid: int) -> psutil.Process:
    """Return the model server's process among the children of `pid`."""
    [found] = [c for c in psutil.Process(pid).children() if "infra.llama_server" in c.cmdline()]
    return found


def wait_until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.model
def test_it_speaks_the_protocol(server):
    """Streaming with token counts, a schema, and the facts, through our own client."""

    async def ask():
        model = LanguageModel(lambda: server.base_url, server.api_key)
        facts = await model.probe()
        async with model.stream(QUESTION, max_tokens=12, cache_salt="salt") as stream:
            pieces = [piece async for piece in stream]
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        shaped = await model.complete(QUESTION, max_tokens=60, json_schema=schema)
        await model.close()
        return facts, pieces, stream.completion, shaped

    facts, pieces, completion, shaped = asyncio.run(ask())
    assert (facts.reachable, facts.name, facts.context) == (True, "local", 1024)
    assert len(pieces) > 1
    assert "".join(pieces) == completion.text
    assert (completion.completion_tokens, completion.finish_reason) == (12, "length")
    assert (completion.prompt_tokens or 0) > 10
    assert isinstance(json.loads(shaped.text)["n"], int)


@pytest.mark.model
def test_a_prompt_beyond_the_context_is_refused_kindly(server):
    """Not truncated in silence."""

    async def ask():
        model = LanguageModel(lambda: server.base_url, server.api_key)
        try:
            await model.complete([{"role": "user", "content": "word " * 3000}], max_tokens=5)
        finally:
            await model.close()

    with pytest.raises(ModelUnavailable, match="longer than the language model's context"):
        asyncio.run(ask())


ROUTES = {
    "GET": "/v1/models /models /props /slots /metrics /lora-adapters /tools /api/tags",
    "POST": "/v1/chat/completions /chat/completions /v1/completions /completion /completions /infill "
    "/v1/responses /v1/messages /v1/embeddings /embedding /embeddings /v1/rerank /rerank /reranking "
    "/tokenize /detokenize /apply-template /props /slots/0 /lora-adapters /models/load /models/unload "
    "/api/chat /tools",
}


@pytest.mark.model
@pytest.mark.parametrize("key", [None, "wrong"])
def test_every_route_needs_the_key(server, key):
    """Only /health answers without it, and says nothing but that it is up."""
    root = server.base_url.removesuffix("/v1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with private_sync_client([]) as client:
        for method, paths in ROUTES.items():
            for path in paths.split():
                assert client.request(method, root + path, headers=headers, json={}).status_code == 401, path
        assert client.get(f"{root}/").status_code == 404
        assert client.get(f"{root}/health").json() == {"status": "ok"}


@pytest.mark.model
@pytest.mark.parametrize("path", ["/slots", "/metrics"])
def test_pages_that_show_prompts_are_off_even_with_the_key(server, path):
    """Nobody needs them, and /slots would show what others ask."""
    root = server.base_url.removesuffix("/v1")
    with private_sync_client([]) as client:
        response = client.get(root + path, headers={"Authorization": f"Bearer {server.api_key}"})
    assert response.status_code == 501


@pytest.mark.model
def test_it_listens_on_one_loopback_port_only(server):
    """Nothing else is bound, and no connection is open to elsewhere."""
    connections = child_of(os.getpid()).net_connections(kind="inet")
    [listening] = [c for c in connections if c.status == psutil.CONN_LISTEN]
    assert listening.laddr.ip == "127.0.0.1"
    assert server.base_url == f"http://127.0.0.1:{listening.laddr.port}/v1"
    assert {c.laddr.ip for c in connections} == {"127.0.0.1"}


@pytest.mark.model
def test_the_key_stands_in_no_command_line_and_no_environment(server):
    """Both can be read by others."""
    child = child_of(os.getpid())
    assert server.api_key not in " ".join(child.cmdline())
    assert server.api_key not in json.dumps(child.environ())


@pytest.mark.model
def test_the_log_holds_no_prompt(own_server, tmp_path):
    """Neither after a good request, nor after one that fails."""
    headers = {"Authorization": f"Bearer {own_server.api_key}"}
    bodies = [
        {"messages": QUESTION, "max_tokens": 4},
        {"messages": [{"role": "user", "content": f"{SECRET} " * 900}], "max_tokens": 4},
        {"messages": SECRET},
        {"messages": [{"role": SECRET, "content": [SECRET]}]},
        {"messages": QUESTION, "response_format": {"type": "json_schema", "json_schema": {"schema": SECRET}}},
    ]
    with private_sync_client([], timeout_s=60) as client:
        answers = [
            client.post(f"{own_server.base_url}/chat/completions", headers=headers, json=b) for b in bodies
        ]
        client.post(f"{own_server.base_url}/chat/completions", headers=headers, content=f'{{"{SECRET}')
    assert [answer.status_code for answer in answers][:3] == [200, 400, 400]
    own_server.stop()
    log = (tmp_path / "llama.log").read_text(errors="replace")
    assert SECRET not in log, log


@pytest.mark.model
def test_leaving_early_stops_the_generation(server):
    """The one slot is free again at once, though the first answer was to be long."""

    async def ask() -> float:
        model = LanguageModel(lambda: server.base_url, server.api_key)
        async with model.stream(QUESTION, max_tokens=900) as stream:
            await anext(stream)
        started = time.monotonic()
        await model.complete(QUESTION, max_tokens=1)
        await model.close()
        return time.monotonic() - started

    assert asyncio.run(ask()) < 3


@pytest.mark.model
def test_memory_is_reported_while_it_runs(own_server):
    """More than the smallest model's weights, and nothing after the end."""
    assert own_server.memory_bytes() > 50_000_000
    own_server.stop()
    assert own_server.memory_bytes() == 0


@pytest.mark.model
def test_a_crash_is_followed_by_a_new_start_at_a_new_address(own_server):
    """While it is away its address is not given out: somebody else may have the port by then."""
    first = own_server.base_url
    child_of_server(own_server).kill()
    wait_until(lambda: own_server.state is not ServerState.READY)
    with pytest.raises(ModelUnavailable, match="starting"):
        _ = own_server.base_url
    own_server.wait_ready(60)
    assert own_server.base_url != first


def child_of_server(server: LlamaServer) -> psutil.Process:
    port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
    [found] = [
        child
        for child in psutil.Process().children()
        for connection in child.net_connections(kind="inet")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    ]
    return found


def test_a_model_that_cannot_be_loaded_is_given_up(tmp_path):
    """After a bounded number of starts, with a sentence; not for ever."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)
    states: list[ServerState] = []
    server = LlamaServer(broken, log_file=tmp_path / "llama.log", threads=1, on_state=states.append)
    server.start()
    wait_until(lambda: server.state is ServerState.FAILED, 60)
    with pytest.raises(ModelUnavailable, match="given up"):
        server.wait_ready(1)
    assert states == [ServerState.FAILED]
    assert RESTARTS == 3
    server.stop()


def test_what_is_no_gguf_is_refused_before_a_child_starts(tmp_path):
    """A pickle never reaches native code."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ConfigurationError):
        LlamaServer(path, log_file=tmp_path / "llama.log")


PARENT = """
import sys, time
from pathlib import Path
from infra.llama_server import LlamaServer
server = LlamaServer(Path(sys.argv[1]), log_file=Path(sys.argv[2]), threads=2, context=512)
server.start()
if sys.argv[3] == "ready":
    server.wait_ready(60)
print("up", flush=True)
time.sleep(60)
"""


@pytest.mark.model
@pytest.mark.parametrize("moment", ["ready", "loading"])
def test_it_dies_with_its_parent(gguf, tmp_path, moment):
    """Even when the parent is killed outright, and even while the model is still loading."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(gguf), str(tmp_path / "llama.log"), moment],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        wait_until(lambda: psutil.Process(parent.pid).children() != [])
        child = child_of(parent.pid) if moment == "ready" else psutil.Process(parent.pid).children()[0]
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
