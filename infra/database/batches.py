"""Long lists in SQL: a statement takes only so many variables (SQLite 32,766, PostgreSQL 65,535)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

AT_ONCE: Final = 1000
"""Most values of one IN list."""

_T = TypeVar("_T")


def in_batches(values: Iterable[_T], size: int = AT_ONCE) -> Iterator[list[_T]]:
    """Yield `values` in order, in lists of at most `size`; nothing for no values."""
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
