"""Refusals are on the record: whose, of what, and why. Strangers cannot flood it; it cannot hang a reply."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from front_door import PASSWORD, FrontDoor
from structlog.testing import capture_logs

from infra.access import Role
from infra.audit.event_types import EventType
from infra.audit.leaf import Leaf
from infra.audit.ledger import Ledger
from infra.errors import AuditUnavailable, TokenRefused
from services.left_out import LeftOut
from services.refusals import ANONYMOUS_PER_MINUTE, StrangersRecords


def refused(door: FrontDoor) -> list[Leaf]:
    """Return the refusals on the record."""
    return door.events(EventType.REFUSED)


def unrecorded(logs: Sequence[Mapping[str, object]]) -> list[object]:
    """Return why refusals are missing on the record, as the log says."""
    return [entry["error"] for entry in logs if entry["event"] == "refusal.unrecorded"]


def what(leaf: Leaf) -> tuple[str, str | None]:
    """Return what was refused and why."""
    assert leaf.res is not None
    assert leaf.res.type == "operation"
    return leaf.res.id, leaf.outcome


def test_a_refusal_says_who_asked_for_what(door: FrontDoor) -> None:
    """By the route's template: neither ids nor what was typed after a question mark are on the record."""
    door.join("ada")
    ada = door.browser("ada")
    (signed_in,) = door.events(EventType.SIGNIN_OK)
    assert door.client.delete("/v1/keys/secret-id?q=typed", headers=ada).status_code == 404
    assert door.client.get("/v1/users", headers=ada).status_code == 403
    found = refused(door)
    assert [what(leaf) for leaf in found] == [
        ("DELETE /v1/keys/{key_id}", "not_found"),
        ("GET /v1/users", "not_permitted"),
    ]
    assert {leaf.actor.sub for leaf in found} == {signed_in.actor.sub}
    raw = b"".join(event.raw for event in door.ledger.reader.events(limit=100))
    assert b"secret-id" not in raw
    assert b"typed" not in raw


def test_the_answer_names_the_record(door: FrontDoor) -> None:
    """The request's id ties the two together."""
    answer = door.client.get("/v1/users")
    assert [leaf.corr for leaf in refused(door)] == [answer.headers["x-request-id"]]


def test_bad_bodies_and_methods_are_refusals_too(door: FrontDoor) -> None:
    """Malformed JSON, a wrong type, too many bytes, a method that is not there, an unknown address."""
    client = door.client
    assert (
        client.post("/v1/session", content=b"{", headers={"content-type": "application/json"}).status_code
        == 400
    )
    assert client.post("/v1/session", json={"email": 1}).status_code == 400
    assert client.post("/v1/session", json={"email": "x" * 2_000_000, "password": ""}).status_code == 413
    assert client.put("/v1/session").status_code == 405
    assert client.get("/v1/nothing").status_code == 404
    assert [outcome for _, outcome in map(what, refused(door))] == [
        "invalid_input",
        "invalid_input",
        "too_large",
        "invalid_input",
        "not_found",
    ]


def test_the_reason_of_a_refused_token_is_for_the_record_only(door: FrontDoor) -> None:
    """The answer is the same for every reason."""

    @door.app.get("/v1/with-token/{reason}")
    def with_token(reason: str) -> None:
        raise TokenRefused(reason)

    answers = {
        door.client.get(f"/v1/with-token/{reason}", headers={"authorization": "Bearer e.y.J"}).text
        for reason in ("expired", "wrong_audience")
    }
    assert len(answers) == 1
    assert [outcome for _, outcome in map(what, refused(door))] == [
        "not_authenticated: expired",
        "not_authenticated: wrong_audience",
    ]


def test_a_token_that_expired_is_no_guess(door: FrontDoor) -> None:
    """Programs get 401 as often as they come too late, and then fetch a fresh one."""

    @door.app.get("/v1/with-token")
    def with_token() -> None:
        raise TokenRefused("expired")

    headers = {"authorization": "Bearer e.y.J"}
    assert {door.client.get("/v1/with-token", headers=headers).status_code for _ in range(30)} == {401}


def test_pages_that_send_people_to_the_sign_in_are_no_refusals(door: FrontDoor) -> None:
    """Nor is what browsers look for by themselves."""
    page = {"accept": "text/html"}
    assert door.client.get("/documents", headers=page, follow_redirects=False).status_code == 303
    assert door.client.get("/no-such-page", headers=page).status_code == 404
    assert door.client.get("/favicon.ico").status_code == 404
    assert refused(door) == []


def test_strangers_cannot_flood_the_record(door: FrontDoor) -> None:
    """So many a minute one by one; the number of the others follows, once, also when they have stopped."""
    clock = [600.0]
    door.app.state.strangers_refusals = StrangersRecords(3, lambda: clock[0])
    left_out = LeftOut(door.ledger, door.app.state.strangers_refusals)
    door.join("ada")
    ada = door.browser("ada")
    for _ in range(8):
        assert door.client.get("/v1/me").status_code == 401
    assert door.client.get("/v1/users", headers=ada).status_code == 403
    left_out.sum_up()
    left_out.sum_up()
    clock[0] += 60
    assert door.client.get("/v1/me").status_code == 401
    assert [leaf.outcome for leaf in refused(door)] == [
        *["not_authenticated"] * 3,
        "not_permitted",
        "5 more not recorded one by one",
        "not_authenticated",
    ]


def test_a_number_that_cannot_be_recorded_is_counted_on(door: FrontDoor) -> None:
    """A ledger that is away for a minute gets the number of both."""

    def fail(*_arguments: object) -> None:
        raise AuditUnavailable("The record cannot be written.")

    strangers = StrangersRecords(1, lambda: 0.0)
    left_out = LeftOut(door.ledger, strangers)
    for _ in range(3):
        strangers.admit("x")
    with pytest.MonkeyPatch.context() as away, capture_logs() as logs:
        away.setattr(Ledger, "record", fail)
        left_out.sum_up()
    assert [entry["event"] for entry in logs] == ["left_out.unrecorded"]
    strangers.admit("x")
    left_out.start()
    left_out.stop()
    assert [what(leaf) for leaf in refused(door)] == [
        ("several", "3 more not recorded one by one"),
    ]


def test_a_minute_has_room_for_honest_mistakes() -> None:
    """The bound that servers use."""
    bound = StrangersRecords(ANONYMOUS_PER_MINUTE, time.monotonic)
    assert ANONYMOUS_PER_MINUTE == 120
    assert bound.admit("x") == "x"


def test_a_failing_record_does_not_undo_a_refusal(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered as it is, and the log says that it is not on the record."""

    def fail(*_arguments: object) -> None:
        raise AuditUnavailable("The record cannot be written.")

    monkeypatch.setattr(Ledger, "record", fail)
    with capture_logs() as logs:
        assert door.client.get("/v1/me").status_code == 401
    assert [entry["error"] for entry in logs if entry["event"] == "refusal.unrecorded"] == [
        "AuditUnavailable"
    ]


def test_a_record_that_hangs_does_not_hang_the_answer(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is bounded, whatever the ledger does."""
    door.app.state.parts.settings = door.app.state.parts.settings.model_copy(update={"audit_timeout_s": 0.1})
    monkeypatch.setattr("services.refusals.GRACE_S", 0.1)
    monkeypatch.setattr(Ledger, "record", lambda *_arguments: time.sleep(1.5))
    started = time.monotonic()
    with capture_logs() as logs:
        assert door.client.get("/v1/me").status_code == 401
    assert time.monotonic() - started < 1.2
    assert unrecorded(logs) == ["timeout"]


def test_an_administrator_is_refused_by_name_as_well(door: FrontDoor) -> None:
    """Self-elevation is an attempt worth reading about."""
    root = door.join("root", Role.ADMIN)
    answer = door.client.patch(f"/v1/users/{root}", json={"clearance": 9}, headers=door.browser("root"))
    assert answer.status_code == 403
    assert [what(leaf) for leaf in refused(door)] == [("PATCH /v1/users/{user_id}", "not_permitted")]
    assert refused(door)[0].actor.kind == "user"


def test_a_wrong_password_of_somebody_signed_in_is_theirs(door: FrontDoor) -> None:
    """A guess at the password change is on the record under the account whose browser made it."""
    door.join("ada")
    ada = door.browser("ada")
    wrong = {"current": "wrong", "new": PASSWORD}
    assert door.client.post("/v1/me/password", json=wrong, headers=ada).status_code == 400
    assert [(what(leaf), leaf.actor.auth) for leaf in refused(door)] == [
        (("POST /v1/me/password", "invalid_input"), "password")
    ]
