"""Exports, proofs and receipts of a running server, checked with nothing but what it sent."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_world import QUESTION, World, error_of, question

from infra.audit.bundles.bundle import verify_bundle
from infra.audit.checkpoint import VerifierKey, read_checkpoint, verify_checkpoint
from infra.audit.proofs.receipt import verify_receipt
from infra.audit.proofs.tlog_proof import ConsistencyProof
from infra.audit.verify import Verdict


def ask(client: httpx2.Client) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json=question(QUESTION))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["x_answer"]
    return found


def events(world: World, **filters: str) -> list[dict[str, Any]]:
    listed = world.auditor.client.get("/v1/audit/events", params={"newest": "true", **filters})
    assert listed.status_code == 200, listed.text
    data: list[dict[str, Any]] = listed.json()["data"]
    return data


def unpacked(answer: httpx2.Response, into: Path) -> Path:
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


def verifier_key(world: World) -> str:
    return str(world.auditor.client.get("/v1/audit/checkpoint").json()["verifier_key"])


# --- export ---------------------------------------------------------------------------------------


def test_an_auditor_exports_a_bundle_that_verifies(world: World, tmp_path: Path) -> None:
    """The archive holds a bundle that is checked without the server."""
    ask(world.ada.client)
    answer = world.auditor.client.post("/v1/audit/export", json={})
    assert answer.headers["content-type"] == "application/x-tar"
    folder = unpacked(answer, tmp_path)
    assert answer.headers["content-disposition"] == f'attachment; filename="{folder.name}.tar"'
    report = verify_bundle(folder, key=verifier_key(world))
    assert (report.verdict, report.first, report.end) == (Verdict.SOUND, 0, report.size)
    (tmp_path / "sent.tar").write_bytes(answer.content)
    assert verify_bundle(tmp_path / "sent.tar", key=verifier_key(world)) == report


def test_an_export_is_on_the_record_before_it_leaves(world: World) -> None:
    """Who took which records; the range is the one that left."""
    with world.auditor.client.stream("POST", "/v1/audit/export", json={"from": "0", "to": "0"}) as answer:
        request = answer.headers["x-request-id"]
        world.ada.client.get(ask(world.ada.client)["receipt_url"])
        (event,) = [
            event for event in events(world, correlation=request) if event["type"] == "audit.exported"
        ]
        name = answer.headers["content-disposition"].split("-record-")[1].removesuffix('.tar"')
        assert event["res"]["id"] == name
        answer.read()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "9", "to": "3"}, "to"),
        ({"to": "1999-12-31"}, "to"),
        ({"from": "x" * 41}, "from"),
        ({"from": 5}, "from"),
        ({"tenant": "other"}, "tenant"),
    ],
)
def test_a_nonsense_range_is_a_typed_error_on_the_record(
    world: World, body: dict[str, Any], param: str
) -> None:
    """It names the field, and the attempt can be found."""
    answer = world.auditor.client.post("/v1/audit/export", json=body)
    deadline = time.monotonic() + 10
    while answer.status_code == 409 and time.monotonic() < deadline:
        # The server has not noticed yet that an earlier test's download ended.
        time.sleep(0.1)
        answer = world.auditor.client.post("/v1/audit/export", json=body)
    assert error_of(answer, 400)["param"] == param
    world.ada.client.get(ask(world.ada.client)["receipt_url"])
    found = events(world, correlation=answer.headers["x-request-id"])
    assert [event["type"] for event in found] == ["refused"]


def test_only_auditors_export(world: World) -> None:
    """Not an administrator, not somebody who asked, not a stranger."""
    for client in (world.admin.client, world.ada.client):
        error_of(client.post("/v1/audit/export", json={}), 403)
    with world.stranger() as stranger:
        error_of(stranger.post("/v1/audit/export", json={}), 401)


# --- proofs ---------------------------------------------------------------------------------------


def test_checkpoints_come_in_pages(world: World) -> None:
    """Each is signed; a page goes on where the last one ended."""
    for _ in range(3):
        world.ada.client.get(ask(world.ada.client)["receipt_url"])
    client, key = world.auditor.client, VerifierKey.parse(verifier_key(world))
    whole = client.get("/v1/audit/checkpoints", params={"limit": 500}).json()
    sizes = [verify_checkpoint(entry["note"], key).size for entry in whole["data"]]
    assert sizes == sorted(set(sizes))
    assert [entry["size"] for entry in whole["data"]] == sizes
    paged, after = [], -1
    while after is not None and len(paged) < 4:
        page = client.get("/v1/audit/checkpoints", params={"limit": 2, "after": after}).json()
        paged += [entry["size"] for entry in page["data"]]
        after = page["next"]
    assert paged[:4] == sizes[: len(paged[:4])]


def test_any_two_checkpoints_are_proved_consistent(world: World) -> None:
    """The proof is checked against both signed roots, as a witness would."""
    for _ in range(3):
        world.ada.client.get(ask(world.ada.client)["receipt_url"])
    client, key = world.auditor.client, VerifierKey.parse(verifier_key(world))
    listed = client.get("/v1/audit/checkpoints", params={"limit": 500}).json()["data"]
    for first, second in ((listed[0], listed[1]), (listed[0], listed[-1]), (listed[-1], listed[-1])):
        sizes = {"first": first["size"], "second": second["size"]}
        found = client.get("/v1/audit/consistency", params=sizes).json()
        proof = ConsistencyProof.parse(found["text"])
        assert proof.verify(read_checkpoint(first["note"]), key).size == second["size"]
        assert [base64.b64decode(hashed) for hashed in found["proof"]] == list(proof.path)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "first"),
        ({"first": "-1"}, "first"),
        ({"first": "x"}, "first"),
        ({"first": "0"}, "first"),
        ({"first": "9007199254740991"}, "first"),
        ({"first": "1", "tenant": "other"}, "tenant"),
    ],
)
def test_a_proof_of_what_was_never_signed_is_refused(world: World, query: dict[str, str], param: str) -> None:
    """Sizes without a checkpoint, and parameters that nobody knows, are typed errors."""
    answer = world.auditor.client.get("/v1/audit/consistency", params=query)
    assert error_of(answer, 400)["param"] == param


# --- receipts -------------------------------------------------------------------------------------


def test_a_receipt_is_checked_offline(world: World) -> None:
    """What the server sent verifies with the key that an auditor kept, and says what was used."""
    found = ask(world.ada.client)
    receipt = world.ada.client.get(found["receipt_url"])
    report = verify_receipt(receipt.content, key=verifier_key(world))
    assert (report.verdict, report.answer) == (Verdict.SOUND, found["id"])
    covers = receipt.json()["covers"]
    assert covers["outcome"] == found["status"]
    assert world.policy["id"] in {passage["doc"] for passage in covers["passages"]}
    assert covers["scope"]


def test_taking_a_receipt_is_on_the_record(world: World) -> None:
    """Who took the receipt of which answer."""
    found = ask(world.ada.client)
    taken = world.auditor.client.get(found["receipt_url"])
    world.ada.client.get(found["receipt_url"])
    (event,) = events(world, correlation=taken.headers["x-request-id"])
    assert (event["type"], event["res"]["id"]) == ("receipt.read", found["id"])


def test_a_receipt_of_somebody_elses_answer_looks_like_none(world: World) -> None:
    """To Ben and to the administrator, word for word; the auditor reads it."""
    path = ask(world.ada.client)["receipt_url"]
    missing = world.ben.client.get("/v1/answers/01936d2e-7c00-7abc-8def-0123456789ab/receipt")
    for client in (world.ben.client, world.admin.client):
        assert error_of(client.get(path), 404) == error_of(missing, 404)
    assert json.loads(world.auditor.client.get(path).content)["answer"] in path
