"""Scanned pages and images: their text, its place, and the children that share a long scan."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from made_files import drawn_pdf, lines_at, read, together
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from infra.errors import UnreadableFile
from ingest.parse.blocks import ParsedDocument
from ingest.parse.confined.one_shot import child_environment
from ingest.parse.confined.sandbox import parse_in_child, render_page_in_child
from ingest.parse.limits import ParseLimits
from ingest.parse.pages import image, pdf
from ingest.parse.pages.recognition import recognised
from ingest.parse.pages.scanned import NeedsRecognition
from tests.made_scans import image_file, page_picture, paragraph, scanned_pdf

LEAVE = page_picture(
    *paragraph(72, 100, "Employees have thirty days of annual", "leave, which they take when they like."),
    *paragraph(72, 300, "Requests go to the head of department."),
)
# The place and size of the picture's second paragraph, in points.
REQUESTS = (72, 300, 300, 314)


def texts(document: ParsedDocument) -> list[str]:
    """Return the texts of a document's blocks."""
    return [block.text for block in document.blocks]


def parsed(content: bytes, limits: ParseLimits | None = None) -> ParsedDocument:
    """Return an image as it is read in this process."""
    return image.parse(io.BytesIO(content), limits or ParseLimits(), lambda done, total: None)


def test_a_scanned_page_is_read_in_the_child_with_its_places() -> None:
    """Paragraphs, their page and their boxes come out of the confinement, where no thread may start."""
    document = parse_in_child([scanned_pdf(LEAVE)], "scan.pdf", ParseLimits())
    assert texts(document) == [
        "Employees have thirty days of annual leave, which they take when they like.",
        "Requests go to the head of department.",
    ]
    line = document.blocks[1].lines[0]
    assert document.blocks[1].place.page == line.page == 1
    assert abs(line.x0 - REQUESTS[0]) < 6
    assert abs(line.y0 - REQUESTS[1]) < 8
    assert 10 < line.y1 - line.y0 < 25


REPORTING = """
import os, onnxruntime
from pathlib import Path
print(len(os.listdir("/proc/self/task")), [str(path) for path in Path(os.environ["HOME"]).rglob("*")])
"""


def test_the_recogniser_s_runtime_reports_nothing(tmp_path: Path) -> None:
    """In a child's environment onnxruntime writes no record of its use and starts no thread to send it."""
    environment = {**child_environment(), "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", REPORTING], env=environment, capture_output=True, check=True, timeout=60
    )
    assert run.stdout.split() == [b"1", b"[]"]


def test_only_pages_without_text_are_recognised_and_progress_never_goes_back() -> None:
    """A born-digital page keeps its own text beside a scanned one."""

    def scan(canvas: Canvas) -> None:
        canvas.drawInlineImage(LEAVE, 0, 0, 595, 842)

    content = drawn_pdf(scan, lines_at(72, 100, "Zwölf Boxkämpfer jagen Viktor quer über den Deich."))
    seen: list[tuple[int, int | None]] = []
    document = pdf.parse(io.BytesIO(content), ParseLimits(), lambda done, total: seen.append((done, total)))
    assert texts(document)[-1] == "Zwölf Boxkämpfer jagen Viktor quer über den Deich."
    assert "Requests go to the head of department." in texts(document)
    assert seen == [(1, 2), (2, 2)]


def test_a_stamp_on_a_scan_is_not_taken_for_its_text() -> None:
    """A page number over a picture of a page is a poor text layer."""

    def scan(canvas: Canvas) -> None:
        canvas.drawInlineImage(LEAVE, 0, 0, 595, 842)

    document = read(drawn_pdf(together(scan, lines_at(500, 800, "ACME-0001"))), "a.pdf")
    assert "Requests go to the head of department." in texts(document)
    assert sum("ACME" in text for text in texts(document)) == 1


def test_many_scanned_pages_are_shared_among_children() -> None:
    """Each child reads a few pages, the document is made of all, and running lines are found over all."""
    pages = [
        page_picture(
            (72, 40, "Handbook of the house"), (72, 300 + 9 * number, f"Rule number {word} is kept.")
        )
        for number, word in enumerate(("one", "two", "three"))
    ]
    seen: list[tuple[int, int | None]] = []
    document = parse_in_child(
        [scanned_pdf(*pages)],
        "scan.pdf",
        ParseLimits(recognised_pages=2),
        lambda done, total: seen.append((done, total)),
    )
    assert [(block.place.page, block.text) for block in document.blocks] == [
        (1, "Rule number one is kept."),
        (2, "Rule number two is kept."),
        (3, "Rule number three is kept."),
    ]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_long_scan_within_another_file_is_refused_in_words() -> None:
    """Only a document by itself is shared among children."""
    content = scanned_pdf(LEAVE, LEAVE)
    with pytest.raises(NeedsRecognition) as caught:
        read(content, "scan.pdf", ParseLimits(recognised_pages=1))
    assert caught.value.code == "too_many_scanned_pages"
    assert caught.value.pages == (1, 2)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_lies_on_its_side_is_read_and_its_boxes_lie_on_the_ink(turn: int) -> None:
    """The text is found whatever way up the page was scanned; the boxes are those of the page as shown."""
    upright = page_picture(
        *paragraph(20, 20, "Employees have thirty days.", "Requests go to the head."), pixels=(640, 480)
    )
    turned = upright.rotate(turn, expand=True)
    page = recognised(turned, float(turned.width), float(turned.height))
    assert [line.text for line in page.lines][-1] == "Requests go to the head."
    x0, y0, x1, y1 = page.displayed(page.lines[-1].box)
    inside = turned.convert("L").crop((int(x0), int(y0), int(x1), int(y1)))
    assert sum(inside.histogram()[:128]) > 1000
    assert (x1 - x0) * (y1 - y0) < 0.1 * turned.width * turned.height


def test_columns_are_read_one_after_the_other() -> None:
    """The right column of a scanned page does not mix with the left one."""
    left = paragraph(
        60, 120, "The first column speaks of", "gardens and their fences,", "which keep the deer away."
    )
    right = paragraph(
        320, 120, "The second column is about", "kitchens and their stoves,", "which keep us all warm."
    )
    document = parsed(image_file("PNG", page_picture(*left, *right, pixels=(1240, 500))))
    whole = " ".join(texts(document))
    assert whole.index("deer away") < whole.index("The second column")
    assert "gardens and their fences, which" in whole


def test_rows_of_a_scanned_table_keep_together() -> None:
    """Cells of one row are separated, and not read column by column."""
    rows = [("Item", "Amount"), ("Chairs", "120"), ("Tables", "45")]
    cells = [
        (x, 120 + 16 * at, text)
        for at, row in enumerate(rows)
        for x, text in zip((72, 300), row, strict=True)
    ]
    document = parsed(image_file("PNG", page_picture(*cells, pixels=(1000, 500))))
    assert texts(document) == ["Item | Amount\nChairs | 120\nTables | 45"]


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.png"), ("JPEG", "a.jpg"), ("WEBP", "a.webp")])
def test_an_image_is_read_in_the_child(kind: str, name: str) -> None:
    """Each format gives text, page and box, and its page can be shown with the box on the ink."""
    small = page_picture((20, 30, "Invoice of the third of May"), pixels=(700, 300))
    content = image_file(kind, small)
    document = parse_in_child([content], name, ParseLimits())
    assert texts(document) == ["Invoice of the third of May"]
    assert document.pages == 1
    shown = Image.open(io.BytesIO(render_page_in_child([content], 1, 1.6, ParseLimits(), name=name)))
    line = document.blocks[0].lines[0]
    box = tuple(int(value * 1.6) for value in (line.x0 - 2, line.y0 - 2, line.x1 + 2, line.y1 + 2))
    ink = shown.convert("L").point(lambda level: 255 if level < 128 else 0)
    assert sum(ink.crop(box).histogram()[128:]) > 0.98 * sum(ink.histogram()[128:])


def test_the_pages_of_a_tiff_are_pages() -> None:
    """A fax of two pages has two pages, each with its text, and no third."""
    pages = [page_picture((20, 30, f"Page {word} of the fax"), pixels=(700, 300)) for word in ("one", "two")]
    content = image_file("TIFF", *pages)
    document = parse_in_child([content], "fax.tiff", ParseLimits())
    assert [(block.place.page, block.text) for block in document.blocks] == [
        (1, "Page one of the fax"),
        (2, "Page two of the fax"),
    ]
    with pytest.raises(UnreadableFile) as caught:
        image.render_page(io.BytesIO(content), 3, 1.0, ParseLimits())
    assert caught.value.code == "no_such_page"


def test_a_camera_s_orientation_is_obeyed() -> None:
    """A picture that says it must be turned is shown and measured turned."""
    upright = page_picture((20, 30, "Held sideways"), pixels=(700, 300))
    content = image_file("JPEG", upright.rotate(90, expand=True), orientation=6)
    line = parsed(content).blocks[0].lines[0]
    shown = Image.open(io.BytesIO(image.render_page(io.BytesIO(content), 1, 1.0, ParseLimits())))
    assert shown.width > shown.height
    assert line.y1 < shown.height
    assert line.x1 - line.x0 > 3 * (line.y1 - line.y0)


def test_a_picture_of_too_many_pixels_is_not_opened() -> None:
    """Twenty kilobytes that would become half a gigabyte are refused by their header."""
    content = image_file("PNG", Image.new("1", (20_000, 20_000)))
    assert len(content) < 100_000
    with pytest.raises(UnreadableFile) as caught:
        parsed(content)
    assert caught.value.code == "too_many_pixels"


def test_a_tiff_whose_pages_go_in_circles_ends() -> None:
    """The last page points at the first: the pages that are there are counted once."""
    content = bytearray(image_file("TIFF", Image.new("L", (40, 40), 255)))
    start = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[start : start + 2], "little")
    at = start + 2 + 12 * entries
    content[at : at + 4] = content[4:8]
    with pytest.raises(UnreadableFile) as caught:
        parsed(bytes(content))
    assert caught.value.code == "no_text"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_half_an_image_is_damaged(kind: str) -> None:
    """A file that was cut off is named as such."""
    content = image_file(kind, LEAVE)
    with pytest.raises(UnreadableFile) as caught:
        parsed(content[: len(content) // 2])
    assert caught.value.code == "damaged"
