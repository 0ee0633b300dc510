"""Break glass: with the setting, contents are opened by two auditors, and for a while only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from api_world import QUESTION, error_of

from infra.access import Role
from tests.preloaded import PreloadedServer
from tests.serving import Person, ask

PERMISSIONS = "/v1/audit/content-permissions"
REASON = "Complaint 4711: a customer says that they were given a wrong answer."


@dataclass
class House:
    """A server with `break_glass`, somebody who asked, and two auditors."""

    server: PreloadedServer
    ada: Person
    grace: Person
    edsger: Person
    answer_id: str

    def asked(self) -> dict[str, Any]:
        """Return the record of the question."""
        wanted = {"correlation": self.answer_id, "type": "answer.asked"}
        (event,) = self.grace.client.get("/v1/audit/events", params=wanted).json()["data"]
        found: dict[str, Any] = event
        return found

    def content(self, who: Person) -> httpx2.Response:
        """Let an auditor open the question."""
        return who.client.get(f"/v1/audit/events/{self.asked()['id']}/content")

    def lineage(self, who: Person) -> httpx2.Response:
        """Let an auditor open the whole answer."""
        return who.client.get(f"/v1/audit/answers/{self.answer_id}", params={"contents": True})

    def requested(self, who: Person, reason: str = REASON) -> str:
        """Let an auditor ask for permission; returns its id."""
        answer = who.client.post(PERMISSIONS, json={"reason": reason})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def approved(self, who: Person, permission_id: str) -> httpx2.Response:
        """Let an auditor approve, as the page does: signed in."""
        with who.signed_in() as browser:
            return browser.post(f"{PERMISSIONS}/{permission_id}/approve")

    def expire(self) -> None:
        """Let every permission end, as time would."""
        database = sqlite3.connect(self.server.data_dir / "strongroom.sqlite3", timeout=10)
        try:
            with database:
                database.execute("UPDATE content_permissions SET expires_at = 1")
        finally:
            database.close()


@pytest.fixture(scope="module")
def started(make_server: Callable[..., PreloadedServer]) -> Iterator[House]:
    """Start the server and ask one question."""
    server = make_server(break_glass="true", break_glass_minutes="5")
    server.start()
    ada = server.person("Ada")
    grace = server.person("Grace", [Role.AUDITOR, Role.EMPLOYEE])
    edsger = server.person("Edsger", [Role.AUDITOR])
    answer_id = str(ask(ada.client, QUESTION)["id"]).removeprefix("chatcmpl-")
    ada.client.get(f"/v1/answers/{answer_id}/receipt").raise_for_status()
    yield House(server, ada, grace, edsger, answer_id)
    server.kill()


@pytest.fixture
def house(started: House) -> House:
    """The house without a permission that stands."""
    started.expire()
    return started


def test_without_a_permission_nothing_is_opened(house: House) -> None:
    """Both ways to contents are closed, kindly, and that it was tried is on the record."""
    for answer in (house.content(house.grace), house.lineage(house.grace)):
        error = error_of(answer, 403)
        assert error["code"] == "not_permitted"
        assert "another auditor" in error["hint"]
        request = {"correlation": answer.headers["x-request-id"]}
        house.grace.client.get(f"/v1/answers/{house.answer_id}/receipt").raise_for_status()
        (refused,) = house.grace.client.get("/v1/audit/events", params=request).json()["data"]
        assert (refused["type"], refused["outcome"]) == ("refused", "not_permitted")


def test_what_is_no_content_stays_readable(house: House) -> None:
    """Records and the lineage without its texts need no permission."""
    answer = house.grace.client.get(f"/v1/audit/answers/{house.answer_id}")
    assert answer.json()["who"]["label"] == "Ada"
    assert QUESTION not in answer.text


def test_a_second_auditors_approval_opens_contents(house: House) -> None:
    """After it the requester reads, the reading names the permission, and nobody else reads by it."""
    permission = house.requested(house.grace)
    error_of(house.content(house.grace), 403)
    approved = house.approved(house.edsger, permission)
    assert approved.status_code == 200, approved.text
    assert approved.json()["state"] == "approved"
    opened = house.content(house.grace)
    assert QUESTION in opened.json()["text"]
    assert house.lineage(house.grace).json()["question"]["text"] == QUESTION
    error_of(house.content(house.edsger), 403)
    house.grace.client.get(f"/v1/answers/{house.answer_id}/receipt").raise_for_status()
    request = {"correlation": opened.headers["x-request-id"]}
    (read,) = house.grace.client.get("/v1/audit/events", params=request).json()["data"]
    assert read["authz"] == {
        "decision": "allow", "policy": f"content-permission:{permission}", "epoch": 0,
    }  # fmt: skip


def test_asking_and_approving_are_on_the_record(house: House) -> None:
    """Who asked and who approved stand there, the reason sealed with the request."""
    permission = house.requested(house.grace)
    house.approved(house.edsger, permission).raise_for_status()
    house.grace.client.get(f"/v1/answers/{house.answer_id}/receipt").raise_for_status()
    found = house.grace.client.get("/v1/audit/events", params={"document": permission}).json()["data"]
    assert [(event["type"], event["actor"]["label"]) for event in found] == [
        ("content.requested", "Grace"),
        ("content.approved", "Edsger"),
    ]
    assert [event["has_content"] for event in found] == [True, False]
    assert REASON not in str(found)


def test_one_does_not_approve_oneself(house: House) -> None:
    """Neither signed in nor by a key."""
    permission = house.requested(house.grace)
    assert error_of(house.approved(house.grace, permission), 403)["code"] == "not_permitted"
    error_of(house.grace.client.post(f"{PERMISSIONS}/{permission}/approve"), 403)
    error_of(house.content(house.grace), 403)


def test_a_key_does_not_approve(house: House) -> None:
    """A key could be in other hands; approving is done by a person who signed in."""
    permission = house.requested(house.grace)
    error_of(house.edsger.client.post(f"{PERMISSIONS}/{permission}/approve"), 403)
    error_of(house.content(house.grace), 403)


def test_a_permission_ends(house: House) -> None:
    """When its time is over, contents are closed again, and it cannot be approved anew."""
    permission = house.requested(house.grace)
    house.approved(house.edsger, permission).raise_for_status()
    assert house.content(house.grace).status_code == 200
    house.expire()
    error_of(house.content(house.grace), 403)
    assert error_of(house.approved(house.edsger, permission), 409)["code"] == "conflict"


def test_a_request_is_approved_once(house: House) -> None:
    """A second approval would prolong it unseen."""
    permission = house.requested(house.grace)
    house.approved(house.edsger, permission).raise_for_status()
    error_of(house.approved(house.edsger, permission), 409)


def test_the_list_shows_reasons_and_what_one_may_do(house: House) -> None:
    """Whoever approves reads why; the requester sees that it waits, and until when they may read."""
    permission = house.requested(house.grace)
    mine = house.grace.client.get(PERMISSIONS).json()
    theirs = house.edsger.client.get(PERMISSIONS).json()
    assert (mine["needed"], mine["minutes"], mine["until"]) == (True, 5, None)
    assert mine["data"][0] | {"may_approve": None} == theirs["data"][0] | {
        "may_approve": None,
        "requester": {"label": "Grace", "me": True},
    }
    assert (mine["data"][0]["may_approve"], theirs["data"][0]["may_approve"]) == (False, True)
    assert (theirs["data"][0]["reason"], theirs["data"][0]["state"]) == (REASON, "waiting")
    expires = house.approved(house.edsger, permission).json()["expires_at"]
    assert house.grace.client.get(PERMISSIONS).json()["until"] == expires


def test_a_reason_is_not_stored_in_clear(house: House) -> None:
    """It is sealed under its author's key like every other content, and goes when they are erased."""
    canary = "Canary-of-a-reason-7f3a"
    house.requested(house.grace, canary)
    stored = [path.read_bytes() for path in house.server.data_dir.glob("strongroom.sqlite3*")]
    assert stored
    assert not any(canary.encode() in content for content in stored)


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "   "}, {"reason": "x" * 1001}, {"why": "x"}]
)
def test_a_request_needs_a_reason(house: House, body: dict[str, str]) -> None:
    """Without one there is nothing to approve."""
    error = error_of(house.grace.client.post(PERMISSIONS, json=body), 400)
    assert error["code"] == "invalid_input"


def test_an_unknown_request_is_not_found(house: House) -> None:
    """An id that was never given out."""
    error_of(house.approved(house.edsger, "nothing"), 404)


def test_others_neither_see_nor_make_requests(house: House) -> None:
    """The role comes first."""
    error_of(house.ada.client.get(PERMISSIONS), 403)
    error_of(house.ada.client.post(PERMISSIONS, json={"reason": "x"}), 403)
