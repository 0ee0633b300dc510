"""Kept conversations over HTTP: continued by the owner, shown to others only as far as they may read."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from api_world import CARRY, LEAVE, QUESTION, World, error_of, question, record_held

from infra.clock import new_id
from tests.made_documents import markdown_of
from tests.preloaded import PreloadedServer
from tests.scripted_model import ScriptedModel
from tests.serving import Person, finished_job, upload

FACT = "The spare key of the archive hangs behind the blue cabinet."
FACT_QUESTION = "Where does the spare key of the archive hang?"


@pytest.fixture
def keep(world: World) -> Callable[..., str]:
    """Make conversations of Ada's; returns their ids."""

    def make(title: str | None = None) -> str:
        body = {} if title is None else {"title": title}
        made = world.ada.client.post("/v1/conversations", json=body)
        assert made.status_code == 201, made.text
        conversation_id: str = made.json()["id"]
        return conversation_id

    return make


@pytest.fixture
def archive(world: World) -> Iterator[dict[str, Any]]:
    """A file of Ada's, removed again afterwards."""
    file = upload(world.ada.client, "archive.md", markdown_of("Archive", [FACT]))
    assert finished_job(world.ada.client, file["x_job"]["id"])["state"] == "succeeded"
    yield file
    world.ada.client.delete(f"/v1/files/{file['id']}")


def say(person: Person, conversation_id: str, text: str, **extra: Any) -> dict[str, Any]:
    """Ask in a conversation; returns the completion."""
    answer = person.client.post(
        "/v1/chat/completions", json=question(text, x_conversation=conversation_id, **extra)
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def items(person: Person, conversation_id: str, **query: Any) -> list[dict[str, Any]]:
    """Return the items of a conversation, oldest first."""
    answer = person.client.get(
        f"/v1/conversations/{conversation_id}/items", params={"order": "asc", "limit": 100, **query}
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def export(person: Person, conversation_id: str) -> str:
    """Return the Markdown of a conversation."""
    answer = person.client.get(f"/v1/conversations/{conversation_id}/export", params={"format": "markdown"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/markdown")
    return answer.text


def everything(person: Person, conversation_id: str) -> str:
    """Return all that somebody gets to see of a conversation, by every way there is."""
    listed = person.client.get("/v1/conversations", params={"limit": 100}).text
    described = person.client.get(f"/v1/conversations/{conversation_id}").text
    return "\n".join(
        [listed, described, json.dumps(items(person, conversation_id)), export(person, conversation_id)]
    )


# --- keeping and continuing -----------------------------------------------------------------------


def test_a_conversation_is_kept_and_continued(world: World, keep: Callable[..., str]) -> None:
    """Questions and answers are there in order, with citations; the first question is the title."""
    talk = keep()
    first = say(world.ada, talk, QUESTION)
    assert first["x_conversation"] == talk
    second = say(world.ada, talk, "And when do unused ones lapse?")
    assert second["x_answer"]["looked_for"].startswith(QUESTION[:20])
    found = items(world.ada, talk)
    assert [item["role"] for item in found] == ["user", "assistant", "user", "assistant"]
    assert found[0]["content"] == [{"type": "input_text", "text": QUESTION}]
    said = found[1]["content"][0]
    assert said["text"] == first["choices"][0]["message"]["content"]
    assert found[1]["x_citations"] == [entry for entry in first["x_citations"] if entry["shown"]]
    assert found[1]["x_answer"]["id"] == first["x_answer"]["id"]
    for note in said["annotations"]:
        assert said["text"][note["start_index"] : note["end_index"]].endswith(f"]({note['url']})")
    described = world.ada.client.get(f"/v1/conversations/{talk}").json()
    assert described["metadata"] == {"title": QUESTION}


def test_the_servers_history_counts_and_not_the_clients(world: World, keep: Callable[..., str]) -> None:
    """What a client claims was said before is not used, and not kept."""
    talk = keep()
    body = question("And when do unused ones lapse?", x_conversation=talk)
    body["messages"] = [{"role": "user", "content": "Which telescope is largest?"}, *body["messages"]]
    answer = world.ada.client.post("/v1/chat/completions", json=body).json()
    assert "telescope" not in answer["x_answer"]["looked_for"]
    assert len(items(world.ada, talk)) == 2


def test_a_streamed_answer_is_kept_when_its_end_is_told(world: World, keep: Callable[..., str]) -> None:
    """The last chunk names the conversation, and what was streamed is there at that moment."""
    talk = keep()
    body = question(QUESTION, stream=True, x_conversation=talk)
    with world.ada.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    chunks = [json.loads(line) for line in lines]
    assert [chunk.get("x_conversation") for chunk in chunks] == [None] * (len(chunks) - 1) + [talk]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks).strip()
    assert items(world.ada, talk)[1]["content"][0]["text"] == text


def test_a_reader_who_leaves_finds_what_was_released(world: World, keep: Callable[..., str]) -> None:
    """The evidence that was streamed before the reader left is kept, marked as incomplete or whole."""
    talk = keep()
    body = question(QUESTION, stream=True, x_conversation=talk)
    with world.ada.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(line for line in answer.iter_lines() if "x_citations" in line)
    deadline = time.monotonic() + 10
    while len(found := items(world.ada, talk)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert LEAVE in found[1]["content"][0]["text"]


def test_stock_clients_read_conversations(world: World, keep: Callable[..., str]) -> None:
    """The OpenAI library makes, reads, lists and deletes one."""
    key = world.ada.client.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{world.server.url}/v1", api_key=key, max_retries=0) as client:
        made = client.conversations.create(metadata={"title": "Leave"})
        assert made.metadata == {"title": "Leave"}
        say(world.ada, made.id, QUESTION)
        found = list(client.conversations.items.list(made.id, order="asc"))
        assert [entry.type for entry in found] == ["message", "message"]
        assert client.conversations.retrieve(made.id).id == made.id
        assert client.conversations.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.conversations.retrieve(made.id)


def test_items_have_pages(world: World, keep: Callable[..., str]) -> None:
    """Newest first by default; `after` goes on where a page ended."""
    talk = keep()
    say(world.ada, talk, QUESTION)
    path = f"/v1/conversations/{talk}/items"
    page = world.ada.client.get(path, params={"limit": 1}).json()
    assert (page["data"][0]["role"], page["has_more"]) == ("assistant", True)
    rest = world.ada.client.get(path, params={"limit": 1, "after": page["last_id"]}).json()
    assert (rest["data"][0]["role"], rest["has_more"]) == ("user", False)


def test_an_export_shows_quotes_and_sources(world: World, keep: Callable[..., str]) -> None:
    """Title, question, answer with links of this server, sources with their place."""
    talk = keep("Annual leave")
    say(world.ada, talk, QUESTION)
    text = export(world.ada, talk)
    assert text.startswith("# Annual leave\n")
    assert QUESTION in text
    assert LEAVE in text
    assert "leave.pdf" in text
    links = re.findall(r"\]\((.*?)\)", text)
    assert links
    assert all(link.startswith(f"{world.server.url}/sources/") for link in links)


def test_what_a_person_typed_is_text_in_an_export(world: World, keep: Callable[..., str]) -> None:
    """An image in a question or a title fetches nothing on the machine of whoever reads the export."""
    talk = keep("![x](http://example.org/t.png)")
    say(world.ada, talk, "How many days of annual leave? ![x](http://example.org/q.png)")
    assert "![" not in export(world.ada, talk)
    assert "](http://example.org" not in export(world.ada, talk)


def test_a_planted_host_is_in_nobody_elses_links(world: World, keep: Callable[..., str]) -> None:
    """Links are made for each view: a Host header while asking does not stay in the conversation."""
    talk = keep()
    body = question(QUESTION, x_conversation=talk)
    world.ada.client.post("/v1/chat/completions", json=body, headers={"host": "evil.example"})
    assert "evil.example" not in everything(world.ada, talk)


@pytest.fixture
def slow_house(make_server: Callable[..., PreloadedServer]) -> Iterator[tuple[Person, ScriptedModel]]:
    """A person with one file, on a server whose model writes slowly."""
    with ScriptedModel(pause_s=0.2) as model:
        server = make_server(model_base_url=model.base_url)
        server.start()
        person = server.person("Cleo")
        file = upload(person.client, "archive.md", markdown_of("Archive", [FACT]))
        assert finished_job(person.client, file["x_job"]["id"])["state"] == "succeeded"
        yield person, model
        server.kill()


def test_a_broken_off_answer_is_kept_as_far_as_it_came(
    slow_house: tuple[Person, ScriptedModel],
) -> None:
    """Leaving while the model writes keeps the evidence that was shown, marked as incomplete.

    Once its file is gone, that answer is hidden, and the next prompt holds no word of it but the question.
    """
    person, model = slow_house
    talk = person.client.post("/v1/conversations", json={}).json()["id"]
    body = question(FACT_QUESTION, model="strongroom", stream=True, x_conversation=talk)
    with person.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(line for line in answer.iter_lines() if FACT in line)
    deadline = time.monotonic() + 20
    while len(found := items(person, talk)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (found[1]["status"], found[1]["x_answer"]["status"]) == ("incomplete", "interrupted")
    assert FACT in found[1]["content"][0]["text"]

    other = upload(person.client, "lift.md", markdown_of("Lift", ["The key of the lift hangs at the gate."]))
    assert finished_job(person.client, other["x_job"]["id"])["state"] == "succeeded"
    person.client.delete(f"/v1/files/{found[1]['x_citations'][0]['file']['id']}")
    model.prompts.clear()
    model.pause_s = 0.0
    say(person, talk, "And where does that of the lift hang?", model="strongroom")
    assert len(model.prompts) == 1
    assert FACT_QUESTION in model.prompts[0]
    assert "blue cabinet" not in model.prompts[0]
    assert [item["type"] for item in items(person, talk)] == ["message", "withheld", "message", "message"]


# --- who sees what --------------------------------------------------------------------------------


def test_somebody_elses_conversation_is_like_one_that_does_not_exist(
    world: World, keep: Callable[..., str]
) -> None:
    """Hidden from Ben, the admin and the auditor: that it exists, by every operation. Visible to Ada."""
    talk = keep("Mine")
    say(world.ada, talk, QUESTION)
    for person in (world.ben, world.admin, world.auditor):
        for method, path in (
            ("GET", "/v1/conversations/{}"),
            ("GET", "/v1/conversations/{}/items"),
            ("GET", "/v1/conversations/{}/export"),
            ("DELETE", "/v1/conversations/{}"),
            ("PUT", "/v1/conversations/{}/shares/group:local:everyone"),
            ("DELETE", "/v1/conversations/{}/shares/group:local:everyone"),
        ):
            foreign, unknown = (
                person.client.request(method, path.format(which)) for which in (talk, new_id())
            )
            assert foreign.status_code == unknown.status_code == 404
            assert foreign.text == unknown.text
        asked = [
            person.client.post("/v1/chat/completions", json=question(QUESTION, x_conversation=which))
            for which in (talk, new_id())
        ]
        assert [answer.status_code for answer in asked] == [404, 404]
        assert asked[0].text == asked[1].text
        assert talk not in person.client.get("/v1/conversations").text
    assert len(items(world.ada, talk)) == 2


def test_a_shared_conversation_shares_no_document(
    world: World, keep: Callable[..., str], archive: dict[str, Any]
) -> None:
    """Hidden from Ben: the fact, the file's name, its id and its passages. Visible: Ada's question."""
    talk = keep()
    found = say(world.ada, talk, FACT_QUESTION)
    chunk = found["x_citations"][0]["id"]
    share = f"/v1/conversations/{talk}/shares/{world.ben.principal}"
    assert world.ada.client.put(share).status_code == 204
    shown = everything(world.ben, talk)
    assert FACT_QUESTION in shown
    for hidden in (FACT, "blue cabinet", "archive.md", archive["id"], chunk):
        assert hidden not in shown
    assert items(world.ben, talk)[1]["type"] == "withheld"
    assert world.ben.client.get(f"/v1/sources/{chunk}").status_code == 404
    assert FACT in everything(world.ada, talk)


def test_document_shares_decide_over_time(
    world: World, keep: Callable[..., str], archive: dict[str, Any]
) -> None:
    """Hidden from Ben before the file's share and after its end. Visible to him between, as to Ada."""
    talk = keep()
    say(world.ada, talk, FACT_QUESTION)
    world.ada.client.put(f"/v1/conversations/{talk}/shares/{world.ben.principal}")
    file_share = f"/v1/files/{archive['id']}/shares/{world.ben.principal}"
    assert FACT not in everything(world.ben, talk)
    assert world.ada.client.put(file_share).status_code == 204
    assert FACT in export(world.ben, talk)
    assert items(world.ben, talk)[1]["type"] == "message"
    assert world.ada.client.delete(file_share).status_code == 204
    assert FACT not in everything(world.ben, talk)


def test_a_revoked_share_bites_in_ones_own_conversation(
    world: World, keep: Callable[..., str], archive: dict[str, Any]
) -> None:
    """Hidden from Ben after Ada ended the share: his own stored answer, everywhere. Visible: his question."""
    file_share = f"/v1/files/{archive['id']}/shares/{world.ben.principal}"
    world.ada.client.put(file_share)
    talk = world.ben.client.post("/v1/conversations", json={}).json()["id"]
    say(world.ben, talk, FACT_QUESTION)
    assert FACT in everything(world.ben, talk)
    world.ada.client.delete(file_share)
    shown = everything(world.ben, talk)
    assert FACT_QUESTION in shown
    for hidden in (FACT, "blue cabinet", "archive.md", archive["id"]):
        assert hidden not in shown


def test_withheld_history_does_not_come_back_in_an_answer(
    world: World, keep: Callable[..., str], archive: dict[str, Any]
) -> None:
    """Hidden: the revoked answer, from what the next answer says. Visible: the earlier question."""
    file_share = f"/v1/files/{archive['id']}/shares/{world.ben.principal}"
    world.ada.client.put(file_share)
    talk = world.ben.client.post("/v1/conversations", json={}).json()["id"]
    say(world.ben, talk, FACT_QUESTION)
    world.ada.client.delete(file_share)
    answer = say(world.ben, talk, "Where is it?")
    assert answer["x_answer"]["looked_for"] == f"{FACT_QUESTION} Where is it?"
    assert FACT not in json.dumps(answer)
    assert FACT not in everything(world.ben, talk)


def test_a_directorys_group_may_have_a_slash_in_its_id(world: World, keep: Callable[..., str]) -> None:
    """Such an id reaches the share; whether there is such a group is another question."""
    talk = keep("For the group")
    unknown = world.ada.client.put(f"/v1/conversations/{talk}/shares/group:corp:board/inner")
    assert error_of(unknown, 400)["param"] == "principal"


def test_a_group_share_follows_membership(world: World, keep: Callable[..., str]) -> None:
    """Hidden from Ben outside the group. Visible inside; after leaving it is gone at once."""
    talk = keep("For the group")
    name = f"Readers {new_id()}"
    group = world.admin.client.post("/v1/groups", json={"name": name}).json()["id"]
    world.admin.client.put(f"/v1/groups/{group}/members/{world.ada.id}").raise_for_status()
    world.ada.client.put(f"/v1/conversations/{talk}/shares/{group}").raise_for_status()
    path, member = f"/v1/conversations/{talk}", f"/v1/groups/{group}/members/{world.ben.id}"
    seen = [world.ben.client.get(path).status_code]
    world.admin.client.put(member)
    seen.append(world.ben.client.get(path).status_code)
    world.admin.client.delete(member)
    seen.append(world.ben.client.get(path).status_code)
    assert seen == [404, 200, 404]
    assert world.admin.client.get(path).status_code == 404


def test_whom_it_is_shared_with_is_the_owners_business(world: World, keep: Callable[..., str]) -> None:
    """Hidden from Ben: that the auditor may look as well. Visible to Ada: both."""
    talk = keep()
    for person in (world.ben, world.auditor):
        world.ada.client.put(f"/v1/conversations/{talk}/shares/{person.principal}")
    path = f"/v1/conversations/{talk}"
    assert world.ben.client.get(path).json()["x_shared_with"] == []
    mine = world.ada.client.get(path).json()["x_shared_with"]
    assert {entry["id"] for entry in mine} == {world.ben.principal, world.auditor.principal}


def test_a_viewer_may_look_and_nothing_else(world: World, keep: Callable[..., str]) -> None:
    """Refused like an unknown one: continuing, sharing on, ending the share, deleting."""
    talk = keep()
    share = f"/v1/conversations/{talk}/shares/{world.ben.principal}"
    world.ada.client.put(share)
    tries = [
        world.ben.client.post("/v1/chat/completions", json=question(QUESTION, x_conversation=talk)),
        world.ben.client.put(f"/v1/conversations/{talk}/shares/group:local:everyone"),
        world.ben.client.delete(share),
        world.ben.client.delete(f"/v1/conversations/{talk}"),
    ]
    assert [answer.status_code for answer in tries] == [404] * len(tries)
    assert items(world.ada, talk) == []


# --- the record and bad input ---------------------------------------------------------------------


def test_looking_is_on_the_record(world: World, keep: Callable[..., str]) -> None:
    """Items and exports are recorded as opened."""
    talk = keep()
    say(world.ada, talk, QUESTION)
    for path in ("items", "export"):
        answer = world.ada.client.get(f"/v1/conversations/{talk}/{path}")
        assert types_of(world, answer.headers["x-request-id"]) == ["conversation.opened"]


def test_each_change_is_on_the_record(world: World, keep: Callable[..., str]) -> None:
    """Kept, shared, unshared, deleted."""
    talk = keep()
    share = f"/v1/conversations/{talk}/shares/{world.ben.principal}"
    client = world.ada.client
    answers = [client.put(share), client.delete(share), client.delete(f"/v1/conversations/{talk}")]
    assert [types_of(world, answer.headers["x-request-id"]) for answer in answers] == [
        ["conversation.shared"],
        ["conversation.unshared"],
        ["conversation.deleted"],
    ]


def test_without_the_record_nothing_is_shown(world: World, keep: Callable[..., str]) -> None:
    """While the database is held, items and export are 503, and hold no word that was said."""
    talk = keep()
    say(world.ada, talk, QUESTION)
    with record_held(world):
        answers = [world.ada.client.get(f"/v1/conversations/{talk}/{path}") for path in ("items", "export")]
    for answer in answers:
        assert error_of(answer, 503)["code"] == "audit_unavailable"
        assert "leave" not in answer.text


def types_of(world: World, request_id: str, *, at_least: int = 1) -> list[str]:
    """Return the types of what one request recorded, once so many have their place in the log."""
    deadline = time.monotonic() + 10
    while True:
        answer = world.auditor.client.get("/v1/audit/events", params={"correlation": request_id})
        found = [event["type"] for event in answer.json()["data"]]
        if len(found) >= at_least:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"title": "x" * 201}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"metadata": {"topic": "x"}}, "metadata"),
        ({"items": [{"type": "message"}]}, "items"),
        ({"owner": "user:ben"}, "owner"),
    ],
)
def test_an_unusable_conversation_is_refused(world: World, body: dict[str, Any], param: str) -> None:
    """Each names its field."""
    answer = world.ada.client.post("/v1/conversations", json=body)
    assert error_of(answer, 400)["param"] == param


def test_nobody_is_asked_to_sign_in(world: World, keep: Callable[..., str]) -> None:
    """Hidden from strangers: whether an id exists."""
    talk = keep()
    for which in (talk, new_id()):
        for path in (f"/v1/conversations/{which}", f"/v1/conversations/{which}/items", "/v1/conversations"):
            bare = {"authorization": ""}
            assert world.ada.client.get(path, headers=bare).status_code == 401


def test_an_unknown_item_to_go_on_from_is_refused(world: World, keep: Callable[..., str]) -> None:
    """Anything but an item's id is a bad request."""
    answer = world.ada.client.get(f"/v1/conversations/{keep()}/items", params={"after": "msg_x"})
    assert error_of(answer, 400)["param"] == "after"


def test_a_blank_question_is_not_kept(world: World, keep: Callable[..., str]) -> None:
    """A refused request leaves the conversation as it was."""
    talk = keep()
    assert CARRY  # the world has an answer to give
    answer = world.ada.client.post("/v1/chat/completions", json=question("  ", x_conversation=talk))
    assert error_of(answer, 400)["param"] == "messages"
    assert items(world.ada, talk) == []
