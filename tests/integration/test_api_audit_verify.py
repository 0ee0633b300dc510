"""A check over HTTP with a kept checkpoint: the verdict, the typed refusals, and both on the record."""

from __future__ import annotations

import time
from typing import Any

import pytest
from api_world import World, error_of


def checkpoint(world: World) -> str:
    return str(world.auditor.client.get("/v1/audit/checkpoint").json()["note"])


def recorded(world: World, request: str, kind: str) -> dict[str, Any]:
    """Return the record of a request, as soon as it has its place."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        params = {"correlation": request, "type": kind}
        found = world.auditor.client.get("/v1/audit/events", params=params).json()["data"]
        if found:
            event: dict[str, Any] = found[0]
            return event
        time.sleep(0.1)
    raise AssertionError(f"no {kind} of the request is on the record")


def test_a_kept_checkpoint_is_compared(world: World) -> None:
    """The log only grew since; the record says with which state it was compared."""
    note = checkpoint(world)
    answer = world.auditor.client.post("/v1/audit/verify", json={"checkpoint": note})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["result"], report["kept"]) == ("sound", int(note.splitlines()[1]))
    event = recorded(world, answer.headers["x-request-id"], "audit.verified")
    assert (event["outcome"], event["res"]["ver"]) == ("sound", str(report["kept"]))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda note: note.replace("\n", "\n1", 1), "signature_wrong"),
        (lambda note: f"log.example/other\n{note.partition(chr(10))[2]}", "another_log"),
        (lambda _note: "no checkpoint", "note_unreadable"),
        (lambda _note: "x" * 70_000, "invalid_input"),
    ],
    ids=["forged", "another log", "nonsense", "long"],
)
def test_a_checkpoint_that_is_not_this_logs_is_refused_on_the_record(
    world: World, spoil: Any, code: str
) -> None:
    """400 with a code that says why, and the attempt under the auditor's name."""
    answer = world.auditor.client.post("/v1/audit/verify", json={"checkpoint": spoil(checkpoint(world))})
    error = error_of(answer, 400)
    assert (error["code"], error["param"]) == (code, "checkpoint")
    event = recorded(world, answer.headers["x-request-id"], "refused")
    assert (event["outcome"], event["res"]["id"]) == (code, "POST /v1/audit/verify")
    assert event["actor"]["kind"] == "user"
