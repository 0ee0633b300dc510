"""From PDF space to the page as it is displayed."""

from __future__ import annotations

from typing import Any

from ingest.parse.pages.page_layout import Box


class View:
    """From PDF space (origin bottom left, before rotation) to the displayed page (origin top left)."""

    def __init__(self, page: Any) -> None:
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._rotation = page.get_rotation()
        wide, high = self._right - self._left, self._top - self._bottom
        self.width, self.height = (high, wide) if self._rotation in (90, 270) else (wide, high)

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """Return (x0, y0, x1, y1) on the displayed page."""
        (xa, ya), (xb, yb) = self._point(left, bottom), self._point(right, top)
        return min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)

    def extent(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float]:
        """Return where a box begins and ends along the displayed line, from some common origin."""
        match self._rotation:
            case 0:
                return left, right
            case 90:
                return bottom, top
            case 180:
                return -right, -left
            case _:
                return -top, -bottom

    def _point(self, x: float, y: float) -> tuple[float, float]:
        match self._rotation:
            case 90:
                return y - self._bottom, x - self._left
            case 180:
                return self._right - x, y - self._bottom
            case 270:
                return self._top - y, self._right - x
            case _:
                return x - self._left, self._top - y

    def shows(self, box: Box) -> bool:
        """Say whether any of `box` is on the displayed page."""
        return box[2] > 0 and box[3] > 0 and box[0] < self.width and box[1] < self.height

    def clipped(self, box: Box) -> Box:
        """Return the part of `box` on the displayed page; empty, at its edge, for a box beyond it."""
        x0, y0, x1, y1 = box
        x0, x1 = (min(max(x, 0.0), self.width) for x in (x0, x1))
        y0, y1 = (min(max(y, 0.0), self.height) for y in (y0, y1))
        return x0, y0, x1, y1
