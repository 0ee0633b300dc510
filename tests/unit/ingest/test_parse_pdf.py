"""PDF: text, structure, boxes on the displayed page, and the ways in which a PDF can be unreadable."""

from __future__ import annotations

import io

import pypdfium2
import pytest
from made_files import PAGE_HEIGHT, PAGE_WIDTH, drawn_pdf, lines_at, read, refusal, together
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption

from ingest.parse.limits import ParseLimits
from ingest.parse.pages.pdf_file import render_page

LIMITS = ParseLimits()


def rotated(content: bytes, degrees: int, crop: tuple[float, float, float, float] | None = None) -> bytes:
    """Return the PDF with its first page rotated clockwise, and cropped to (left, bottom, right, top)."""
    document = pypdfium2.PdfDocument(content)
    document[0].set_rotation(degrees)
    if crop:
        document[0].set_cropbox(*crop)
    out = io.BytesIO()
    document.save(out)
    document.close()
    return out.getvalue()


def ink_share(image: Image.Image, box: tuple[float, float, float, float]) -> float:
    """Return how much of all dark pixels of a page image lies within `box`."""
    mask = image.convert("L").point(lambda level: 255 if level < 128 else 0)
    inside = mask.crop(tuple(round(value) for value in box))
    total = sum(mask.histogram()[128:])
    return sum(inside.histogram()[128:]) / total


def test_lines_of_a_paragraph_are_joined_and_keep_their_spans() -> None:
    """A wrapped paragraph is one block whose lines point at their own characters."""
    page = lines_at(
        72, 100, "The quick brown fox jumps over the lazy", "dog and runs away into the dark forest."
    )
    block = read(drawn_pdf(page), "a.pdf").blocks[0]
    assert block.text == "The quick brown fox jumps over the lazy dog and runs away into the dark forest."
    assert [block.text[line.start : line.end] for line in block.lines] == [
        "The quick brown fox jumps over the lazy",
        "dog and runs away into the dark forest.",
    ]
    assert block.place.page == 1


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (40.0, 300.0, 500.0, 800.0)])
def test_the_box_covers_the_ink_of_the_rendered_page(
    degrees: int, crop: tuple[float, float, float, float] | None
) -> None:
    """However the page is rotated and cropped, the box drawn on its image lies over the text."""
    content = rotated(drawn_pdf(lines_at(100, 150, "Boxes must cover this text")), degrees, crop)
    line = read(content, "a.pdf").blocks[0].lines[0]
    image = Image.open(io.BytesIO(render_page(io.BytesIO(content), 1, 2.0, LIMITS)))
    box = (line.x0 * 2 - 1, line.y0 * 2 - 1, line.x1 * 2 + 1, line.y1 * 2 + 1)
    assert ink_share(image, box) > 0.99
    assert (line.x1 - line.x0) * (line.y1 - line.y0) < 0.02 * PAGE_WIDTH * PAGE_HEIGHT


def test_large_type_is_a_heading_with_the_text_below_it() -> None:
    """A heading is recognised by its size, names the title and opens a heading path."""
    page = together(
        lines_at(72, 100, "Leave", size=22, font="Helvetica-Bold"),
        lines_at(72, 140, "Employees have 28 days of annual leave,", "which they can take when they like."),
    )
    heading, body = read(drawn_pdf(page), "a.pdf").blocks
    assert (heading.kind, heading.level, heading.text) == ("heading", 1, "Leave")
    assert (body.kind, body.place.heading_path) == ("paragraph", ("Leave",))


def test_a_short_bold_line_is_a_heading() -> None:
    """Many office documents mark their sections by weight alone."""
    page = together(
        lines_at(72, 100, "Scope", font="Helvetica-Bold"),
        lines_at(
            72, 113.75, "This applies to all employees of the company,", "wherever they may happen to work."
        ),
    )
    kinds = [block.kind for block in read(drawn_pdf(page), "a.pdf").blocks]
    assert kinds == ["heading", "paragraph"]


def test_the_stated_title_is_used() -> None:
    """The title of the file's properties is the document's title."""
    out = io.BytesIO()
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(out)
    canvas.setTitle("Travel policy 2026")
    canvas.drawString(72, 700, "Some text")
    canvas.save()
    assert read(out.getvalue(), "a.pdf").title == "Travel policy 2026"


def test_divided_words_are_mended_and_compounds_are_kept() -> None:
    """A hyphen at a line's end goes, unless the document's own words show that it belongs."""
    page = together(
        lines_at(
            72,
            100,
            "We plan for the long and the short term and keep exam-",
            "ples of what has worked for us.",
        ),
        lines_at(
            72, 160, "The strategy of the company must serve our long-", "term aims and nothing else at all."
        ),
    )
    text = " ".join(block.text for block in read(drawn_pdf(page), "a.pdf").blocks)
    assert "examples" in text
    assert "long-term" in text


def test_a_line_ended_on_purpose_stays_a_line() -> None:
    """Rows, addresses and verses are not run together into a sentence."""
    page = lines_at(72, 100, "Alpha: 1", "Beta: 2", "A much longer line that shows how wide this text is")
    assert read(drawn_pdf(page), "a.pdf").blocks[0].text.startswith("Alpha: 1\nBeta: 2\nA much")


def test_cells_far_apart_on_one_line_are_separated() -> None:
    """A table's row keeps its cells apart, so that figures do not run into each other."""
    cells = [(72, 100, "Norway"), (250, 100, "190 EUR"), (72, 114, "Sweden"), (250, 114, "180 EUR")]
    page = together(*(lines_at(x, top, text) for x, top, text in cells))
    block = read(drawn_pdf(page), "a.pdf").blocks[0]
    assert block.text == "Norway | 190 EUR\nSweden | 180 EUR"


def test_running_headers_and_page_numbers_are_dropped_and_content_is_kept() -> None:
    """What repeats in the margins of most pages is no content; a heading on one page is."""
    pages = [
        together(
            lines_at(72, 30, "Halvorsen – internal"),
            lines_at(72, 200, f"Content of section {name}"),
            lines_at(280, 820, f"Page {number} of 4"),
        )
        for number, name in enumerate(["alpha", "beta", "gamma", "delta"], start=1)
    ]
    document = read(drawn_pdf(*pages), "a.pdf")
    assert [(block.text, block.place.page) for block in document.blocks] == [
        ("Content of section alpha", 1),
        ("Content of section beta", 2),
        ("Content of section gamma", 3),
        ("Content of section delta", 4),
    ]


def test_columns_are_read_one_after_the_other() -> None:
    """Two columns that a program draws one after the other are not mixed line by line."""
    page = together(
        lines_at(60, 100, "left one is here", "left two is here", "left three is here"),
        lines_at(320, 100, "right one is here", "right two is here", "right three is here"),
    )
    text = " ".join(block.text for block in read(drawn_pdf(page), "a.pdf").blocks)
    assert text.index("left three") < text.index("right one")


def test_progress_counts_pages() -> None:
    """Every page is reported with the number of pages."""
    from ingest.parse import parse

    content = drawn_pdf(lines_at(72, 100, "one"), lines_at(72, 100, "two"))
    seen: list[tuple[int, int | None]] = []
    parse("application/pdf", io.BytesIO(content), LIMITS, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_password_is_named_as_the_reason() -> None:
    """An encrypted PDF says so."""
    locked = drawn_pdf(lines_at(72, 100, "secret"), encrypt=StandardEncryption("password"))
    assert refusal(locked, "a.pdf").code == "encrypted"


def test_a_truncated_file_is_damaged() -> None:
    """A file cut off in transfer is refused rather than read in part."""
    content = drawn_pdf(*[lines_at(72, 100, f"page {number}") for number in range(30)])
    assert refusal(content[: len(content) * 2 // 3], "a.pdf").code == "damaged"


def test_rubbish_after_the_magic_is_damaged() -> None:
    """A PDF in name and magic only is refused."""
    assert refusal(b"%PDF-1.7\n" + b"rubbish " * 200, "a.pdf").code == "damaged"


def test_a_picture_without_letters_has_no_text() -> None:
    """A page that shows nothing to read is refused in words, after recognition has looked at it."""
    page = drawn_pdf(
        lambda canvas: canvas.drawInlineImage(Image.new("RGB", (300, 300), "grey"), 50, 300, 400, 400)
    )
    error = refusal(page, "a.pdf")
    assert error.code == "no_text"
    assert error.hint is not None
    assert "scan it again" in error.hint


def test_too_many_pages_are_refused() -> None:
    """The page limit holds."""
    content = drawn_pdf(lines_at(72, 100, "one"), lines_at(72, 100, "two"), lines_at(72, 100, "three"))
    assert refusal(content, "a.pdf", ParseLimits(max_pages=2)).code == "too_many_pages"
