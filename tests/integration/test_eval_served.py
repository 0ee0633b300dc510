"""`strongroom eval` against a real server: asked as anybody asks; an auditor opens what was marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_world import QUESTION, World

from services.cli.connection import Connection, Refused
from services.cli.evaluation import keep_marked
from services.evaluation.running import run_set
from services.evaluation.served import Served
from services.evaluation.sets import read_set
from tests.serving import Person, ask

NOT_THERE = "Who composed the opera about the barber of Seville?"


def connection_of(world: World, person: Person) -> Connection:
    """Return what the command line talks through, as somebody."""
    return Connection(person.client, world.server.url)


def seal(world: World, answer: dict[str, Any]) -> None:
    """Ask for a receipt, which gives everything that waits a place in the log."""
    world.ada.client.get(answer["receipt_url"]).raise_for_status()


def test_a_running_server_is_measured(world: World, tmp_path: Path) -> None:
    """The right page is found and what is said is true; the question about something else is refused."""
    asked = [
        {"question": QUESTION, "answers": ["25 days"], "documents": ["leave.pdf#page=1"]},
        {"question": NOT_THERE, "answerable": False},
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    subject = Served(connection_of(world, world.ada), generated=False)
    found = run_set(
        subject, read_set(tmp_path), with_answers=True, seed=1, on_progress=lambda done, total: None
    )
    first, second = found.rows
    assert (first.status, first.mode, first.faithfulness) == ("answered", "quote", 1.0)
    # Other tests add files that answer the same question, so that the page need not lead.
    assert first.ndcg
    assert first.answer_words
    assert first.evidence_ms is not None
    assert first.evidence_score is not None
    assert second.status == "abstained"
    assert second.statements == 0
    assert second.evidence_score is not None
    assert second.evidence_score < first.evidence_score
    assert found.measures["auroc_evidence"].value == 1.0


def test_what_the_key_may_not_read_is_not_found(world: World, tmp_path: Path) -> None:
    """The measurement runs as whoever the key belongs to."""
    line = {"question": QUESTION, "documents": ["leave.pdf"]}
    (tmp_path / "questions.jsonl").write_text(json.dumps(line) + "\n")
    subject = Served(connection_of(world, world.ben), generated=False)
    found = run_set(
        subject, read_set(tmp_path), with_answers=True, seed=1, on_progress=lambda done, total: None
    )
    assert found.rows[0].ndcg == 0.0


def test_marked_answers_become_a_set(world: World, tmp_path: Path) -> None:
    """An auditor gets question, text and source of a good answer, and each opening is on the record."""
    told = ask(world.ada.client, QUESTION)["x_answer"]
    body = {"answer_id": told["id"], "verdict": "good"}
    world.ada.client.post("/v1/feedback", json=body).raise_for_status()
    seal(world, told)
    keep_marked(connection_of(world, world.auditor), tmp_path / "set", as_json=True)
    marked = {each.id: each for each in read_set(tmp_path / "set").questions}
    assert marked[told["id"]].text == QUESTION
    # Other tests add files that answer the same question.
    assert world.policy["id"] in marked[told["id"]].relevant
    seal(world, told)
    looked = world.auditor.client.get(
        "/v1/audit/events", params={"type": "audit.read", "newest": "true"}
    ).json()
    opened = {"type": "answer_contents", "id": told["id"], "ver": None}
    assert opened in [event["res"] for event in looked["data"]]


def test_nobody_else_makes_such_a_set(world: World, tmp_path: Path) -> None:
    """Neither an employee nor an administrator reads what people asked; nothing is written then."""
    for person in (world.ada, world.admin):
        with pytest.raises(Refused) as refused:
            keep_marked(connection_of(world, person), tmp_path / "set", as_json=True)
        assert refused.value.status == 403
    assert not (tmp_path / "set").exists()
