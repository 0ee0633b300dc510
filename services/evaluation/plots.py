"""Plots as SVG inside the page: no script, no file of their own, colours from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from services.evaluation.chance import Estimate

WIDTH: Final = 720
_LABEL: Final = 210
_VALUE: Final = 170
_ROW: Final = 30
_BINS: Final = 30
_HEIGHT: Final = 150
_FOOT: Final = 34


@dataclass(frozen=True)
class Series:
    """Values that are drawn alike; `style` is a class of the page's style sheet."""

    name: str
    style: str
    values: Sequence[float]


def bars(rows: Sequence[tuple[str, Estimate]], *, title: str) -> str:
    """Draw one bar from 0 to 1 for each measure, with its interval and its figures."""
    scale = WIDTH - _LABEL - _VALUE
    drawn = []
    for at, (name, found) in enumerate(rows):
        middle = at * _ROW + _ROW / 2
        drawn.append(_text(_LABEL - 12, middle + 4, name, anchor="end"))
        drawn.append(_rect(_LABEL, middle - 7, scale, 14, "ground"))
        drawn.append(_rect(_LABEL, middle - 7, scale * _share(found.value), 14, "bar"))
        if found.low is not None and found.high is not None:
            left, right = (_LABEL + scale * _share(end) for end in (found.low, found.high))
            drawn.append(
                f'<path class="whisker" d="M{left:.1f} {middle:.1f}H{right:.1f}'
                f'M{left:.1f} {middle - 5:.1f}v10M{right:.1f} {middle - 5:.1f}v10"/>'
            )
        drawn.append(_text(_LABEL + scale + 12, middle + 4, in_figures(found)))
    return _svg(len(rows) * _ROW, title, drawn)


def histogram(series: Sequence[Series], *, title: str, unit: str = "") -> str:
    """Draw how often values occur, one colour a series; nothing for no values at all."""
    everything = [value for each in series for value in each.values]
    if not everything:
        return ""
    edges = np.histogram_bin_edges(everything, bins=_BINS)
    counts = [np.histogram(each.values, bins=edges)[0] for each in series]
    highest = max(int(each.max()) for each in counts)
    width = WIDTH / _BINS
    drawn = [
        _rect(at * width, _HEIGHT * (1 - count / highest), width - 1, _HEIGHT * count / highest, each.style)
        for each, counted in zip(series, counts, strict=True)
        for at, count in enumerate(counted.tolist())
        if count
    ]
    drawn.append(f'<path class="axis" d="M0 {_HEIGHT}H{WIDTH}"/>')
    for at, anchor in ((0, "start"), (_BINS // 2, "middle"), (_BINS, "end")):
        label = f"{_short(float(edges[at]))}{unit}"
        drawn.append(_text(at * width, _HEIGHT + 20, label, anchor=anchor))
    return _svg(_HEIGHT + _FOOT, title, drawn)


def in_figures(found: Estimate) -> str:
    """Return a measure with its interval, e.g. `0.912 (0.874 to 0.945)`."""
    value = f"{found.value:.3f}"
    if found.low is None or found.high is None:
        return value
    return f"{value} ({found.low:.3f} to {found.high:.3f})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, title: str, drawn: Sequence[str]) -> str:
    name = escape(title, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{''.join(drawn)}</svg>"
    )
