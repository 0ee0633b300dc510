"""Sessions: a new token at each sign-in, a list, an end; and the password that one changes oneself."""

from __future__ import annotations

import pytest
from front_door import PASSWORD, SAME_SITE, FrontDoor

from infra import accounts
from infra.access import Role
from infra.audit.event_types import EventType
from infra.clock import now_ms
from infra.database.tables import Invitation
from infra.directories.claims import DirectoryPerson

NEW = "another long password"


def status(door: FrontDoor, headers: dict[str, str]) -> int:
    """Return what a browser gets when it asks who is signed in."""
    return int(door.client.get("/v1/me", headers=headers).status_code)


def test_signing_in_ends_the_session_that_came_with_it(door: FrontDoor) -> None:
    """A token that somebody planted before is worth nothing afterwards, and the new one is another."""
    door.join("ada")
    planted = door.browser("ada")
    body = {"email": "ada@example.org", "password": PASSWORD}
    answer = door.client.post("/v1/session", json=body, headers=planted)
    door.client.cookies.clear()
    assert status(door, planted) == 401
    assert status(door, {"cookie": answer.headers["set-cookie"].split(";")[0]}) == 200


def test_a_wrong_password_ends_nothing(door: FrontDoor) -> None:
    """Only a success takes the old session's place."""
    door.join("ada")
    here = door.browser("ada")
    assert door.sign_in("ada", "wrong", **here).status_code == 401
    assert status(door, here) == 200


def test_one_sees_where_one_is_signed_in_and_ends_the_rest(door: FrontDoor) -> None:
    """One's own sessions only, without their tokens; this browser goes on."""
    door.join("ada")
    door.join("ben")
    here, there, bens = door.browser("ada"), door.browser("ada"), door.browser("ben")
    listed = door.client.get("/v1/sessions", headers=here)
    found = listed.json()["data"]
    assert [entry["current"] for entry in found].count(True) == 1
    assert {entry["auth_method"] for entry in found} == {"password"}
    assert len({entry["id"] for entry in found}) == 2
    assert all(headers["cookie"].partition("=")[2] not in listed.text for headers in (here, there))
    assert door.client.delete("/v1/sessions", headers=here).status_code == 204
    assert [status(door, headers) for headers in (here, there, bens)] == [200, 401, 200]
    assert door.events(EventType.SIGNIN_ENDED)[-1].outcome == "others"


def test_a_changed_password_ends_every_other_session(door: FrontDoor) -> None:
    """This one goes on under a new token; the old password opens nothing any more."""
    door.join("ada")
    here, there = door.browser("ada"), door.browser("ada")
    answer = door.client.post("/v1/me/password", json={"current": PASSWORD, "new": NEW}, headers=here)
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("__Host-strongroom=", "Secure", "HttpOnly", "SameSite=strict"))
    door.client.cookies.clear()
    new = {"cookie": cookie.split(";")[0]}
    assert [status(door, headers) for headers in (here, there, new)] == [401, 401, 200]
    assert door.sign_in("ada", PASSWORD).status_code == 401
    assert door.sign_in("ada", NEW).status_code == 200
    assert [leaf.actor.auth for leaf in door.events(EventType.PASSWORD_CHANGED)] == ["password"]


@pytest.mark.parametrize(("new", "param"), [("short", "new"), ("x" * 1025, "new")])
def test_a_new_password_has_a_length(door: FrontDoor, new: str, param: str) -> None:
    """Said before anything is looked at, and without costing an attempt."""
    door.join("ada")
    here = door.browser("ada")
    for _ in range(8):
        answer = door.client.post("/v1/me/password", json={"current": PASSWORD, "new": new}, headers=here)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_directorys_person_has_no_password_to_change(door: FrontDoor) -> None:
    """It is the directory's; the session says who vouched for them."""
    with door.database.write() as session:
        person = DirectoryPerson("corp", "s-1", "Cleo", "cleo@example.org", frozenset())
        user = accounts.sign_in_person(session, person)
        token = accounts.open_session(session, user.id, hours=1, auth_method="oidc:corp")
    here = {"cookie": f"__Host-strongroom={token}", **SAME_SITE}
    me = door.client.get("/v1/me", headers=here).json()
    assert (me["auth_method"], me["has_password"]) == ("oidc:corp", False)
    answer = door.client.post("/v1/me/password", json={"current": "", "new": NEW}, headers=here)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def test_another_site_cannot_change_a_password(door: FrontDoor) -> None:
    """Nor end sessions: both are writes with the cookie."""
    door.join("ada")
    here = door.browser("ada") | {"sec-fetch-site": "cross-site"}
    body = {"current": PASSWORD, "new": NEW}
    assert door.client.post("/v1/me/password", json=body, headers=here).status_code == 403
    assert door.client.delete("/v1/sessions", headers=here).status_code == 403


def test_a_key_cannot_do_what_would_outlive_it(door: FrontDoor) -> None:
    """Whoever found a key must not be able to keep what it opens after it was withdrawn."""
    admin = door.join("root", Role.ADMIN)
    service = door.client.post(
        "/v1/service-accounts", json={"name": "Bot"}, headers=door.browser("root")
    ).json()
    key = door.key(admin)
    tries = [
        ("POST", "/v1/me/password", {"current": PASSWORD, "new": NEW}),
        ("GET", "/v1/sessions", None),
        ("DELETE", "/v1/sessions", None),
        ("POST", "/v1/keys", {"name": "child"}),
        ("POST", f"/v1/service-accounts/{service['id']}/keys", {"name": "child", "scopes": ["ask"]}),
    ]
    for method, path, body in tries:
        answer = door.client.request(method, path, json=body, headers=key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_permitted"), path


def test_a_recycled_an_expired_and_an_unknown_invitation_look_alike(door: FrontDoor) -> None:
    """Each is refused with the same words, and on the record."""
    with door.database.write() as session:
        used, _ = accounts.invite(session, {Role.EMPLOYEE}, created_by=None)
        expired, _ = accounts.invite(session, {Role.EMPLOYEE}, created_by=None)
    with door.database.write() as session:
        session.get_one(Invitation, accounts.hash_secret(expired)).expires_at = now_ms() - 1
    body = {"name": "Cleo", "email": "cleo@example.org", "password": PASSWORD}
    joined = door.client.post("/v1/invitations/accept", json={"token": used, **body})
    assert joined.status_code == 201
    door.client.cookies.clear()
    other = body | {"email": "d@example.org"}
    refused = [
        door.client.post("/v1/invitations/accept", json={"token": token, **other})
        for token in (used, expired, "unknown")
    ]
    assert {(answer.status_code, answer.text) for answer in refused} == {(401, refused[0].text)}
    routes = [leaf.res.id for leaf in door.events(EventType.REFUSED) if leaf.res]
    assert routes == ["POST /v1/invitations/accept"] * 3
