"""What administrators ask and choose about access, over HTTP: who may, what it shows, and the record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from api_world import World, error_of, record_held

from tests.made_documents import pdf_of
from tests.serving import ROOT, Person, ask, finished_job, upload

SIREN = "The siren on the roof of the boathouse is tested on the second Tuesday of May."
QUESTION = "When is the siren on the roof of the boathouse tested?"
NEUTRAL = "Ask the archive, room 12, archive@example.org!"
CHOICE = "/v1/choices/no_answer_text"
NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def siren(world: World) -> str:
    """A file of Ada's that nobody else may read; returns its id."""
    entry = upload(world.ada.client, "siren-plan.pdf", pdf_of([["Siren", SIREN]]))
    assert finished_job(world.ada.client, entry["x_job"]["id"])["state"] == "succeeded"
    file_id: str = entry["id"]
    return file_id


def explained(world: World, user: str, document: str) -> httpx2.Response:
    """Ask as the administrator."""
    wanted = {"user": user, "document": document}
    return world.admin.client.get("/v1/access/explain", params=wanted)


def event_of(world: World, answer: httpx2.Response, event_type: str) -> dict[str, Any]:
    """Return the record that a request left, with its content."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        wanted = {"correlation": answer.headers["x-request-id"]}
        data = world.auditor.client.get("/v1/audit/events", params=wanted).json()["data"]
        events = [event for event in data if event["type"] == event_type]
        if events:
            content = world.auditor.client.get(f"/v1/audit/events/{events[0]['id']}/content").json()
            return {**events[0], "opened": json.loads(content["text"])}
        time.sleep(0.1)
    raise AssertionError(f"{event_type} is not on the record")


# --- /v1/access/explain ---------------------------------------------------------------------------


def test_the_owner_may_and_a_stranger_may_not(world: World, siren: str) -> None:
    """The decision with the rule that made it, for whichever way somebody is named."""
    for named in (world.ada.id, world.ada.principal, world.ada.email, world.ada.email.upper()):
        allowed = explained(world, named, siren).json()
        assert allowed["decision"] == "allow"
        assert allowed["user"]["id"] == world.ada.id
    denied = explained(world, world.ben.email, siren).json()
    assert denied["decision"] == "deny"
    assert [rule["rule"] for rule in denied["rules"] if not rule["granted"]] == ["allow", "collection"]
    assert denied["index_agrees"] is True


def test_an_explanation_agrees_with_what_happens(world: World, siren: str) -> None:
    """It says “allow” exactly while the person can open the file, and names the line that lets them."""
    path = f"/v1/files/{siren}"
    for shared in (True, False):
        change = world.ada.client.put if shared else world.ada.client.delete
        assert change(f"{path}/shares/{world.ben.principal}").status_code == 204
        found = explained(world, world.ben.id, siren).json()
        assert (found["decision"] == "allow") is shared
        assert (world.ben.client.get(path).status_code == 200) is shared
        allow = next(rule for rule in found["rules"] if rule["rule"] == "allow")
        assert [each["id"] for each in allow["because"]] == ([world.ben.principal] if shared else [])


def test_an_explanation_shows_nothing_of_the_file(world: World, siren: str) -> None:
    """Hidden from the administrator: name, title and text. Visible: ids, people and rules."""
    for person in (world.ada, world.ben):
        answer = explained(world, person.id, siren)
        assert siren in answer.text
        for hidden in ("siren-plan", "Siren", SIREN, "boathouse"):
            assert hidden not in answer.text


def test_an_explanation_is_on_the_record(world: World, siren: str) -> None:
    """Who asked about which file, and as content about whom and what was said."""
    answer = explained(world, world.ben.id, siren)
    event = event_of(world, answer, "access.explained")
    assert (event["res"]["type"], event["res"]["id"]) == ("file", siren)
    assert event["opened"] == {"account": world.ben.principal, "decision": "deny"}


def test_without_the_record_nothing_is_explained(world: World, siren: str) -> None:
    """While nothing can be recorded, the answer is 503 and says nothing."""
    with record_held(world):
        answer = explained(world, world.ben.id, siren)
    assert error_of(answer, 503)["code"] == "audit_unavailable"
    assert "deny" not in answer.text
    assert explained(world, world.ben.id, siren).status_code == 200


@pytest.mark.parametrize(
    ("user", "document"),
    [
        (NOWHERE, None),
        ("nobody@example.org", None),
        ("user:nobody", None),
        ("group:local:everyone", None),
        (None, NOWHERE),
        (None, "siren-plan.pdf"),
    ],
)
def test_the_unknown_is_not_there(world: World, siren: str, user: str | None, document: str | None) -> None:
    """An account or a file that does not exist is 404; a file has no name here."""
    assert error_of(explained(world, user or world.ben.id, document or siren), 404)["code"] == "not_found"


def test_a_person_is_not_a_service(world: World, siren: str) -> None:
    """A principal id names its kind as well."""
    error_of(explained(world, f"service:{world.ben.id}", siren), 404)


@pytest.mark.parametrize("missing", ["user", "document"])
def test_both_halves_are_needed(world: World, siren: str, missing: str) -> None:
    """A question without user or document is malformed."""
    params = {"user": world.ben.id, "document": siren}
    del params[missing]
    answer = world.admin.client.get("/v1/access/explain", params=params)
    assert error_of(answer, 400)["param"] == missing


def test_the_command_prints_the_same(world: World, siren: str) -> None:
    """`strongroom access explain` is this question; `--json` gives this answer, a table says it in words."""
    key = world.admin.client.headers["authorization"].removeprefix("Bearer ")
    command = [sys.executable, "-m", "services.cli", "access", "explain", world.ben.email, siren]
    command += ["--url", world.server.url, "--api-key", key]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    environment = {**inherited, "COLUMNS": "160"}

    def run(*options: str) -> str:
        done = subprocess.run(
            [*command, *options],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    assert json.loads(run("--json")) == explained(world, world.ben.id, siren).json()
    assert run().startswith(f"Ben may not read file {siren}.")


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/v1/access/explain?user={NOWHERE}&document={NOWHERE}", None),
        ("GET", CHOICE, None),
        ("PUT", CHOICE, {"value": "Mine."}),
    ],
)
def test_only_administrators_may(world: World, method: str, path: str, body: dict[str, Any] | None) -> None:
    """401 for nobody; 403 for employees, auditors, and an administrator's key that lacks the scope."""
    made = world.admin.new_key("read only", scopes=["read", "ask"])
    with world.stranger() as stranger:
        assert error_of(stranger.request(method, path, json=body), 401)["code"] == "not_authenticated"
        limited = stranger.request(
            method, path, json=body, headers={"authorization": f"Bearer {made['key']}"}
        )
        assert error_of(limited, 403)["code"] == "not_permitted"
    for person in (world.ben, world.auditor):
        refused = person.client.request(method, path, json=body)
        assert error_of(refused, 403)["code"] == "not_permitted"


# --- the neutral text -----------------------------------------------------------------------------


@pytest.fixture
def neutral(world: World) -> Iterator[httpx2.Response]:
    """Choose a neutral text, and take it back."""
    answer = world.admin.client.put(CHOICE, json={"value": NEUTRAL})
    assert answer.status_code == 200
    yield answer
    assert world.admin.client.put(CHOICE, json={"value": None}).json()["value"] is None


ELSEWHERE = "Which telescope discovered the moons of Jupiter?"


def said_to(person: Person, question: str) -> tuple[str, str]:
    """Return an answer's text and its message."""
    answer = ask(person.client, question)
    return answer["choices"][0]["message"]["content"], answer["x_answer"]["message"]


def test_the_neutral_text_follows_what_was_not_found(
    world: World, siren: str, neutral: httpx2.Response
) -> None:
    """For everybody alike, whether a hidden file has the answer or nobody has one; not after an answer."""
    assert world.admin.client.get(CHOICE).json() == neutral.json()
    hidden, nobodys = said_to(world.ben, QUESTION), said_to(world.ben, ELSEWHERE)
    assert hidden == nobodys
    assert all(text.endswith(NEUTRAL) for text in (*hidden, *said_to(world.ada, ELSEWHERE)))
    assert NEUTRAL not in "".join(said_to(world.ada, QUESTION))


def test_without_a_choice_there_is_no_text(world: World) -> None:
    """The default adds nothing."""
    assert world.admin.client.get(CHOICE).json()["value"] is None
    assert NEUTRAL not in "".join(said_to(world.ben, ELSEWHERE))


def test_a_choice_is_on_the_record(world: World, neutral: httpx2.Response) -> None:
    """Who chose, and as content what."""
    event = event_of(world, neutral, "choice.changed")
    assert (event["res"]["type"], event["res"]["id"]) == ("choice", "no_answer_text")
    assert event["opened"] == {"value": NEUTRAL}


@pytest.mark.parametrize("body", [{}, {"value": 7}, {"value": "x" * 501}, {"value": "[a](https://b)"}])
def test_a_text_that_does_not_fit_is_refused(
    world: World, neutral: httpx2.Response, body: dict[str, Any]
) -> None:
    """The error names the field, and the old text stays."""
    assert error_of(world.admin.client.put(CHOICE, json=body), 400)["param"] == "value"
    assert world.admin.client.get(CHOICE).json() == neutral.json()


def test_an_unknown_choice_is_not_there(world: World) -> None:
    """Nothing but what is registered can be stored."""
    for method in ("GET", "PUT"):
        answer = world.admin.client.request(method, "/v1/choices/colour", json={"value": "red"})
        assert error_of(answer, 404)["code"] == "not_found"
