"""Text recognition: the lines in a picture of a page, by PP-OCR models that come inside a package.

One thread, no network, and a picture of bounded size, so that a page takes three seconds and 900 MiB. The
models read Latin and Greek letters, Chinese and Japanese.
"""

from __future__ import annotations

import sys
from functools import cache
from statistics import fmean, median
from typing import Any, Final

from PIL import Image

from ingest.parse.blocks import one_line
from ingest.parse.pages.page_layout import PrintedLine, PrintedPage
from ingest.parse.pages.reading_order import in_reading_order

MAX_SIDE: Final = 2000
"""Pixels of the longer side of what the models are given: 171 dots per inch for an A4 page."""
MIN_SIDE: Final = 16
# The detector enlarges a narrow picture until its shorter side is 736 pixels, so none may be too narrow.
MAX_ASPECT: Final = 3
# Below this certainty, 0…1, a line is noise or a picture's texture.
MIN_SCORE: Final = 0.6
# A page is tried upside down when its lines are less certain than this on average.
DOUBTFUL_SCORE: Final = 0.75
# What the height of a recognised box is in font sizes: the detector grows boxes around the ink.
BOX_PER_SIZE: Final = 1.25

_Found = tuple[str, float, tuple[tuple[float, float], ...]]


def recognised(image: Image.Image, width: float, height: float) -> PrintedPage:
    """Return the lines of a page that is `width` by `height` points, whatever way up it was scanned."""
    fitting = _fitted(image)
    turn, found = _upright(fitting)
    wide, high = (height, width) if turn in (90, 270) else (width, height)
    turned = fitting.size if turn in (0, 180) else fitting.size[::-1]
    lines = [_line(one, wide / turned[0], high / turned[1]) for one in found]
    return PrintedPage(in_reading_order(lines), width, height, turn)


def _fitted(image: Image.Image) -> Image.Image:
    """Return the picture in RGB and small enough for the models."""
    if image.mode != "RGB":
        image = image.convert("RGB")
    if max(image.size) > MAX_SIDE:
        image = image.copy()
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image


def _upright(image: Image.Image) -> tuple[int, list[_Found]]:
    """Return by how many degrees the picture must be turned anticlockwise, and what is found then."""
    best, found = 0, _read(image)
    if len(found) < 2:
        return best, found
    if sum(_is_vertical(points) for text, _, points in found if len(text) > 3) > 0.6 * len(found):
        candidates: tuple[int, ...] = (90, 270)
        found = []
    elif _certainty(found) < DOUBTFUL_SCORE:
        candidates = (180,)
    else:
        candidates = ()
    for turn in candidates:
        other = _read(image.rotate(turn, expand=True))
        if _certainty(other) > _certainty(found):
            best, found = turn, other
    return best, found


def _certainty(found: list[_Found]) -> float:
    return fmean(score for _, score, _ in found) if found else 0.0


def _is_vertical(points: tuple[tuple[float, float], ...]) -> bool:
    return _edge(points, 0, 3) > 1.5 * _edge(points, 0, 1)


def _edge(points: tuple[tuple[float, float], ...], one: int, other: int) -> float:
    (xa, ya), (xb, yb) = points[one], points[other]
    return float(((xa - xb) ** 2 + (ya - yb) ** 2) ** 0.5)


def _read(image: Image.Image) -> list[_Found]:
    """Return the text, certainty and corners (clockwise from the top left, in pixels) of each piece."""
    engine = _engine()
    import numpy

    answer = engine(numpy.asarray(_not_too_narrow(image))[:, :, ::-1], use_cls=False)
    if answer.txts is None or answer.boxes is None:
        return []
    found = []
    for text, score, box in zip(answer.txts, answer.scores, answer.boxes, strict=True):
        tidy = one_line(text)
        if tidy and score >= MIN_SCORE:
            found.append((tidy, float(score), tuple((float(x), float(y)) for x, y in box)))
    return found


def _not_too_narrow(image: Image.Image) -> Image.Image:
    least = max(MIN_SIDE, max(image.size) // MAX_ASPECT)
    if min(image.size) >= least:
        return image
    wider = Image.new("RGB", (max(image.width, least), max(image.height, least)), "white")
    wider.paste(image, (0, 0))
    return wider


def _line(found: _Found, x_scale: float, y_scale: float) -> PrintedLine:
    text, _, points = found
    across, down = [x for x, _ in points], [y for _, y in points]
    # The edge, not the bounding box: a slanted line is not a large one.
    height = median((_edge(points, 0, 3), _edge(points, 1, 2))) * y_scale
    return PrintedLine(
        text=text,
        x0=round(min(across) * x_scale, 2),
        y0=round(min(down) * y_scale, 2),
        x1=round(max(across) * x_scale, 2),
        y1=round(max(down) * y_scale, 2),
        size=max(round(2 * height / BOX_PER_SIZE) / 2, 0.5),
        bold=False,
        recognised=True,
    )


@cache
def _engine() -> Any:
    """Load the models. The child hides numpy from libraries that do not need it; this one does."""
    if sys.modules.get("numpy", True) is None:
        del sys.modules["numpy"]
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(0)
    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # One line at a time: in a batch, short lines are computed as long as the longest.
            "Rec.rec_batch_num": 1,
        }
    )
    return engine
