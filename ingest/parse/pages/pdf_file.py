"""A PDF file: opening it, or saying why it cannot be opened, and drawing its pages."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from infra.errors import UnreadableFile
from ingest.parse.blocks import one_line
from ingest.parse.limits import ParseLimits

# Where the end-of-file marker is looked for. Some programs append padding or a signature after it.
TAIL_BYTES = 64 * 1024
MAX_RENDERED_PIXELS = 16_000_000
_MACHINE_TITLE = re.compile(
    r"\.(?:docx?|pptx?|xlsx?|pdf|indd|tex|dvi|qxd|html?)$"
    r"|^(?:microsoft word - |powerpoint presentation$|untitled|document\d*$|\(?anonymous)",
    re.I,
)


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


def no_text(pages: int) -> UnreadableFile:
    """Return the error for a PDF in which no text is found, nor any recognised."""
    what = "page is" if pages == 1 else "pages are"
    return UnreadableFile(
        "no_text",
        f"This PDF contains no text: its {what} empty, or pictures in which none was recognised.",
        hint="If there is text to be seen, scan it again with more contrast or at a higher resolution.",
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
        shown = loaded_page(document, page)
        width, height = shown.get_size()
        pixels = width * height * scale * scale
        fitting = scale * min(1.0, (MAX_RENDERED_PIXELS / max(pixels, 1.0)) ** 0.5)
        png = io.BytesIO()
        drawn(shown, fitting).save(png, "PNG")
        return png.getvalue()


def drawn(page: Any, scale: float) -> Image.Image:
    """Return the page as people see it, in RGB, `scale` pixels a point. Raises UnreadableFile: `damaged`."""
    try:
        image: Image.Image = page.render(scale=scale).to_pil()
    except pypdfium2.PdfiumError as error:
        raise _damaged() from error
    return image.convert("RGB")


def loaded_page(document: Any, page: int) -> Any:
    """Return page `page` (from 1), which the caller closes. Raises UnreadableFile: `damaged`."""
    try:
        return document[page - 1]
    except pypdfium2.PdfiumError as error:
        raise _damaged() from error
