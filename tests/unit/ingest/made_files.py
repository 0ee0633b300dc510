"""Real files of each format, made by the libraries that people's programs resemble."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from infra.errors import UnreadableFile
from ingest.parse import parse
from ingest.parse.blocks import ParsedDocument
from ingest.parse.detect import detect
from ingest.parse.limits import ParseLimits

PAGE_WIDTH, PAGE_HEIGHT = A4


def drawn_pdf(*pages: Callable[[Canvas], None], **options: Any) -> bytes:
    """Return a PDF with one page for each drawing function."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=True, **options)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def lines_at(
    x: float, top: float, *texts: str, size: float = 11, font: str = "Helvetica"
) -> Callable[[Canvas], None]:
    """Return a drawing function for lines below each other; `top` is from the top edge, in points."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont(font, size)
        for at, text in enumerate(texts):
            canvas.drawString(x, PAGE_HEIGHT - top - at * 1.25 * size, text)

    return draw


def together(*parts: Callable[[Canvas], None]) -> Callable[[Canvas], None]:
    """Return one drawing function that draws all of `parts`."""

    def draw(canvas: Canvas) -> None:
        for part in parts:
            part(canvas)

    return draw


def read(content: bytes, name: str, limits: ParseLimits | None = None) -> ParsedDocument:
    """Detect and parse `content` in this process."""
    file = io.BytesIO(content)
    return parse(detect(file, name), file, limits or ParseLimits())


def refusal(content: bytes, name: str, limits: ParseLimits | None = None) -> UnreadableFile:
    """Return the error that reading `content` ends in."""
    with pytest.raises(UnreadableFile) as caught:
        read(content, name, limits)
    return caught.value
