"""The record cannot be written: nothing is answered, nothing hangs, and all is well soon after."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psutil
import pytest

from services.cli.record import opened_read_only
from tests.made_documents import markdown_of
from tests.preloaded import PreloadedServer
from tests.serving import Person, ask, finished_job, upload

LEAVE = "Employees receive 25 days of annual leave in each calendar year."
QUESTION = "How many days of annual leave do employees receive?"
SLACK_S = 2.0
"""What a busy machine may add to the ledger's own limit of two seconds."""
LIMIT_S = 2.0 + SLACK_S
RECOVERY_S = 5.0
NOTICED_S = 8.0


@pytest.fixture(scope="module")
def server(make_server: Callable[..., PreloadedServer]) -> Iterator[PreloadedServer]:
    """Start a server in quote mode."""
    started = make_server()
    yield started.start()
    started.kill()


@pytest.fixture(scope="module")
def ada(server: PreloadedServer) -> Person:
    """Somebody with a file."""
    person = server.person("Ada")
    entry = upload(person.client, "leave.md", markdown_of("Leave", [LEAVE]))
    assert finished_job(person.client, entry["x_job"]["id"])["state"] == "succeeded"
    assert ask(person.client, QUESTION)["x_answer"]["status"] == "answered"
    return person


@contextmanager
def locked(server: PreloadedServer) -> Iterator[None]:
    """Hold SQLite's one write lock from another process."""
    held = sqlite3.connect(server.data_dir / "strongroom.sqlite3", isolation_level=None, timeout=30)
    try:
        held.execute("BEGIN IMMEDIATE")
        yield
    finally:
        held.execute("ROLLBACK")
        held.close()


@contextmanager
def disk_full(server: PreloadedServer) -> Iterator[None]:
    """Let the server write no byte beyond the first page of any file, as a full disk would."""
    process = psutil.Process(server.pid)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    process.rlimit(psutil.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, unlimited)


BLOCKS = pytest.mark.parametrize("blocked", [locked, disk_full])
Blocked = Callable[[PreloadedServer], Any]


def completion(ada: Person, **fields: Any) -> httpx2.Response:
    """Ask a question and return whatever comes."""
    body = {"model": "strongroom-quote", "messages": [{"role": "user", "content": QUESTION}], **fields}
    return ada.client.post("/v1/chat/completions", json=body)


@BLOCKS
@pytest.mark.parametrize("stream", [False, True])
def test_no_answer_leaves_without_its_record(
    blocked: Blocked, stream: bool, server: PreloadedServer, ada: Person
) -> None:
    """Whole or streamed, the answer is 503 `audit_unavailable` in time, and holds nothing of the file."""
    with blocked(server):
        began = time.monotonic()
        answer = completion(ada, stream=stream)
        assert time.monotonic() - began < LIMIT_S
    assert_unavailable(answer)
    assert LEAVE not in answer.text
    await_recovery(server, ada)


@BLOCKS
def test_nothing_is_shown_without_its_record(blocked: Blocked, server: PreloadedServer, ada: Person) -> None:
    """Looking at one's files is refused as well, in time."""
    with blocked(server):
        began = time.monotonic()
        answer = ada.client.get("/v1/files")
        assert time.monotonic() - began < LIMIT_S
    assert_unavailable(answer)
    assert "leave.md" not in answer.text
    await_recovery(server, ada)


@BLOCKS
def test_the_server_says_so_and_begins_nothing(
    blocked: Blocked, server: PreloadedServer, ada: Person
) -> None:
    """`/readyz` is false; from then on changes too are refused at once instead of waiting for a lock."""
    with blocked(server):
        await_ready(server, False, within_s=NOTICED_S)
        for _ in range(3):
            began = time.monotonic()
            assert_unavailable(ada.client.post("/v1/conversations", json={"title": "Later"}))
            assert time.monotonic() - began < SLACK_S
        assert httpx2.get(f"{server.url}/healthz", timeout=10).status_code == 200
    await_recovery(server, ada)


def test_the_record_is_sound_afterwards(server: PreloadedServer, ada: Person) -> None:
    """What was refused left nothing half-written."""
    with disk_full(server):
        assert_unavailable(completion(ada))
    await_recovery(server, ada)
    with opened_read_only(server.settings()) as ledger:
        assert ledger.verify().is_sound


def assert_unavailable(answer: httpx2.Response) -> None:
    """Check the typed refusal."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "audit_unavailable"


def await_ready(server: PreloadedServer, wanted: bool, *, within_s: float) -> None:
    """Wait until `/readyz` says so."""
    deadline = time.monotonic() + within_s
    while True:
        answer = httpx2.get(f"{server.url}/readyz", timeout=10)
        if answer.json()["ledger"] is wanted:
            assert answer.status_code == (200 if wanted else 503)
            return
        assert time.monotonic() < deadline, f"the server never said {wanted}"
        time.sleep(0.1)


def await_recovery(server: PreloadedServer, ada: Person) -> None:
    """Check that within five seconds the server is ready, and answers."""
    await_ready(server, True, within_s=RECOVERY_S)
    assert ask(ada.client, QUESTION)["x_answer"]["status"] == "answered"
