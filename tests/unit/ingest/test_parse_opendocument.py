"""ODT, ODP and ODS: text, structure and places; what is hidden is apart; what damaged packages end in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest
from made_files import read, refusal

from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from tests.made_office_files import leave_odt, plan_odp, prices_ods

MAKERS: dict[str, Callable[[], bytes]] = {"a.odt": leave_odt, "a.ods": prices_ods, "a.odp": plan_odp}


def edited(content: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return a package with one of its parts changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            body = source.read(name)
            target.writestr(name, change(body) if name == part else body)
    return out.getvalue()


def test_odt_keeps_order_kinds_levels_and_heading_paths() -> None:
    """Headings, prose, notes, nested lists and tables come in the document's order, below their headings."""
    found = [
        (block.kind, block.level, block.text, block.place.heading_path)
        for block in read(leave_odt(), "a.odt").blocks
        if not block.hidden
    ]
    assert found == [
        ("heading", 1, "Leave", ()),
        ("paragraph", 0, "Everybody has 28 days.", ("Leave",)),
        ("paragraph", 0, "Since 2026.", ("Leave",)),
        ("heading", 2, "Requests", ("Leave",)),
        ("list_item", 1, "Ask early", ("Leave", "Requests")),
        ("list_item", 2, "Really early", ("Leave", "Requests")),
        ("table", 0, "Wedding | 2\nMoving | 1", ("Leave", "Requests")),
    ]


def test_odt_title_and_column_names() -> None:
    """The title is the document's property; the first row of a table names its columns."""
    document = read(leave_odt(), "a.odt")
    assert document.title == "Leave policy"
    assert document.blocks[-1].header == "Occasion | Days"


def test_odt_hidden_text_is_apart_and_says_why() -> None:
    """White, tiny and switched-off text and comments are blocks of their own."""
    hidden = [(block.hidden, block.text) for block in read(leave_odt(), "a.odt").blocks if block.hidden]
    assert hidden == [
        ("colour", "SECRET-WHITE"),
        ("size", "SECRET-TINY"),
        ("not_shown", "SECRET-GONE"),
        ("comment", "SECRET-COMMENT"),
    ]


def test_ods_tables_know_their_sheet_and_cells() -> None:
    """A hidden row leaves the table around it whole; a million empty rows cost nothing."""
    found = [
        (block.kind, block.header, block.text, block.place.sheet, block.place.cells)
        for block in read(prices_ods(), "a.ods").blocks
        if not block.hidden
    ]
    assert found == [
        ("heading", "", "Prices", "Prices", None),
        ("table", "Article | Price", "Gauge | 148.5\nRuler | 7", "Prices", "A2:B4"),
    ]


def test_ods_hidden_rows_sheets_and_comments_are_apart() -> None:
    """Each has its own cells; nothing of a hidden sheet stands below the sheet before it."""
    hidden = [block for block in read(prices_ods(), "a.ods").blocks if block.hidden]
    assert [(b.hidden, b.text, b.place.sheet, b.place.cells) for b in hidden] == [
        ("not_shown", "SECRET-ROW | 1", "Prices", "A3:B3"),
        ("comment", "SECRET-NOTE", "Prices", "A2:A2"),
        ("not_shown", "SECRET-SHEET", "Costs", "A1:A1"),
    ]
    assert hidden[-1].place.heading_path == ()


def test_ods_repeated_cells_are_bounded() -> None:
    """A small file cannot ask for more text than a document may have."""
    content = edited(
        prices_ods(),
        "content.xml",
        lambda body: body.replace(
            b"<table:table-row>", b'<table:table-row table:number-rows-repeated="900000">', 1
        ),
    )
    assert refusal(content, "a.ods", ParseLimits(max_text_chars=100_000)).code == "too_complex"


def test_odp_places_titles_and_text_on_their_slides() -> None:
    """A hidden slide's text is apart, and keeps its number."""
    document = read(plan_odp(), "a.odp")
    assert (document.title, document.pages) == ("The plan", 2)
    assert [(b.kind, b.text, b.place.slide, b.hidden) for b in document.blocks] == [
        ("heading", "Plan", 1, None),
        ("paragraph", "One step.", 1, None),
        ("paragraph", "SECRET-SLIDE", 2, "not_shown"),
        ("paragraph", "SECRET-TEXT", 2, "not_shown"),
    ]
    assert document.blocks[-1].place.heading_path == ()


def test_odp_slide_limit_holds() -> None:
    """More slides than allowed are refused."""
    assert refusal(plan_odp(), "a.odp", ParseLimits(max_pages=1)).code == "too_many_pages"


@pytest.mark.parametrize("name", MAKERS)
def test_an_opendocument_file_is_read_in_the_confined_child(name: str) -> None:
    """Without files and network the library gives the same as here."""
    content = MAKERS[name]()
    assert parse_in_child([content], name, ParseLimits()) == read(content, name)


@pytest.mark.parametrize("name", MAKERS)
def test_a_truncated_opendocument_file_is_damaged(name: str) -> None:
    """A package cut off in transfer is refused."""
    content = MAKERS[name]()
    assert refusal(content[: len(content) // 2], name).code == "damaged"


def test_external_entities_are_refused() -> None:
    """Content with a DTD, which is how entities attack, is never expanded."""

    def attacked(body: bytes) -> bytes:
        declaration, _, rest = body.partition(b"?>")
        return declaration + b'?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + rest

    assert refusal(edited(leave_odt(), "content.xml", attacked), "a.odt").code == "damaged"


def test_an_encrypted_opendocument_file_says_so() -> None:
    """The manifest tells of a password; the reader is asked to remove it."""
    entry = b'<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">'
    content = edited(
        leave_odt(),
        "META-INF/manifest.xml",
        lambda body: body.replace(
            b"</manifest:manifest>",
            entry + b"<manifest:encryption-data/></manifest:file-entry></manifest:manifest>",
        ),
    )
    assert refusal(content, "a.odt").code == "encrypted"


def test_deep_nesting_is_refused() -> None:
    """A thousand sections within each other end in words."""
    deep = b"<text:section>" * 200 + b"<text:p>x</text:p>" + b"</text:section>" * 200
    content = edited(
        leave_odt(), "content.xml", lambda body: body.replace(b"</office:text>", deep + b"</office:text>")
    )
    assert refusal(content, "a.odt").code in {"too_complex", "damaged"}
