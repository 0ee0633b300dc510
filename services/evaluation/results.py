"""What a run found, as values that become JSON and come back from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from infra.errors import InvalidInput
from services.evaluation.chance import Estimate

FORMAT: Final = 1
"""Readers refuse a format that they do not know."""
CUT: Final = 10
"""How far down a ranking is looked."""


@dataclass(frozen=True)
class Row:
    """One question's results; what it has none of is None. Times in milliseconds.

    `text` of question and answer are left out on purpose: a report goes to more people than its questions.
    """

    id: str
    lang: str | None
    answerable: bool | None
    retrieval_ms: float
    ndcg: float | None = None
    recall: float | None = None
    reciprocal_rank: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    status: str | None = None
    mode: str | None = None
    answer_ms: float | None = None
    evidence_ms: float | None = None
    evidence_score: float | None = None
    citation_precision: float | None = None
    citation_recall: float | None = None
    faithfulness: float | None = None
    statements: int = 0
    answer_words: float | None = None


@dataclass(frozen=True)
class Latency:
    """Times of `count` questions, in milliseconds."""

    median: float
    p95: float
    count: int


@dataclass(frozen=True)
class SetResult:
    """What a set of questions came to.

    `measures` are by name, see MEASURES; `by_lang` the same for each language, where there are several.
    """

    name: str
    sha256: str
    documents: int
    passages: int | None
    questions: int
    configuration: dict[str, str]
    measures: dict[str, Estimate]
    by_lang: dict[str, dict[str, Estimate]]
    latencies: dict[str, Latency]
    rows: list[Row]


@dataclass(frozen=True)
class Run:
    """One run over some sets; `label` is what its configuration is called, `made_at` RFC 3339 in UTC."""

    label: str
    made_at: str
    seed: int
    sets: list[SetResult]
    format: int = FORMAT

    def as_json(self) -> str:
        """Return the run as one JSON document."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, file: Path) -> Run:
        """Read what `as_json` wrote; raises InvalidInput for anything else."""
        try:
            found: Run = TypeAdapter(cls).validate_json(file.read_bytes())
        except ValidationError as error:
            raise InvalidInput(
                f"{file} holds no results of `strongroom eval run`.",
                hint="Name the results.json that a run wrote.",
            ) from error
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror or error}.") from error
        if found.format != FORMAT:
            raise InvalidInput(f"{file} has the format {found.format}, and this program reads {FORMAT}.")
        return found


@dataclass(frozen=True)
class Measure:
    """What a measure is called and what it says. `of_row` is its value for one question, if it has one."""

    title: str
    says: str
    of_row: Callable[[Row], float | None] | None = None


MEASURES: Final[Mapping[str, Measure]] = {
    "ndcg": Measure(
        f"nDCG@{CUT}", "How near the ranking is to the best one, by grades.", lambda row: row.ndcg
    ),
    "recall": Measure(
        f"Recall@{CUT}",
        f"Which part of the relevant documents is among the first {CUT}.",
        lambda row: row.recall,
    ),
    "reciprocal_rank": Measure(
        f"MRR@{CUT}", "1 / the rank of the first relevant document.", lambda row: row.reciprocal_rank
    ),
    "citation_precision": Measure(
        "Citation precision",
        "Which part of an answer's citations points to a relevant document.",
        lambda row: row.citation_precision,
    ),
    "citation_recall": Measure(
        "Citation recall",
        "Which part of the relevant documents an answer cites; nothing, where it abstained.",
        lambda row: row.citation_recall,
    ),
    "faithfulness": Measure(
        "Faithfulness",
        "Which part of an answer's sentences has all its numbers and names in a passage that it cites.",
        lambda row: row.faithfulness,
    ),
    "answer_words": Measure(
        "Words of the known answer",
        "Which part of the nearest known answer's words and numbers an answer has; none where it abstained.",
        lambda row: row.answer_words,
    ),
    "abstention_precision": Measure(
        "Abstention precision", "Which part of the abstentions was about unanswerable questions."
    ),
    "abstention_recall": Measure(
        "Abstention recall", "Which part of the unanswerable questions was abstained from."
    ),
    "abstention_accuracy": Measure(
        "Abstention balanced accuracy", "The mean of the shares of both kinds that were treated rightly."
    ),
    "auroc_evidence": Measure(
        "AUROC, evidence score",
        "How well the answerer's own score tells answerable questions from others; 0.5 is chance.",
    ),
    "auroc_cosine": Measure(
        "AUROC, best cosine", "The same of the greatest cosine between question and passage."
    ),
    "auroc_fused": Measure("AUROC, best fused score", "The same of the index's best fused score."),
    "held_out_accuracy": Measure(
        "Balanced accuracy, held out",
        "What a threshold on the evidence score reaches that the other half of the questions set.",
    ),
}
