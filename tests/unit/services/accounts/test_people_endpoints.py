"""What administrators can do about people, and that nobody does it about themself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from front_door import FrontDoor

from infra import accounts
from infra.access import Role
from infra.audit.event_types import EventType
from infra.database.tables import Group
from infra.directories.claims import DirectoryPerson

NEW_OPERATIONS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/v1/users", None),
    ("PATCH", "/v1/users/{ada}", {"clearance": 1}),
    ("GET", "/v1/service-accounts", None),
    ("POST", "/v1/service-accounts", {"name": "Bot 2"}),
    ("POST", "/v1/service-accounts/{bot}/keys", {"name": "k", "scopes": ["ask"]}),
    ("DELETE", "/v1/service-accounts/{bot}/keys/{key}", None),
    ("POST", "/v1/invitations", {"roles": ["employee"]}),
    ("POST", "/v1/groups", {"name": "Choir"}),
    ("PUT", "/v1/groups/{group}/members/{ada}", None),
    ("DELETE", "/v1/groups/{group}/members/{ada}", None),
    ("DELETE", "/v1/groups/{group}", None),
]
FOR_EVERYBODY: list[tuple[str, str]] = [("GET", "/v1/me"), ("GET", "/v1/sessions"), ("GET", "/v1/groups")]


@pytest.fixture
def ids(door: FrontDoor) -> dict[str, str]:
    """Somebody of each role, a group, a service account and its key."""
    found = {
        "ada": door.join("ada"),
        "employee": door.join("employee"),
        "curator": door.join("curator", Role.CURATOR, Role.EMPLOYEE),
        "auditor": door.join("auditor", Role.AUDITOR),
        "admin": door.join("admin", Role.ADMIN),
    }
    with door.database.write() as session:
        bot = accounts.create_service_account(session, "Bot", [Role.EMPLOYEE])
        key, _ = accounts.create_key(session, bot.id, "old")
        group = accounts.create_group(session, "Legal")
        accounts.add_member(session, group.id, found["curator"])
    return found | {"bot": bot.id, "key": key.id, "group": group.id}


@pytest.mark.parametrize("role", ["employee", "curator", "auditor", "admin", "nobody"])
def test_only_administrators_administrate(door: FrontDoor, ids: dict[str, str], role: str) -> None:
    """Everybody else gets 403, strangers 401; the administrator gets what they asked for."""
    headers = door.browser(role) if role != "nobody" else {}
    expected = {"admin": {200, 201, 204}, "nobody": {401}}.get(role, {403})
    for method, path, body in NEW_OPERATIONS:
        answer = door.client.request(method, path.format(**ids), json=body, headers=headers)
        assert answer.status_code in expected, (path, answer.text)
    for method, path in FOR_EVERYBODY:
        answer = door.client.request(method, path, headers=headers)
        assert answer.status_code == (401 if role == "nobody" else 200), path


@pytest.mark.parametrize("scopes", [["read"], ["ask", "write", "audit"]])
def test_an_administrators_key_administrates_with_that_scope_only(
    door: FrontDoor, ids: dict[str, str], scopes: list[str]
) -> None:
    """A key that was not made for it is refused, whoever it belongs to."""
    key = door.key(ids["admin"], *scopes)
    answer = door.client.post("/v1/groups", json={"name": "By key"}, headers=key)
    assert answer.status_code == 403
    allowed = door.key(ids["admin"], "admin")
    answer = door.client.post("/v1/groups", json={"name": "By key"}, headers=allowed)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v1/users/{ada}", {"clearance": 1}),
        ("POST", "/v1/service-accounts", {"name": "Bot 2"}),
        ("POST", "/v1/service-accounts/{bot}/keys", {"name": "k", "scopes": ["ask"]}),
        ("POST", "/v1/invitations", {"roles": ["admin"]}),
        ("POST", "/v1/invitations", {"roles": ["auditor", "employee"]}),
        ("POST", "/v1/invitations", {"roles": ["employee"], "email": "dora@example.org"}),
    ],
)
def test_what_would_outlive_a_key_takes_a_sign_in(
    door: FrontDoor, ids: dict[str, str], method: str, path: str, body: dict[str, Any]
) -> None:
    """Refused to an administrator's key with every scope, and done for the same person signed in."""
    url = path.format(**ids)
    refused = door.client.request(method, url, json=body, headers=door.key(ids["admin"]))
    assert refused.status_code == 403
    done = door.client.request(method, url, json=body, headers=door.browser("admin"))
    assert done.status_code in {200, 201}, done.text


def test_a_key_may_invite_who_has_no_say(door: FrontDoor, ids: dict[str, str]) -> None:
    """Automation goes on inviting employees and curators."""
    body = {"roles": ["employee", "curator"]}
    assert door.client.post("/v1/invitations", json=body, headers=door.key(ids["admin"])).status_code == 201


def test_the_keys_of_a_former_administrator_end(door: FrontDoor, ids: dict[str, str]) -> None:
    """Made for a program and shown to them: withdrawn with the role, on the record. Others' keys stay."""
    door.join("second", Role.ADMIN)
    path, body = f"/v1/service-accounts/{ids['bot']}/keys", {"name": "push", "scopes": ["read"]}
    made = [
        door.client.post(path, json=body, headers=door.browser(name)).json() for name in ("admin", "second")
    ]
    answer = door.client.patch(
        f"/v1/users/{ids['admin']}", json={"roles": ["employee"]}, headers=door.browser("second")
    )
    assert answer.status_code == 200
    statuses = [
        door.client.get("/v1/me", headers={"authorization": f"Bearer {key['key']}"}).status_code
        for key in made
    ]
    assert statuses == [401, 200]
    [withdrawn] = door.events(EventType.KEY_REVOKED)
    assert withdrawn.res is not None
    assert (withdrawn.res.id, withdrawn.outcome) == (made[0]["id"], "maker_left")


def test_nobody_raises_themself(door: FrontDoor, ids: dict[str, str]) -> None:
    """Roles, clearance, compartments, state and groups: somebody else has to do it."""
    admin = door.browser("admin")
    me, group = ids["admin"], ids["group"]
    tries: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PATCH", f"/v1/users/{me}", {"roles": ["admin", "curator"]}),
        ("PATCH", f"/v1/users/{me}", {"clearance": 100}),
        ("PATCH", f"/v1/users/{me}", {"compartments": ["Board"]}),
        ("PATCH", f"/v1/users/{me}", {"disabled": True}),
        ("PUT", f"/v1/groups/{group}/members/{me}", None),
        ("DELETE", f"/v1/groups/{group}/members/{me}", None),
    ]
    for method, path, body in tries:
        answer = door.client.request(method, path, json=body, headers=admin)
        assert answer.status_code == 403, path
        assert answer.json()["error"]["message"] == "Somebody else has to change your own access."
    with door.database.write() as session:
        accounts.add_member(session, group, me)
    assert door.client.delete(f"/v1/groups/{group}", headers=admin).status_code == 403
    assert door.events(EventType.ACCOUNT_CHANGED, EventType.GROUP_CHANGED, EventType.GROUP_DELETED) == []


def test_a_change_is_on_the_record_with_what_changed_encrypted(door: FrontDoor, ids: dict[str, str]) -> None:
    """The fields are in the open, the values are content; a change that changed nothing says so."""
    admin = door.browser("admin")
    path = f"/v1/users/{ids['ada']}"
    changed = door.client.patch(path, json={"clearance": 3, "compartments": ["Board"]}, headers=admin).json()
    assert (changed["clearance"], changed["compartments"]) == (3, ["Board"])
    door.client.patch(path, json={"clearance": 3}, headers=admin)
    event, unchanged = door.events(EventType.ACCOUNT_CHANGED)
    assert unchanged.outcome == "unchanged"
    assert unchanged.content is None
    assert (event.outcome, event.res and event.res.id) == ("clearance,compartments", ids["ada"])
    content = json.loads(door.ledger.reader.read_content(event.id))
    assert content == {
        "clearance": {"before": 0, "after": 3},
        "compartments": {"before": [], "after": ["Board"]},
    }


def test_a_closed_account_is_out_at_the_next_request(door: FrontDoor, ids: dict[str, str]) -> None:
    """Its browser, its key and its password, with an event of its own."""
    ada, key = door.browser("ada"), door.key(ids["ada"])
    admin = door.browser("admin")
    closed = door.client.patch(f"/v1/users/{ids['ada']}", json={"disabled": True}, headers=admin)
    assert closed.json()["disabled"] is True
    for headers in (ada, key):
        assert door.client.get("/v1/me", headers=headers).status_code == 401
    assert door.sign_in("ada").status_code == 401
    assert [leaf.outcome for leaf in door.events(EventType.ACCOUNT_DISABLED)] == ["disabled"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"roles": ["admin", "auditor"]}, 400),
        ({"roles": []}, 400),
        ({"roles": ["king"]}, 400),
        ({"clearance": 101}, 400),
        ({"clearance": -1}, 400),
        ({"compartments": ["x" * 61]}, 400),
        ({"compartments": ["a"] * 51}, 400),
        ({"clearence": 5}, 400),
        ({"disabled": "perhaps"}, 400),
    ],
)
def test_impossible_changes_change_nothing(
    door: FrontDoor, ids: dict[str, str], body: dict[str, Any], code: int
) -> None:
    """A misspelt field is refused, too: it must not look like a change that was made."""
    admin = door.browser("admin")
    answer = door.client.patch(f"/v1/users/{ids['ada']}", json=body, headers=admin)
    assert (answer.status_code, answer.json()["error"]["code"]) == (code, "invalid_input")
    users = door.client.get("/v1/users", headers=admin).json()["data"]
    ada = next(user for user in users if user["id"] == ids["ada"])
    assert (ada["roles"], ada["clearance"], ada["compartments"]) == (["employee"], 0, [])


def test_the_list_says_where_an_account_comes_from(door: FrontDoor, ids: dict[str, str]) -> None:
    """The directory's name; nothing for an account that was made here."""
    with door.database.write() as session:
        accounts.sign_in_person(session, DirectoryPerson("corp", "s", "Cleo", None, frozenset()))
    users = door.client.get("/v1/users", headers=door.browser("admin")).json()["data"]
    found = {user["name"]: user["directories"] for user in users}
    assert (found["Cleo"], found["ada"]) == (["corp"], [])


def test_a_directorys_group_is_not_changed_here(door: FrontDoor, ids: dict[str, str]) -> None:
    """409 with who decides; an id that nobody has is not found."""
    with door.database.write() as session:
        session.add(Group(id="group:corp:1", directory="corp", name="Law", created_at=1))
    admin = door.browser("admin")
    for method, path in (
        ("PUT", f"/members/{ids['ada']}"),
        ("DELETE", f"/members/{ids['ada']}"),
        ("DELETE", ""),
    ):
        answer = door.client.request(method, f"/v1/groups/group:corp:1{path}", headers=admin)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        answer = door.client.request(method, f"/v1/groups/group:other:1{path}", headers=admin)
        assert answer.status_code == 404
    answer = door.client.put(f"/v1/groups/{ids['group']}/members/user:{ids['ada']}", headers=admin)
    assert answer.status_code == 404


def test_a_program_has_keys_that_only_administrators_make(door: FrontDoor, ids: dict[str, str]) -> None:
    """Shown once, with its scopes; withdrawn, it stops at once; a person's account has none of them."""
    admin = door.browser("admin")
    path = f"/v1/service-accounts/{ids['bot']}/keys"
    body = {"name": "nightly", "scopes": ["ask", "read"], "expires_in_days": 30}
    made = door.client.post(path, json=body, headers=admin).json()
    use = {"authorization": f"Bearer {made['key']}"}
    assert made["scopes"] == ["ask", "read"]
    assert door.client.get("/v1/me", headers=use).json()["id"] == ids["bot"]
    listed = door.client.get("/v1/service-accounts", headers=admin)
    assert made["key"] not in listed.text
    (bot,) = listed.json()["data"]
    assert {key["id"] for key in bot["keys"]} == {ids["key"], made["id"]}
    assert door.client.delete(f"{path}/{made['id']}", headers=admin).status_code == 204
    assert door.client.get("/v1/me", headers=use).status_code == 401
    for who in (ids["ada"], "unknown"):
        wrong = door.client.post(f"/v1/service-accounts/{who}/keys", json=body, headers=admin)
        assert wrong.status_code == 404
    outcomes = [leaf.outcome for leaf in door.events(EventType.KEY_CREATED, EventType.KEY_REVOKED)]
    assert outcomes == ["ask,read", "ok"]


def test_a_key_for_a_directory_is_made_for_a_program_and_opens_nothing_else(
    door: FrontDoor, ids: dict[str, str]
) -> None:
    """Alone among scopes, and never a person's."""
    admin = door.browser("admin")
    path = f"/v1/service-accounts/{ids['bot']}/keys"
    scim = {"name": "push", "scopes": ["scim"]}
    made = door.client.post(path, json=scim, headers=admin)
    assert made.status_code == 201
    use = {"authorization": f"Bearer {made.json()['key']}"}
    assert door.client.get("/v1/me", headers=use).status_code == 403
    both = door.client.post(path, json=scim | {"scopes": ["scim", "ask"]}, headers=admin)
    mine = door.client.post("/v1/keys", json=scim, headers=admin)
    assert [both.json()["error"]["param"], mine.json()["error"]["param"]] == ["scopes", "scopes"]


def test_a_program_is_no_administrator(door: FrontDoor, ids: dict[str, str]) -> None:
    """Nor an auditor, from the start or later, and its name is its own."""
    admin = door.browser("admin")
    for role in ("admin", "auditor"):
        made = door.client.post("/v1/service-accounts", json={"name": "B", "roles": [role]}, headers=admin)
        later = door.client.patch(f"/v1/users/{ids['bot']}", json={"roles": [role]}, headers=admin)
        assert (made.status_code, later.status_code) == (400, 400)
    again = door.client.post("/v1/service-accounts", json={"name": "Bot"}, headers=admin)
    assert again.status_code == 409


def test_a_personal_key_has_the_scopes_that_were_asked_for(door: FrontDoor, ids: dict[str, str]) -> None:
    """All but a directory's when nothing is said; ten years at the most."""
    ada = door.browser("ada")
    made = door.client.post("/v1/keys", json={"name": "all"}, headers=ada).json()
    assert made["scopes"] == ["admin", "ask", "audit", "read", "write"]
    door.client.post("/v1/keys", json={"name": "some", "scopes": ["ask"]}, headers=ada)
    listed = door.client.get("/v1/keys", headers=ada).json()["data"]
    assert {key["name"]: key["scopes"] for key in listed}["some"] == ["ask"]
    for wrong in ({"scopes": []}, {"scopes": ["everything"]}, {"expires_in_days": 3651}):
        answer = door.client.post("/v1/keys", json={"name": "x", **wrong}, headers=ada)
        assert answer.status_code == 400
