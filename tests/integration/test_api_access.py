"""Who gets in: keys, cookies, roles, and requests that come from another site."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import httpx2
import pytest
from api_world import QUESTION, World, error_of, question

from infra.clock import now_ms

SAME_SITE = {"sec-fetch-site": "same-origin"}


def signed_in(world: World, browser: httpx2.Client) -> str:
    """Sign Ben in and return the cookie as a browser would send it."""
    answer = browser.post("/v1/session", json={"email": world.ben.email, "password": world.ben.password})
    assert answer.status_code == 200, answer.text
    cookie: str = answer.headers["set-cookie"].split(";")[0]
    # The jar would send a Secure cookie over plain HTTP to nobody; browsers make an exception for loopback.
    browser.cookies.clear()
    return cookie


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer sr-wrong", "Basic YTpi", "sr-wrong", "Bearer " + "x" * 5000],
    ids=["none", "empty", "wrong", "basic", "bare", "long"],
)
def test_without_a_good_key_there_is_one_typed_error(world: World, header: str | None) -> None:
    """No key and a bad key get 401, the envelope, and a hint."""
    headers = {"authorization": header} if header else {}
    with world.stranger() as stranger:
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/v1/files")):
            answer = stranger.request(method, path, headers=headers)
            assert error_of(answer, 401)["code"] == "not_authenticated"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_stops_at_once(world: World) -> None:
    """The next request after revoking is 401; the person's other key goes on working."""
    made = world.ben.new_key("spare")
    headers = {"authorization": f"Bearer {made['key']}"}
    with world.stranger() as stranger:
        assert stranger.get("/v1/me", headers=headers).status_code == 200
        assert world.ben.client.delete(f"/v1/keys/{made['id']}").status_code == 204
        error_of(stranger.get("/v1/me", headers=headers), 401)
    assert world.ben.client.get("/v1/me").status_code == 200
    error_of(world.ben.client.delete(f"/v1/keys/{made['id']}"), 404)


def test_an_expired_key_stops(world: World) -> None:
    """A key works until its time, and not after it."""
    made = world.ben.new_key("brief", expires_in_days=1)
    assert made["expires_at"] > now_ms()
    headers = {"authorization": f"Bearer {made['key']}"}
    with world.stranger() as stranger:
        assert stranger.get("/v1/me", headers=headers).status_code == 200
        change(world, "UPDATE api_keys SET expires_at = ? WHERE id = ?", now_ms() - 1, made["id"])
        error_of(stranger.get("/v1/me", headers=headers), 401)


def test_a_key_is_shown_once(world: World) -> None:
    """The list of keys has no secrets, and the database has none either."""
    made = world.ben.new_key("once")
    assert made["key"].startswith("sr-")
    assert made["key"] not in world.ben.client.get("/v1/keys").text
    files = [path for path in world.server.data_dir.glob("strongroom.sqlite3*") if path.is_file()]
    assert files
    assert all(made["key"].encode() not in path.read_bytes() for path in files)


# --- cookies --------------------------------------------------------------------------------------


def test_the_session_cookie_has_every_protection(world: World) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite=Strict, Path=/, and no Domain."""
    with world.stranger() as browser:
        answer = browser.post("/v1/session", json={"email": world.ben.email, "password": world.ben.password})
    name, *flags = [part.strip() for part in answer.headers["set-cookie"].split(";")]
    assert name.startswith("__Host-strongroom=")
    assert {flag.lower() for flag in flags} == {"httponly", "path=/", "samesite=strict", "secure"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        (SAME_SITE, 200),
    ],
    ids=["silent", "cross-site", "same-site", "none", "foreign origin", "null origin", "same-origin"],
)
def test_another_site_cannot_write_with_the_cookie(
    world: World, headers: dict[str, str], status: int
) -> None:
    """A write with the cookie needs to come from our own pages; reading does not change anything."""
    with world.stranger() as browser:
        cookie = {"cookie": signed_in(world, browser)}
        answer = browser.post("/v1/chat/completions", json=question(QUESTION), headers=cookie | headers)
        assert answer.status_code == status
        if status == 403:
            assert error_of(answer, 403)["code"] == "not_permitted"
        assert browser.get("/v1/me", headers=cookie | headers).status_code == 200


def test_signing_out_ends_the_session(world: World) -> None:
    """The cookie is worth nothing afterwards, even if somebody kept it."""
    with world.stranger() as browser:
        cookie = {"cookie": signed_in(world, browser)}
        assert browser.delete("/v1/session", headers=cookie | SAME_SITE).status_code == 204
        error_of(browser.get("/v1/me", headers=cookie), 401)


def test_a_session_ends_by_itself(world: World) -> None:
    """After its hours the cookie is worth nothing."""
    with world.stranger() as browser:
        cookie = {"cookie": signed_in(world, browser)}
        change(world, "UPDATE web_sessions SET expires_at = ? WHERE user_id = ?", now_ms() - 1, world.ben.id)
        error_of(browser.get("/v1/me", headers=cookie), 401)


def test_a_wrong_name_and_a_wrong_password_look_alike(world: World) -> None:
    """Nobody can find out who has an account."""
    with world.stranger() as browser:
        known = browser.post("/v1/session", json={"email": world.ben.email, "password": "wrong password"})
        unknown = browser.post("/v1/session", json={"email": "x@example.org", "password": "wrong password"})
    assert error_of(known, 401) == error_of(unknown, 401)


# --- invitations, roles, groups -------------------------------------------------------------------


def test_an_invitation_works_once(world: World) -> None:
    """The second use is refused; a taken address leaves the invitation usable."""
    url = world.admin.client.post("/v1/invitations", json={"roles": ["employee"]}).json()["url"]
    body = {"token": url.partition("#")[2], "name": "Cleo", "password": "a long enough password"}
    with world.stranger() as browser:
        taken = browser.post("/v1/invitations/accept", json=body | {"email": world.ben.email})
        assert error_of(taken, 409)["param"] == "email"
        weak = browser.post("/v1/invitations/accept", json=body | {"email": "c@x.org", "password": "short"})
        assert error_of(weak, 400)["param"] == "password"
        joined = browser.post("/v1/invitations/accept", json=body | {"email": "cleo@example.org"})
        assert joined.status_code == 201
        again = browser.post("/v1/invitations/accept", json=body | {"email": "d@example.org"})
        assert error_of(again, 401)["code"] == "not_authenticated"


def test_an_administrator_cannot_be_an_auditor(world: World) -> None:
    """Who runs the server does not check its record."""
    with world.admin.signed_in() as browser:
        answer = browser.post("/v1/invitations", json={"roles": ["admin", "auditor"]})
    assert error_of(answer, 400)["param"] == "roles"


FOR_ROLES: list[tuple[str, str, dict[str, Any] | None, str]] = [
    ("POST", "/v1/invitations", {"roles": ["employee"]}, "admin"),
    ("GET", "/v1/users", None, "admin"),
    ("POST", "/v1/groups", {"name": "Elsewhere"}, "admin"),
    ("GET", "/v1/service-accounts", None, "admin"),
    ("GET", "/v1/audit/events", None, "auditor"),
    ("GET", "/v1/audit/checkpoint", None, "auditor"),
    ("POST", "/v1/audit/verify", None, "auditor"),
]


@pytest.mark.parametrize(("method", "path", "body", "role"), FOR_ROLES)
def test_a_wrong_role_is_refused(
    world: World, method: str, path: str, body: dict[str, Any] | None, role: str
) -> None:
    """Everybody but the role gets 403 and its name; the role itself passes."""
    for who in ("ben", "admin", "auditor"):
        answer = getattr(world, who).client.request(method, path, json=body)
        if who == role:
            assert answer.status_code in {200, 201}
        else:
            error = error_of(answer, 403)
            assert error["code"] == "not_permitted"
            assert role in error["message"]


def test_reading_the_record_is_on_the_record(world: World) -> None:
    """An auditor who opens a content leaves a record of having done so."""
    client = world.auditor.client
    answer = world.ada.client.post("/v1/chat/completions", json=question(QUESTION)).raise_for_status()
    asked = asked_in(client, answer.headers["x-request-id"])
    opened = client.get(f"/v1/audit/events/{asked['id']}/content")
    assert QUESTION in opened.json()["text"]
    assert client.post("/v1/audit/verify").json()["result"] == "sound"
    deadline = time.monotonic() + 10
    while asked["id"] not in read_contents(client):
        assert time.monotonic() < deadline, "that the content was opened is not on the record"
        time.sleep(0.1)


def test_unknown_addresses_and_methods_get_the_envelope(world: World) -> None:
    """404 and 405 are typed errors like all others."""
    assert error_of(world.ada.client.get("/v1/nothing"), 404)["code"] == "not_found"
    assert error_of(world.ada.client.put("/v1/models"), 405)["code"] == "invalid_input"


def asked_in(client: httpx2.Client, request: str) -> dict[str, Any]:
    """Return the question of one request, as soon as it has its place on the record."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for event in client.get("/v1/audit/events", params={"newest": True}).json()["data"]:
            if event["type"] == "answer.asked" and event["corr"] == request:
                found: dict[str, Any] = event
                return found
        time.sleep(0.1)
    raise TimeoutError("the question is not on the record")


def read_contents(client: httpx2.Client) -> list[str]:
    """Return the ids of the contents that auditors opened, newest first."""
    newest = client.get("/v1/audit/events", params={"newest": True}).json()["data"]
    return [event["res"]["id"] for event in newest if event["type"] == "audit.read"]


def change(world: World, statement: str, *values: object) -> None:
    """Change the database past the server, as time or an administrator would."""
    database = sqlite3.connect(world.server.data_dir / "strongroom.sqlite3", timeout=10)
    try:
        with database:
            assert database.execute(statement, values).rowcount >= 1
    finally:
        database.close()


def test_a_key_cannot_make_another_key(world: World) -> None:
    """Whoever found a key could otherwise outlive its revocation."""
    refused = world.ben.client.post("/v1/keys", json={"name": "child"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_permitted")


def test_groups_are_suggested_to_their_members_only(world: World) -> None:
    """The name of a group may be a secret; its members and administrators see it."""
    made = world.admin.client.post("/v1/groups", json={"name": "Project Nightingale"}).json()
    suggestions = {"q": "Nightingale"}
    assert world.ben.client.get("/v1/principals", params=suggestions).json()["data"] == []
    world.admin.client.put(f"/v1/groups/{made['id']}/members/{world.ben.id}").raise_for_status()
    seen = world.ben.client.get("/v1/principals", params=suggestions).json()["data"]
    assert [group["id"] for group in seen] == [made["id"]]
