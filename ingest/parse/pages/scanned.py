"""Scanned pages: which formats have them, how long one child recognises, and how they go between children."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.errors import UnreadableFile
from ingest.parse.detect import JPEG, PDF, PNG, TIFF, WEBP
from ingest.parse.limits import ParseLimits
from ingest.parse.pages.page_layout import PrintedLine, PrintedPage

PAGED: Final = frozenset({PDF, PNG, JPEG, TIFF, WEBP})
"""The formats whose pages can be recognised, some by each child, and shown as pictures."""
# The share of the child's CPU and wall-clock time after which no further page is begun.
TIME_SHARE: Final = 0.5
# A child imports this as it starts.
_STARTED: Final = time.monotonic()

RecognisedPages = Mapping[int, PrintedPage]


class NeedsRecognition(UnreadableFile):
    """More pages are scanned than one child may recognise; `pages` are their numbers of `total`."""

    def __init__(self, pages: Sequence[int], total: int) -> None:
        super().__init__(
            "too_many_scanned_pages",
            f"This document has {len(pages):,} scanned pages, too many for a file within another one.",
            hint="Upload it by itself.",
        )
        self.pages = tuple(pages)
        self.total = total


def is_affordable(limits: ParseLimits) -> bool:
    """Say whether this child has time left for one more page; always, outside a child."""
    cpu_s, _ = resource.getrlimit(resource.RLIMIT_CPU)
    if cpu_s == resource.RLIM_INFINITY:
        return True
    is_late = time.monotonic() - _STARTED > TIME_SHARE * limits.wall_s
    return not is_late and time.process_time() < TIME_SHARE * cpu_s


def as_dict(number: int, page: PrintedPage) -> dict[str, Any]:
    """Return a recognised page and its number as JSON values."""
    lines = [[line.text, *line.box, line.size] for line in page.lines]
    return {"number": number, "width": page.width, "height": page.height, "turn": page.turn, "lines": lines}


def from_dict(fields: dict[str, Any]) -> tuple[int, PrintedPage]:
    """Rebuild what `as_dict` returned."""
    lines = [
        PrintedLine(text, x0, y0, x1, y1, size, bold=False, recognised=True)
        for text, x0, y0, x1, y1, size in fields["lines"]
    ]
    return fields["number"], PrintedPage(lines, fields["width"], fields["height"], fields["turn"])
