"""Real PDF, DOCX and Markdown files with given sentences, made by the libraries that programs use."""

from __future__ import annotations

import io
from collections.abc import Sequence

from docx import Document
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

LINES_A_PAGE = 40


def pdf_of(pages: Sequence[Sequence[str]], *, password: str | None = None) -> bytes:
    """Return a PDF with these lines on these pages, encrypted if a password is given."""
    out = io.BytesIO()
    encryption = StandardEncryption(password, strength=128) if password else None
    canvas = Canvas(out, pagesize=A4, invariant=True, encrypt=encryption)
    for lines in pages:
        canvas.setFont("Helvetica", 11)
        for at, line in enumerate(lines):
            canvas.drawString(60, A4[1] - 70 - at * 16, line)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def docx_of(heading: str, paragraphs: Sequence[str]) -> bytes:
    """Return a DOCX with one heading and these paragraphs."""
    out = io.BytesIO()
    document = Document()
    document.add_heading(heading, 1)
    for text in paragraphs:
        document.add_paragraph(text)
    document.save(out)
    return out.getvalue()


def markdown_of(heading: str, paragraphs: Sequence[str]) -> bytes:
    """Return Markdown with one heading and these paragraphs."""
    return "\n\n".join([f"# {heading}", *paragraphs, ""]).encode()
