"""What chance alone may do to a measure: intervals by the bootstrap, and the test of two configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL: Final = 0.95
DRAWS: Final = 2000
SHUFFLES: Final = 10_000
_EXACT_UP_TO: Final = 13
"""Pairs of which all 2^n signs are tried, because they are fewer than the random ones."""
_CELLS_AT_ONCE: Final = 1_000_000

Statistic = Callable[[NDArray[np.intp]], float | None]
"""From the positions of the questions that were drawn to a value; None where they have none."""


@dataclass(frozen=True)
class Estimate:
    """A measure over `count` questions with its 95 % interval, which is None where nothing can be drawn."""

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Paired:
    """Two configurations on the same questions; `difference` is new less base, with its interval.

    `p` is the chance of a difference at least as large, either way, if the two did not differ.
    """

    base: float
    new: float
    difference: Estimate
    p: float
    better: int
    worse: int


def mean_estimate(values: Sequence[float], *, seed: int, draws: int = DRAWS) -> Estimate | None:
    """Return the mean of one value a question with its 95 % percentile interval; None without values.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return None
    if len(data) == 1:
        return Estimate(float(data[0]), None, None, 1)
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(data))
    means = [
        data[rng.integers(0, len(data), (min(at_once, draws - done), len(data)))].mean(axis=1)
        for done in range(0, draws, at_once)
    ]
    low, high = _percentiles(np.concatenate(means))
    return Estimate(float(data.mean()), low, high, len(data))


def estimate(statistic: Statistic, count: int, *, seed: int, draws: int = DRAWS) -> Estimate | None:
    """Return a measure of all `count` questions together with its 95 % percentile interval.

    None where all of them have no value. Draws without a value, e.g. of one label only, are left out.
    """
    everything = np.arange(count)
    value = statistic(everything) if count else None
    if value is None:
        return None
    rng = np.random.default_rng(seed)
    drawn = (statistic(rng.integers(0, count, count)) for _ in range(draws))
    found = np.asarray([each for each in drawn if each is not None], dtype=np.float64)
    low, high = _percentiles(found) if count > 1 and len(found) else (None, None)
    return Estimate(value, low, high, count)


def paired_test(
    base: ArrayLike, new: ArrayLike, *, seed: int, shuffles: int = SHUFFLES, draws: int = DRAWS
) -> Paired:
    """Compare two configurations, question by question, by a paired randomisation test, two-sided.

    Under the null hypothesis each difference might as well have the other sign. Up to 13 pairs all signs are
    tried; beyond, `shuffles` random ones, and p counts the observed one among them (Smucker, Allan and
    Carterette, "A comparison of statistical significance tests for IR evaluation", CIKM 2007). Both lists
    have shape (n,), n >= 1; raises ValueError when not.
    """
    before, after = np.asarray(base, dtype=np.float64), np.asarray(new, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or not len(before):
        raise ValueError("two lists of one length are compared, with at least one pair")
    differences = after - before
    interval = mean_estimate(differences.tolist(), seed=seed, draws=draws)
    if interval is None:
        raise ValueError("there is nothing to compare")
    return Paired(
        base=float(before.mean()),
        new=float(after.mean()),
        difference=interval,
        p=_sign_test(differences, seed, shuffles),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )


def _sign_test(differences: NDArray[np.float64], seed: int, shuffles: int) -> float:
    # Pairs without a difference have no sign to change.
    changed = differences[differences != 0]
    if not len(changed):
        return 1.0
    # Sums in another order differ in the last bits, and must still count as equal.
    observed = abs(float(changed.sum())) - 1e-9 * float(np.abs(changed).sum())
    if len(changed) <= _EXACT_UP_TO:
        signs = np.asarray(list(product((-1.0, 1.0), repeat=len(changed))))
        return float((np.abs(signs @ changed) >= observed).mean())
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(changed))
    as_large = 0
    for done in range(0, shuffles, at_once):
        signs = rng.integers(0, 2, (min(at_once, shuffles - done), len(changed))) * 2.0 - 1.0
        as_large += int((np.abs(signs @ changed) >= observed).sum())
    return (as_large + 1) / (shuffles + 1)


def _percentiles(drawn: NDArray[np.float64]) -> tuple[float, float]:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)
