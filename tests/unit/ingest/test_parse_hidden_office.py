"""DOCX, PPTX and XLSX: what a reader does not see is apart, says why, and is nowhere else; the rest stays."""

from __future__ import annotations

import io
from collections.abc import Callable

import docx
import openpyxl
import pptx
import pytest
from docx.enum.text import WD_COLOR_INDEX
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from docx.shared import RGBColor
from made_files import read
from pptx.dml.color import RGBColor as SlideColor
from pptx.util import Inches, Pt

from ingest.parse.blocks import ParsedDocument
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from tests.made_office_files import leave_docx, plan_pptx, prices_xlsx, white_xlsx

WHITE = RGBColor(255, 255, 255)


def hidden(document: ParsedDocument) -> list[tuple[str | None, str]]:
    """Return reason and text of what is hidden."""
    return [(block.hidden, block.text) for block in document.blocks if block.hidden]


def visible(document: ParsedDocument) -> str:
    """Return everything that a reader sees, and the title."""
    shown = [f"{block.header}\n{block.text}" for block in document.blocks if not block.hidden]
    return "\n".join([document.title or "", *shown])


@pytest.mark.parametrize(
    ("maker", "name"), [(leave_docx, "a.docx"), (plan_pptx, "a.pptx"), (prices_xlsx, "a.xlsx")]
)
def test_hidden_text_survives_the_confined_child_and_leaks_nowhere(
    maker: Callable[[], bytes], name: str
) -> None:
    """Each secret is in a hidden block, none in a visible one or the title."""
    document = parse_in_child([maker()], name, ParseLimits())
    assert document == read(maker(), name)
    assert "SECRET" not in visible(document)
    assert all("SECRET" in text for _, text in hidden(document))


def test_docx_reasons() -> None:
    """Hidden, white and tiny runs and comments say why."""
    assert hidden(read(leave_docx(), "a.docx")) == [
        ("not_shown", "SECRET-VANISH"),
        ("colour", "SECRET-WHITE"),
        ("size", "SECRET-TINY"),
        ("comment", "SECRET-COMMENT"),
    ]


def test_docx_white_text_on_something_dark_is_seen() -> None:
    """Shading, a marker, a dark cell and a styled table all make white text readable."""
    document = docx.Document()
    shaded = document.add_paragraph().add_run("On shading.")
    shaded.font.color.rgb = WHITE
    shaded._r.get_or_add_rPr().append(parse_xml(f'<w:shd {nsdecls("w")} w:val="clear" w:fill="000080"/>'))
    marked = document.add_paragraph().add_run("On a marker.")
    marked.font.color.rgb, marked.font.highlight_color = WHITE, WD_COLOR_INDEX.BLACK
    for text, style in (("In a dark cell.", None), ("In a styled table.", "Medium Shading 1 Accent 1")):
        cell = document.add_table(rows=1, cols=1, style=style).cell(0, 0)
        cell.paragraphs[0].add_run(text).font.color.rgb = WHITE
        if style is None:
            cell._tc.get_or_add_tcPr().append(
                parse_xml(f'<w:shd {nsdecls("w")} w:val="clear" w:fill="202020"/>')
            )
    out = io.BytesIO()
    document.save(out)
    assert hidden(read(out.getvalue(), "a.docx")) == []


def test_docx_a_hidden_style_hides_and_a_run_can_undo_it() -> None:
    """What a style says holds for its runs, unless they say otherwise."""
    document = docx.Document()
    style = document.styles.add_style("Secret", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    style.font.hidden = True
    paragraph = document.add_paragraph("SECRET", style="Secret")
    paragraph.add_run("shown").font.hidden = False
    out = io.BytesIO()
    document.save(out)
    found = read(out.getvalue(), "a.docx")
    assert (hidden(found), visible(found).split()) == ([("not_shown", "SECRET")], ["shown"])


def test_docx_headers_stand_outside_the_headings() -> None:
    """A page header is read once, before the text and below no heading."""
    first = read(leave_docx(), "a.docx").blocks[0]
    assert (first.kind, first.text, first.place.heading_path) == ("paragraph", "Company header", ())


def test_docx_a_letterhead_in_a_table_is_read() -> None:
    """Headers are often laid out with tables, which are text like any other."""
    document = docx.Document()
    document.add_paragraph("Body.")
    table = document.sections[0].header.add_table(rows=1, cols=2, width=Inches(6))
    table.cell(0, 0).text, table.cell(0, 1).text = "Harbour Ltd", "Quay 7"
    out = io.BytesIO()
    document.save(out)
    assert [block.text for block in read(out.getvalue(), "a.docx").blocks] == [
        "Harbour Ltd | Quay 7",
        "Body.",
    ]


def test_pptx_tiny_text_in_a_table_is_apart() -> None:
    """A cell's hidden text is not in the table, and not lost."""
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    cell = slide.shapes.add_table(1, 1, Inches(1), Inches(1), Inches(3), Inches(1)).table.cell(0, 0)
    cell.text = "Shown"
    run = cell.text_frame.paragraphs[0].add_run()
    run.text, run.font.size = "SECRET", Pt(1)
    out = io.BytesIO()
    presentation.save(out)
    document = read(out.getvalue(), "a.pptx")
    assert hidden(document) == [("size", "SECRET")]
    assert [block.text for block in document.blocks if not block.hidden][1:] == ["Shown"]


def test_pptx_reasons_and_places() -> None:
    """A shape beyond the slide and a hidden slide are apart, with their slides; notes are read."""
    document = read(plan_pptx(), "a.pptx")
    assert [(b.hidden, b.text, b.place.slide) for b in document.blocks if b.hidden] == [
        ("off_page", "SECRET-OUTSIDE", 1),
        ("not_shown", "SECRET-SLIDE", 2),
    ]
    assert "Say hello." in visible(document)


def test_pptx_tiny_text_and_text_in_its_shapes_colour_are_apart() -> None:
    """White on a white box hides; white on a blue one does not."""
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    for at, (text, fill, size) in enumerate(
        [("SECRET-WHITE", "FFFFFF", 18), ("On blue", "000080", 18), ("SECRET-TINY", "000080", 1)]
    ):
        box = slide.shapes.add_textbox(Inches(1), Inches(1 + at), Inches(3), Inches(1))
        box.fill.solid()
        box.fill.fore_color.rgb = SlideColor.from_string(fill)
        run = box.text_frame.paragraphs[0].add_run()
        run.text, run.font.size = text, Pt(size)
        run.font.color.rgb = SlideColor(255, 255, 255)
    out = io.BytesIO()
    presentation.save(out)
    document = read(out.getvalue(), "a.pptx")
    assert hidden(document) == [("colour", "SECRET-WHITE"), ("size", "SECRET-TINY")]
    assert "On blue" in visible(document)


def test_xlsx_reasons_and_places() -> None:
    """Hidden rows, columns, sheets and notes keep their cells, and cut no visible table."""
    blocks = read(prices_xlsx(), "a.xlsx").blocks
    assert [(b.hidden, b.text, b.place.sheet, b.place.cells) for b in blocks if b.hidden] == [
        ("not_shown", "Margin\nSECRET-COLUMN\nSECRET-ROW | 1 | 20% | 2026-04-01", "Prices", "B3:F6"),
        ("comment", "SECRET-NOTE", "Prices", "B4:B4"),
        ("not_shown", "SECRET-SHEET", "Costs", "A1:A1"),
    ]
    assert [b.place.cells for b in blocks if b.kind == "table" and not b.hidden] == ["B4:E7", "A10:B10"]


def test_xlsx_white_text_and_formats_that_show_nothing() -> None:
    """White on the sheet's white hides, on blue it does not; `;;;` shows no value."""
    document = read(white_xlsx(), "a.xlsx")
    assert hidden(document) == [("colour", "SECRET-WHITE"), ("not_shown", "SECRET-FORMAT")]
    assert "White on blue" in visible(document)


def test_xlsx_long_whole_numbers_keep_their_digits() -> None:
    """Fifteen digits are shown as such, not as a power of ten."""
    workbook = openpyxl.Workbook()
    workbook.active.append([123456789012345, 123456789012346.0])
    out = io.BytesIO()
    workbook.save(out)
    assert "123456789012345 | 123456789012346" in visible(read(out.getvalue(), "a.xlsx"))
