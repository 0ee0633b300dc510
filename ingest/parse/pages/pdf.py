"""PDF: its text where it has any, and text recognition for the pages that are pictures.

`page_layout` makes blocks of the lines that are read off each page here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

import pypdfium2.raw as pdfium

from ingest.parse.blocks import ParsedDocument, with_heading_paths
from ingest.parse.detect import PDF
from ingest.parse.limits import ParseLimits
from ingest.parse.pages.page_layout import PrintedLine, PrintedPage, blocks_of, printed_title
from ingest.parse.pages.pdf_file import drawn, loaded_page, metadata_title, no_text, open_pdf, render_page
from ingest.parse.pages.pdf_lines import page_lines
from ingest.parse.pages.pdf_notes import notes_of
from ingest.parse.pages.pdf_sight import Sight
from ingest.parse.pages.pdf_view import View
from ingest.parse.pages.recognition import MAX_SIDE, recognised
from ingest.parse.pages.scanned import NeedsRecognition, RecognisedPages, is_affordable

__all__ = ["parse", "recognise", "render_page"]

# A page with fewer characters than this, most of which a picture fills, is a scan with a stamp on it.
FEW_CHARACTERS: Final = 50
SCAN_PICTURE_SHARE: Final = 0.5
# A page without text is recognised if pictures fill this share of it, or so many shapes may be letters.
PICTURE_SHARE: Final = 0.02
LETTER_SHAPES: Final = 40
# The share of characters without a meaning above which a text layer is worse than none.
GARBAGE_SHARE: Final = 0.3
SAMPLED_CHARACTERS: Final = 400
# Pixels a point beyond which drawing a page larger tells the recogniser nothing new.
MAX_SCALE: Final = 4.0


@dataclass(frozen=True, slots=True)
class _Read:
    """What the file says about a page, and whether that is too poor to do without recognition."""

    page: PrintedPage
    is_garbage: bool
    is_poor: bool


def parse(
    file: BinaryIO,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None],
    supplied: RecognisedPages | None = None,
) -> ParsedDocument:
    """Read a PDF; `supplied` holds the pages that other children have recognised.

    Raises UnreadableFile: `encrypted`, `damaged`, `too_many_pages`, `no_text`, and NeedsRecognition when
    more pages are scanned than one child recognises.
    """
    with open_pdf(file, limits) as document:
        count = len(document)
        read: list[_Read] = []
        poor: list[int] = []
        for number in range(1, count + 1):
            read.append(_read_page(document, number))
            if read[-1].is_poor:
                poor.append(number)
            else:
                on_progress(number - len(poor), count)
        if supplied is None:
            supplied = _recognised_here(document, poor, count, limits, on_progress)
        pages = [_best(one, supplied.get(number)) for number, one in enumerate(read, start=1)]
        title = metadata_title(document)
    if not any(page.lines for page in pages):
        raise no_text(count)
    blocks = blocks_of(pages)
    return ParsedDocument(
        title=title or printed_title(blocks), pages=count, blocks=with_heading_paths(blocks), media_type=PDF
    )


def recognise(
    file: BinaryIO, limits: ParseLimits, numbers: Sequence[int]
) -> Iterator[tuple[int, PrintedPage]]:
    """Yield the recognised pages of these numbers, at least one, until the child's time runs out."""
    with open_pdf(file, limits) as document:
        for at, number in enumerate(numbers):
            if at > 0 and not is_affordable(limits):
                return
            yield number, _recognised_page(document, number)


def _recognised_here(
    document: Any,
    poor: list[int],
    count: int,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None],
) -> dict[int, PrintedPage]:
    if len(poor) > limits.recognised_pages:
        raise NeedsRecognition(poor, count)
    pages: dict[int, PrintedPage] = {}
    for number in poor:
        if not is_affordable(limits):
            raise NeedsRecognition(poor, count)
        pages[number] = _recognised_page(document, number)
        on_progress(count - len(poor) + len(pages), count)
    return pages


def _recognised_page(document: Any, number: int) -> PrintedPage:
    page = loaded_page(document, number)
    try:
        width, height = page.get_size()
        scale = min(MAX_SCALE, MAX_SIDE / max(width, height, 1.0))
        return recognised(drawn(page, scale), width, height)
    finally:
        page.close()


def _best(read: _Read, found: PrintedPage | None) -> PrintedPage:
    """Return the recognised page where the text layer was poor, with the file's hidden texts and notes."""
    if found is None or not read.is_poor:
        return read.page
    if not found.lines and not read.is_garbage:
        return read.page
    hidden = [line for line in read.page.lines if line.hidden is not None]
    return replace(found, lines=[*found.lines, *hidden])


def _read_page(document: Any, number: int) -> _Read:
    """Read page `number` (from 1): what is printed, what is hidden, and what is noted on it."""
    page = loaded_page(document, number)
    try:
        view = View(page)
        textpage = page.get_textpage()
        try:
            sight = Sight(page, textpage, view, lambda scale: drawn(page, scale))
            printed = page_lines(page, textpage, view, sight)
            garbage = _garbage_share(textpage)
        finally:
            textpage.close()
        is_garbage = garbage > GARBAGE_SHARE
        is_poor = is_garbage or _is_picture(page, printed, sight)
        lines = [*printed, *notes_of(page, view)]
        return _Read(PrintedPage(lines, view.width, view.height), is_garbage, is_poor)
    finally:
        page.close()


def _is_picture(page: Any, printed: list[PrintedLine], sight: Sight) -> bool:
    """Say whether a page shows letters that its text layer does not have."""
    characters = sum(len(line.text) for line in printed if line.hidden is None)
    if characters == 0:
        shapes = int(pdfium.FPDFPage_CountObjects(page))
        return sight.picture_share > PICTURE_SHARE or shapes >= LETTER_SHAPES
    return characters < FEW_CHARACTERS and sight.picture_share > SCAN_PICTURE_SHARE


def _garbage_share(textpage: Any) -> float:
    """Return the share of characters that the file does not say the meaning of, 0…1."""
    count = textpage.count_chars()
    inked = garbage = 0
    for index in range(0, count, max(1, count // SAMPLED_CHARACTERS)):
        code = pdfium.FPDFText_GetUnicode(textpage, index)
        if code in (0x09, 0x0A, 0x0D, 0x20, 0xA0):
            continue
        inked += 1
        garbage += _means_nothing(code) or bool(pdfium.FPDFText_HasUnicodeMapError(textpage, index))
    return garbage / inked if inked else 0.0


def _means_nothing(code: int) -> bool:
    """Say whether a code point is none, unknown, a control or for private use (Unicode 23.5)."""
    return code < 0x20 or 0x7F <= code <= 0x9F or 0xE000 <= code <= 0xF8FF or code >= 0xFFF0
