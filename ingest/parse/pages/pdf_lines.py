"""The printed lines of a PDF page, by PDFium, in the coordinates of the page as it is displayed."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pypdfium2.raw as pdfium

from ingest.parse.blocks import Hidden, one_line
from ingest.parse.pages.page_layout import Box, PrintedLine
from ingest.parse.pages.pdf_sight import Sight
from ingest.parse.pages.pdf_view import View

# A gap wider than this many font sizes separates table cells or columns rather than words.
CELL_GAP = 2.0
BOLD_WEIGHT = 600
# PDFium reports a hyphen at a line's end as one of these, and leaves the line break out.
_SOFT_HYPHENS = frozenset({0x02, 0xAD, 0xFFFE})
_BOLD_NAME = re.compile(r"bold|black|heavy|semibold|demi", re.I)


def page_lines(page: Any, textpage: Any, view: View, sight: Sight) -> list[PrintedLine]:
    """Return the lines of a page in the order of the file; `sight` says which of them a reader sees."""
    lines = []
    for run in _runs(textpage):
        for part in _by_visibility(run, sight):
            line = _printed(textpage, part, view)
            if line is not None:
                lines.append(line)
    return lines


@dataclass(slots=True)
class _Run:
    """Characters of one line: (index, character), and whether the line breaks within a word."""

    characters: list[tuple[int, str]]
    hyphenated: bool = False
    hidden: Hidden | None = None


def _runs(textpage: Any) -> Iterator[_Run]:
    """Yield the characters of each line; PDFium puts a line break where the text moves to another line."""
    # Bound once: these lines run for every character of a document.
    code_at, page = pdfium.FPDFText_GetUnicode, textpage.raw
    run = _Run([])
    for index in range(textpage.count_chars()):
        code = code_at(page, index)
        if code in (0x0A, 0x0D) or code in _SOFT_HYPHENS:
            run.hyphenated = code in _SOFT_HYPHENS
            if run.characters:
                yield run
                run = _Run([])
        elif code:
            run.characters.append((index, chr_of(code)))
    if run.characters:
        yield run


def _by_visibility(run: _Run, sight: Sight) -> Iterator[_Run]:
    """Divide a line where its words begin or cease to be seen. The hyphen stays with the last part."""
    if sight.is_plain:
        yield run
        return
    part = _Run([])
    for word in _words(run):
        inked = [index for index, character in word if not character.isspace()]
        hidden = sight.hidden(inked) if inked else part.hidden
        if part.characters and hidden != part.hidden:
            yield part
            part = _Run([])
        part.hidden = hidden
        part.characters.extend(word)
    yield replace(part, hyphenated=run.hyphenated)


def _words(run: _Run) -> Iterator[list[tuple[int, str]]]:
    """Yield the characters of each word and of each space between words."""
    for _, word in groupby(run.characters, key=lambda character: character[1].isspace()):
        yield list(word)


def _printed(textpage: Any, run: _Run, view: View) -> PrintedLine | None:
    """Measure one run; None when it is blank. What lies off the displayed page is hidden."""
    inked = [index for index, character in run.characters if not character.isspace()]
    if not inked:
        return None
    size = _font_size(textpage, inked[0]) or 1.0
    text, box = _text_and_box(textpage, run, view, size)
    if not text or box[2] < box[0]:
        return None
    hidden = run.hidden if view.shows(box) else "off_page"
    bold = _is_bold(textpage, inked[0]) and _is_bold(textpage, inked[-1])
    x0, y0, x1, y1 = (round(value, 2) for value in box)
    text += "-" if run.hyphenated else ""
    return PrintedLine(text, x0, y0, x1, y1, size, bold, hidden)


def _text_and_box(textpage: Any, run: _Run, view: View, size: float) -> tuple[str, Box]:
    pieces: list[str] = []
    # In PDF space; the whole is turned as the page is displayed once it is known.
    left, bottom, right, top = float("inf"), float("inf"), float("-inf"), float("-inf")
    end_of_last: float | None = None
    box_at, page, rectangle = pdfium.FPDFText_GetLooseCharBox, textpage.raw, pdfium.FS_RECTF()
    where = ctypes.byref(rectangle)
    for index, character in run.characters:
        if character.isspace():
            pieces.append(" ")
            continue
        if box_at(page, index, where):
            own = rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
            start, end = view.extent(*own)
            if end_of_last is not None and start - end_of_last > CELL_GAP * size:
                pieces.append(" | ")
            end_of_last = end
            # Comparisons, because four calls of `min` and `max` would cost more than all the rest.
            left = own[0] if own[0] < left else left
            bottom = own[1] if own[1] < bottom else bottom
            right = own[2] if own[2] > right else right
            top = own[3] if own[3] > top else top
        pieces.append(character)
    text = re.sub(
        r"\s*( \| )\s*",
        r"\1",
        one_line("".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "ignore")),
    )
    return text, view.box(left, bottom, right, top) if right >= left else (0.0, 0.0, -1.0, -1.0)


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
