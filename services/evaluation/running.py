"""Run a set of questions through a subject, and measure what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.events import Status
from agents.wording import content_words, numbers_in, share_of
from services.evaluation import metrics
from services.evaluation.chance import Estimate, Statistic, estimate, mean_estimate
from services.evaluation.results import CUT, MEASURES, Latency, Row, SetResult
from services.evaluation.sets import QuestionSet, SetQuestion
from services.evaluation.subject import Given, Subject

SLOW: Final = 95
"""The percentile that tells how slow the slow ones are."""
_MS: Final = 1000.0

OnProgress = Callable[[int, int], None]


def run_set(
    subject: Subject, wanted: QuestionSet, *, with_answers: bool, seed: int, on_progress: OnProgress
) -> SetResult:
    """Ask every question of a set and return the measures; what the subject raises passes through.

    `on_progress` hears how many questions of how many are done. The same rows and seed give the same
    intervals.
    """
    rows = []
    for done, question in enumerate(wanted.questions, start=1):
        rows.append(measured(subject, question, with_answer=with_answers))
        on_progress(done, len(wanted.questions))
    langs = sorted({row.lang for row in rows if row.lang is not None})
    return SetResult(
        name=wanted.name,
        sha256=wanted.sha256,
        documents=len(wanted.documents),
        passages=subject.passages,
        questions=len(rows),
        configuration=dict(subject.configuration) if with_answers else _retrieval_only(subject),
        measures=measures_of(rows, seed=seed),
        by_lang={
            lang: measures_of([row for row in rows if row.lang == lang], seed=seed)
            for lang in (langs if len(langs) > 1 else [])
        },
        latencies=_latencies(rows),
        rows=rows,
    )


def measured(subject: Subject, question: SetQuestion, *, with_answer: bool) -> Row:
    """Search for one question, answer it if that is wanted, and return its row."""
    ranking = subject.rank(question)
    known = bool(question.relevant)
    ranked, grades = ranking.documents, question.grades
    row = Row(
        id=question.id,
        lang=question.lang,
        answerable=question.answerable,
        retrieval_ms=ranking.seconds * _MS,
        ndcg=metrics.ndcg_at(ranked, grades, CUT) if known else None,
        recall=metrics.recall_at(ranked, grades, CUT) if known else None,
        reciprocal_rank=metrics.reciprocal_rank(ranked, grades, CUT) if known else None,
        scores=dict(ranking.scores),
    )
    return _with_answer(row, question, subject.answer(question)) if with_answer else row


def measures_of(rows: Sequence[Row], *, seed: int) -> dict[str, Estimate]:
    """Return every measure that these rows have, in the order of MEASURES."""
    found: dict[str, Estimate | None] = {}
    for name, measure in MEASURES.items():
        if measure.of_row is not None:
            values = [value for row in rows if (value := measure.of_row(row)) is not None]
            found[name] = mean_estimate(values, seed=seed)
    found |= _abstention(rows, seed)
    return {name: each for name in MEASURES if (each := found.get(name)) is not None}


def _with_answer(row: Row, question: SetQuestion, given: Given) -> Row:
    relevant, faithful = question.relevant, [statement.is_faithful for statement in given.statements]
    return replace(
        row,
        status=given.status,
        mode=given.mode,
        answer_ms=given.seconds * _MS,
        evidence_ms=None if given.first_s is None else given.first_s * _MS,
        evidence_score=given.evidence_score,
        citation_precision=metrics.citation_precision(given.cited, relevant) if relevant else None,
        citation_recall=metrics.citation_recall(given.cited, relevant),
        faithfulness=sum(faithful) / len(faithful) if faithful else None,
        statements=len(faithful),
        answer_words=_known_words(question.answers, given.text),
    )


def _known_words(answers: Sequence[str], text: str) -> float | None:
    """Return which part of the nearest known answer's words and numbers a text has; None if none is known."""
    said = content_words(text) | numbers_in(text)
    wanted = [content_words(answer) | numbers_in(answer) for answer in answers]
    return max((share_of(words, said) for words in wanted if words), default=None)


def _abstention(rows: Sequence[Row], seed: int) -> dict[str, Estimate | None]:
    """Return what is known about saying no; needs questions that are known to have no answer."""
    known = [row for row in rows if row.answerable is not None]
    answered = [row for row in known if row.status is not None]
    unanswerable = np.asarray([not row.answerable for row in answered], dtype=np.bool_)
    abstained = np.asarray([row.status == Status.ABSTAINED for row in answered], dtype=np.bool_)
    if all(row.answerable for row in known):
        return {}
    return {
        "abstention_precision": _over(metrics.precision, unanswerable, abstained, seed),
        "abstention_recall": _over(metrics.recall, unanswerable, abstained, seed),
        "abstention_accuracy": _over(metrics.balanced_accuracy, unanswerable, abstained, seed),
        **_told_apart(known, np.asarray([row.answerable for row in known], dtype=np.bool_), seed),
    }


def _told_apart(
    judged: Sequence[Row], answerable: NDArray[np.bool_], seed: int
) -> dict[str, Estimate | None]:
    """Return how well each score tells answerable questions from the others."""
    scores = {
        "auroc_evidence": [row.evidence_score for row in judged],
        "auroc_cosine": [row.scores.get("cosine") for row in judged],
        "auroc_fused": [row.scores.get("fused") for row in judged],
    }
    found: dict[str, Estimate | None] = {}
    for name, values in scores.items():
        known = [value for value in values if value is not None]
        if len(known) == len(judged):
            found[name] = _over(metrics.auroc, answerable, np.asarray(known), seed)
    if "auroc_evidence" in found:
        evidence = [row.evidence_score or 0.0 for row in judged]
        value = metrics.held_out_accuracy(answerable, evidence, seed=seed)
        # A question that is drawn twice could stand in both halves, so there is no bootstrap of it.
        found["held_out_accuracy"] = None if value is None else Estimate(value, None, None, len(judged))
    return found


def _over(
    measure: Callable[[NDArray[np.bool_], NDArray[np.bool_] | NDArray[np.float64]], float | None],
    labels: NDArray[np.bool_],
    values: NDArray[np.bool_] | NDArray[np.float64],
    seed: int,
) -> Estimate | None:
    drawn: Statistic = lambda at: measure(labels[at], values[at])  # noqa: E731 - a name would say no more
    return estimate(drawn, len(labels), seed=seed)


def _latencies(rows: Sequence[Row]) -> dict[str, Latency]:
    times = {
        "search": [row.retrieval_ms for row in rows],
        "first evidence": [row.evidence_ms for row in rows if row.evidence_ms is not None],
        "whole answer": [row.answer_ms for row in rows if row.answer_ms is not None],
    }
    return {
        name: Latency(float(np.median(taken)), float(np.percentile(taken, SLOW)), len(taken))
        for name, taken in times.items()
        if taken
    }


def _retrieval_only(subject: Subject) -> dict[str, str]:
    return {**subject.configuration, "answers": "none"}
