"""What is written on a PDF page rather than in it: the values of form fields, and people's comments."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import pypdfium2.raw as pdfium

from ingest.parse.blocks import Hidden, one_line
from ingest.parse.pages.page_layout import PrintedLine
from ingest.parse.pages.pdf_view import View

MAX_NOTES: Final = 2000
MAX_NOTE_CHARACTERS: Final = 20_000
FIELD_SIZE: Final = 9.0
"""The size, in points, that a field's value is taken to have; its appearance may not say."""
# A pop-up repeats its parent's contents; a link's are a description for screen readers.
_SILENT: Final = (pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_LINK)
_TEXT_FIELDS: Final = ("Tx", "Ch")
_HIDDEN_FLAGS: Final = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW


def notes_of(page: Any, view: View) -> list[PrintedLine]:
    """Return one line for each filled text field, and one marked `comment` for each annotation with text."""
    lines = []
    for at in range(min(pdfium.FPDFPage_GetAnnotCount(page), MAX_NOTES)):
        note = pdfium.FPDFPage_GetAnnot(page, at)
        if not note:
            continue
        try:
            line = _note(note, view)
        finally:
            pdfium.FPDFPage_CloseAnnot(note)
        if line is not None:
            lines.append(line)
    return lines


def _note(note: Any, view: View) -> PrintedLine | None:
    kind = pdfium.FPDFAnnot_GetSubtype(note)
    if kind in _SILENT:
        return None
    is_field = kind == pdfium.FPDF_ANNOT_WIDGET
    text = one_line(_string(note, b"V") if is_field else _string(note, b"Contents"))
    if not text or (is_field and _string(note, b"FT") not in _TEXT_FIELDS):
        return None
    rectangle = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(note, rectangle):
        return None
    box = view.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
    x0, y0, x1, y1 = (round(value, 2) for value in view.clipped(box))
    return PrintedLine(
        text,
        x0,
        y0,
        x1,
        y1,
        FIELD_SIZE,
        bold=False,
        hidden=_hidden(note, is_field=is_field, is_on_page=view.shows(box)),
    )


def _hidden(note: Any, *, is_field: bool, is_on_page: bool) -> Hidden | None:
    if not is_field:
        return "comment"
    if not is_on_page:
        return "off_page"
    return "not_shown" if pdfium.FPDFAnnot_GetFlags(note) & _HIDDEN_FLAGS else None


def _string(note: Any, key: bytes) -> str:
    size = pdfium.FPDFAnnot_GetStringValue(note, key, None, 0)
    if not 2 < size <= 2 * MAX_NOTE_CHARACTERS:
        return ""
    buffer = (ctypes.c_ushort * (size // 2))()
    pdfium.FPDFAnnot_GetStringValue(note, key, buffer, size)
    return bytes(buffer).decode("utf-16-le", "ignore").rstrip("\x00")
