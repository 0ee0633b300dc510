"""Batches, quarantine and queues over HTTP: followed, cancelled, retried, released and discarded."""

from __future__ import annotations

import time
from typing import Any

import pytest
from api_world import World, error_of
from sqlalchemy import update

from infra.clock import new_id
from infra.database.tables import Document, Job
from infra.stores import open_database
from tests.serving import Person, finished_job, upload

BROKEN = b"%PDF-1.7\nnothing more"
LONG = "\n\n".join(f"# Quay {n}\n\n" + f"The quay {n} has four bollards. " * 30 for n in range(80)).encode()


def new_batch(person: Person, name: str = "Archive") -> str:
    """Make a batch; returns its path."""
    made = person.client.post("/v1/batches", json={"name": name})
    assert made.status_code == 201, made.text
    return f"/v1/batches/{made.json()['id']}"


def batch_id(path: str) -> str:
    """Return the id of a batch."""
    return path.rsplit("/", 1)[1]


def counts(person: Person, path: str) -> dict[str, int]:
    """Return how many jobs of a batch are in each state, without the empty ones."""
    found: dict[str, int] = person.client.get(path).json()["counts"]
    return {state: number for state, number in found.items() if number}


def test_a_batch_is_followed_and_retried_as_one(world: World) -> None:
    """One good file, one broken one: counts by state, a list of its jobs, and a retry of what failed."""
    path = new_batch(world.ada)
    fields = {"batch": batch_id(path), "queue": "bulk"}
    good = upload(world.ada.client, "bollards.md", b"# Bollards\n\nFour of them.\n", **fields)
    broken = upload(world.ada.client, "broken.pdf", BROKEN, **fields)
    for file in (good, broken):
        finished_job(world.ada.client, file["x_job"]["id"])
    assert counts(world.ada, path) == {"failed": 1, "succeeded": 1}
    listed = world.ada.client.get("/v1/jobs", params={"batch": batch_id(path), "limit": 1}).json()
    assert [job["file_id"] for job in listed["data"]] == [broken["id"]]
    assert listed["has_more"]
    rest = world.ada.client.get(
        "/v1/jobs", params={"batch": batch_id(path), "after": listed["data"][0]["id"]}
    ).json()
    assert [(job["file_id"], job["queue"]) for job in rest["data"]] == [(good["id"], "bulk")]
    assert not rest["has_more"]
    failed = world.ada.client.get("/v1/jobs", params={"batch": batch_id(path), "state": "failed"}).json()
    (job,) = failed["data"]
    assert job["reason"]["code"]
    assert job["reason"]["hint"]
    retried = world.ada.client.post(f"{path}/retry")
    assert retried.json()["changed"] == 1
    finished_job(world.ada.client, broken["x_job"]["id"])
    assert counts(world.ada, path) == {"failed": 1, "succeeded": 1}


def test_batches_of_others_are_like_none(world: World) -> None:
    """Hidden from Ben and the administrator: that it exists, also as a place to upload to."""
    path = new_batch(world.ada, "Secret merger")
    for person in (world.ben, world.admin):
        for wanted in (path, f"/v1/batches/{new_id()}"):
            answers = [
                person.client.get(wanted),
                person.client.post(f"{wanted}/cancel"),
                person.client.post(f"{wanted}/retry"),
                person.client.get("/v1/jobs", params={"batch": batch_id(wanted)}),
                person.client.post(
                    "/v1/files", files={"file": ("a.md", b"# A\n")}, data={"batch": batch_id(wanted)}
                ),
            ]
            assert {error_of(answer, 404)["message"] for answer in answers} == {"There is no such batch."}
    assert world.ada.client.get(path).json()["name"] == "Secret merger"


def test_what_a_person_uploads_overtakes_an_import_and_cancelling_takes_seconds(world: World) -> None:
    """A single file is done before the rest of a batch; then the batch is stopped within five seconds."""
    path = new_batch(world.ada, "Quays")
    fields = {"batch": batch_id(path), "queue": "bulk"}
    short = b"# Short quay\n\nOne bollard.\n"
    for n, content in enumerate((short, LONG, LONG + b"\n\nThe end.\n")):
        upload(world.ada.client, f"quay-{n}.md", content, **fields)
    single = upload(world.ada.client, "urgent.md", b"# Urgent\n\nThe crane is broken.\n")
    assert finished_job(world.ada.client, single["x_job"]["id"])["state"] == "succeeded"
    assert counts(world.ada, path).get("succeeded", 0) < 3
    deadline = time.monotonic() + 60
    while not any(job["stage"] == "embed" for job in running(world.ada, path)):
        assert time.monotonic() < deadline, "nothing is embedded"
        time.sleep(0.05)
    started = time.monotonic()
    assert world.ada.client.post(f"{path}/cancel").json()["changed"] >= 1
    while running(world.ada, path):
        assert time.monotonic() < started + 5, "it was not cancelled in time"
        time.sleep(0.05)
    assert set(counts(world.ada, path)) <= {"cancelled", "succeeded"}


def running(person: Person, path: str) -> list[dict[str, Any]]:
    """Return the running jobs of a batch."""
    found: list[dict[str, Any]] = person.client.get(
        "/v1/jobs", params={"batch": batch_id(path), "state": "running"}
    ).json()["data"]
    return found


# --- quarantine -----------------------------------------------------------------------------------


@pytest.fixture
def poisoned(world: World) -> dict[str, Any]:
    """A file of Ada's in quarantine that Ben and the curator may read; it has never answered."""
    name = f"poison-{new_id()[-6:]}.md"
    file = upload(world.ada.client, name, f"# Poison\n\n{name}\n".encode(), share=world.ben.principal)
    world.ada.client.put(f"/v1/files/{file['id']}/shares/{world.admin.principal}").raise_for_status()
    finished_job(world.ada.client, file["x_job"]["id"])
    database, _ = open_database(world.server.settings())
    reason = {"reason_code": "crashed_repeatedly", "reason": "It crashed.", "hint": "Look at it."}
    with database.write() as session:
        session.execute(
            update(Job)
            .where(Job.id == file["x_job"]["id"])
            .values(state="quarantined", stage="done", attempt=3, **reason)
        )
        session.execute(update(Document).where(Document.id == file["id"]).values(version_id=None))
    database.close()
    return file


def quarantined(person: Person) -> list[str]:
    """Return the jobs in quarantine that somebody sees."""
    listed = person.client.get("/v1/jobs", params={"state": "quarantined"}).json()["data"]
    return [job["id"] for job in listed]


def test_a_curator_sees_why_and_releases(world: World, poisoned: dict[str, Any]) -> None:
    """Reason, attempts and times are there; released, the file is read again, as if it came anew."""
    job_id = poisoned["x_job"]["id"]
    assert job_id in quarantined(world.admin)
    seen = world.admin.client.get(f"/v1/jobs/{job_id}").json()
    assert (seen["reason"]["code"], seen["attempt"]) == ("crashed_repeatedly", 3)
    assert seen["updated_at"] >= seen["created_at"]
    assert world.admin.client.post(f"/v1/jobs/{job_id}/retry").status_code == 200
    assert finished_job(world.ada.client, job_id)["state"] == "succeeded"
    # Out of quarantine it is its owner's business again.
    error_of(world.admin.client.post(f"/v1/jobs/{job_id}/retry"), 404)
    error_of(world.admin.client.post(f"/v1/jobs/{job_id}/discard"), 404)
    assert error_of(world.ada.client.post(f"/v1/jobs/{job_id}/discard"), 409)["code"] == "conflict"


def test_a_curator_discards(world: World, poisoned: dict[str, Any]) -> None:
    """The document leaves every store, with its event, and is there for nobody any more."""
    job_id = poisoned["x_job"]["id"]
    discarded = world.admin.client.post(f"/v1/jobs/{job_id}/discard")
    assert discarded.status_code == 200, discarded.text
    assert discarded.json()["file_id"] == poisoned["id"]
    assert discarded.json()["x_removed"]["versions"] == 1
    for person in (world.ada, world.admin):
        error_of(person.client.get(f"/v1/files/{poisoned['id']}"), 404)
        assert job_id not in quarantined(person)


def test_only_owners_and_curators_act(world: World, poisoned: dict[str, Any]) -> None:
    """Ben may read the file and see its job; acting on it is like acting on none, also for other curators."""
    job_id = poisoned["x_job"]["id"]
    assert job_id in quarantined(world.ben)
    for deed in ("retry", "discard", "cancel"):
        answers = [world.ben.client.post(f"/v1/jobs/{wanted}/{deed}") for wanted in (job_id, new_id())]
        assert {error_of(answer, 404)["message"] for answer in answers} == {"There is no such job."}
    world.ada.client.delete(f"/v1/files/{poisoned['id']}/shares/{world.admin.principal}").raise_for_status()
    assert job_id not in quarantined(world.admin)
    error_of(world.admin.client.post(f"/v1/jobs/{job_id}/discard"), 404)
    assert world.ada.client.post(f"/v1/jobs/{job_id}/discard").status_code == 200


def test_a_file_that_still_answers_is_not_discarded(world: World, poisoned: dict[str, Any]) -> None:
    """When only a new version is in quarantine, the one that answers stays."""
    database, _ = open_database(world.server.settings())
    with database.write() as session:
        session.execute(
            update(Document).where(Document.id == poisoned["id"]).values(version_id="an earlier one")
        )
    database.close()
    error = error_of(world.ada.client.post(f"/v1/jobs/{poisoned['x_job']['id']}/discard"), 409)
    assert error["message"] == "An earlier version of this file answers."
    assert error["hint"]
