"""DOCX, PPTX and XLSX: text, structure and places, and what damaged containers end in."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from typing import Any

import docx
import openpyxl
import pptx
import pytest
from made_files import read, refusal
from pptx.util import Inches

from ingest.parse.limits import ParseLimits


def saved(document: Any) -> bytes:
    """Return the bytes that a library's document saves."""
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def edited(content: bytes, part: str, before: str, after: str) -> bytes:
    """Return an Office file with one text replaced in one of its parts."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            body = source.read(name)
            if name == part:
                assert before.encode() in body
                body = body.replace(before.encode(), after.encode())
            target.writestr(name, body)
    return out.getvalue()


def small_docx() -> Any:
    """Return a Word document with a heading, prose, a list and a table."""
    document = docx.Document()
    document.add_heading("Leave", 1)
    document.add_paragraph("Everybody has 28 days.")
    document.add_heading("Requests", 2)
    document.add_paragraph("Ask early", style="List Bullet")
    table = document.add_table(rows=0, cols=2)
    for row in (("Occasion", "Days"), ("Wedding", "2"), ("Moving", "1")):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    return document


def test_docx_keeps_order_kinds_and_heading_paths() -> None:
    """Headings, prose, lists and tables come in the document's order, below their headings."""
    found = [
        (block.kind, block.level, block.text, block.place.heading_path)
        for block in read(saved(small_docx()), "a.docx").blocks
    ]
    assert found == [
        ("heading", 1, "Leave", ()),
        ("paragraph", 0, "Everybody has 28 days.", ("Leave",)),
        ("heading", 2, "Requests", ("Leave",)),
        ("list_item", 1, "Ask early", ("Leave", "Requests")),
        ("table", 0, "Wedding | 2\nMoving | 1", ("Leave", "Requests")),
    ]


def test_docx_table_keeps_its_column_names_apart() -> None:
    """The first row names the columns."""
    assert read(saved(small_docx()), "a.docx").blocks[-1].header == "Occasion | Days"


def test_docx_title_comes_from_the_properties() -> None:
    """The title property wins over the first heading."""
    document = small_docx()
    document.core_properties.title = "Leave policy"
    assert read(saved(document), "a.docx").title == "Leave policy"


def test_docx_deleted_text_is_gone_and_inserted_text_is_there() -> None:
    """A tracked change is read as the document now stands."""
    run = "<w:r><w:t>Everybody has 28 days.</w:t></w:r>"
    tracked = (
        '<w:del w:id="1" w:author="x"><w:r><w:delText>GONE</w:delText></w:r></w:del>'
        '<w:ins w:id="2" w:author="x"><w:r><w:t>Everybody has 30 days.</w:t></w:r></w:ins>'
    )
    content = edited(saved(small_docx()), "word/document.xml", run, tracked)
    text = "\n".join(block.text for block in read(content, "a.docx").blocks)
    assert "30 days" in text
    assert "GONE" not in text


def test_docx_content_controls_are_read() -> None:
    """Templates wrap paragraphs in content controls, which the library's own lists leave out."""
    document = small_docx()
    body = document.element.body
    wrapper = docx.oxml.parse_xml(
        '<w:sdt xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:sdtContent>'
        "<w:p><w:r><w:t>Inside a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    body.insert(0, wrapper)
    assert read(saved(document), "a.docx").blocks[0].text == "Inside a control"


def test_docx_external_entities_are_refused() -> None:
    """A part with a DTD, which is how entities attack, is never handed to a parser."""
    content = edited(
        saved(small_docx()),
        "word/document.xml",
        "<w:document",
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><w:document',
    )
    assert refusal(content, "a.docx").code == "damaged"


def test_pptx_places_titles_bullets_tables_and_notes_on_their_slides() -> None:
    """Each slide's content carries its number, and stands below its title."""
    presentation = pptx.Presentation()
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Plan"
    first.placeholders[1].text = "One\nTwo"
    first.notes_slide.notes_text_frame.text = "Say hello."
    second = presentation.slides.add_slide(presentation.slide_layouts[5])
    second.shapes.title.text = "Contacts"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(6), Inches(1)).table
    for at, text in enumerate(("Team", "Extension", "Travel", "4417")):
        table.cell(at // 2, at % 2).text = text
    document = read(saved(presentation), "a.pptx")
    assert document.pages == 2
    assert [(b.kind, b.text, b.place.slide) for b in document.blocks] == [
        ("heading", "Plan", 1),
        ("list_item", "One", 1),
        ("list_item", "Two", 1),
        ("paragraph", "Say hello.", 1),
        ("heading", "Contacts", 2),
        ("table", "Travel | 4417", 2),
    ]
    assert document.blocks[-1].header == "Team | Extension"


def test_pptx_slide_limit_holds() -> None:
    """More slides than allowed are refused."""
    presentation = pptx.Presentation()
    for _ in range(3):
        presentation.slides.add_slide(presentation.slide_layouts[1]).shapes.title.text = "x"
    assert refusal(saved(presentation), "a.pptx", ParseLimits(max_pages=2)).code == "too_many_pages"


def small_xlsx() -> Any:
    """Return a workbook with a titled table, a second table on the sheet, and a hidden sheet."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Prices"
    for row in (
        ["Price list 2026"],
        [],
        [None, "Article", "Price", "Discount", "Since"],
        [None, "Gauge", 148.5, 0.05, dt.date(2026, 2, 1)],
        [None, "Meter", 1290, 0.1, dt.date(2026, 3, 1)],
        [],
        ["Country", "Factor"],
        ["Norway", 1.25],
    ):
        sheet.append(row)
    for row_number in (4, 5):
        sheet.cell(row_number, 4).number_format = "0%"
    hidden = workbook.create_sheet("Costs")
    hidden.append(["SECRET COST"])
    hidden.sheet_state = "hidden"
    return workbook


def test_xlsx_tables_know_their_sheet_and_cells() -> None:
    """Runs of rows between empty rows are tables with cell ranges, values as a reader sees them."""
    tables = [block for block in read(saved(small_xlsx()), "a.xlsx").blocks if block.kind == "table"]
    assert [(b.header, b.text, b.place.sheet, b.place.cells) for b in tables] == [
        (
            "Article | Price | Discount | Since",
            "Gauge | 148.5 | 5% | 2026-02-01\nMeter | 1290 | 10% | 2026-03-01",
            "Prices",
            "B4:E5",
        ),
        ("Country | Factor", "Norway | 1.25", "Prices", "A8:B8"),
    ]


def test_xlsx_hidden_sheets_are_no_visible_text() -> None:
    """A sheet that no reader sees is no source; the visible ones are."""
    blocks = read(saved(small_xlsx()), "a.xlsx").blocks
    text = "\n".join(block.text for block in blocks if not block.hidden)
    assert "SECRET" not in text
    assert "Price list 2026" in text


def test_xlsx_with_nothing_in_it_has_no_text() -> None:
    """An empty workbook is told apart from a broken one."""
    assert refusal(saved(openpyxl.Workbook()), "a.xlsx").code == "no_text"


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx"])
def test_a_truncated_office_file_is_damaged(name: str) -> None:
    """A container cut off in transfer is refused."""
    makers = {"a.docx": small_docx, "a.pptx": pptx.Presentation, "a.xlsx": small_xlsx}
    content = saved(makers[name]())
    assert refusal(content[: len(content) // 2], name).code == "damaged"


def test_a_flipped_byte_in_a_part_is_damaged() -> None:
    """Each entry is checked against its checksum before a library reads it."""
    content = bytearray(saved(small_docx()))
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        entry = archive.getinfo("word/document.xml")
    content[entry.header_offset + 30 + len(entry.filename) + 200] ^= 0xFF
    assert refusal(bytes(content), "a.docx").code == "damaged"


def with_bomb(payload_bytes: int) -> bytes:
    """Return a Word file with one more entry of zeros, which compresses a thousand times."""
    out = io.BytesIO(saved(small_docx()))
    with (
        zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word/media/x.bin", "w") as entry,
    ):
        for _ in range(payload_bytes // 65_536):
            entry.write(bytes(65_536))
    return out.getvalue()


def test_a_zip_bomb_is_refused_by_its_ratio() -> None:
    """Far more data than the file could honestly hold is not opened."""
    assert refusal(with_bomb(64 * 1024 * 1024), "a.docx").code == "expands_too_much"


def test_expanded_size_is_limited() -> None:
    """The absolute limit holds where the ratio would pass."""
    limits = ParseLimits(max_expanded_bytes=1024 * 1024, max_ratio=10**6)
    assert refusal(with_bomb(2 * 1024 * 1024), "a.docx", limits).code == "expands_too_much"


def test_a_lying_directory_does_not_help_a_bomb() -> None:
    """Sizes in the directory are not believed: an entry that holds more than it says is damaged."""
    content = with_bomb(16 * 1024 * 1024)
    size = (16 * 1024 * 1024).to_bytes(4, "little")
    assert content.count(size) >= 1
    assert refusal(content.replace(size, (1000).to_bytes(4, "little")), "a.docx").code == "damaged"
