"""How a streamed answer looks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.cli.ask import _Reader

CITATION = {
    "n": 1,
    "file": {"id": "f", "name": "leave.pdf"},
    "place": "page 2",
    "quote": "Staff have\n28 days.",
}
OUTCOME = {"id": "a", "status": "answered", "message": "", "dropped": 0, "receipt": {"id": "r"}}


def chunk(text: str = "", **extra: object) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}}], **extra}


@pytest.fixture
def read():
    """Return a function that prints chunks and gives back what stands on the screen."""

    def printed(*chunks: dict[str, object]) -> str:
        screen = io.StringIO()
        _Reader(Console(file=screen, width=200, highlight=False, markup=False)).read(iter(chunks))
        return screen.getvalue()

    return printed


def test_evidence_comes_before_the_answer_and_sources_after(read):
    """Quotes with their places first, then the checked sentences, then the table."""
    out = read(
        chunk(x_answer={"id": "a", "status": "searching"}),
        chunk(x_citations=[CITATION], x_answer={"id": "a", "status": "reading"}),
        chunk("You have 28 days [[1]](http://127.0.0.1/sources/x?start=0&end=5) "),
        chunk(x_citations=[CITATION], x_answer=OUTCOME),
    )
    order = [out.index(text) for text in ("“Staff have 28 days.”", "You have 28 days [1] ", "Sources")]
    assert order == sorted(order)
    assert "http" not in out
    assert out.rstrip().endswith("Answered from your documents.")


def test_brackets_are_text(read):
    """A document's `[red]` is shown, not obeyed."""
    out = read(chunk(x_citations=[{**CITATION, "quote": "[red]stop[/red]"}]), chunk(x_answer=OUTCOME))
    assert "“[red]stop[/red]”" in out


def test_a_document_cannot_command_the_terminal(read):
    """Escape sequences in quotes, names and sentences lose their escape."""
    hostile = {**CITATION, "quote": "\x1b[2J", "file": {"id": "f", "name": "\x1b]0;x\x07.pdf"}}
    out = read(
        chunk(x_citations=[hostile]), chunk("\x1b[31mred "), chunk(x_citations=[hostile], x_answer=OUTCOME)
    )
    assert "\x1b" not in out


def test_a_notice_is_not_said_twice(read):
    """What was already part of the text is not repeated as the outcome."""
    notice = "No language model is running, so these are verbatim quotes."
    out = read(chunk(notice), chunk(x_citations=[CITATION], x_answer={**OUTCOME, "message": notice}))
    assert out.count(notice) == 1


def test_withheld_sentences_are_counted(read):
    """People learn that something was left out, and why."""
    out = read(chunk(x_answer={**OUTCOME, "status": "partial", "dropped": 2}))
    assert "Sentences withheld for lack of support: 2" in out
