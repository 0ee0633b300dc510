"""A directory pushes people and groups over SCIM 2.0 to a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import CheckResult, Status, check_server
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Role
from infra.accounts import provisioning
from infra.accounts.provisioning import PushedGroup
from infra.database.tables import AuditInbox, AuditLeaf, User
from infra.directories.claims import directory_person
from infra.errors import NotAuthenticated
from infra.stores import open_database
from tests.made_documents import markdown_of
from tests.preloaded import PreloadedServer
from tests.serving import Person, finished_job, upload

DIRECTORY = "directory"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@dataclass
class Pushing:
    """A server that a directory pushes to: `scim` is the directory's client, Ada has a local account."""

    server: PreloadedServer
    admin: Person
    ada: Person
    scim: httpx2.Client

    def user(self, **fields: Any) -> dict[str, Any]:
        """Push somebody who joined and return them."""
        body = {"schemas": [USER], "userName": f"{uuid4()}@example.org", **fields}
        return created(self.scim.post("/Users", json=body))

    def group(self, *members: str, **fields: Any) -> dict[str, Any]:
        """Push a group and return it."""
        listed = [{"value": member} for member in members]
        body = {"schemas": [GROUP], "displayName": f"Group {uuid4()}", "members": listed, **fields}
        return created(self.scim.post("/Groups", json=body))

    def patch(self, path: str, *operations: dict[str, Any]) -> httpx2.Response:
        """Send a PATCH."""
        return self.scim.patch(path, json={"schemas": [PATCH], "Operations": list(operations)})

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield a transaction beside the server."""
        database, _ = open_database(self.server.settings())
        with database.write() as session:
            yield session
        database.close()

    @contextmanager
    def signed_in(self, subject: str) -> Iterator[httpx2.Client]:
        """Yield the browser of somebody who signed in with the directory, which names them `subject`."""
        person = directory_person(DIRECTORY, subject=subject, name="Grace Hopper", email=None, groups=None)
        with self.writing() as session:
            user = accounts.sign_in_person(session, person)
            token = accounts.open_session(session, user.id, hours=1, auth_method=f"oidc:{DIRECTORY}")
        headers = {"cookie": f"__Host-strongroom={token}", "sec-fetch-site": "same-origin"}
        with httpx2.Client(base_url=self.server.url, timeout=60, headers=headers) as browser:
            yield browser

    def with_key(self, key: str) -> httpx2.Client:
        """Return a client that uses a key; close it."""
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.server.url, timeout=60, headers=headers)

    def events(self, target: str) -> list[str]:
        """Return what the record says about a resource, in order: `type outcome`."""
        with self.writing() as session:
            leaves = [row.leaf for row in session.query(AuditLeaf).order_by(AuditLeaf.index)]
            leaves += [row.leaf for row in session.query(AuditInbox).order_by(AuditInbox.id)]
        found = [json.loads(leaf) for leaf in leaves]
        return [f"{e['type']} {e['outcome']}" for e in found if e.get("res", {}).get("id") == target]


@pytest.fixture(scope="module")
def pushing(make_server: Callable[..., PreloadedServer]) -> Iterator[Pushing]:
    """Start a server whose administrator made a key for the directory, as the operators' page says."""
    server = make_server()
    server.start()
    admin = server.person("Admin", [Role.ADMIN, Role.EMPLOYEE])
    # A curator may share with groups that they are not in.
    ada = server.person("Ada", [Role.CURATOR, Role.EMPLOYEE])
    key = service_key(server, admin, "Directory", ["scim"])
    headers = {"authorization": f"Bearer {key}", "content-type": "application/scim+json"}
    with httpx2.Client(base_url=f"{server.url}/scim/v2/", timeout=60, headers=headers) as scim:
        yield Pushing(server, admin, ada, scim)
    server.kill()


def service_key(server: PreloadedServer, admin: Person, name: str, scopes: list[str]) -> str:
    """Make a service account and a key for it, through the interface."""
    with httpx2.Client(base_url=server.url, timeout=60) as browser:
        answer = browser.post("/v1/session", json={"email": admin.email, "password": admin.password})
        cookie = answer.headers["set-cookie"].split(";")[0]
        browser.cookies.clear()
        browser.headers.update({"cookie": cookie, "sec-fetch-site": "same-origin"})
        account = browser.post("/v1/service-accounts", json={"name": name})
        assert account.status_code == 201, account.text
        path = f"/v1/service-accounts/{account.json()['id']}/keys"
        made = browser.post(path, json={"name": "push", "scopes": scopes})
        assert made.status_code == 201, made.text
        key: str = made.json()["key"]
        return key


def created(answer: httpx2.Response) -> dict[str, Any]:
    """Return what a POST made."""
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == made["meta"]["location"]
    return made


def refused(answer: httpx2.Response, status: int, scim_type: str | None = None) -> dict[str, Any]:
    """Return a refusal after checking that it has SCIM's own shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/scim+json")
    body: dict[str, Any] = answer.json()
    assert body["schemas"] == [ERROR]
    assert body["status"] == str(status)
    assert body["detail"]
    assert body.get("scimType") == scim_type, body
    return body


def ids(answer: httpx2.Response) -> list[str]:
    """Return the ids of a list's page."""
    assert answer.status_code == 200, answer.text
    return [entry["id"] for entry in answer.json().get("Resources", [])]


# --- the whole run --------------------------------------------------------------------------------


def test_an_independent_checker_finds_no_deviation(pushing: Pushing) -> None:
    """scim2-tester discovers the server and exercises every resource, attribute and method."""
    results = check_server(SyncSCIMClient(pushing.scim))
    bad = {Status.ERROR, Status.CRITICAL, Status.DEVIATION}
    found = [result for result in results if result.status in bad and not keeps_a_state(result)]
    assert found == []
    passed = {result.title for result in results if result.status is Status.SUCCESS}
    assert {"object_creation", "object_replacement", "object_deletion", "check_replace_attribute"} <= passed


def keeps_a_state(result: CheckResult) -> bool:
    """Say whether a result is the one deviation on purpose: everybody is open or closed, so `active` stays.

    Who is closed stays so when `active` is removed, and the answer shows it (RFC 7643, section 2.5, lets a
    server have a default).
    """
    data = result.data if isinstance(result.data, dict) else {}
    return result.title == "check_remove_attribute" and data.get("urn") == "active"


def test_somebody_joins_moves_and_leaves(pushing: Pushing) -> None:
    """Created, renamed, put into a group that a file is shared with, taken out, and closed, each at once."""
    joined = pushing.user(externalId="grace-1", displayName="Grace", emails=[{"value": "grace@example.org"}])
    path = f"/Users/{joined['id']}"
    assert pushing.patch(path, {"op": "replace", "path": "displayName", "value": "G. Hopper"}).json()[
        "displayName"
    ] == ("G. Hopper")
    team = pushing.group()
    principal = f"group:{DIRECTORY}:{team['id']}"
    entry = upload(pushing.ada.client, "plan.md", markdown_of("Plan", ["We move in May."]))
    assert finished_job(pushing.ada.client, entry["x_job"]["id"])["state"] == "succeeded"
    file = f"/v1/files/{entry['id']}"
    shared = pushing.ada.client.put(f"{file}/shares/{principal}")
    assert shared.is_success, shared.text
    with pushing.signed_in("grace-1") as browser:
        key = browser.post("/v1/keys", json={"name": "laptop"}).json()["key"]
        with pushing.with_key(key) as grace:
            assert grace.get("/v1/me").json()["id"] == joined["id"]
            assert grace.get(file).status_code == 404
            member = {"op": "add", "path": "members", "value": [{"value": joined["id"]}]}
            assert pushing.patch(f"/Groups/{team['id']}", member).status_code == 200
            assert grace.get(file).status_code == 200
            one = f'members[value eq "{joined["id"]}"]'
            assert pushing.patch(f"/Groups/{team['id']}", {"op": "remove", "path": one}).status_code == 200
            assert grace.get(file).status_code == 404
            closed = pushing.patch(path, {"op": "replace", "path": "active", "value": False})
            assert closed.json()["active"] is False
            assert grace.get("/v1/me").status_code == 401
            assert browser.get("/v1/me").status_code == 401
            reopened = pushing.patch(path, {"op": "replace", "path": "active", "value": True})
            assert reopened.json()["active"] is True
            # Coming back takes a new sign-in: what was ended stays ended.
            assert grace.get("/v1/me").status_code == 401
            assert browser.get("/v1/me").status_code == 401
    assert pushing.events(joined["id"]) == [
        "account.created ok",
        "directory.changed attributes",
        "account.disabled disabled",
        "directory.changed enabled",
    ]
    assert pushing.events(principal) == ["group.created ok", "group.changed members", "group.changed members"]


def test_who_is_removed_is_gone_for_good(pushing: Pushing) -> None:
    """DELETE closes the account and frees its names; the same person coming back is a new account."""
    names = {"userName": "Linus", "externalId": "linus-1", "emails": [{"value": "linus@example.org"}]}
    first = pushing.user(**names)
    group = pushing.group(first["id"])
    with pushing.signed_in("linus-1") as browser:
        assert pushing.scim.delete(f"/Users/{first['id']}").status_code == 204
        assert browser.get("/v1/me").status_code == 401
    for answer in (
        pushing.scim.get(f"/Users/{first['id']}"),
        pushing.scim.delete(f"/Users/{first['id']}"),
        pushing.patch(f"/Users/{first['id']}", {"op": "replace", "path": "active", "value": True}),
    ):
        refused(answer, 404)
    assert "members" not in pushing.scim.get(f"/Groups/{group['id']}").json()
    with pytest.raises(NotAuthenticated), pushing.signed_in("linus-1"):
        pass
    with pushing.writing() as session:
        assert session.get_one(User, first["id"]).disabled_at is not None
    again = pushing.user(**names)
    assert again["id"] != first["id"]
    with pushing.signed_in("linus-1") as browser:
        assert browser.get("/v1/me").json()["id"] == again["id"]
    assert pushing.events(first["id"]) == ["account.created ok", "account.disabled deleted"]


def test_a_removed_group_takes_its_shares_along(pushing: Pushing) -> None:
    """A group that gets the id of a removed one starts with nothing shared."""
    user = pushing.user(externalId="kate-1")
    group = pushing.group(user["id"], externalId="team-7", displayName="Seven")
    assert group["id"] == "team-7"
    entry = upload(pushing.ada.client, "seven.md", markdown_of("Seven", ["Seven is a number."]))
    file = f"/v1/files/{entry['id']}"
    assert pushing.ada.client.put(f"{file}/shares/group:{DIRECTORY}:team-7").is_success
    with pushing.signed_in("kate-1") as kate:
        assert kate.get(file).status_code == 200
        assert pushing.scim.delete("/Groups/team-7").status_code == 204
        assert kate.get(file).status_code == 404
        refused(pushing.scim.get("/Groups/team-7"), 404)
        pushing.group(user["id"], externalId="team-7", displayName="Seven")
        assert kate.get(file).status_code == 404
    assert "group.deleted ok" in pushing.events(f"group:{DIRECTORY}:team-7")


# --- what a directory must not reach --------------------------------------------------------------


def test_local_people_and_groups_do_not_exist_for_a_directory(pushing: Pushing) -> None:
    """Local accounts, the administrator's included, and local groups are 404 and in no list."""
    local = pushing.admin.client.post("/v1/groups", json={"name": f"Local {uuid4()}"}).json()["id"]
    for person in (pushing.ada, pushing.admin):
        close = {"op": "replace", "path": "active", "value": False}
        refused(pushing.scim.get(f"/Users/{person.id}"), 404)
        refused(pushing.patch(f"/Users/{person.id}", close), 404)
        refused(pushing.scim.put(f"/Users/{person.id}", json={"schemas": [USER], "userName": "x"}), 404)
        refused(pushing.scim.delete(f"/Users/{person.id}"), 404)
        assert person.client.get("/v1/me").status_code == 200
    for group_id in (local, local.rpartition(":")[2], "everyone", "group:local:everyone"):
        refused(pushing.scim.delete(f"/Groups/{group_id}"), 404)
    seen = ids(pushing.scim.get("/Users")) + ids(pushing.scim.get("/Groups"))
    assert not {pushing.ada.id, pushing.admin.id, local} & set(seen)
    assert ids(pushing.scim.get("/Users", params={"filter": 'emails eq "ada@example.org"'})) == []


def test_a_person_of_another_directory_cannot_be_reached(pushing: Pushing) -> None:
    """The same externalId in another directory is somebody else."""
    stranger = directory_person("other", subject="same-1", name="Stranger", email=None, groups=None)
    with pushing.writing() as session:
        other = accounts.account_of_person(session, stranger).id
    refused(pushing.scim.get(f"/Users/{other}"), 404)
    assert pushing.user(externalId="same-1")["id"] != other


@pytest.mark.parametrize("way", ["create", "add", "replace", "put"])
def test_members_from_elsewhere_are_refused(pushing: Pushing, way: str) -> None:
    """A local person cannot be put into a directory's group, and a refused change changes nothing."""
    mine = pushing.user()["id"]
    group = pushing.group(mine)
    path, strangers = f"/Groups/{group['id']}", [{"value": pushing.ada.id}]
    whole = {"schemas": [GROUP], "displayName": group["displayName"] + "!", "members": strangers}
    answer = {
        "create": lambda: pushing.scim.post("/Groups", json=whole),
        "add": lambda: pushing.patch(path, {"op": "add", "path": "members", "value": strangers}),
        "replace": lambda: pushing.patch(path, {"op": "replace", "value": {"members": strangers}}),
        "put": lambda: pushing.scim.put(path, json=whole),
    }[way]()
    refused(answer, 400, "invalidValue")
    now = pushing.scim.get(path).json()
    assert [member["value"] for member in now["members"]] == [mine]
    assert now["displayName"] == group["displayName"]


def test_a_group_in_a_group_is_refused(pushing: Pushing) -> None:
    """Membership is never handed on through another group."""
    inner = pushing.group()["id"]
    body = {"schemas": [GROUP], "displayName": str(uuid4()), "members": [{"value": inner, "type": "Group"}]}
    refused(pushing.scim.post("/Groups", json=body), 400, "invalidValue")


def test_a_directory_gives_nobody_rights(pushing: Pushing) -> None:
    """Roles, entitlements, clearance and compartments that it sends are dropped."""
    wished = {"roles": [{"value": "admin"}], "entitlements": [{"value": "admin"}], "userType": "admin"}
    rights = {"clearance": 9, "compartments": ["merger"], "password": "a long enough password"}
    user = pushing.user(**wished, **rights)
    assert set(user) == {"schemas", "id", "meta", "userName", "active"}
    pushing.patch(f"/Users/{user['id']}", {"op": "add", "path": "roles", "value": [{"value": "admin"}]})
    with pushing.writing() as session:
        account = session.get_one(User, user["id"])
        assert (account.roles, account.clearance, account.compartments) == (["employee"], 0, [])
        assert account.password_hash is None


def test_only_a_key_for_scim_alone_may_push(pushing: Pushing) -> None:
    """Nobody, a person's key, an administrator's session and a service's other key are all refused."""
    with httpx2.Client(base_url=pushing.server.url, timeout=60) as nobody:
        answer = nobody.get("/scim/v2/Users")
        refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        signed_in = nobody.post(
            "/v1/session", json={"email": pushing.admin.email, "password": pushing.admin.password}
        )
        cookie = signed_in.headers["set-cookie"].split(";")[0]
        headers = {"cookie": cookie, "sec-fetch-site": "same-origin"}
        refused(nobody.get("/scim/v2/Users", headers=headers), 403)
    refused(pushing.admin.client.get("/scim/v2/Users"), 403)
    refused(pushing.ada.client.post("/scim/v2/Users", json={"userName": "x"}), 403)
    key = service_key(pushing.server, pushing.admin, "Other program", ["read", "write", "admin"])
    with pushing.with_key(key) as other:
        refused(other.get("/scim/v2/Users"), 403)


def test_a_key_for_scim_opens_nothing_else(pushing: Pushing) -> None:
    """The directory's key reads no file, asks no question and lists no account."""
    with httpx2.Client(base_url=pushing.server.url, headers=pushing.scim.headers, timeout=60) as client:
        for path in ("/v1/files", "/v1/users", "/v1/me", "/v1/audit/events", "/v1/models"):
            assert client.get(path).status_code == 403, path


# --- people ---------------------------------------------------------------------------------------


def test_a_sign_in_before_the_push_is_the_same_account(pushing: Pushing) -> None:
    """Somebody who signed in first is taken up by their subject, with what they have."""
    with pushing.signed_in("early-1") as browser:
        early = browser.get("/v1/me").json()["id"]
        assert pushing.user(externalId="early-1")["id"] == early
        assert browser.get("/v1/me").status_code == 200


def test_without_an_external_id_the_scim_id_is_the_subject(pushing: Pushing) -> None:
    """A provider that names people by our id finds them; a later externalId takes its place."""
    user = pushing.user()
    with pushing.signed_in(user["id"]) as browser:
        assert browser.get("/v1/me").json()["id"] == user["id"]
    pushing.patch(f"/Users/{user['id']}", {"op": "add", "path": "externalId", "value": "later-1"})
    with pushing.signed_in("later-1") as browser:
        assert browser.get("/v1/me").json()["id"] == user["id"]


def test_who_was_closed_here_stays_closed(pushing: Pushing) -> None:
    """A directory cannot reopen an account that an administrator closed, by no way of saying so."""
    user = pushing.user(externalId="closed-1")
    with pushing.writing() as session:
        accounts.set_disabled(session, session.get_one(User, user["id"]), disabled=True)
    path = f"/Users/{user['id']}"
    whole = {"schemas": [USER], "userName": user["userName"], "externalId": "closed-1"}
    for value in (True, False, True):
        answer = pushing.patch(path, {"op": "replace", "path": "active", "value": value})
        assert answer.json()["active"] is False
    assert pushing.scim.put(path, json={**whole, "active": True}).json()["active"] is False
    with pytest.raises(NotAuthenticated), pushing.signed_in("closed-1"):
        pass


def test_leaving_active_out_lets_nobody_back_in(pushing: Pushing) -> None:
    """A PUT without `active`, and removing it, keep somebody closed who is closed."""
    user = pushing.user(active=False)
    assert user["active"] is False
    whole = {"schemas": [USER], "userName": user["userName"], "displayName": "Still closed"}
    path = f"/Users/{user['id']}"
    assert pushing.scim.put(path, json=whole).json()["active"] is False
    assert pushing.patch(path, {"op": "remove", "path": "active"}).json()["active"] is False
    assert pushing.scim.get(path).json()["displayName"] == "Still closed"


def test_what_is_taken_is_a_conflict(pushing: Pushing) -> None:
    """A user name in another case, an externalId and anybody's e-mail address can be had once."""
    one = pushing.user(userName="Zoe.One", externalId="zoe-1", emails=[{"value": "zoe@example.org"}])
    two = pushing.user(externalId="zoe-2")
    for taken in (
        {"userName": "zoe.one"},
        {"externalId": "zoe-1"},
        {"emails": [{"value": "ZOE@example.org"}]},
        {"emails": [{"value": pushing.ada.email}]},
    ):
        refused(pushing.scim.post("/Users", json={"userName": str(uuid4()), **taken}), 409, "uniqueness")
        whole = {"schemas": [USER], "userName": two["userName"], **taken}
        refused(pushing.scim.put(f"/Users/{two['id']}", json=whole), 409, "uniqueness")
    assert pushing.scim.get(f"/Users/{one['id']}").json()["userName"] == "Zoe.One"


def test_the_ways_of_entra_are_understood(pushing: Pushing) -> None:
    """Text for booleans, capital operations, dotted names without a path, values to remove, other schemas."""
    user = pushing.user()
    path = f"/Users/{user['id']}"
    answer = pushing.patch(
        path,
        {"op": "Add", "path": 'emails[type eq "work"].value', "value": "entra@example.org"},
        {"op": "Replace", "value": {"name.givenName": "Edith", "name.familyName": "Clarke"}},
        {
            "op": "Add",
            "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
            "value": "Grid",
        },
        {"op": "Replace", "path": "active", "value": "False"},
    )
    changed = answer.json()
    assert changed["active"] is False
    assert changed["emails"] == [{"value": "entra@example.org", "type": "work"}]
    with pushing.writing() as session:
        account = session.get_one(User, user["id"])
        assert (account.name, account.email) == ("Edith Clarke", "entra@example.org")
    assert pushing.patch(path, {"op": "Replace", "path": "active", "value": "True"}).json()["active"] is True
    group = pushing.group(user["id"])
    removed = {"op": "Remove", "path": "members", "value": [{"value": user["id"]}]}
    assert "members" not in pushing.patch(f"/Groups/{group['id']}", removed).json()


def test_a_person_shows_the_directorys_groups_only(pushing: Pushing) -> None:
    """`groups` names those that the directory pushed; a local group of the person stays out of it."""
    user = pushing.user()
    group = pushing.group(user["id"])
    with pushing.writing() as session:
        local = accounts.create_group(session, f"Local {uuid4()}")
        accounts.add_member(session, local.id, user["id"])
    shown = pushing.scim.get(f"/Users/{user['id']}").json()["groups"]
    assert [entry["value"] for entry in shown] == [group["id"]]


# --- looking up -----------------------------------------------------------------------------------


def test_filters_find_people(pushing: Pushing) -> None:
    """By user name in any case, externalId, id, e-mail address, state, and combinations of them."""
    one = pushing.user(userName="Filter.One", externalId="f-1", emails=[{"value": "f1@example.org"}])["id"]
    two = pushing.user(userName="Filter.Two", active=False)["id"]
    both = 'userName sw "filter."'
    expected = {
        'userName eq "filter.one"': [one],
        f'{USER}:userName eq "FILTER.ONE"': [one],
        'externalId eq "f-1"': [one],
        'externalId eq "F-1"': [],
        f'id eq "{two}"': [two],
        'emails.value eq "F1@example.org"': [one],
        'emails[value eq "f1@example.org"]': [one],
        both: [one, two],
        f"{both} and active eq false": [two],
        f"{both} and active eq true": [one],
        f'{both} and not (externalId eq "f-1")': [two],
        f"{both} and externalId pr": [one],
        'userName eq "filter.two" or externalId eq "f-1"': [one, two],
        'userName eq "nobody"': [],
        'userName co "ter.t"': [two],
        'userName sw "filter_"': [],
    }
    found = {text: ids(pushing.scim.get("/Users", params={"filter": text})) for text in expected}
    assert found == expected


def test_filters_find_groups(pushing: Pushing) -> None:
    """By name, and by member, as directories ask before they change one."""
    user = pushing.user()["id"]
    group = pushing.group(user, displayName="Night shift")["id"]
    other = pushing.group(displayName="Day shift")["id"]
    expected = {
        'displayName eq "night SHIFT"': [group],
        f'id eq "{group}" and members eq "{user}"': [group],
        f'id eq "{other}" and members[value eq "{user}"]': [],
        f'members.value eq "{user}"': [group],
    }
    found = {text: ids(pushing.scim.get("/Groups", params={"filter": text})) for text in expected}
    assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "userName",
        'userName eq "x',
        'userName gt "x"',
        'title eq "x"',
        "active gt true",
        'name.givenName eq "x"',
        "(" * 1500,
        'userName eq "' + "x" * 3000 + '"',
    ],
)
def test_a_filter_that_is_none_is_refused(pushing: Pushing, text: str) -> None:
    """Bad syntax and what is not supported are invalidFilter, never an empty or a whole list."""
    refused(pushing.scim.get("/Users", params={"filter": text}), 400, "invalidFilter")


def test_pages_follow_each_other(pushing: Pushing) -> None:
    """Three pages hold everybody once, and numbers out of range mean the nearest in range."""
    made = [pushing.user(userName=f"page-{number}")["id"] for number in range(5)]
    asked = {"filter": 'userName sw "page-"'}
    pages = [
        pushing.scim.get("/Users", params={**asked, "startIndex": start, "count": 2}) for start in (1, 3, 5)
    ]
    assert [entry for page in pages for entry in ids(page)] == made
    assert [page.json()["itemsPerPage"] for page in pages] == [2, 2, 1]
    assert {page.json()["totalResults"] for page in pages} == {5}
    beyond = pushing.scim.get("/Users", params={**asked, "startIndex": 10**30, "count": 10**30}).json()
    assert (beyond["totalResults"], beyond["itemsPerPage"]) == (5, 0)
    none = pushing.scim.get("/Users", params={**asked, "startIndex": -3, "count": -3}).json()
    assert (none["totalResults"], none["startIndex"], none["itemsPerPage"]) == (5, 1, 0)


def test_a_page_has_at_most_200(pushing: Pushing) -> None:
    """A directory that asks for more gets 200, and is told how many there are."""
    with pushing.writing() as session:
        made = [
            provisioning.add_group(session, DIRECTORY, PushedGroup(f"Many {number}", None, {}))
            for number in range(201)
        ]
    page = pushing.scim.get("/Groups", params={"filter": 'displayName sw "many "', "count": 5000}).json()
    with pushing.writing() as session:
        for record in made:
            known = provisioning.get_record(session, DIRECTORY, "group", record.id)
            provisioning.remove_group(session, known)
    assert (page["totalResults"], page["itemsPerPage"]) == (201, 200)


def test_members_can_be_left_out(pushing: Pushing) -> None:
    """excludedAttributes=members leaves them out of a list; attributes picks what is shown."""
    group = pushing.group(pushing.user()["id"])
    asked = {"filter": f'id eq "{group["id"]}"'}
    [whole] = pushing.scim.get("/Groups", params=asked).json()["Resources"]
    [short] = pushing.scim.get("/Groups", params={**asked, "excludedAttributes": "members"}).json()[
        "Resources"
    ]
    assert "members" in whole
    assert set(whole) - set(short) == {"members"}
    picked = pushing.scim.get(f"/Groups/{group['id']}", params={"attributes": "displayName"}).json()
    assert set(picked) == {"schemas", "id", "displayName"}


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "scim_type"),
    [
        (b"{", "invalidSyntax"),
        (b"[]", "invalidSyntax"),
        (b"", "invalidSyntax"),
        (b"[" * 100_000, "invalidSyntax"),
        (b"{}", "invalidValue"),
        (b'{"userName": 7}', "invalidValue"),
        (b'{"userName": " "}', "invalidValue"),
        (b'{"userName": "a\\u0000b"}', "invalidValue"),
        (b'{"userName": "a\\ud800b"}', "invalidValue"),
        (b'{"userName": "x", "active": "perhaps"}', "invalidValue"),
        (b'{"userName": "x", "emails": [{"value": "nobody"}]}', "invalidValue"),
        (b'{"userName": "x", "externalId": "a\\nb"}', "invalidValue"),
        (b'{"userName": "' + b"x" * 300 + b'"}', "invalidValue"),
        (b'{"userName": "x", "name": {"formatted": "' + b"x" * 20_000 + b'"}}', "invalidValue"),
    ],
)
def test_bad_bodies_are_refused(pushing: Pushing, body: bytes, scim_type: str) -> None:
    """What is no resource is refused with the error that says why, and makes nobody."""
    before = pushing.scim.get("/Users", params={"count": 0}).json()["totalResults"]
    refused(pushing.scim.post("/Users", content=body), 400, scim_type)
    assert pushing.scim.get("/Users", params={"count": 0}).json()["totalResults"] == before


@pytest.mark.parametrize(
    ("operation", "scim_type"),
    [
        ({"op": "explode", "path": "active"}, "invalidValue"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "replace", "path": "userName", "value": ""}, "invalidValue"),
        ({"op": "remove", "path": "userName"}, "mutability"),
        ({"op": "replace", "path": "id", "value": "other"}, "mutability"),
        ({"op": "replace", "path": "active[", "value": True}, "invalidPath"),
        ({"op": "replace", "path": "active", "value": ["x"]}, "invalidValue"),
    ],
)
def test_a_bad_patch_changes_nothing(pushing: Pushing, operation: dict[str, Any], scim_type: str) -> None:
    """One bad operation refuses the whole PATCH, the good ones before it included."""
    user = pushing.user(displayName="Before")
    path = f"/Users/{user['id']}"
    good = {"op": "replace", "path": "displayName", "value": "After"}
    refused(pushing.patch(path, good, operation), 400, scim_type)
    assert pushing.scim.get(path).json()["displayName"] == "Before"


def test_a_body_over_the_limit_is_refused(pushing: Pushing) -> None:
    """More than a mebibyte is 413, in SCIM's shape."""
    body = {"schemas": [USER], "userName": "x", "displayName": "x" * 1_100_000}
    refused(pushing.scim.post("/Users", json=body), 413)


def test_other_addresses_and_methods_are_refused_in_scims_shape(pushing: Pushing) -> None:
    """An unknown address is 404, a wrong method 405, and what is optional and not here 501."""
    refused(pushing.scim.get("/Nothing"), 404)
    refused(pushing.scim.get("/Users/%00"), 400, "invalidValue")
    refused(pushing.scim.get("/Schemas/urn:nothing"), 404)
    refused(pushing.scim.delete("/Users"), 405)
    refused(pushing.scim.post("/Bulk", json={}), 501)
    refused(pushing.scim.get("/Me"), 501)
    refused(pushing.scim.post("/.search", json={}), 501)


def test_refusals_are_on_the_record(pushing: Pushing) -> None:
    """A refused push is recorded under its operation, without what was sent."""
    operation = "POST /scim/v2/Users"
    before = len(pushing.events(operation))
    refused(pushing.scim.post("/Users", json={"userName": " "}), 400, "invalidValue")
    assert pushing.events(operation)[before:] == ["refused invalid_input"]
