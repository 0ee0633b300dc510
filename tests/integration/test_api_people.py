"""People on a real server: held-up guesses, changed accounts, programs, groups, and what the record says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from api_world import World, error_of

from infra.access import Role
from tests.preloaded import PreloadedServer
from tests.serving import Person


@pytest.fixture
def root(world: World) -> Person:
    """A second administrator, so that the world's own can be changed back by somebody."""
    return next(
        (person for person in world.server.people if person.email == "root@example.org"),
        None,
    ) or world.server.person("Root", [Role.ADMIN])


def guess(client: httpx2.Client, email: str, **headers: str) -> httpx2.Response:
    """Try a wrong password."""
    return client.post("/v1/session", json={"email": email, "password": "a wrong guess"}, headers=headers)


# --- guessing -------------------------------------------------------------------------------------


def test_an_account_is_held_up_whatever_the_address(world: World) -> None:
    """The seventh guess in a row waits, also from elsewhere; whoever has a key goes on working."""
    cleo = world.server.person("Cleo-held-up")
    for number in range(6):
        with world.stranger(f"198.51.100.{number}") as stranger:
            error_of(guess(stranger, cleo.email), 401)
    with world.stranger() as stranger:
        held_up = stranger.post("/v1/session", json={"email": cleo.email, "password": cleo.password})
        assert error_of(held_up, 429)["type"] == "rate_limit_error"
        assert held_up.headers["retry-after"] == "1"
        assert cleo.client.get("/v1/me").status_code == 200
        time.sleep(1.1)
        again = stranger.post("/v1/session", json={"email": cleo.email, "password": cleo.password})
        assert again.status_code == 200


def test_an_address_is_held_up_and_no_other(world: World) -> None:
    """The proxy's word on who asks is taken, because the settings name it."""
    with world.stranger("203.0.113.9") as guesser, world.stranger() as other:
        seen = [guess(guesser, f"nobody{number}@example.org").status_code for number in range(22)]
        assert seen == [401] * 21 + [429]
        error_of(guess(other, "nobody@example.org"), 401)


def test_nobody_chooses_their_own_address(make_server: Callable[..., PreloadedServer]) -> None:
    """Without a proxy in the settings, what a client says of its address is not believed."""
    server = make_server().start()
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        seen = [
            guess(client, f"n{number}@example.org", **{"x-forwarded-for": f"198.51.100.{number}"}).status_code
            for number in range(22)
        ]
    server.kill()
    assert seen == [401] * 21 + [429]


def test_a_guess_at_a_key_is_held_up_and_a_good_key_is_not(world: World) -> None:
    """They may come from the same address."""
    with world.stranger("203.0.113.10") as stranger:
        bad = {"authorization": "Bearer sr-" + "x" * 43}
        assert [stranger.get("/v1/me", headers=bad).status_code for _ in range(22)] == [401] * 21 + [429]
        good = {"authorization": world.ben.client.headers["authorization"]}
        assert stranger.get("/v1/me", headers=good).status_code == 200


# --- accounts -------------------------------------------------------------------------------------


def test_a_role_holds_from_the_next_request_on(world: World) -> None:
    """Given and taken away by an administrator, who stays outside of the record."""
    dora = world.server.person("Dora")
    error_of(dora.client.get("/v1/audit/checkpoint"), 403)
    world.admin.change_account(dora.id, roles=["auditor", "employee"]).raise_for_status()
    assert dora.client.get("/v1/audit/checkpoint").status_code == 200
    error_of(world.admin.client.get("/v1/audit/checkpoint"), 403)
    world.admin.change_account(dora.id, roles=["employee"]).raise_for_status()
    error_of(dora.client.get("/v1/audit/checkpoint"), 403)


def test_a_closed_account_is_out_everywhere(world: World) -> None:
    """Key, browser and password; what it uploaded stays, and reopening lets the key in again."""
    emil = world.server.person("Emil")
    with world.stranger() as browser:
        signed_in = browser.post("/v1/session", json={"email": emil.email, "password": emil.password})
        cookie = {"cookie": signed_in.headers["set-cookie"].split(";")[0]}
        browser.cookies.clear()
        assert world.admin.change_account(emil.id, disabled=True).json()["disabled"] is True
        for refused in (
            browser.get("/v1/me", headers=cookie),
            emil.client.get("/v1/files"),
            browser.post("/v1/session", json={"email": emil.email, "password": emil.password}),
        ):
            error_of(refused, 401)
        world.admin.change_account(emil.id, disabled=False).raise_for_status()
        error_of(browser.get("/v1/me", headers=cookie), 401)
    assert emil.client.get("/v1/me").status_code == 200


def test_nobody_raises_themself_and_administrators_change_each_other(world: World, root: Person) -> None:
    """The refusal says who can do it."""
    mine = world.admin.change_account(world.admin.id, clearance=5)
    assert "Somebody else" in error_of(mine, 403)["message"]
    error_of(world.ben.change_account(world.ben.id, roles=["admin"]), 403)
    changed = root.change_account(world.admin.id, clearance=5)
    assert changed.json()["clearance"] == 5
    root.change_account(world.admin.id, clearance=0).raise_for_status()


# --- groups and programs --------------------------------------------------------------------------


def test_with_a_group_goes_what_was_shared_with_it(world: World) -> None:
    """Ben reads through the group, and no more once it is gone; Ada keeps her file."""
    file = f"/v1/files/{world.policy['id']}"
    group = world.admin.client.post("/v1/groups", json={"name": "Readers of one file"}).json()["id"]
    for person in (world.ada, world.ben):
        world.admin.client.put(f"/v1/groups/{group}/members/{person.id}").raise_for_status()
    world.ada.client.put(f"{file}/shares/{group}").raise_for_status()
    assert world.ben.client.get(file).status_code == 200
    assert world.admin.client.delete(f"/v1/groups/{group}").status_code == 204
    error_of(world.ben.client.get(file), 404)
    assert world.ada.client.get(file).json()["x_shared_with"] == []
    error_of(world.admin.client.delete(f"/v1/groups/{group}"), 404)


def test_a_program_reads_what_is_shared_with_it_until_its_key_is_withdrawn(world: World) -> None:
    """An administrator, signed in, makes its key; the key is for what it was made for."""
    with world.admin.signed_in() as browser:
        account = browser.post("/v1/service-accounts", json={"name": "Intranet search"}).json()
    with world.stranger() as browser:
        body = {"email": world.admin.email, "password": world.admin.password}
        cookie = browser.post("/v1/session", json=body).headers["set-cookie"].split(";")[0]
        browser.cookies.clear()
        signed_in = {"cookie": cookie, "sec-fetch-site": "same-origin"}
        keys = f"/v1/service-accounts/{account['id']}/keys"
        error_of(world.admin.client.post(keys, json={"name": "k", "scopes": ["read"]}), 403)
        key = browser.post(keys, json={"name": "k", "scopes": ["read"]}, headers=signed_in).json()
        file, use = f"/v1/files/{world.policy['id']}", {"authorization": f"Bearer {key['key']}"}
        error_of(browser.get(file, headers=use), 404)
        world.ada.client.put(f"{file}/shares/service:{account['id']}").raise_for_status()
        assert browser.get(file, headers=use).status_code == 200
        error_of(browser.delete(file, headers=use), 403)
        world.ada.client.delete(f"{file}/shares/service:{account['id']}").raise_for_status()
        assert browser.delete(f"{keys}/{key['id']}", headers=signed_in).status_code == 204
        error_of(browser.get("/v1/me", headers=use), 401)


# --- the record -----------------------------------------------------------------------------------


def test_an_auditor_sees_who_was_refused_what(world: World) -> None:
    """By account, operation and reason; found by the request's id."""
    refused = world.ben.client.get("/v1/users")
    (event,) = recorded(world, refused.headers["x-request-id"])
    assert (event["type"], event["outcome"]) == ("refused", "not_permitted")
    assert (event["res"]["type"], event["res"]["id"]) == ("operation", "GET /v1/users")
    assert (event["actor"]["kind"], event["actor"]["auth"]) == ("user", "api_key")


def test_a_stranger_is_refused_on_the_record(world: World) -> None:
    """As nobody known."""
    with world.stranger() as stranger:
        refused = stranger.get("/v1/files")
    (event,) = recorded(world, refused.headers["x-request-id"])
    assert (event["type"], event["actor"]["sub"]) == ("refused", "anonymous")


def recorded(world: World, request_id: str) -> list[dict[str, Any]]:
    """Return what the record says about one request, as soon as it says something."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        events = world.auditor.client.get("/v1/audit/events", params={"newest": True}).json()["data"]
        found = [event for event in events if event["corr"] == request_id]
        if found:
            return found
        time.sleep(0.1)
    raise TimeoutError("the request is not on the record")
