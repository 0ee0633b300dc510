"""`/v1/erasures` and `/v1/holds` on a real server: who may do what, what is left, what the record says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api_world import QUESTION, World, error_of, question

from tests.serving import Person

TOLD = "My own words about leave: zanzibar"


@pytest.fixture
def leaver(world: World) -> Person:
    """Somebody who asked, kept a conversation and searched."""
    name = f"Leaver{time.monotonic_ns()}"
    person = world.server.person(name)
    kept = person.client.post("/v1/conversations", json={"title": "Leave"}).json()["id"]
    for text in (QUESTION, TOLD):
        asked = question(text, x_conversation=kept)
        assert person.client.post("/v1/chat/completions", json=asked).status_code == 200
    return person


@pytest.fixture
def place_hold(world: World) -> Iterator[Callable[..., dict[str, Any]]]:
    """Place holds; they are lifted in the end, because the server is shared."""
    placed: list[str] = []

    def place(user: str | None) -> dict[str, Any]:
        answer = world.auditor.client.post("/v1/holds", json={"user": user, "reason": "litigation"})
        assert answer.status_code == 201, answer.text
        placed.append(answer.json()["id"])
        made: dict[str, Any] = answer.json()
        return made

    yield place
    for hold_id in placed:
        world.auditor.client.delete(f"/v1/holds/{hold_id}")


def erased(world: World, user_id: str) -> dict[str, Any]:
    answer = world.admin.client.post("/v1/erasures", json={"user": user_id})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def events_of(world: World, corr: str) -> list[dict[str, Any]]:
    listed = world.auditor.client.get("/v1/audit/events", params={"correlation": corr})
    found: list[dict[str, Any]] = listed.json()["data"]
    return found


def sealed_events_of(world: World, corr: str) -> list[dict[str, Any]]:
    """Wait for the sequencer, which gives records their place a moment after they are durable."""
    deadline = time.monotonic() + 10
    while not (found := events_of(world, corr)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_a_person_who_left_is_erased(world: World, leaver: Person) -> None:
    """Every store is counted, a search finds nothing, and the record still verifies."""
    answer = world.admin.client.post("/v1/erasures", json={"user": leaver.id, "reason": "left the company"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    removed, search = made["removed"], made["search"]
    assert (removed["subject_mapping"], removed["subject_keys"], removed["conversations"]) == (1, 1, 1)
    assert removed["recorded_contents"] >= 4
    assert removed["conversation_turns"] == 4
    assert set(search["found"].values()) == {0}
    assert (search["disk"]["log_emptied"], search["disk"]["key_found"]) == (True, 0)
    assert search["disk"]["searched_bytes"] > 0
    # Once the record of the erasure has its place, all of theirs, which are older, have one.
    assert sealed_events_of(world, answer.headers["x-request-id"])
    report = world.auditor.client.post("/v1/audit/verify").json()
    assert report["result"] == "sound", report
    assert report["contents_erased"] >= removed["recorded_contents"]


def test_their_content_cannot_be_read_and_their_name_not_be_seen(world: World, leaver: Person) -> None:
    """What an auditor could open before is gone; the record shows a subject without a name."""
    asked = leaver.client.post("/v1/chat/completions", json=question(TOLD)).json()
    corr = asked["id"].removeprefix("chatcmpl-")
    before = next(event for event in sealed_events_of(world, corr) if event["has_content"])
    content = f"/v1/audit/events/{before['id']}/content"
    assert world.auditor.client.get(content).status_code == 200
    erased(world, leaver.id)
    assert error_of(world.auditor.client.get(content), 404)["code"] == "content_erased"
    after = next(event for event in events_of(world, corr) if event["id"] == before["id"])
    assert before["actor"]["label"].startswith("Leaver")
    assert "Leaver" not in after["actor"]["label"]


def test_who_keeps_their_account_goes_on(world: World, leaver: Person) -> None:
    """They ask the next question under a new subject, and see none of their old conversations."""
    erased(world, leaver.id)
    assert leaver.client.get("/v1/conversations").json()["data"] == []
    assert leaver.client.post("/v1/chat/completions", json=question(QUESTION)).status_code == 200


def test_the_account_can_go_as_well(world: World, leaver: Person) -> None:
    """Somebody who signed in has the account closed and emptied; its key works no more."""
    with world.admin.signed_in() as browser:
        made = browser.post("/v1/erasures", json={"user": leaver.id, "account": True})
    assert made.status_code == 201, made.text
    assert leaver.client.get("/v1/me").status_code == 401
    users = {user["id"]: user for user in world.admin.client.get("/v1/users").json()["data"]}
    assert (users[leaver.id]["name"], users[leaver.id]["email"]) == ("erased account", None)


def test_a_key_closes_no_account(world: World, leaver: Person) -> None:
    """As elsewhere, accounts are changed by people who signed in."""
    answer = world.admin.client.post("/v1/erasures", json={"user": leaver.id, "account": True})
    assert error_of(answer, 403)["code"] == "not_permitted"
    assert leaver.client.get("/v1/me").status_code == 200


def test_certificates_are_kept(world: World, leaver: Person) -> None:
    """Administrators and auditors see them, one by one and in pages; asking again gives the same."""
    made = erased(world, leaver.id)
    for overseer in (world.admin, world.auditor):
        assert overseer.client.get(f"/v1/erasures/{made['id']}").json() == made
        listed = overseer.client.get("/v1/erasures", params={"limit": 1}).json()
        assert [one["id"] for one in listed["data"]] == [made["id"]]
    again = world.admin.client.post("/v1/erasures", json={"subject": made["subject"]})
    assert (again.status_code, again.json()) == (201, made)


def test_the_event_of_a_certificate_is_on_the_record(world: World, leaver: Person) -> None:
    """Its leaf hash is that of the certificate, so that a receipt proves the erasure."""
    answer = world.admin.client.post("/v1/erasures", json={"user": leaver.id})
    made, corr = answer.json(), answer.headers["x-request-id"]
    (event,) = sealed_events_of(world, corr)
    assert (event["type"], event["id"], event["res"]["id"]) == (
        "subject.erased",
        made["event"],
        made["subject"],
    )


def test_employees_erase_nobody(world: World, leaver: Person) -> None:
    """Neither themselves nor others, and they see no certificates; auditors erase nobody either."""
    body = {"user": leaver.id}
    for person in (leaver, world.ada, world.auditor):
        assert error_of(person.client.post("/v1/erasures", json=body), 403)["code"] == "not_permitted"
    assert error_of(world.ada.client.get("/v1/erasures"), 403)["code"] == "not_permitted"
    assert leaver.client.get("/v1/conversations").json()["data"]


@pytest.mark.parametrize("body", [{"user": "nobody"}, {"subject": "nobody"}])
def test_nobody_is_not_found(world: World, body: dict[str, str]) -> None:
    """An id that names nobody."""
    assert error_of(world.admin.client.post("/v1/erasures", json=body), 404)["code"] == "not_found"


@pytest.mark.parametrize("body", [{}, {"user": "a", "subject": "b"}, {"user": "x" * 37}, {"who": "a"}])
def test_nonsense_is_refused(world: World, body: dict[str, str]) -> None:
    """Nobody, two people, too long an id, an unknown field."""
    assert error_of(world.admin.client.post("/v1/erasures", json=body), 400)["code"] == "invalid_input"


def test_an_administrator_is_not_erased_by_themselves(world: World) -> None:
    """What they did would leave the record with them."""
    answer = world.admin.client.post("/v1/erasures", json={"user": world.admin.id})
    assert error_of(answer, 403)["code"] == "not_permitted"


# --- holds ----------------------------------------------------------------------------------------


def test_a_hold_forbids_erasure_until_it_is_lifted(
    world: World, leaver: Person, place_hold: Callable[..., dict[str, Any]]
) -> None:
    """409 with a sentence, on the record; once it is lifted, the erasure goes through."""
    hold = place_hold(leaver.id)
    refused = world.admin.client.post("/v1/erasures", json={"user": leaver.id})
    error = error_of(refused, 409)
    assert (error["code"], "legal hold" in error["message"]) == ("legal_hold", True)
    (event,) = sealed_events_of(world, refused.headers["x-request-id"])
    assert (event["type"], event["outcome"]) == ("refused", "legal_hold")
    assert leaver.client.get("/v1/conversations").json()["data"]
    lifted = world.auditor.client.delete(f"/v1/holds/{hold['id']}")
    assert lifted.json()["lifted_at"] is not None
    assert erased(world, leaver.id)["removed"]["conversations"] == 1


def test_a_hold_on_everybody_forbids_every_erasure(
    world: World, leaver: Person, place_hold: Callable[..., dict[str, Any]]
) -> None:
    """Without a person it covers all of them."""
    assert place_hold(None)["user"] is None
    answer = world.admin.client.post("/v1/erasures", json={"user": leaver.id})
    assert error_of(answer, 409)["code"] == "legal_hold"


def test_holds_are_listed_with_whom_and_why(
    world: World, leaver: Person, place_hold: Callable[..., dict[str, Any]]
) -> None:
    """An auditor sees who is covered, by name, and since when."""
    hold = place_hold(leaver.id)
    listed = world.auditor.client.get("/v1/holds").json()["data"]
    assert listed[0] == hold
    assert (hold["user"], hold["reason"], hold["lifted_at"]) == (leaver.id, "litigation", None)
    assert hold["label"].startswith("Leaver")


def test_placing_and_lifting_are_on_the_record(world: World, leaver: Person) -> None:
    """Both name the hold, and the subject as its version, never the reason."""
    placed = world.auditor.client.post("/v1/holds", json={"user": leaver.id, "reason": "a secret inquiry"})
    hold_id = placed.json()["id"]
    lifted = world.auditor.client.delete(f"/v1/holds/{hold_id}")
    found = [sealed_events_of(world, answer.headers["x-request-id"])[0] for answer in (placed, lifted)]
    assert [event["type"] for event in found] == ["hold.placed", "hold.lifted"]
    assert {event["res"]["id"] for event in found} == {hold_id}
    assert found[0]["res"]["ver"] == found[1]["res"]["ver"]
    assert "inquiry" not in str(found)


def test_only_auditors_have_to_do_with_holds(world: World, leaver: Person) -> None:
    """An administrator, who erases, cannot lift what forbids it."""
    body = {"user": leaver.id, "reason": "litigation"}
    for person in (world.admin, world.ada):
        assert error_of(person.client.post("/v1/holds", json=body), 403)["code"] == "not_permitted"
        assert error_of(person.client.get("/v1/holds"), 403)["code"] == "not_permitted"
        assert error_of(person.client.delete("/v1/holds/h"), 403)["code"] == "not_permitted"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"reason": ""}, 400),
        ({"reason": "  "}, 400),
        ({"user": "nobody", "reason": "litigation"}, 404),
        ({"user": None}, 400),
    ],
)
def test_a_hold_needs_a_reason_and_somebody(world: World, body: dict[str, Any], status: int) -> None:
    """A blank reason, or a person who is not there."""
    error_of(world.auditor.client.post("/v1/holds", json=body), status)


def test_a_hold_that_is_not_there_cannot_be_lifted(world: World) -> None:
    """Nor one that was lifted already."""
    assert error_of(world.auditor.client.delete("/v1/holds/nothing"), 404)["code"] == "not_found"
