"""Measures: known values, and the same as scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from services.evaluation import metrics


def test_ndcg_of_a_known_ranking():
    """Grades 3, 2, 3, 0, 1, 2 in this order give the textbook's 0.961 (linear gains, all six)."""
    grades = dict(zip("abcdef", (3, 2, 3, 0, 1, 2), strict=True))
    found = metrics.ndcg_at("abcdef", grades, 6)
    assert found == pytest.approx(6.8611 / 7.1410, abs=1e-4)


def test_ndcg_counts_what_was_not_found():
    """The ideal has every relevant document, also those that the ranking lacks."""
    assert metrics.ndcg_at(["a"], {"a": 1, "b": 1}, 10) == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert metrics.ndcg_at(["x", "a"], {"a": 2}, 1) == 0.0


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=20),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_ndcg_equals_the_reference(grades, k, random):
    """Any ranking of graded documents gets scikit-learn's value."""
    assume(any(grades))
    order = list(range(len(grades)))
    random.shuffle(order)
    scores = np.empty(len(grades))
    scores[order] = np.arange(len(grades), 0, -1)
    named = {str(n): grade for n, grade in enumerate(grades)}
    found = metrics.ndcg_at([str(n) for n in order], named, k)
    assert found == pytest.approx(reference.ndcg_score([grades], [scores], k=k))


def test_recall_and_reciprocal_rank():
    """Both look at the first k only, and a grade of 0 is not relevant."""
    grades = {"a": 1, "b": 2, "c": 0}
    assert metrics.recall_at(["c", "b", "x", "a"], grades, 3) == 0.5
    assert metrics.reciprocal_rank(["c", "b", "x", "a"], grades, 3) == 0.5
    assert metrics.reciprocal_rank(["x", "y", "a"], grades, 2) == 0.0


@pytest.mark.parametrize("measure", [metrics.recall_at, metrics.ndcg_at, metrics.reciprocal_rank])
def test_rankings_that_make_no_sense(measure):
    """Nothing relevant, a rank of 0, and a document that is ranked twice are refused."""
    for ranked, grades, k in ((["a"], {"a": 0}, 5), (["a"], {"a": 1}, 0), (["a", "a"], {"a": 1}, 5)):
        with pytest.raises(ValueError):
            measure(ranked, grades, k)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_auroc_equals_the_reference(pairs):
    """Scores with many ties get scikit-learn's area."""
    labels, scores = [label for label, _ in pairs], [score for _, score in pairs]
    found = metrics.auroc(labels, scores)
    if len(set(labels)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(reference.roc_auc_score(labels, scores))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_shares_equal_the_reference(pairs):
    """Precision, recall and balanced accuracy are scikit-learn's, or None where nothing can be divided."""
    labels, said = [label for label, _ in pairs], [each for _, each in pairs]
    if any(said):
        assert metrics.precision(labels, said) == pytest.approx(reference.precision_score(labels, said))
    else:
        assert metrics.precision(labels, said) is None
    if any(labels):
        assert metrics.recall(labels, said) == pytest.approx(reference.recall_score(labels, said))
    else:
        assert metrics.recall(labels, said) is None
    if len(set(labels)) == 2:
        expected = reference.balanced_accuracy_score(labels, said)
        assert metrics.balanced_accuracy(labels, said) == pytest.approx(expected)
    else:
        assert metrics.balanced_accuracy(labels, said) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_is_better(pairs):
    """The best threshold's balanced accuracy is the greatest that any score as a threshold reaches."""
    labels = np.asarray([label for label, _ in pairs])
    scores = np.asarray([float(score) for _, score in pairs])
    assume(labels.any() and not labels.all())
    threshold = metrics.best_threshold(labels, scores)
    assert threshold is not None
    best = metrics.balanced_accuracy(labels, scores >= threshold)
    assert best is not None
    others = [metrics.balanced_accuracy(labels, scores >= each) for each in [*scores, -np.inf, np.inf]]
    assert best >= max(each for each in others if each is not None) - 1e-12


def test_held_out_accuracy_does_not_learn_from_what_it_judges():
    """Scores that tell nothing give about one half, although a threshold on all of them looks better."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 200).astype(bool)
    noise = rng.standard_normal(200)
    threshold = metrics.best_threshold(labels, noise)
    assert threshold is not None
    fooled = metrics.balanced_accuracy(labels, noise >= threshold)
    honest = [metrics.held_out_accuracy(labels, noise, seed=seed) or 0.0 for seed in range(20)]
    assert fooled is not None
    assert np.mean(honest) < fooled
    assert metrics.held_out_accuracy(labels, labels + 0.1 * noise.clip(-1, 1), seed=1) == 1.0
    assert metrics.held_out_accuracy([True, True, False], [1, 2, 3], seed=1) is None


def test_citations():
    """Precision counts each citation, recall each document once; both are None where nothing is asked."""
    assert metrics.citation_precision(["a", "a", "x"], {"a", "b"}) == pytest.approx(2 / 3)
    assert metrics.citation_recall(["a", "a", "x"], {"a", "b"}) == 0.5
    assert metrics.citation_precision([], {"a"}) is None
    assert metrics.citation_recall([], {"a"}) == 0.0
    assert metrics.citation_recall(["a"], set()) is None


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [1.0, float("nan")]])
def test_labels_and_values_must_fit(values):
    """Lists of different lengths, tables and values that are no numbers are refused."""
    with pytest.raises(ValueError):
        metrics.auroc([True, False], values)
