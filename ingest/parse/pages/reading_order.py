"""The order in which people read the pieces of text on a scanned page, columns one after the other.

The recursive X-Y cut (Nagy and Seth, "Hierarchical representation of optically scanned documents", 1984),
with one restraint: a gap between columns counts only if both sides look like running text, so that the
columns of a table stay together in their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from ingest.parse.pages.page_layout import PrintedLine

MAX_DEPTH: Final = 12
# Above this many pieces a page is a drawing or noise, and cutting it would take long.
MAX_PIECES: Final = 500
# A column of text has this many lines, and lines this many times as wide as they are high.
COLUMN_LINES: Final = 3
COLUMN_ASPECT: Final = 8.0


def in_reading_order(lines: Sequence[PrintedLine]) -> list[PrintedLine]:
    """Return the lines of one upright page from top to bottom, and columns from left to right."""
    return _ordered(list(lines), 0)


def _ordered(lines: list[PrintedLine], depth: int) -> list[PrintedLine]:
    if not 2 <= len(lines) <= MAX_PIECES or depth >= MAX_DEPTH:
        return _by_rows(lines)
    columns = _cut_columns(lines)
    if columns is not None:
        return [line for column in columns for line in _ordered(column, depth + 1)]
    above_and_below = _cut_rows(lines)
    if above_and_below is not None:
        return [line for part in above_and_below for line in _ordered(part, depth + 1)]
    return _by_rows(lines)


def _cut_columns(lines: list[PrintedLine]) -> tuple[list[PrintedLine], list[PrintedLine]] | None:
    """Divide at the widest upright gap, if both sides are columns of running text."""
    for gap, at in sorted(_gaps([(line.x0, line.x1) for line in lines]), reverse=True):
        left = [line for line in lines if line.x1 <= at]
        right = [line for line in lines if line.x0 >= at]
        if gap > 0.5 * median(line.size for line in lines) and _is_column(left) and _is_column(right):
            return left, right
    return None


def _is_column(lines: list[PrintedLine]) -> bool:
    if len(lines) < COLUMN_LINES:
        return False
    return median((line.x1 - line.x0) / max(line.y1 - line.y0, 1.0) for line in lines) >= COLUMN_ASPECT


def _cut_rows(lines: list[PrintedLine]) -> tuple[list[PrintedLine], list[PrintedLine]] | None:
    """Divide at the level gap that lets one part be cut into columns; the first such from the top."""
    for _, at in sorted(_gaps([(line.y0, line.y1) for line in lines]), key=lambda gap: gap[1]):
        above = [line for line in lines if line.y1 <= at]
        below = [line for line in lines if line.y0 >= at]
        if _cut_columns(below) is not None or _cut_columns(above) is not None:
            return above, below
    return None


def _gaps(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return (width, middle) of each gap that no span crosses."""
    gaps = []
    reached = float("-inf")
    for start, end in sorted(spans):
        if reached != float("-inf") and start >= reached:
            gaps.append((start - reached, (start + reached) / 2))
        reached = max(reached, end)
    return gaps


def _by_rows(lines: list[PrintedLine]) -> list[PrintedLine]:
    """Sort pieces into printed lines from the top, each from the left."""
    rows: list[list[PrintedLine]] = []
    for line in sorted(lines, key=lambda one: (one.y0 + one.y1) / 2):
        middle = (line.y0 + line.y1) / 2
        if rows and middle < median(one.y1 - 0.25 * (one.y1 - one.y0) for one in rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda one: one.x0)]
