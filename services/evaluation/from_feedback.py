"""Make a set of questions from answers that people marked, by the record of a running server.

Questions and answers are other people's, kept encrypted under their keys, and only auditors open them
(docs/decisions/0007-auditors-read-the-record.md). So this asks the server with an auditor's key: each answer
that is opened is an entry of its own, and with `break_glass` another auditor has to allow it first. Nothing
is read past the server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from infra.errors import Conflict, NotFound, StrongroomError
from services.evaluation.sets import QUESTIONS

PAGE: Final = "500"
_NOTE: Final = "README.txt"
_WARNING: Final = """\
Questions and answers of people, taken from the record by an auditor. Keep them as confidential as the record
itself: nothing in this folder is encrypted, and erasing somebody on the server does not reach it.
Answers that were marked as bad have no `documents` and `answers`: add what would have been right.
"""


class Record(Protocol):
    """A server that lets an auditor read its record."""

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the JSON document at `path`."""
        ...


@dataclass
class Gathered:
    """The lines of the set, and how many marked answers gave none, by reason."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count one more answer that gives no line."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def gather(record: Record, *, on_progress: Callable[[int, int], None]) -> Gathered:
    """Read every marked answer, oldest mark first, and return what can be asked again.

    What the server raises passes through: Refused without an auditor's key, or without the permission that
    `break_glass` asks for; NotRunning. `on_progress` hears how many answers of how many were opened.
    """
    marks = _marks(record)
    gathered = Gathered()
    for done, (answer_id, verdict) in enumerate(marks.items(), start=1):
        answer = _opened(record, answer_id)
        if answer is None:
            gathered.leave_out("removed since, after its time")
        else:
            _add(gathered, answer, verdict)
        on_progress(done, len(marks))
    return gathered


def write_set(folder: Path, gathered: Gathered) -> Path:
    """Write the set into a new folder that its owner alone can read, and return its file.

    Raises Conflict when there is something at its place: a set that was worked on is not overwritten.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise Conflict(f"{folder} is there already.", hint="Give another name with --out.") from error
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in gathered.lines)
    for name, text in ((_NOTE, _WARNING), (QUESTIONS, lines)):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode("utf-8", "replace"))
    return folder / QUESTIONS


def _marks(record: Record) -> dict[str, str]:
    """Return what each answer was marked as last, in the order of the first marks."""
    marks: dict[str, str] = {}
    for event in _events(record, "feedback.given"):
        if event.get("res") and event.get("outcome") in {"good", "bad"}:
            marks[event["res"]["id"]] = event["outcome"]
    return marks


def _events(record: Record, kind: str) -> Iterator[dict[str, Any]]:
    page = record.get("/v1/audit/events", type=kind, limit=PAGE)
    yield from page["data"]
    while page["has_more"]:
        page = record.get("/v1/audit/events", type=kind, limit=PAGE, cursor=page["newer"])
        yield from page["data"]


def _opened(record: Record, answer_id: str) -> dict[str, Any] | None:
    """Return an answer with its texts, or None when retention has removed it."""
    try:
        return record.get(f"/v1/audit/answers/{answer_id}", contents="true")
    except StrongroomError as error:
        if error.code == NotFound.code:
            return None
        raise


def _add(gathered: Gathered, answer: dict[str, Any], verdict: str) -> None:
    asked = answer["question"]
    if not asked.get("text") or not str(asked["text"]).strip():
        gathered.leave_out("erased or unreadable")
    elif asked.get("history"):
        gathered.leave_out("asked within a conversation")
    else:
        known = _known(answer) if verdict == "good" else {}
        line = {"id": answer["id"], "question": asked["text"], **known}
        gathered.lines.append({**line, "verdict": verdict, "outcome": answer["outcome"]})


def _known(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what a good answer teaches: its text and sources, or that there was nothing to say."""
    if answer["outcome"] == "abstained":
        return {"answerable": False}
    cited = [passage["doc"] for passage in answer["passages"] if passage["cited"] == 1]
    told: dict[str, Any] = {"answerable": True}
    if answer.get("text"):
        told["answers"] = [answer["text"]]
    if cited:
        told["documents"] = list(dict.fromkeys(cited))
    return told
