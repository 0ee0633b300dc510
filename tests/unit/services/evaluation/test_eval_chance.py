"""Intervals and the paired test: known cases, the same as SciPy's, and what chance alone does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.evaluation.chance import estimate, mean_estimate, paired_test
from services.evaluation.metrics import auroc


def test_the_interval_is_the_reference_s():
    """The percentile interval of a mean is SciPy's, up to what was drawn."""
    values = np.random.default_rng(3).beta(2, 5, 150)
    found = mean_estimate(values.tolist(), seed=1)
    other = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(2)
    )
    assert found is not None
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(other.confidence_interval.low, abs=0.005)
    assert found.high == pytest.approx(other.confidence_interval.high, abs=0.005)


def test_the_interval_covers_the_truth_most_of_the_time():
    """Of 200 samples of 60 coins about 95 in 100 have the coin's true share within the interval."""
    rng, covered = np.random.default_rng(11), 0
    for trial in range(200):
        found = mean_estimate(rng.binomial(1, 0.3, 60).tolist(), seed=trial, draws=400)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval():
    """Two reports of one run agree; another seed draws other questions."""
    values = np.random.default_rng(0).random(40).tolist()
    assert mean_estimate(values, seed=4) == mean_estimate(values, seed=4)
    assert mean_estimate(values, seed=4) != mean_estimate(values, seed=5)


def test_too_little_to_draw_from():
    """No value gives nothing, and one gives no interval."""
    assert mean_estimate([], seed=1) is None
    alone = mean_estimate([0.5], seed=1)
    assert alone is not None
    assert (alone.value, alone.low, alone.high, alone.count) == (0.5, None, None, 1)


def test_a_measure_of_all_questions_has_an_interval():
    """The area under the curve lies within its own; draws of one label only are left out."""
    labels = np.asarray([True, False, True, False, True, False])
    scores = np.asarray([3.0, 1.0, 2.0, 2.5, 4.0, 0.0])
    found = estimate(lambda at: auroc(labels[at], scores[at]), len(labels), seed=1, draws=300)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(8 / 9)
    assert found.low <= found.value <= found.high <= 1.0
    assert estimate(lambda at: auroc(labels[at] | True, scores[at]), len(labels), seed=1) is None


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=9),
)
@settings(max_examples=25, deadline=None)
def test_the_paired_test_is_the_reference_s(pairs):
    """With few pairs p is exactly SciPy's permutation test of samples."""
    base, new = np.asarray(pairs, dtype=float).T
    found = paired_test(base, new, seed=1, draws=10)
    if not (base != new).any():
        assert found.p == 1.0
        return
    other = stats.permutation_test(
        (new - base,),
        lambda sample, axis: np.abs(np.sum(sample, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
    )
    assert found.p == pytest.approx(other.pvalue)


def test_many_pairs_are_drawn_and_agree_with_the_exact_test():
    """With 16 pairs random signs come within a hundredth of all 65,536."""
    rng = np.random.default_rng(8)
    base = rng.random(16)
    new = base + rng.normal(0.05, 0.1, 16)
    other = stats.permutation_test(
        (new - base,),
        lambda sample, axis: np.abs(np.sum(sample, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert paired_test(base, new, seed=1).p == pytest.approx(other.pvalue, abs=0.01)


def test_what_a_difference_looks_like():
    """A gain on every one of 60 questions is no accident; the same run twice shows none."""
    base = np.linspace(0, 0.8, 60)
    gain = paired_test(base, base + 0.1, seed=1)
    assert (gain.better, gain.worse) == (60, 0)
    assert gain.difference.value == pytest.approx(0.1)
    assert gain.p < 0.001
    same = paired_test(base, base, seed=1)
    assert (same.p, same.better, same.worse) == (1.0, 0, 0)


def test_chance_seldom_looks_like_a_difference():
    """Of 200 pairs of equal configurations about 5 in 100 have p below 0.05."""
    rng = np.random.default_rng(21)
    small = sum(
        paired_test(rng.random(30), rng.random(30), seed=n, shuffles=400, draws=2).p < 0.05
        for n in range(200)
    )
    assert 2 <= small <= 20


@pytest.mark.parametrize(("base", "new"), [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_what_cannot_be_paired(base, new):
    """Nothing, lists of different lengths, and tables are refused."""
    with pytest.raises(ValueError):
        paired_test(base, new, seed=1)
