"""Collections over the API, also with OpenAI's own client; and what they show to whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from api_world import World, error_of
from openai import OpenAI

from infra.clock import new_id
from infra.database.tables import AuditInbox, AuditLeaf
from infra.stores import open_database
from tests.made_documents import markdown_of
from tests.serving import Person, ask, finished_job, upload

EVERYONE = "group:local:everyone"


@pytest.fixture
def shelf(world: World) -> dict[str, Any]:
    """A collection of Ada's."""
    return created(world.ada, "Shelf")


def test_openais_client_keeps_files_in_a_collection(world: World) -> None:
    """Create, fill, list, read, rename, take out, delete: with the vendor's own types, from end to end."""
    key = world.ada.client.headers["authorization"].removeprefix("Bearer ")
    with OpenAI(base_url=f"{world.server.url}/v1", api_key=key) as client:
        file = indexed(world.ada, "client.md", "The client keeps its files in stores.")
        store = client.vector_stores.create(name="Store", file_ids=[file["id"]])
        assert (store.object, store.name, store.status) == ("vector_store", "Store", "completed")
        assert store.file_counts.model_dump() == {
            "cancelled": 0,
            "completed": 1,
            "failed": 0,
            "in_progress": 0,
            "total": 1,
        }
        assert store.usage_bytes == file["bytes"]
        assert store.id in [each.id for each in client.vector_stores.list(limit=1)]
        assert client.vector_stores.update(store.id, name="Renamed").name == "Renamed"
        assert client.vector_stores.retrieve(store.id).name == "Renamed"
        held = client.vector_stores.files.list(store.id).data
        assert [(each.id, each.status, each.vector_store_id) for each in held] == [
            (file["id"], "completed", store.id)
        ]
        assert client.vector_stores.files.retrieve(file["id"], vector_store_id=store.id).usage_bytes > 0
        assert client.vector_stores.files.delete(file["id"], vector_store_id=store.id).deleted
        assert client.vector_stores.files.list(store.id).data == []
        client.vector_stores.files.create(store.id, file_id=file["id"])
        assert client.vector_stores.delete(store.id).deleted
    assert world.ada.client.get(f"/v1/files/{file['id']}").json()["x_collection"] is None


def test_a_collections_files_answer_its_readers(world: World, shelf: dict[str, Any]) -> None:
    """Hidden from Ben before and after the share. Visible in between: the file, its name, its answer."""
    question = "Which colour has the attic door?"
    file = indexed(world.ada, "attic.md", "The attic door has the colour saffron.", collection=shelf["id"])
    assert file["x_collection"] == {"id": shelf["id"], "name": "Shelf"}
    assert not sees(world.ben, shelf, file, question)
    share(world.ada, shelf, world.ben.principal)
    assert sees(world.ben, shelf, file, question)
    seen = world.ben.client.get(f"/v1/files/{file['id']}").json()
    assert (seen["x_collection"]["id"], seen["x_shared_with"]) == (shelf["id"], [])
    assert (seen["x_clearance"], seen["x_compartments"]) == (None, None)
    unshare(world.ada, shelf, world.ben.principal)
    assert not sees(world.ben, shelf, file, question)
    assert sees(world.ada, shelf, file, question)


def test_a_denial_wins(world: World, shelf: dict[str, Any]) -> None:
    """Hidden from Ben, whom everyone includes. Visible to the auditor; and to Ben when it is taken back."""
    question = "Where do the swifts nest?"
    file = indexed(world.ada, "swifts.md", "The swifts nest under the copper roof.", collection=shelf["id"])
    share(world.ada, shelf, EVERYONE)
    share(world.ada, shelf, world.ben.principal, effect="deny")
    assert not sees(world.ben, shelf, file, question)
    assert sees(world.auditor, shelf, file, question)
    mine = world.ada.client.get(f"/v1/vector_stores/{shelf['id']}").json()
    assert [line["id"] for line in mine["x_shared_with"]] == [EVERYONE]
    assert [line["label"] for line in mine["x_denied"]] == ["Ben"]
    theirs = world.auditor.client.get(f"/v1/vector_stores/{shelf['id']}").json()
    assert (theirs["x_shared_with"], theirs["x_denied"], theirs["x_owner"]["me"]) == ([], [], False)
    unshare(world.ada, shelf, world.ben.principal, effect="deny")
    assert sees(world.ben, shelf, file, question)


def test_a_file_narrows_its_collection(world: World, shelf: dict[str, Any]) -> None:
    """Hidden from Ben: the file that leaves him out, also in counts and bytes. Visible: the other."""
    share(world.ada, shelf, world.ben.principal)
    plain = indexed(world.ada, "plain.md", "A plain file.", collection=shelf["id"])
    secret = indexed(world.ada, "secret.md", "The well is thirteen fathoms deep.", collection=shelf["id"])
    assert sees(world.ben, shelf, secret, "How deep is the well?")
    body = {"only": [], "deny": [], "clearance": 0, "compartments": []}
    narrowed = world.ada.client.put(f"/v1/files/{secret['id']}/access", json=body)
    assert narrowed.json() == {"object": "file.access", "file_id": secret["id"], **body}
    assert not sees(world.ben, shelf, secret, "How deep is the well?")
    store = world.ben.client.get(f"/v1/vector_stores/{shelf['id']}").json()
    assert (store["file_counts"]["total"], store["usage_bytes"]) == (1, plain["bytes"])
    listed = world.ben.client.get("/v1/vector_stores").json()["data"]
    assert store in listed
    held = world.ben.client.get(f"/v1/vector_stores/{shelf['id']}/files").json()["data"]
    assert [each["id"] for each in held] == [plain["id"]]
    assert sees(world.ada, shelf, secret, "How deep is the well?")
    error_of(world.ben.client.get(f"/v1/files/{secret['id']}/access"), 404)
    error_of(world.ben.client.get(f"/v1/files/{plain['id']}/access"), 404)


def test_curators_fill_a_collection_that_they_read(world: World, shelf: dict[str, Any]) -> None:
    """Ben, a mere reader, fills nothing; the curator's file is hers to take out, and so it is Ada's."""
    curator, store = world.admin, f"/v1/vector_stores/{shelf['id']}"
    for principal in (world.ben.principal, curator.principal):
        share(world.ada, shelf, principal)
    bens, hers = indexed(world.ben, "bens.md", "Ben wrote this."), indexed(curator, "hers.md", "Curated.")
    error_of(world.ben.client.post(f"{store}/files", json={"file_id": bens["id"]}), 404)
    error_of(upload_raw(world.ben, "into.md", collection=shelf["id"]), 404)
    error_of(curator.client.post(f"{store}/files", json={"file_id": bens["id"]}), 404)
    assert curator.client.post(f"{store}/files", json={"file_id": hers["id"]}).status_code == 200
    assert world.ben.client.get(f"/v1/files/{hers['id']}").status_code == 200
    error_of(world.ben.client.delete(f"{store}/files/{hers['id']}"), 404)
    assert curator.client.delete(f"{store}/files/{hers['id']}").status_code == 200
    error_of(world.ben.client.get(f"/v1/files/{hers['id']}"), 404)
    curator.client.post(f"{store}/files", json={"file_id": hers["id"]})
    assert world.ada.client.delete(f"{store}/files/{hers['id']}").json()["deleted"]
    error_of(world.ada.client.get(f"/v1/files/{hers['id']}"), 404)
    assert curator.client.get(f"/v1/files/{hers['id']}").status_code == 200


def test_only_its_owner_manages_a_collection(world: World, shelf: dict[str, Any]) -> None:
    """For a reader, a curator or a stranger it looks exactly as if there were no such collection."""
    share(world.ada, shelf, world.admin.principal)
    tries: list[tuple[str, str, Any]] = [
        ("POST", "", {"name": "Mine"}),
        ("DELETE", "", None),
        ("PATCH", "/label", {"clearance": 0}),
        ("PUT", f"/shares/{world.ben.principal}", None),
        ("DELETE", f"/shares/{world.admin.principal}", None),
    ]
    for person in (world.admin, world.ben, world.auditor):
        for method, path, body in tries:
            answers = [
                person.client.request(method, f"/v1/vector_stores/{id_}{path}", json=body)
                for id_ in (shelf["id"], new_id())
            ]
            assert answers[0].status_code == 404
            assert answers[0].json() == answers[1].json()
    looks = ["", "/files", f"/files/{new_id()}"]
    for path in looks:
        answers = [world.ben.client.get(f"/v1/vector_stores/{id_}{path}") for id_ in (shelf["id"], new_id())]
        assert (answers[0].status_code, answers[0].json()) == (404, answers[1].json())
    assert world.ada.client.get(f"/v1/vector_stores/{shelf['id']}").json()["name"] == "Shelf"


def test_a_deleted_collection_leaves_each_file_to_its_owner(world: World, shelf: dict[str, Any]) -> None:
    """Hidden from Ben: the file that he read there. Visible to Ada: it, numbered beside its namesake."""
    share(world.ada, shelf, world.ben.principal)
    inside = indexed(world.ada, "namesake.md", "The one inside.", collection=shelf["id"])
    outside = indexed(world.ada, "namesake.md", "The one outside.")
    assert inside["id"] != outside["id"]
    assert world.ben.client.get(f"/v1/files/{inside['id']}").status_code == 200
    gone = world.ada.client.delete(f"/v1/vector_stores/{shelf['id']}").json()
    assert gone == {"id": shelf["id"], "object": "vector_store.deleted", "deleted": True}
    error_of(world.ben.client.get(f"/v1/files/{inside['id']}"), 404)
    mine = world.ada.client.get(f"/v1/files/{inside['id']}").json()
    assert (mine["filename"], mine["x_collection"], mine["x_shared_with"]) == ("namesake (2).md", None, [])
    error_of(world.ada.client.get(f"/v1/vector_stores/{shelf['id']}"), 404)


def test_a_name_is_one_file_for_each_place(world: World, shelf: dict[str, Any]) -> None:
    """The same name in a collection and outside are two files; inside, the second is the next version."""
    first = indexed(world.ada, "place.md", "Inside.", collection=shelf["id"])
    second = indexed(world.ada, "place.md", "Inside, changed.", collection=shelf["id"])
    outside = indexed(world.ada, "place.md", "Outside.")
    assert (second["id"], second["x_version"]) == (first["id"], 2)
    assert (outside["id"] != first["id"], outside["x_version"]) == (True, 1)
    refused = world.ada.client.post(f"/v1/vector_stores/{shelf['id']}/files", json={"file_id": outside["id"]})
    error_of(refused, 409)
    assert world.ada.client.get(f"/v1/files/{outside['id']}").json()["x_collection"] is None


def test_nobody_labels_a_collection_above_their_own_reach(world: World, shelf: dict[str, Any]) -> None:
    """Nor denies it to themselves; all of it is a conflict, and the collection stays as it was."""
    store = f"/v1/vector_stores/{shelf['id']}"
    for body in ({"clearance": 1}, {"compartments": ["board"]}):
        error_of(world.ada.client.patch(f"{store}/label", json=body), 409)
    for principal in (world.ada.principal, EVERYONE):
        error_of(world.ada.client.put(f"{store}/shares/{principal}?effect=deny"), 409)
    error_of(world.ada.client.patch(f"{store}/label", json={"clearance": 101}), 400)
    error_of(world.ada.client.patch(f"{store}/label", json={"clearence": 1}), 400)
    error_of(world.ada.client.put(f"{store}/shares/{EVERYONE}?effect=maybe"), 400)
    now = world.ada.client.get(store).json()
    assert (now["x_clearance"], now["x_compartments"], now["x_denied"]) == (0, [], [])
    assert world.ada.client.patch(f"{store}/label", json={"clearance": 0}).json() == now


def test_a_list_is_paged_in_both_directions(world: World) -> None:
    """Pages follow each other in either order, and a cursor that is not in the list is refused."""
    names = [f"Page {number}" for number in range(5)]
    made = [created(world.auditor, name)["id"] for name in names]
    get = world.auditor.client.get

    def page(**wanted: Any) -> tuple[list[str], bool]:
        answer = get("/v1/vector_stores", params=wanted).json()
        return [each["id"] for each in answer["data"] if each["id"] in made], answer["has_more"]

    assert page(limit=2, order="asc", after=made[0])[0] == made[1:3]
    assert page(limit=2)[0] == made[:2:-1]
    assert page(limit=2, after=made[3])[0] == [made[2], made[1]]
    assert page(limit=2, before=made[1])[0] == [made[3], made[2]]
    assert page(limit=10, order="asc", after=made[3]) == ([made[4]], False)
    for cursor in (created(world.ada, "Foreign")["id"], new_id()):
        assert error_of(get("/v1/vector_stores", params={"after": cursor}), 400)["param"] == "after"


def test_what_openais_shape_allows_and_we_do_not_is_refused(world: World) -> None:
    """An expiry would be forgotten; bad names and foreign files make no collection."""
    before = len(world.ada.client.get("/v1/vector_stores?limit=100").json()["data"])
    foreign = indexed(world.ben, "foreign.md", "Ben's own.")
    for body, status in (
        ({"name": "x", "expires_after": {"anchor": "last_active_at", "days": 1}}, 400),
        ({"name": "a\u202eb"}, 400),
        ({"name": " "}, 400),
        ({"name": "x" * 201}, 400),
        ({"file_ids": [foreign["id"]]}, 404),
        ({"file_ids": [new_id()]}, 404),
    ):
        error_of(world.ada.client.post("/v1/vector_stores", json=body), status)
    assert len(world.ada.client.get("/v1/vector_stores?limit=100").json()["data"]) == before


def test_two_uploads_of_one_new_name_at_once_are_one_file(world: World, shelf: dict[str, Any]) -> None:
    """Eight at the same moment: one document, whatever its versions."""
    contents = [f"Version {number} of a file in a hurry." for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda text: upload(
                    world.ada.client, "hurry.md", markdown_of("Hurry", [text]), collection=shelf["id"]
                ),
                contents,
            )
        )
    assert len({answer["id"] for answer in answers}) == 1
    final = world.ada.client.get(f"/v1/files/{answers[0]['id']}").json()
    assert final["x_version"] == len(contents)


def test_every_change_is_on_the_record(world: World) -> None:
    """Each stands there once, with the collection's or the file's id and no name."""
    store = created(world.ada, "Recorded")
    file = indexed(world.ada, "recorded.md", "On the record.", collection=store["id"])
    path = f"/v1/vector_stores/{store['id']}"
    share(world.ada, store, world.ben.principal)
    unshare(world.ada, store, world.ben.principal)
    world.ada.client.post(path, json={"name": "Recorded again"})
    world.ada.client.patch(f"{path}/label", json={"clearance": 0})
    world.ada.client.put(f"/v1/files/{file['id']}/shares/{world.ben.principal}?effect=deny")
    world.ada.client.delete(f"{path}/files/{file['id']}")
    world.ada.client.delete(path)
    leaves = recorded(world)
    about = {
        id_: [leaf["type"] for leaf in leaves if leaf.get("res", {}).get("id") == id_]
        for id_ in (store["id"], file["id"])
    }
    assert about[store["id"]] == [
        "collection.created",
        "collection.shared",
        "collection.unshared",
        "collection.changed",
        "collection.changed",
        "collection.deleted",
    ]
    wanted = ["file.moved", "file.uploaded", "file.restricted", "file.moved"]
    assert [kind for kind in about[file["id"]] if kind in wanted] == wanted
    assert not [leaf for leaf in leaves if "Recorded" in json.dumps(leaf)]


# --- small ways -----------------------------------------------------------------------------------


def created(person: Person, name: str) -> dict[str, Any]:
    """Make a collection."""
    answer = person.client.post("/v1/vector_stores", json={"name": name})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def indexed(person: Person, name: str, text: str, **fields: Any) -> dict[str, Any]:
    """Upload a file of one sentence and wait until it answers."""
    entry = upload(person.client, name, markdown_of("Text", [text]), **fields)
    assert finished_job(person.client, entry["x_job"]["id"])["state"] == "succeeded"
    found: dict[str, Any] = person.client.get(f"/v1/files/{entry['id']}").json()
    return found


def upload_raw(person: Person, name: str, **fields: Any) -> Any:
    """Upload without expecting it to succeed."""
    files = {"file": (name, markdown_of("Text", ["Any text."]))}
    return person.client.post("/v1/files", files=files, data=fields)


def share(person: Person, store: dict[str, Any], principal: str, **query: str) -> None:
    """Add a line to a collection's access list."""
    changed(person.client.put, store, principal, query)


def unshare(person: Person, store: dict[str, Any], principal: str, **query: str) -> None:
    """Remove a line from a collection's access list."""
    changed(person.client.delete, store, principal, query)


def changed(method: Callable[..., Any], store: dict[str, Any], principal: str, query: dict[str, str]) -> None:
    """Change a line, and expect no answer but success."""
    answer = method(f"/v1/vector_stores/{store['id']}/shares/{principal}", params=query)
    assert (answer.status_code, answer.content) == (204, b""), answer.text


def sees(person: Person, store: dict[str, Any], file: dict[str, Any], question: str) -> bool:
    """Say whether somebody reads a file: by id, in both lists, in its collection, and in answers alike."""
    get, path = person.client.get, f"/v1/vector_stores/{store['id']}/files"
    ways = {
        get(f"/v1/files/{file['id']}").status_code == 200,
        file["id"] in [each["id"] for each in get("/v1/files").json()["data"]],
        get(f"{path}/{file['id']}").status_code == 200,
        file["id"] in [each["id"] for each in get(path).json().get("data", [])],
        file["id"] in [cited["file"]["id"] for cited in ask(person.client, question)["x_citations"]],
    }
    assert len(ways) == 1
    return ways.pop()


def recorded(world: World) -> list[dict[str, Any]]:
    """Return every leaf there is, in the order of their making."""
    database, _ = open_database(world.server.settings())
    with database.read() as session:
        raw = [row.leaf for row in session.query(AuditLeaf)] + [row.leaf for row in session.query(AuditInbox)]
    database.close()
    return sorted((json.loads(leaf) for leaf in raw), key=lambda leaf: leaf["id"])
