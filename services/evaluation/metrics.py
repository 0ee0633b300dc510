"""The measures of retrieval and of answers, one question or one list of labels at a time. NumPy only.

Rankings are documents' ids, best first, each at most once; `grades` maps a document to its grade, in which
0 means not relevant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Grades = Mapping[str, int]


def recall_at(ranked: Sequence[str], grades: Grades, k: int) -> float:
    """Return which part of the relevant documents is among the first `k`, 0 to 1.

    Raises ValueError when none is relevant, or for a `k` below 1.
    """
    relevant = _relevant(grades)
    return len(relevant & set(_first(ranked, k))) / len(relevant)


def ndcg_at(ranked: Sequence[str], grades: Grades, k: int) -> float:
    """Return the normalised discounted cumulative gain at `k`, 0 to 1.

    The gain is the grade, the discount log2(rank + 1), and the ideal the best order of all graded documents
    (Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; the linear gain
    is that of trec_eval). Raises ValueError when none is relevant, or for a `k` below 1.
    """
    _relevant(grades)
    gains = [max(grades.get(document, 0), 0) for document in _first(ranked, k)]
    ideal = sorted((max(grade, 0) for grade in grades.values()), reverse=True)[:k]
    return _discounted(gains) / _discounted(ideal)


def reciprocal_rank(ranked: Sequence[str], grades: Grades, k: int) -> float:
    """Return 1 / the rank of the first relevant document among the first `k`, or 0.

    Raises ValueError when none is relevant, or for a `k` below 1.
    """
    relevant = _relevant(grades)
    ranks = (rank for rank, document in enumerate(_first(ranked, k), start=1) if document in relevant)
    return 1 / next(ranks, float("inf"))


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the ROC curve, 0 to 1; None when all labels are the same.

    It is the chance that a true one scores above a false one, where a tie counts one half (Hanley and
    McNeil, Radiology 1982). `labels` (booleans) and `scores` have shape (n,); raises ValueError when not.
    """
    wanted, given = _labelled(labels, scores)
    positives = int(wanted.sum())
    negatives = len(wanted) - positives
    if not positives or not negatives:
        return None
    rank_sum = float(_ranks(given)[wanted].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def balanced_accuracy(labels: ArrayLike, said: ArrayLike) -> float | None:
    """Return the mean of the shares of true ones and of false ones that were told, 0 to 1.

    None when all labels are the same. Both have shape (n,) and hold booleans; raises ValueError when not.
    """
    wanted, given = _labelled(labels, said)
    if wanted.all() or not wanted.any():
        return None
    told = given.astype(np.bool_)
    return float(told[wanted].mean() + (~told[~wanted]).mean()) / 2


def precision(labels: ArrayLike, said: ArrayLike) -> float | None:
    """Return which part of what was said to be true is true, 0 to 1; None when nothing was.

    Both have shape (n,) and hold booleans; raises ValueError when not.
    """
    wanted, given = _labelled(labels, said)
    told = given.astype(np.bool_)
    return float(wanted[told].mean()) if told.any() else None


def recall(labels: ArrayLike, said: ArrayLike) -> float | None:
    """Return which part of what is true was said to be, 0 to 1; None when nothing is true.

    Both have shape (n,) and hold booleans; raises ValueError when not.
    """
    wanted, given = _labelled(labels, said)
    return float(given.astype(np.bool_)[wanted].mean()) if wanted.any() else None


def best_threshold(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the score from which on to say true, so that the balanced accuracy is greatest.

    Of several, the lowest. It lies midway between two scores that occur, or is minus infinity, which says
    true to all. None when all labels are the same. Shapes as for `auroc`; raises ValueError when not.
    """
    wanted, given = _labelled(labels, scores)
    if wanted.all() or not wanted.any():
        return None
    distinct = np.unique(given)
    tried = np.concatenate([[-np.inf], (distinct[:-1] + distinct[1:]) / 2])
    hits = [balanced_accuracy(wanted, given >= threshold) or 0.0 for threshold in tried]
    return float(tried[int(np.argmax(hits))])


def held_out_accuracy(labels: ArrayLike, scores: ArrayLike, *, seed: int) -> float | None:
    """Return the balanced accuracy at a threshold that other questions set, 0 to 1.

    The questions are dealt into two halves, each with its share of both labels; the threshold of either half
    is tried on the other, and the two results are averaged. None when a half lacks one of the labels. Shapes
    as for `auroc`; raises ValueError when not.
    """
    wanted, given = _labelled(labels, scores)
    half = np.zeros(len(wanted), dtype=np.bool_)
    rng = np.random.default_rng(seed)
    for label in (False, True):
        of_label = rng.permutation(np.flatnonzero(wanted == label))
        half[of_label[: len(of_label) // 2]] = True
    found = []
    for learnt in (half, ~half):
        threshold = best_threshold(wanted[learnt], given[learnt])
        if threshold is None:
            return None
        found.append(balanced_accuracy(wanted[~learnt], given[~learnt] >= threshold))
    told = [each for each in found if each is not None]
    return sum(told) / 2 if len(told) == 2 else None


def citation_precision(cited: Sequence[str], relevant: Collection[str]) -> float | None:
    """Return which part of the citations points to a relevant document, 0 to 1; None without a citation.

    `cited` names the document of each citation, so one that is cited twice counts twice.
    """
    return sum(document in relevant for document in cited) / len(cited) if cited else None


def citation_recall(cited: Sequence[str], relevant: Collection[str]) -> float | None:
    """Return which part of the relevant documents is cited, 0 to 1; None when none is relevant."""
    return len(set(relevant) & set(cited)) / len(set(relevant)) if relevant else None


def _relevant(grades: Grades) -> set[str]:
    relevant = {document for document, grade in grades.items() if grade > 0}
    if not relevant:
        raise ValueError("a question without a relevant document has no such measure")
    return relevant


def _first(ranked: Sequence[str], k: int) -> Sequence[str]:
    if k < 1:
        raise ValueError("a rank is at least 1")
    if len(set(ranked)) != len(ranked):
        raise ValueError("a ranking names each document once")
    return ranked[:k]


def _discounted(gains: Sequence[int]) -> float:
    return float(np.sum(np.asarray(gains, dtype=np.float64) / np.log2(np.arange(2, len(gains) + 2))))


def _labelled(labels: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    wanted, given = np.asarray(labels, dtype=np.bool_), np.asarray(values, dtype=np.float64)
    if wanted.ndim != 1 or wanted.shape != given.shape:
        raise ValueError("labels and values must be two lists of one length")
    if np.isnan(given).any():
        raise ValueError("a value is not a number")
    return wanted, given


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks: NDArray[np.float64] = (ends - counts + 1 + ends) / 2
    return mean_ranks[inverse]
