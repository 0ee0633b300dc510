"""RTF: text, structure and encodings; what is hidden is apart; what broken and hostile files end in."""

from __future__ import annotations

import time

import pytest
from made_files import read, refusal

from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from tests.made_office_files import leave_rtf


def texts(body: str) -> list[str]:
    """Return the visible texts of a small file around `body`."""
    return [block.text for block in read(rtf(body), "a.rtf").blocks if not block.hidden]


def rtf(body: str) -> bytes:
    """Return a small file with fonts, colours and styles, as Word writes them."""
    head = (
        r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fnil\fcharset0 Arial;}"
        r"{\f1\fnil\fcharset128 MS Mincho;}{\f2\fnil\fcharset204 Arial Cyr;}}"
        r"{\colortbl;\red255\green255\blue255;\red0\green0\blue128;}"
        r"{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 heading 1;}{\*\cs2 Strong;}}"
    )
    return (head + body + "}").encode("latin-1")


def test_a_file_of_an_office_program_keeps_its_structure() -> None:
    """Headings, prose, lists, tables and the page header come out as in the Word file it was made from."""
    document = read(leave_rtf(), "a.rtf")
    assert document.title == "Leave policy"
    assert [(b.kind, b.level, b.text, b.place.heading_path) for b in document.blocks if not b.hidden] == [
        ("paragraph", 0, "Company header", ()),
        ("heading", 1, "Leave", ()),
        ("paragraph", 0, "Everybody has 28 days.", ("Leave",)),
        ("heading", 2, "Requests", ("Leave",)),
        ("list_item", 1, "Ask early", ("Leave", "Requests")),
        ("paragraph", 0, "Größe: 日本語 😀 naïve", ("Leave", "Requests")),
        ("table", 0, "Wedding | 2\nMoving | 1", ("Leave", "Requests")),
    ]
    assert document.blocks[-1].header == "Occasion | Days"


def test_hidden_text_is_apart_and_says_why() -> None:
    """Hidden, white and tiny text and comments are blocks of their own."""
    hidden = [(block.hidden, block.text) for block in read(leave_rtf(), "a.rtf").blocks if block.hidden]
    assert hidden == [
        ("not_shown", "SECRET-VANISH"),
        ("colour", "SECRET-WHITE"),
        ("size", "SECRET-TINY"),
        ("comment", "SECRET-COMMENT"),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (r"Gr\'f6\'dfe", "Größe"),
        (r"{\f1\'93\'fa\'96\'7b}", "日本"),
        (r"{\f2\'cf\'f0\'e8\'e2\'e5\'f2}", "Привет"),
        (r"\u26085?\u26412?", "日本"),
        (r"\uc2\u26085\'93\'fa\uc0\u26412", "日本"),
        (r"\u-10179?\u-8704?", "😀"),
        (r"a\u-10179?b", "a?b"),
        (r"\ldblquote x\rdblquote\emdash\~y", "“x”—\xa0y"),
        (r"open\{brace\}\\", "open{brace}\\"),
        (r"{\field{\*\fldinst HYPERLINK x}{\fldrslt shown}} text", "shown text"),
        (r"kept {\deleted gone}now", "kept now"),
        (r"a{\pict\wmetafile8 0102}b", "ab"),
    ],
)
def test_characters_and_groups(body: str, expected: str) -> None:
    """Code pages, Unicode words, symbols, fields and pictures come out as a reader sees them."""
    assert texts(body) == [expected]


def test_binary_pictures_are_passed_over() -> None:
    """The bytes that `bin` announces may hold braces and backslashes, and mean nothing."""
    content = rtf(r"before{\pict\bin6 PLACE}after").replace(b"PLACE", b"}}\\{{}")
    assert [block.text for block in read(content, "a.rtf").blocks] == ["beforeafter"]


def test_white_text_in_a_shaded_cell_or_on_blue_is_seen() -> None:
    """Only the colour that lies behind the text hides it."""
    assert texts(r"{\cf1\chcbpat2 on blue}\par x") == ["on blue", "x"]
    row = r"\trowd\clcbpat2\cellx1000{\intbl\cf1 Head\cell}\row\pard x"
    assert texts(row) == ["Head", "x"]


def test_notes_follow_their_paragraph() -> None:
    """A footnote comes after the paragraph that refers to it, not in the middle of it."""
    assert texts(r"One{\footnote A note.} two.\par Three.") == ["One two.", "A note.", "Three."]


def test_it_is_read_in_the_confined_child() -> None:
    """Without files and network the result is the same as here."""
    assert parse_in_child([leave_rtf()], "a.rtf", ParseLimits()) == read(leave_rtf(), "a.rtf")


def test_a_truncated_file_gives_what_is_there() -> None:
    """RTF has no end that could be missed: half a file is half a text."""
    content = leave_rtf()
    found = read(content[: content.index(b"Requests") + 8], "a.rtf")
    assert any("28 days" in block.text for block in found.blocks)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{\\rtf1 " + b"{" * 5000 + b"x", "too_complex"),
        (b"{\\rtf1 }", "no_text"),
        (b"{\\rtf1 {\\pict 00}}", "no_text"),
    ],
)
def test_refusals(content: bytes, code: str) -> None:
    """Deep nesting and files without text end in a reason."""
    assert refusal(content, "a.rtf").code == code


def test_unbalanced_braces_end_the_document() -> None:
    """What follows the document's own group is not the document, as in Word."""
    assert texts(r"in}out{\b more") == ["in"]


def test_the_text_limit_holds() -> None:
    """More text than a document may have is refused, however it is written."""
    content = rtf(r"\'41" * 3000)
    assert refusal(content, "a.rtf", ParseLimits(max_text_chars=1000)).code == "too_complex"


def test_many_small_tokens_take_linear_time() -> None:
    """A megabyte of backslashes, quotes and fields is read at once."""
    started = time.process_time()
    read(rtf("x" + r"\'" * 100_000 + r"{\field HYPERLINK " * 500 + "}" * 500), "a.rtf")
    assert time.process_time() - started < 5
