"""Chat completions as stock clients see them, and what is refused with one typed error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from api_world import CARRY, LEAVE, QUESTION, World, error_of, question, record_held

from tests.serving import ask


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    """The OpenAI library, pointed at the server."""
    key = world.ada.client.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{world.server.url}/v1", api_key=key, max_retries=0) as made:
        yield made


def test_the_openai_client_gets_an_answer(client: openai.OpenAI, world: World) -> None:
    """The library reads a completion: text, finish reason, usage, annotations, and our own fields."""
    found = client.chat.completions.create(
        model="strongroom-quote", messages=[{"role": "user", "content": QUESTION}]
    )
    choice = found.choices[0]
    assert LEAVE in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert found.usage is not None
    extra = found.model_extra or {}
    assert extra["x_answer"]["status"] == "answered"
    assert extra["x_citations"][0]["file"] == {"id": world.policy["id"], "name": "leave.pdf"}
    assert extra["x_citations"][0]["page"] == 1
    assert choice.message.annotations


def test_the_openai_client_reads_a_stream(client: openai.OpenAI) -> None:
    """The library reads chunks; their content together is the text of the same answer in one piece."""
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    stream = client.chat.completions.create(
        model="strongroom-quote", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = client.chat.completions.create(model="strongroom-quote", messages=messages)
    assert text.strip() == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_openai_client_lists_models(client: openai.OpenAI) -> None:
    """Both assistants are listed."""
    assert [model.id for model in client.models.list()] == ["strongroom", "strongroom-quote"]


def test_a_stream_has_the_promised_order(world: World) -> None:
    """Opening, evidence, final chunk with annotations and outcome, [DONE]; one id throughout."""
    with world.ada.client.stream(
        "POST", "/v1/chat/completions", json=question(QUESTION, stream=True)
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    first, evidence, last = chunks[0], chunks[1], chunks[-1]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["x_answer"]["status"] == "searching"
    assert evidence["x_citations"][0]["quote"].startswith(LEAVE[:30])
    assert last["choices"][0]["delta"]["annotations"]
    assert last["x_answer"]["receipt"]["id"] == first["x_answer"]["id"]


def test_annotations_point_at_the_marks(world: World) -> None:
    """Each annotation's range is its `[[n]](url)` in the text, and the url opens the quoted place."""
    found = ask(world.ada.client, QUESTION)
    text = found["choices"][0]["message"]["content"]
    annotations = [entry["url_citation"] for entry in found["choices"][0]["message"]["annotations"]]
    assert annotations
    for note in annotations:
        marked = text[note["start_index"] : note["end_index"]]
        assert marked.startswith("[[")
        assert marked.endswith(f"]({note['url']})")
        assert note["title"] == "leave.pdf"
    source = world.ada.client.get(annotations[0]["url"].replace("/sources/", "/v1/sources/")).json()
    assert source["quote"] == found["x_citations"][0]["quote"]
    assert source["boxes"]
    image = world.ada.client.get(source["page_image"]["url"])
    assert image.content.startswith(b"\x89PNG")


def test_evidence_can_stay_out_of_the_text(world: World) -> None:
    """With `x_evidence: field` the quotes stand in `x_citations` only."""
    found = ask(world.ada.client, QUESTION, x_evidence="field")
    assert LEAVE not in (found["choices"][0]["message"]["content"] or "")
    assert found["x_citations"][0]["quote"].startswith(LEAVE[:30])


def test_a_follow_up_takes_its_question_along(world: World) -> None:
    """“What about …” is looked for together with the question before it."""
    history = [
        {"role": "user", "content": "How many days of annual leave are there?"},
        {"role": "assistant", "content": LEAVE},
        {"role": "user", "content": "And when do unused ones lapse?"},
    ]
    answer = world.ada.client.post(
        "/v1/chat/completions", json={"model": "strongroom-quote", "messages": history}
    ).json()
    assert answer["x_answer"]["looked_for"].startswith("How many days of annual leave")
    assert any(CARRY[:30] in citation["quote"] for citation in answer["x_citations"])


def test_nothing_near_is_an_abstention(world: World) -> None:
    """A question about something else ends as `abstained`, says what was looked for, and quotes nothing."""
    found = ask(world.ada.client, "Which telescope discovered the moons of Jupiter?")
    assert found["x_answer"]["status"] == "abstained"
    assert "telescope" in found["x_answer"]["looked_for"]
    assert LEAVE not in found["choices"][0]["message"]["content"]


def test_an_answer_has_its_receipt_at_once(world: World) -> None:
    """The receipt named in an answer can be fetched as soon as the answer is there."""
    found = ask(world.ada.client, QUESTION)["x_answer"]
    receipt = world.ada.client.get(found["receipt_url"])
    assert receipt.status_code == 200
    assert receipt.json()["leaf_hash"] == found["receipt"]["leaf_hash"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "strongroom"}, 400, "invalid_input", "messages"),
        ({"messages": []}, 400, "invalid_input", "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "invalid_input", "messages"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, 400, "invalid_input", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_input", "messages.0.role"),
        (question("x", model="gpt-4"), 404, "not_found", None),
        (question("x", tools=[{"type": "function"}]), 400, "invalid_input", "tools"),
        (question("x", n=3), 400, "invalid_input", "n"),
        (question("x", max_tokens=0), 400, "invalid_input", "max_tokens"),
        (question("y" * 40_000), 413, "too_large", "messages"),
        (question("z" * 1_100_000), 413, "too_large", None),
        ([1, 2], 400, "invalid_input", None),
    ],
    ids=[
        "no messages",
        "empty messages",
        "blank question",
        "last is not a question",
        "unknown role",
        "unknown model",
        "tools",
        "several choices",
        "no room for an answer",
        "40,000 characters",
        "a megabyte",
        "a list",
    ],
)
def test_a_bad_request_gets_one_typed_error(
    world: World, body: Any, status: int, code: str, param: str | None
) -> None:
    """Each has its status, code and offending field in the OpenAI envelope."""
    error = error_of(world.ada.client.post("/v1/chat/completions", json=body), status)
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


def test_wrong_json_is_named_as_such(world: World) -> None:
    """A body that is no JSON, or no UTF-8, says so."""
    for body in (b'{"model": ', b"\xff\xfe{}", b""):
        headers = {"content-type": "application/json"}
        answer = world.ada.client.post("/v1/chat/completions", content=body, headers=headers)
        assert error_of(answer, 400)["code"] == "invalid_input"


def test_the_server_is_well_after_bad_requests(world: World) -> None:
    """A megabyte of question harms nobody: the next one is answered."""
    world.ada.client.post("/v1/chat/completions", json=question("z" * 1_100_000))
    assert ask(world.ada.client, QUESTION)["x_answer"]["status"] == "answered"


def test_without_the_record_there_is_no_answer(world: World) -> None:
    """While the database is held, a question is 503 within three seconds, and nothing is streamed."""
    ask(world.ada.client, QUESTION)
    with record_held(world):
        for stream in (False, True):
            began = time.monotonic()
            answer = world.ada.client.post("/v1/chat/completions", json=question(QUESTION, stream=stream))
            took = time.monotonic() - began
            assert error_of(answer, 503)["code"] == "audit_unavailable"
            assert LEAVE not in answer.text
            assert took < 3.5
    assert ask(world.ada.client, QUESTION)["x_answer"]["status"] == "answered"


def test_a_reader_who_leaves_is_on_the_record(world: World) -> None:
    """Leaving a stream early is no error: the next question is answered, and every start has an end."""
    with world.ada.client.stream(
        "POST", "/v1/chat/completions", json=question(QUESTION, stream=True)
    ) as answer:
        line = next(line for line in answer.iter_lines() if line.startswith("data: "))
        answer_id = json.loads(line.removeprefix("data: "))["x_answer"]["id"]
    deadline = time.monotonic() + 10
    stages: list[str] = []
    while "end" not in stages:
        assert time.monotonic() < deadline, stages
        events = world.auditor.client.get("/v1/audit/events", params={"correlation": answer_id}).json()
        stages = [event["stage"] for event in events["data"]]
        time.sleep(0.1)
    assert stages.count("start") == stages.count("end") == 1


def test_questions_at_the_same_time_do_not_mix(world: World) -> None:
    """Six people at once get the answer to their own question, each with an id of its own."""
    asked = [QUESTION, "When do unused days lapse?"] * 3
    answers: dict[int, dict[str, Any]] = {}

    def put(n: int) -> None:
        answers[n] = ask(world.ada.client, asked[n])

    threads = [threading.Thread(target=put, args=(n,)) for n in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n]["x_answer"]["looked_for"] for n in range(len(asked))] == asked
    assert len({answer["x_answer"]["id"] for answer in answers.values()}) == len(asked)
