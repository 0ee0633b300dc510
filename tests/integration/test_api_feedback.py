"""Feedback on answers: by whoever asked, on the record, its comment encrypted there."""

from __future__ import annotations

from typing import Any

import pytest
from api_world import QUESTION, World, error_of

from tests.serving import Person, ask


def answer_of(person: Person) -> str:
    """Ask, and return the answer's id."""
    found: str = ask(person.client, QUESTION)["x_answer"]["id"]
    return found


def judgement(answer_id: str, **fields: Any) -> dict[str, Any]:
    """Return what the chat page sends."""
    return {"answer_id": answer_id, "verdict": "good", **fields}


def test_the_asker_judges_an_answer(world: World) -> None:
    """The answer says what was kept; the record has the verdict, and the comment as content."""
    answer_id = answer_of(world.ada)
    given = judgement(answer_id, verdict="bad", comment="It quotes last year’s policy.")
    answer = world.ada.client.post("/v1/feedback", json=given)
    assert answer.status_code == 200, answer.text
    assert {**answer.json(), "created_at": 0} == {
        "object": "feedback",
        "answer_id": answer_id,
        "verdict": "bad",
        "created_at": 0,
    }
    (event,) = recorded(world, answer.headers["x-request-id"])
    assert (event["type"], event["outcome"]) == ("feedback.given", "bad")
    assert event["res"] == {"type": "answer", "id": answer_id, "ver": None}
    content = world.auditor.client.get(f"/v1/audit/events/{event['id']}/content").json()
    assert content["text"] == given["comment"]


def test_a_judgement_may_be_changed(world: World) -> None:
    """The later one counts, and both are on the record."""
    answer_id = answer_of(world.ada)
    for verdict in ("good", "bad"):
        body = judgement(answer_id, verdict=verdict)
        answer = world.ada.client.post("/v1/feedback", json=body)
        assert answer.json()["verdict"] == verdict
        (event,) = recorded(world, answer.headers["x-request-id"])
        assert (event["outcome"], event["has_content"]) == (verdict, False)


@pytest.mark.parametrize("who", ["ben", "auditor", "admin"])
def test_nobody_else_judges_it(who: str, world: World) -> None:
    """An answer that is not theirs looks like none, whatever their role."""
    answer_id = answer_of(world.ada)
    other: Person = getattr(world, who)
    theirs = other.client.post("/v1/feedback", json=judgement(answer_id))
    none = other.client.post("/v1/feedback", json=judgement("01936d2e-7bff-7000-8000-000000000001"))
    assert error_of(theirs, 404) == error_of(none, 404)


@pytest.mark.parametrize(
    "body",
    [
        {"verdict": "good"},
        judgement(""),
        judgement("x", verdict="fine"),
        judgement("x", comment="c" * 2001),
        judgement("x", stars=5),
    ],
)
def test_what_makes_no_sense_is_refused(body: dict[str, Any], world: World) -> None:
    """A missing answer, another verdict, a long comment and an unknown field are named."""
    assert error_of(world.ada.client.post("/v1/feedback", json=body), 400)["param"]


def recorded(world: World, request_id: str) -> list[dict[str, Any]]:
    """Return what an auditor finds about one request."""
    # Asking for a receipt gives everything that waits a place in the log.
    world.ada.client.get(f"/v1/answers/{answer_of(world.ada)}/receipt").raise_for_status()
    page = world.auditor.client.get("/v1/audit/events", params={"correlation": request_id})
    found: list[dict[str, Any]] = page.raise_for_status().json()["data"]
    return found
