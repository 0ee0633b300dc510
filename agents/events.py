"""What an answer is made of, as values: citations, released pieces, and the typed outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from infra.documents import Passage


class Status(StrEnum):
    """How an answer ended."""

    ANSWERED = "answered"
    PARTIAL = "partial"
    ABSTAINED = "abstained"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Turn:
    """One message of the conversation; `role` is `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True)
class Question:
    """What is asked. `answer_id` is the correlation id of all its records."""

    answer_id: str
    text: str
    history: tuple[Turn, ...] = ()
    quotes_only: bool = False
    max_tokens: int | None = None


@dataclass(frozen=True)
class Citation:
    """A verbatim quote and its place.

    `span` is its character range in the passage; `support` is 0 to 100; `shown` says that it is near enough
    to the question to stand with the best one.
    """

    n: int
    passage: Passage
    quote: str
    span: tuple[int, int]
    support: int
    shown: bool = True
    boxes: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Evidence:
    """The verbatim sentences nearest to the question, released before any model has spoken."""

    citations: list[Citation]
    text: str
    sufficient: bool


@dataclass(frozen=True)
class Progress:
    """What is going on while nothing is released; `dropped` counts withheld sentences so far."""

    stage: str
    dropped: int = 0


@dataclass(frozen=True)
class Sentence:
    """A generated sentence that passed its check. `citations` are the numbers of its sources."""

    text: str
    citations: tuple[int, ...]
    support: int


@dataclass(frozen=True)
class Notice:
    """A sentence of ours that is part of the answer's text: why there are quotes only, or nothing."""

    text: str


@dataclass(frozen=True)
class Closing:
    """How an answer ends, before that is on the record. With `notice`, its message is part of the text."""

    status: Status
    mode: str  # "generated" or "quote"
    message: str
    notice: bool
    cited: list[Citation] = field(default_factory=list)
    dropped: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Outcome:
    """How the answer ended, and its receipt."""

    status: Status
    mode: str  # "generated" or "quote"
    message: str
    looked_for: str
    dropped: int
    citations: list[Citation]
    prompt_tokens: int
    completion_tokens: int
    receipt: dict[str, Any]


Released = Evidence | Progress | Sentence | Notice | Outcome
