"""What people do in the browser, and the documents they do it with."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from docx import Document as WordDocument
from playwright.sync_api import FilePayload, Locator, Page
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

PASSWORD = "a quiet river at dawn"


@dataclass(frozen=True)
class Account:
    """Somebody with an account, and a browser's memory of being signed in."""

    name: str
    email: str
    cookies: Any


LEAVE = "Employees may carry over eight days of annual leave into the next calendar year."
BADGE = "The visitor badge must be returned at the reception desk before leaving the building."


def pdf_with(lines: Iterable[str]) -> bytes:
    """Return a PDF with an empty first page and `lines` on its second."""
    file = io.BytesIO()
    sheet = canvas.Canvas(file, A4)
    sheet.drawString(72, 770, "Cover page of the handbook")
    sheet.showPage()
    for number, line in enumerate(lines):
        sheet.drawString(72, 770 - 20 * number, line)
    sheet.save()
    return file.getvalue()


def docx_with(heading: str, paragraph: str) -> bytes:
    """Return a Word document with one heading and one paragraph."""
    file = io.BytesIO()
    document = WordDocument()
    document.add_heading(heading, 1)
    document.add_paragraph(paragraph)
    document.save(file)
    return file.getvalue()


def upload(page: Page, name: str, content: bytes, *, everyone: bool = False) -> None:
    """Upload one file on the documents page and wait until it can be asked about."""
    page.goto("/documents")
    if everyone:
        page.get_by_role("switch", name="Everyone here may read these").check()
    file = FilePayload(name=name, mimeType="application/octet-stream", buffer=content)
    page.set_input_files("#chosen", file)
    page.get_by_role("button", name=f"Share {name}").wait_for(timeout=60_000)


def ask(page: Page, question: str) -> Locator:
    """Ask on the chat page and wait for the end; returns the turn."""
    if not re.search(r"/(\?.*)?$", page.url):
        page.goto("/")
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    turn = page.get_by_role("article").last
    turn.locator(".outcome").wait_for()
    return turn
