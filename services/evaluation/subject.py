"""What is measured: something that ranks documents and answers questions, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from agents.wording import names_in, numbers_in, stem, words_in
from services.evaluation.sets import SetQuestion

DEPTH: Final = 50
"""How many passages are searched for; a document's rank is that of its best one."""


@dataclass(frozen=True)
class Ranking:
    """The documents that a search found, best first, each once; how long it took, in seconds.

    `scores` are raw scores of its best passage by name, higher is nearer, as far as they can be had.
    """

    documents: tuple[str, ...]
    seconds: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """One sentence or quote that was shown, and what each passage says that it cites."""

    text: str
    sources: tuple[str, ...]

    @property
    def is_faithful(self) -> bool:
        """Whether one cited passage, with its heading and title, has it verbatim, or every number and name.

        This asks less than the check before release, and shares nothing with it but the words' forms.
        """
        numbers = numbers_in(self.text)
        names = {stem(name) for name in names_in(self.text)}
        return any(self.text in source for source in self.sources) or any(
            numbers <= numbers_in(source) and names <= {stem(word) for word in words_in(source)}
            for source in self.sources
        )


@dataclass(frozen=True)
class Given:
    """An answer that was given. `cited` names the document of each citation that was shown.

    `status` and `mode` are those of the answer's outcome. `evidence_score` is by what the answerer judges
    its evidence, higher is better. `first_s` is when the first evidence was shown, None when none was, and
    `seconds` when the answer had ended.
    """

    status: str
    mode: str
    cited: tuple[str, ...]
    statements: tuple[Statement, ...]
    evidence_score: float | None
    first_s: float | None
    seconds: float

    @property
    def text(self) -> str:
        """What was said, without citation marks."""
        return "\n".join(statement.text for statement in self.statements)


class Subject(Protocol):
    """Something that can be measured."""

    @property
    def configuration(self) -> Mapping[str, str]:
        """What tells this subject from another: models, budgets, the way it answers."""

    @property
    def passages(self) -> int | None:
        """How many passages it searches, or None where that is not known."""

    def rank(self, question: SetQuestion) -> Ranking:
        """Search for a question."""

    def answer(self, question: SetQuestion) -> Given:
        """Answer a question."""
