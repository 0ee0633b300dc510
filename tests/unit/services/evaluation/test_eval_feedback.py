"""Marked answers become questions; what belongs to nobody else's eyes stays in a folder of one's own."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Conflict, NotFound, NotPermitted
from services.evaluation.from_feedback import gather, write_set
from services.evaluation.sets import read_set


def marked(answer_id: str, verdict: str) -> dict[str, Any]:
    return {"res": {"type": "answer", "id": answer_id}, "outcome": verdict}


def answer(
    answer_id: str, *, text: str | None = "How many days?", outcome: str = "answered", **more: Any
) -> dict[str, Any]:
    """Return what an auditor is told about an answer."""
    question = {"text": text, "history": more.pop("history", [])}
    passages = [{"doc": "d1", "cited": 1}, {"doc": "d1", "cited": 1}, {"doc": "d2", "cited": 0}]
    told = {
        "id": answer_id,
        "question": question,
        "outcome": outcome,
        "passages": passages,
        "text": "25 days.",
    }
    return {**told, **more}


class ScriptedRecord:
    """A record of two pages, which notes what is asked of it."""

    def __init__(self, *answers: dict[str, Any], marks: list[dict[str, Any]]) -> None:
        self.answers = {each["id"]: each for each in answers}
        self.pages = [marks[:2], marks[2:]]
        self.asked: list[tuple[str, dict[str, str]]] = []

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Answer as the server does."""
        self.asked.append((path, parameters))
        if path == "/v1/audit/events":
            at = 1 if "cursor" in parameters else 0
            return {"data": self.pages[at], "has_more": at == 0, "newer": "second"}
        assert parameters == {"contents": "true"}
        answer_id = path.rpartition("/")[2]
        if answer_id not in self.answers:
            raise NotFound("There is no such answer.")
        if answer_id == "closed":
            raise NotPermitted("Reading contents takes a second auditor here.")
        return self.answers[answer_id]


def test_marks_become_questions(tmp_path: Path) -> None:
    """A good answer teaches its sources, a good abstention that there is none, a bad one nothing."""
    record = ScriptedRecord(
        answer("good"),
        answer("no", outcome="abstained"),
        answer("bad"),
        marks=[marked("good", "bad"), marked("no", "good"), marked("bad", "bad"), marked("good", "good")],
    )
    gathered = gather(record, on_progress=lambda done, total: None)
    file = write_set(tmp_path / "set", gathered)
    lines = {line["id"]: line for line in map(json.loads, file.read_text().splitlines())}
    assert lines["good"]["documents"] == ["d1"]
    assert lines["good"]["answers"] == ["25 days."]
    assert lines["no"]["answerable"] is False
    assert "documents" not in lines["bad"]
    read = read_set(tmp_path / "set")
    assert [question.answerable for question in read.questions] == [True, False, None]


def test_what_cannot_be_asked_again_is_left_out() -> None:
    """Follow-ups lean on what came before; what was erased or has had its time is gone; all are counted."""
    record = ScriptedRecord(
        answer("follow-up", history=[{"role": "user", "text": "Leave?"}]),
        answer("erased", text=None),
        marks=[
            marked("follow-up", "good"),
            marked("erased", "good"),
            marked("pruned", "bad"),
            {"res": None, "outcome": "ok"},
        ],
    )
    gathered = gather(record, on_progress=lambda done, total: None)
    assert gathered.lines == []
    assert gathered.left_out == {
        "asked within a conversation": 1,
        "erased or unreadable": 1,
        "removed since, after its time": 1,
    }


def test_a_refusal_ends_it() -> None:
    """Without the permission that break glass asks for, nothing is gathered in part."""
    record = ScriptedRecord(
        answer("a"), answer("closed"), marks=[marked("a", "good"), marked("closed", "good")]
    )
    with pytest.raises(NotPermitted):
        gather(record, on_progress=lambda done, total: None)


def test_each_answer_is_opened_once() -> None:
    """Every opening is an entry on the record, so a mark that was changed opens nothing twice."""
    record = ScriptedRecord(answer("a"), marks=[marked("a", "good"), marked("a", "bad"), marked("a", "good")])
    gather(record, on_progress=lambda done, total: None)
    assert [path for path, _ in record.asked].count("/v1/audit/answers/a") == 1


def test_the_set_is_for_its_owner_only(tmp_path: Path) -> None:
    """Folder and files are closed to others, and nothing that is there is overwritten."""
    record = ScriptedRecord(answer("a"), marks=[marked("a", "good")])
    gathered = gather(record, on_progress=lambda done, total: None)
    folder = tmp_path / "set"
    write_set(folder, gathered)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    with pytest.raises(Conflict):
        write_set(folder, gathered)
