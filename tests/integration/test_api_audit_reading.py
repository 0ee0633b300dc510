"""Reading the record over HTTP: filters and pages, the lineage of an answer, the reach of a document."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from api_world import CARRY, LEAVE, QUESTION, World, error_of, question

from tests.made_documents import markdown_of
from tests.serving import ask, finished_job, upload

EVENTS = "/v1/audit/events"


def listed(world: World, **params: Any) -> dict[str, Any]:
    """Return one page of records."""
    answer = world.auditor.client.get(EVENTS, params={"newest": True, **params})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def soon(find: Callable[[], Any]) -> Any:
    """Return what `find` gives, as soon as that is something: records get their place a moment later."""
    deadline = time.monotonic() + 10
    while not (found := find()):
        assert time.monotonic() < deadline, "it did not get onto the record"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def answer_id(world: World) -> str:
    """Ada's answered question, sealed."""
    answer = ask(world.ada.client, QUESTION)
    found = str(answer["id"]).removeprefix("chatcmpl-")
    world.ada.client.get(f"/v1/answers/{found}/receipt").raise_for_status()
    return found


# --- filters --------------------------------------------------------------------------------------


def test_records_are_found_by_who(world: World, answer_id: str) -> None:
    """Subject id, account id, principal id and e-mail address all name the same person."""
    subject = listed(world, correlation=answer_id)["data"][0]["actor"]["sub"]
    for who in (subject, world.ada.id, world.ada.principal, world.ada.email, world.ada.email.upper()):
        data = listed(world, who=who, type="answer.")["data"]
        assert data, who
        assert {event["actor"]["sub"] for event in data} == {subject}
        assert {event["actor"]["label"] for event in data} == {"Ada"}


def test_the_server_itself_can_be_asked_for(world: World) -> None:
    """`system` is a subject like others, and its records are the server's own."""
    (started,) = listed(world, who="system", type="server.start")["data"]
    assert started["actor"] == {
        "sub": "system", "kind": "system", "auth": "none", "sess": None, "pset": None, "label": "the server",
    }  # fmt: skip


def test_somebody_without_a_record_has_an_empty_list(world: World) -> None:
    """An account that did nothing yet is no mistake of whoever asks."""
    with world.admin.signed_in() as browser:
        made = browser.post("/v1/service-accounts", json={"name": "Silent"}).json()
    assert listed(world, who=made["id"])["data"] == []


def test_records_are_found_by_time(world: World, answer_id: str) -> None:
    """RFC 3339 and milliseconds give the same records; the end is not part of the time."""
    asked = listed(world, correlation=answer_id, type="answer.asked")["data"][0]
    moment = asked["time"]
    spelled = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    for since in (str(moment), spelled, spelled.replace("+00:00", "Z")):
        within = {"from": since, "to": str(moment + 1), "type": "answer.asked"}
        assert asked["id"] in {event["id"] for event in listed(world, **within)["data"]}
    before = {"to": str(moment), "correlation": answer_id}
    assert asked["id"] not in {event["id"] for event in listed(world, **before)["data"]}


def test_records_are_found_by_document_and_outcome(world: World, answer_id: str) -> None:
    """A document's records are those about it and those with its passages; an outcome narrows them."""
    about = listed(world, document=world.policy["id"], limit=500)["data"]
    assert {"file.uploaded", "answer.retrieved"} <= {event["type"] for event in about}
    ended = listed(world, document=world.policy["id"], outcome="answered")["data"]
    assert ended
    assert {event["outcome"] for event in ended} == {"answered"}


def test_a_page_can_be_left_both_ways(world: World, answer_id: str) -> None:
    """`older` and `newer` lead away from a page and back to it."""
    first = listed(world, limit=3)
    second = listed(world, limit=3, cursor=first["older"])
    back = listed(world, limit=3, cursor=second["newer"])
    assert [event["index"] for event in second["data"]] == [
        first["data"][-1]["index"] - step for step in (1, 2, 3)
    ]
    assert [event["id"] for event in back["data"]] == [event["id"] for event in first["data"]]


NONSENSE = [
    ({"from": "yesterday"}, "from"),
    ({"from": "2026-11-22"}, "from"),
    ({"from": "2026-02-30T00:00:00Z"}, "from"),
    ({"to": "2026-11-22T10:00:00"}, "to"),
    ({"to": "99999999999999999"}, "to"),
    ({"from": "2026-11-23T00:00:00Z", "to": "2026-11-22T00:00:00Z"}, "to"),
    ({"type": "file.stolen"}, "type"),
    ({"type": "fil."}, "type"),
    ({"without": "."}, "without"),
    ({"who": "nobody-at-all"}, "who"),
    ({"who": "user:nobody-at-all"}, "who"),
    ({"correlation": "two words"}, "correlation"),
    ({"cursor": "nonsense"}, "cursor"),
    ({"cursor": "ä"}, "cursor"),
    ({"limit": "0"}, "limit"),
    ({"limit": "501"}, "limit"),
    ({"newest": "perhaps"}, "newest"),
    ({"document": ""}, "document"),
    ({"tenant": "another"}, "tenant"),
    ({"offset": "3"}, "offset"),
]


@pytest.mark.parametrize(("params", "name"), NONSENSE)
def test_nonsense_is_refused_with_its_name(world: World, params: dict[str, str], name: str) -> None:
    """What makes no sense is one typed error that names the parameter, and never an empty list."""
    error = error_of(world.auditor.client.get(EVENTS, params=params), 400)
    assert (error["code"], error["param"]) == ("invalid_input", name)


def test_a_parameter_named_twice_is_refused(world: World) -> None:
    """Which of the two was meant is not guessed."""
    error = error_of(world.auditor.client.get(f"{EVENTS}?type=file.&type=answer."), 400)
    assert error["param"] == "type"


def test_a_cursor_belongs_to_its_filters(world: World) -> None:
    """With other filters it would go on in the middle of something else."""
    cursor = listed(world, limit=1)["older"]
    error = error_of(world.auditor.client.get(EVENTS, params={"cursor": cursor, "type": "file."}), 400)
    assert error["param"] == "cursor"


PATHS = [
    EVENTS,
    "/v1/audit/checkpoint",
    "/v1/audit/content-permissions",
    "/v1/audit/answers/x",
    "/v1/audit/documents/x/reach",
    "/v1/audit/documents/x/people",
    "/v1/audit/events/x/content",
]


@pytest.mark.parametrize("path", PATHS)
def test_another_tenants_record_is_refused_on_the_record(world: World, path: str) -> None:
    """There is one tenant a server: whoever asks for another is told so, and that they asked is recorded."""
    answer = world.auditor.client.get(path, params={"tenant": "another"})
    error = error_of(answer, 400)
    assert (error["code"], error["param"]) == ("invalid_input", "tenant")
    (refused,) = soon(lambda: listed(world, correlation=answer.headers["x-request-id"])["data"])
    assert (refused["type"], refused["outcome"]) == ("refused", "invalid_input")
    assert refused["actor"]["label"] == "Auditor"


def test_a_stranger_learns_nothing_about_parameters(world: World) -> None:
    """Who is not an auditor is refused for that, whatever they ask."""
    assert error_of(world.ben.client.get(EVENTS, params={"tenant": "x"}), 403)["code"] == "not_permitted"
    with world.stranger() as stranger:
        error_of(stranger.get(EVENTS, params={"tenant": "x"}), 401)


def test_looking_around_is_on_the_record(world: World) -> None:
    """A list that was read leaves a record of it, with who read it."""
    answer = world.auditor.client.get(EVENTS, params={"limit": 1})
    (read,) = soon(lambda: listed(world, correlation=answer.headers["x-request-id"])["data"])
    assert (read["type"], read["actor"]["label"]) == ("audit.read", "Auditor")


# --- one answer -----------------------------------------------------------------------------------


def lineage(world: World, answer_id: str, **params: Any) -> dict[str, Any]:
    answer = world.auditor.client.get(f"/v1/audit/answers/{answer_id}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_lineage_goes_from_the_question_to_the_text(world: World, answer_id: str) -> None:
    """Who asked, what was found and cited, and how it ended stand there without any content."""
    found = lineage(world, answer_id)
    assert (found["who"]["label"], found["outcome"]) == ("Ada", "answered")
    assert len(found["scope"]) == 64
    best = found["passages"][0]
    assert (best["doc"], best["rank"], best["cited"]) == (world.policy["id"], 1, 1)
    assert len(best["hash"]) == 64
    assert found["retrieval"]["authz"]["decision"] == "allow"
    assert found["model_calls"] == []
    assert found["question"]["bytes"] > len(QUESTION)
    assert found["text"] is None
    assert LEAVE not in str(found)
    assert QUESTION not in str(found)


def test_contents_are_opened_on_request_and_on_the_record(world: World, answer_id: str) -> None:
    """Question, quotes and text come with `contents`, and that they were read is recorded before."""
    answer = world.auditor.client.get(f"/v1/audit/answers/{answer_id}", params={"contents": True})
    found = answer.json()
    assert found["question"]["text"] == QUESTION
    assert any(LEAVE in quote["quote"] for quote in found["retrieval"]["quotes"])
    assert LEAVE in found["text"]
    (read,) = soon(lambda: listed(world, correlation=answer.headers["x-request-id"])["data"])
    assert (read["type"], read["res"]["type"]) == ("audit.read", "answer_contents")
    assert read["res"]["id"] == answer_id


def test_a_lineage_tells_of_later_readings(world: World, answer_id: str) -> None:
    """Who looked at an answer afterwards is part of its story."""
    lineage(world, answer_id)
    later = soon(lambda: lineage(world, answer_id)["later"])
    assert {"audit.read"} <= {step["type"] for step in later}
    assert "Auditor" in {step["who"] for step in later}


def test_an_answer_that_nobody_got_is_not_found(world: World) -> None:
    """An unknown id, and a request that was no question, have no lineage."""
    found = world.ada.client.get("/v1/files")
    for unknown in ("nothing", found.headers["x-request-id"]):
        error_of(world.auditor.client.get(f"/v1/audit/answers/{unknown}"), 404)


# --- reach ----------------------------------------------------------------------------------------


def test_reach_names_people_and_answers_also_after_deletion(world: World) -> None:
    """Who asked about a file, found it, opened it or was shown it can be told when the file is gone."""
    secret = "The spare key of the Lindow depot hangs behind the blue door."
    entry = upload(world.ben.client, "depot.md", markdown_of("Depot", [secret]))
    assert finished_job(world.ben.client, entry["x_job"]["id"])["state"] == "succeeded"
    file_id = entry["id"]
    world.ben.client.put(f"/v1/files/{file_id}/shares/{world.ada.principal}").raise_for_status()
    question_text = "Where does the spare key of the Lindow depot hang?"
    answer = ask(world.ada.client, question_text)
    world.ben.client.post("/v1/search", json={"query": question_text}).raise_for_status()
    citation = answer["x_citations"][0]["id"]
    world.ada.client.get(f"/v1/sources/{citation}").raise_for_status()
    talk = world.ada.client.post("/v1/conversations", json={}).json()["id"]
    kept = question(question_text, x_conversation=talk)
    world.ada.client.post("/v1/chat/completions", json=kept).raise_for_status()
    world.ada.client.put(f"/v1/conversations/{talk}/shares/{world.ben.principal}").raise_for_status()
    world.ben.client.get(f"/v1/conversations/{talk}/items").raise_for_status()
    world.ben.client.get(f"/v1/conversations/{talk}/export").raise_for_status()
    world.ben.client.delete(f"/v1/files/{file_id}").raise_for_status()
    assert secret not in world.ben.client.get(f"/v1/conversations/{talk}/export").text

    def reach() -> dict[str, Any] | None:
        found = world.auditor.client.get(f"/v1/audit/documents/{file_id}/reach").json()
        counts = found.get("counts") or {}
        return found if counts.get("conversations") == 2 else None

    found = soon(reach)
    once = {"searches": 1, "openings": 1}
    assert found["counts"] == {**once, "people": 2, "answers": 2, "conversations": 2, "other": 0}
    assert found["document"]["deleted"]
    touched = {entry["type"]: entry["who"]["label"] for entry in found["data"]}
    assert touched == {
        "answer.retrieved": "Ada",
        "search.performed": "Ben",
        "source.opened": "Ada",
        "conversation.opened": "Ben",
    }
    *_, reached = [entry for entry in found["data"] if entry["type"] == "answer.retrieved"]
    assert reached["corr"] == str(answer["id"]).removeprefix("chatcmpl-")
    assert [passage["cited"] for passage in reached["passages"]] == [1]
    people = world.auditor.client.get(f"/v1/audit/documents/{file_id}/people").json()
    of_people = {person["label"]: (person["answers"], person["conversations"]) for person in people["data"]}
    assert of_people == {"Ada": (2, 0), "Ben": (0, 2)}
    (version,) = found["document"]["versions"]
    of_version = {"version": version}
    same = world.auditor.client.get(f"/v1/audit/documents/{file_id}/reach", params=of_version).json()
    assert same["counts"] == found["counts"]


def test_an_unknown_document_has_no_reach(world: World) -> None:
    """What never existed is not found, and neither is a version of another document.

    Nor does it come to exist by being asked for: the record of the first look names it.
    """
    known, wrong = world.policy["id"], {"version": "nothing"}
    looks: list[tuple[str, dict[str, str]]] = [("nothing", {}), ("nothing", wrong), (known, wrong)]
    for turn in (1, 2):
        for document, version in looks:
            for path in ("reach", "people"):
                address = f"/v1/audit/documents/{document}/{path}"
                error_of(world.auditor.client.get(address, params=version), 404)
        soon(
            lambda looked=4 * turn: (
                len(listed(world, document="nothing", type="audit.read", limit=500)["data"]) >= looked
            )
        )


def test_no_record_shows_a_files_text_or_name(world: World, answer_id: str) -> None:
    """Lists, lineage and reach name documents by id: an auditor's role opens nothing of a document."""
    shown = [
        str(listed(world, document=world.policy["id"], limit=500)),
        str(lineage(world, answer_id)),
        world.auditor.client.get(f"/v1/audit/documents/{world.policy['id']}/reach").text,
    ]
    for text in shown:
        assert world.policy["id"] in text
        for hidden in (LEAVE, CARRY, "leave.pdf"):
            assert hidden not in text


def test_readings_with_strange_paths_are_not_found(world: World) -> None:
    """An id from elsewhere is not found, whatever it looks like."""
    for path in ("answers/%2e%2e", "documents/%F0%9F%94%91/reach", "events/x/content"):
        error_of(world.auditor.client.get(f"/v1/audit/{path}"), 404)
