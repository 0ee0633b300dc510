"""Search, the OpenAI vector store search, and suggestions: what is found, by whom, and on the record."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from api_world import World, error_of, record_held

from tests.made_documents import markdown_of, pdf_of
from tests.serving import Person, ask, finished_job, upload

REST = "Night workers at the Halden depot receive nine days of compensatory rest in each quarter."
QUESTION = "How many days of compensatory rest do night workers receive?"
BICYCLES = "Bicycles are parked in the yard behind the workshop, never in the corridor."
NIGHTINGALE = "Project Nightingale moves the workshop to Halden in October."
BODIES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/search", {"query": QUESTION}),
    ("POST", "/v1/vector_stores/{collection}/search", {"query": QUESTION}),
    ("GET", "/v1/suggestions", None),
]


@dataclass
class Shelf:
    """A collection of Ines's with a file about a project, her file about rest, and Jon's about bicycles."""

    world: World
    ines: Person
    jon: Person
    rest: str
    collection: str
    nightingale: str
    bicycles: str


@pytest.fixture(scope="module")
def shelf(world: World) -> Shelf:
    """Put Ines's project file into a collection that nobody else may read."""
    ines, jon = world.server.person("Ines"), world.server.person("Jon")
    made = ines.client.post("/v1/vector_stores", json={"name": "Projects"})
    made.raise_for_status()
    collection = made.json()["id"]
    rest = indexed(ines, "rest.pdf", pdf_of([["Rest", REST], ["Forms", "Rest is asked for with form R7."]]))
    nightingale = indexed(ines, "nightingale.md", markdown_of("Nightingale", [NIGHTINGALE]))
    inside = ines.client.post(f"/v1/vector_stores/{collection}/files", json={"file_id": nightingale})
    inside.raise_for_status()
    bicycles = indexed(jon, "bicycles.md", markdown_of("Bicycles", [BICYCLES]))
    return Shelf(world, ines, jon, rest, collection, nightingale, bicycles)


def indexed(person: Person, name: str, content: bytes) -> str:
    """Upload a file and wait until it can be found; returns its id."""
    entry = upload(person.client, name, content)
    assert finished_job(person.client, entry["x_job"]["id"])["state"] == "succeeded"
    file_id: str = entry["id"]
    return file_id


def found(person: Person, query: str, **fields: Any) -> list[dict[str, Any]]:
    """Search and return the results."""
    answer = person.client.post("/v1/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def files_of(results: list[dict[str, Any]]) -> set[str]:
    """Return the names of the files in a result."""
    return {result["file"]["name"] for result in results}


def events_of(world: World, answer: httpx2.Response, event_type: str) -> list[dict[str, Any]]:
    """Return the records that one request left, once they have their place in the log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        wanted = {"correlation": answer.headers["x-request-id"]}
        data = world.auditor.client.get("/v1/audit/events", params=wanted).json()["data"]
        events = [event for event in data if event["type"] == event_type]
        if events:
            return events
        time.sleep(0.1)
    raise AssertionError(f"{event_type} is not on the record")


def leaf_of(world: World, event_id: str) -> dict[str, Any]:
    """Return a record as it stands in the log."""
    database = sqlite3.connect(world.server.data_dir / "strongroom.sqlite3")
    try:
        (leaf,) = database.execute("SELECT leaf FROM audit_leaves WHERE id = ?", (event_id,)).fetchone()
    finally:
        database.close()
    read: dict[str, Any] = json.loads(leaf)
    return read


# --- /v1/search -----------------------------------------------------------------------------------


def test_a_passage_comes_with_its_place_and_without_a_score(shelf: Shelf) -> None:
    """Citation id, file, place, verbatim text and rank; its address opens it."""
    first = found(shelf.ines, QUESTION)[0]
    assert (first["file"]["name"], first["place"], first["rank"]) == ("rest.pdf", "page 1", 1)
    assert REST in first["text"]
    assert not [key for key in first if "score" in key]
    opened = shelf.ines.client.get(f"/v1/sources/{first['id']}").json()
    assert opened["text"] == first["text"]


def test_a_search_finds_only_what_one_may_read(shelf: Shelf) -> None:
    """Hidden from Jon, admin and auditor: Ines's files. Visible: Jon's to him, Ines's to her."""
    world = shelf.world
    for query in (QUESTION, NIGHTINGALE, "workshop"):
        results = files_of(found(shelf.jon, query, limit=50))
        assert "bicycles.md" in results
        assert results.isdisjoint({"rest.pdf", "nightingale.md"})
        for person in (world.admin, world.auditor):
            results = files_of(found(person, query, limit=50))
            assert results.isdisjoint({"rest.pdf", "nightingale.md", "bicycles.md"})
    assert "nightingale.md" in files_of(found(shelf.ines, NIGHTINGALE))


def test_a_revoked_share_bites_at_the_next_search(shelf: Shelf) -> None:
    """Hidden before the share and after it ended, from search and suggestions. Visible in between."""
    path = f"/v1/files/{shelf.rest}/shares/{shelf.jon.principal}"
    for shared in (False, True, False, True, False):
        change = shelf.ines.client.put(path) if shared else shelf.ines.client.delete(path)
        assert change.status_code in {204, 404}
        assert ("rest.pdf" in files_of(found(shelf.jon, QUESTION))) is shared
        assert ("rest.pdf" in suggested(shelf.jon, "rest")) is shared


def test_the_limit_holds(shelf: Shelf) -> None:
    """No more than asked for, counted from the best."""
    two = found(shelf.ines, QUESTION, limit=2)
    one = found(shelf.ines, QUESTION, limit=1)
    assert [result["rank"] for result in two] == [1, 2]
    assert one == two[:1]


def test_a_search_in_a_collection_stays_in_it(shelf: Shelf) -> None:
    """Ines's other files are not found there, although they are nearer."""
    inside = found(shelf.ines, QUESTION, collection=shelf.collection)
    assert files_of(inside) == {"nightingale.md"}


# --- the OpenAI shape -----------------------------------------------------------------------------


def test_the_stock_client_searches_a_collection(shelf: Shelf) -> None:
    """OpenAI's own client reads the page; the score is one over the rank."""
    key = shelf.ines.client.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{shelf.world.server.url}/v1", api_key=key) as client:
        page = client.vector_stores.search(shelf.collection, query=NIGHTINGALE, max_num_results=5)
    assert page.object == "vector_store.search_results.page"
    assert [(each.file_id, each.filename, each.score) for each in page.data] == [
        (shelf.nightingale, "nightingale.md", 1.0)
    ]
    assert NIGHTINGALE in page.data[0].content[0].text
    assert page.data[0].attributes == {}


def test_several_queries_give_one_list(shelf: Shelf) -> None:
    """Each passage once, ranked over all queries; absent and empty options are accepted."""
    body = {
        "query": [NIGHTINGALE, "workshop"],
        "filters": None,
        "ranking_options": {},
        "rewrite_query": False,
    }
    answer = shelf.ines.client.post(f"/v1/vector_stores/{shelf.collection}/search", json=body).json()
    assert answer["search_query"] == body["query"]
    assert [each["file_id"] for each in answer["data"]] == [shelf.nightingale]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
def test_nobody_searches_without_a_key_or_with_another_key(
    shelf: Shelf, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """401 without a key, 403 with one that is not for reading; nothing of the files is in either."""
    path = path.format(collection=shelf.collection)
    made = shelf.ines.new_key("ask only", scopes=["ask"])
    with shelf.world.stranger() as stranger:
        nobody = stranger.request(method, path, json=body)
        other = stranger.request(method, path, json=body, headers={"authorization": f"Bearer {made['key']}"})
    assert error_of(nobody, 401)["code"] == "not_authenticated"
    assert error_of(other, 403)["code"] == "not_permitted"
    assert REST not in nobody.text + other.text


def test_a_foreign_collection_is_not_there(shelf: Shelf) -> None:
    """To Jon, Ines's collection and one that never was are the same, byte for byte; to Ines they are not."""
    world = shelf.world
    nowhere = "00000000-0000-7000-8000-000000000000"
    for person in (shelf.jon, world.admin, world.auditor):
        answers = [
            person.client.post(f"/v1/vector_stores/{collection}/search", json={"query": QUESTION})
            for collection in (shelf.collection, nowhere)
        ]
        answers += [
            person.client.post("/v1/search", json={"query": QUESTION, "collection": collection})
            for collection in (shelf.collection, nowhere)
        ]
        assert {error_of(answer, 404)["code"] for answer in answers} == {"not_found"}
        assert len({answer.content for answer in answers}) == 1
    assert found(shelf.ines, QUESTION, collection=shelf.collection)


@pytest.mark.parametrize("query", [None, "", " \n ", "x" * 4001, 7, ["x"], "\ud800"])
def test_a_malformed_query_is_refused(shelf: Shelf, query: Any) -> None:
    """Empty, blank, too long, no text, or text that is no Unicode."""
    body = json.dumps({"query": query}).encode()
    headers = {"content-type": "application/json"}
    answer = shelf.ines.client.post("/v1/search", content=body, headers=headers)
    assert error_of(answer, 400)["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": 51}, "limit"),
        ({"query": "x", "collection": "y" * 37}, "collection"),
    ],
)
def test_a_malformed_search_is_refused(shelf: Shelf, body: dict[str, Any], param: str) -> None:
    """The error names the field."""
    error = error_of(shelf.ines.client.post("/v1/search", json=body), 400)
    assert (error["code"], error["param"]) == ("invalid_input", param)


@pytest.mark.parametrize(
    "extra",
    [
        {"filters": {"type": "eq", "key": "a", "value": 1}},
        {"ranking_options": {"score_threshold": 0.5}},
        {"rewrite_query": True},
        {"max_num_results": 51},
    ],
)
def test_an_option_without_effect_is_refused(shelf: Shelf, extra: dict[str, Any]) -> None:
    """Whoever narrows a search must not get an unnarrowed one."""
    body = {"query": QUESTION, **extra}
    answer = shelf.ines.client.post(f"/v1/vector_stores/{shelf.collection}/search", json=body)
    assert error_of(answer, 400)["param"] == next(iter(extra))


@pytest.mark.parametrize("query", [[], ["x"] * 9, [""], ["x", 7]])
def test_a_malformed_list_of_queries_is_refused(shelf: Shelf, query: list[Any]) -> None:
    """None, too many, an empty one, or something that is no text."""
    path = f"/v1/vector_stores/{shelf.collection}/search"
    answer = shelf.ines.client.post(path, json={"query": query})
    assert error_of(answer, 400)["code"] == "invalid_input"


# --- the record -----------------------------------------------------------------------------------


def test_a_search_is_on_the_record(shelf: Shelf) -> None:
    """Every passage with its hash and rank; the query as content, in clear nowhere."""
    world = shelf.world
    answer = shelf.ines.client.post("/v1/search", json={"query": QUESTION, "limit": 50})
    (event,) = events_of(world, answer, "search.performed")
    leaf = leaf_of(world, event["id"])
    listed = [(entry["chunk"], entry["hash"], entry["rank"]) for entry in leaf["ret"]]
    assert listed == [(each["id"], each["chunk_hash"], each["rank"]) for each in answer.json()["data"]]
    assert leaf["authz"]["epoch"] > 0
    assert QUESTION not in str(leaf)
    content = world.auditor.client.get(f"/v1/audit/events/{event['id']}/content").json()
    assert QUESTION in content["text"]


@pytest.mark.parametrize(("method", "path", "body"), BODIES[:2])
def test_without_the_record_nothing_is_found(
    shelf: Shelf, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """While nothing can be recorded a search is 503, and no passage leaves."""
    path = path.format(collection=shelf.collection)
    with record_held(shelf.world):
        answer = shelf.ines.client.request(method, path, json=body)
    assert error_of(answer, 503)["code"] == "audit_unavailable"
    assert REST not in answer.text
    assert NIGHTINGALE not in answer.text
    assert shelf.ines.client.request(method, path, json=body).status_code == 200


# --- suggestions ----------------------------------------------------------------------------------


def suggested(person: Person, typed: str) -> set[str]:
    """Return the names of the files that are suggested."""
    answer = person.client.get("/v1/suggestions", params={"q": typed})
    assert answer.status_code == 200
    assert set(answer.json()) == {"object", "data"}
    return files_of(answer.json()["data"])


def test_only_readable_titles_are_suggested(shelf: Shelf) -> None:
    """Hidden from everybody but Ines: that there is a Nightingale. Visible to Ines: it."""
    world = shelf.world
    for person in (shelf.jon, world.admin, world.auditor):
        assert suggested(person, "night") == set()
        assert "nightingale.md" not in suggested(person, "")
    assert suggested(shelf.ines, "NIGHT") == {"nightingale.md"}
    assert "bicycles.md" in suggested(shelf.jon, "")


def test_too_much_typed_is_refused(shelf: Shelf) -> None:
    """A suggestion is for what fits into a search field."""
    answer = shelf.ines.client.get("/v1/suggestions", params={"q": "x" * 201})
    assert error_of(answer, 400)["param"] == "q"


# --- a question after a revocation ----------------------------------------------------------------


def test_an_old_answer_does_not_come_back_with_a_question(shelf: Shelf) -> None:
    """Hidden after the share ended: an answer that Jon's client sends along. Visible while it was shared."""
    world = shelf.world
    path = f"/v1/files/{shelf.rest}/shares/{shelf.jon.principal}"
    assert shelf.ines.client.put(path).status_code == 204
    told = ask(shelf.jon.client, QUESTION)["choices"][0]["message"]["content"]
    assert REST in told
    for shared in (True, False):
        if not shared:
            assert shelf.ines.client.delete(path).status_code == 204
        turns = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": told},
            {"role": "user", "content": "Where are bicycles parked?"},
        ]
        body = {"model": "strongroom-quote", "messages": turns}
        answer = shelf.jon.client.post("/v1/chat/completions", json=body)
        (asked,) = events_of(world, answer, "answer.asked")
        recorded = world.auditor.client.get(f"/v1/audit/events/{asked['id']}/content").json()["text"]
        assert ("nine days" in recorded) is shared
