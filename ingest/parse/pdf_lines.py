"""The printed lines of a PDF page, by PDFium, in the coordinates of the page as it is displayed."""

from __future__ import annotations

import ctypes
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pypdfium2
import pypdfium2.raw as pdfium

from infra.errors import UnreadableFile
from ingest.parse.blocks import one_line
from ingest.parse.limits import ParseLimits

# Where the end-of-file marker is looked for. Some programs append padding or a signature after it.
TAIL_BYTES = 64 * 1024
# A gap wider than this many font sizes separates table cells or columns rather than words.
CELL_GAP = 2.0
BOLD_WEIGHT = 600
MAX_RENDERED_PIXELS = 16_000_000
# PDFium reports a hyphen at a line's end as one of these, and leaves the line break out.
_SOFT_HYPHENS = frozenset({0x02, 0xAD, 0xFFFE})
_MACHINE_TITLE = re.compile(
    r"\.(?:docx?|pptx?|xlsx?|pdf|indd|tex|dvi|qxd|html?)$"
    r"|^(?:microsoft word - |powerpoint presentation$|untitled|document\d*$|\(?anonymous)",
    re.I,
)
_BOLD_NAME = re.compile(r"bold|black|heavy|semibold|demi", re.I)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """One line as printed: its text, its box in points from the page's top left corner, and its type."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    size: float  # font size in points, to the half point
    bold: bool


@contextmanager
def open_pdf(file: BinaryIO, limits: ParseLimits) -> Iterator[Any]:
    """Yield the opened document. Raises UnreadableFile: `encrypted`, `damaged` or `too_many_pages`."""
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        raise _refusal(error) from error
    try:
        _check_complete(file)
        if len(document) > limits.max_pages:
            raise UnreadableFile(
                "too_many_pages",
                f"This document has {len(document):,} pages; {limits.max_pages:,} are accepted.",
                hint="Split it into several files.",
            )
        yield document
    finally:
        document.close()


def _refusal(error: pypdfium2.PdfiumError) -> UnreadableFile:
    if getattr(error, "err_code", None) in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
        return UnreadableFile(
            "encrypted",
            "This PDF is protected with a password.",
            hint="Save a copy without the password and upload that.",
        )
    return _damaged()


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This PDF is incomplete or damaged and cannot be opened.",
        hint="Check that the original opens, and upload it again.",
    )


def _check_complete(file: BinaryIO) -> None:
    """Refuse a file that was cut off. PDFium would mend it and silently read what is left."""
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    if b"%%EOF" not in tail and b"startxref" not in tail:
        raise _damaged()


def scanned_only(pages: int) -> UnreadableFile:
    """Return the error for a PDF without a single character of text."""
    what = "page is" if pages == 1 else "pages are"
    return UnreadableFile(
        "no_text",
        f"This PDF contains no text: its {what} probably scanned images.",
        hint="Scanned pages need text recognition (OCR) first; this server does not do that yet.",
    )


def metadata_title(document: Any) -> str | None:
    """Return the title that the file states, unless a program made it up from a file name."""
    title = one_line(document.get_metadata_value("Title") or "")
    return title if len(title) > 2 and not _MACHINE_TITLE.search(title) else None


def render_page(file: BinaryIO, page: int, scale: float, limits: ParseLimits) -> bytes:
    """Return page `page` (from 1) as PNG, `scale` pixels a point, or fewer for an enormous page.

    Raises UnreadableFile(`no_such_page`) beside those of `open_pdf`.
    """
    with open_pdf(file, limits) as document:
        if not 1 <= page <= len(document):
            raise UnreadableFile("no_such_page", f"This document has {len(document):,} pages.")
        shown = _loaded(document, page)
        width, height = shown.get_size()
        pixels = width * height * scale * scale
        fitting = scale * min(1.0, (MAX_RENDERED_PIXELS / max(pixels, 1.0)) ** 0.5)
        png = io.BytesIO()
        shown.render(scale=fitting).to_pil().save(png, "PNG")
        return png.getvalue()


def _loaded(document: Any, page: int) -> Any:
    try:
        return document[page - 1]
    except pypdfium2.PdfiumError as error:
        raise _damaged() from error


def page_lines(document: Any, number: int) -> tuple[list[PrintedLine], float]:
    """Return the lines of page `number` (from 1), in the order of the file, and the page's height in points.

    Text outside the visible page is left out: nobody could check a citation of it.
    """
    page = _loaded(document, number)
    try:
        view = _View(page)
        textpage = page.get_textpage()
        try:
            lines = [line for run in _runs(textpage) if (line := _printed(textpage, run, view)) is not None]
        finally:
            textpage.close()
        return lines, view.height
    finally:
        page.close()


class _View:
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


@dataclass(slots=True)
class _Run:
    """Characters of one line: (index, code point), and whether the line breaks within a word."""

    characters: list[tuple[int, int]]
    hyphenated: bool = False


def _runs(textpage: Any) -> Iterator[_Run]:
    """Yield the characters of each line; PDFium puts a line break where the text moves to another line."""
    code_at = pdfium.FPDFText_GetUnicode
    run = _Run([])
    for index in range(textpage.count_chars()):
        code = code_at(textpage, index)
        if code in (0x0A, 0x0D) or code in _SOFT_HYPHENS:
            run.hyphenated = code in _SOFT_HYPHENS
            if run.characters:
                yield run
                run = _Run([])
        elif code:
            run.characters.append((index, code))
    if run.characters:
        yield run


def _printed(textpage: Any, run: _Run, view: _View) -> PrintedLine | None:
    """Measure one run; None when it is blank or cannot be seen."""
    inked = [index for index, code in run.characters if not chr_of(code).isspace()]
    if not inked:
        return None
    size = _font_size(textpage, inked[0]) or 1.0
    text, box = _text_and_box(textpage, run, view, size)
    if not text or not view.shows(box):
        return None
    bold = _is_bold(textpage, inked[0]) and _is_bold(textpage, inked[-1])
    x0, y0, x1, y1 = (round(value, 2) for value in box)
    return PrintedLine(
        text=text + ("-" if run.hyphenated else ""), x0=x0, y0=y0, x1=x1, y1=y1, size=size, bold=bold
    )


def _text_and_box(textpage: Any, run: _Run, view: _View, size: float) -> tuple[str, Box]:
    pieces: list[str] = []
    x0, y0, x1, y1 = float("inf"), float("inf"), float("-inf"), float("-inf")
    end_of_last: float | None = None
    rectangle = pdfium.FS_RECTF()
    for index, code in run.characters:
        character = chr_of(code)
        if character.isspace():
            pieces.append(" ")
            continue
        if pdfium.FPDFText_GetLooseCharBox(textpage, index, rectangle):
            box = view.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
            if end_of_last is not None and box[0] - end_of_last > CELL_GAP * size:
                pieces.append(" | ")
            end_of_last = box[2]
            x0, y0, x1, y1 = min(x0, box[0]), min(y0, box[1]), max(x1, box[2]), max(y1, box[3])
        pieces.append(character)
    text = re.sub(
        r"\s*( \| )\s*",
        r"\1",
        one_line("".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "ignore")),
    )
    return text, (x0, y0, x1, y1)


def chr_of(code: int) -> str:
    """Return the character of a code point; the replacement character for none, nothing for a control."""
    if code > 0x10FFFF:
        return "\ufffd"
    if code < 0x20 and code != 0x09:
        return " "
    return "\u00a0" if code == 0xA0 else chr(code)


def _font_size(textpage: Any, index: int) -> float:
    """Return the size as drawn, to the half point: the font's size times the text matrix's scale."""
    size = float(pdfium.FPDFText_GetFontSize(textpage, index))
    matrix = pdfium.FS_MATRIX()
    if pdfium.FPDFText_GetMatrix(textpage, index, matrix):
        size *= float((matrix.c**2 + matrix.d**2) ** 0.5)
    return round(size * 2) / 2


def _is_bold(textpage: Any, index: int) -> bool:
    if pdfium.FPDFText_GetFontWeight(textpage, index) >= BOLD_WEIGHT:
        return True
    name = ctypes.create_string_buffer(128)
    written = pdfium.FPDFText_GetFontInfo(textpage, index, name, len(name), ctypes.c_int())
    return written > 0 and bool(_BOLD_NAME.search(name.value.decode("utf-8", "replace")))
