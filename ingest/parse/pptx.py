"""PPTX: each slide's title, text, tables, chart data and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from pptx import Presentation
from pptx.exc import PythonPptxError

from infra.errors import UnreadableFile
from ingest.parse.archive import check_archive
from ingest.parse.blocks import Block, ParsedDocument, Place, one_line, with_heading_paths
from ingest.parse.detect import PPTX
from ingest.parse.limits import ParseLimits
from ingest.parse.tabular import table_blocks
from ingest.parse.text import no_text, pieces_of

MAX_GROUP_DEPTH = 30


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a presentation; every block's place names its slide, counted from 1."""
    check_archive(file, limits)
    try:
        presentation = Presentation(file)
        slides = list(presentation.slides)
    except (PythonPptxError, SyntaxError, KeyError, ValueError) as error:
        raise _damaged() from error
    if len(slides) > limits.max_pages:
        raise UnreadableFile(
            "too_many_pages",
            f"This presentation has {len(slides):,} slides; {limits.max_pages:,} are accepted.",
        )
    blocks: list[Block] = []
    for number, slide in enumerate(slides, start=1):
        blocks += _slide_blocks(slide, Place(slide=number))
        on_progress(number, len(slides))
    if not blocks:
        raise no_text()
    title = one_line(presentation.core_properties.title or "")
    # The library's own template carries this title into every file made with it.
    if title in ("", "PowerPoint Presentation"):
        title = next((block.text for block in blocks if block.kind == "heading"), "")
    return ParsedDocument(
        title=title or None, pages=len(slides), blocks=with_heading_paths(blocks), media_type=PPTX
    )


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This presentation is damaged and cannot be opened.",
        hint="Open it in PowerPoint, save it again, and upload the new copy.",
    )


def _slide_blocks(slide: Any, place: Place) -> list[Block]:
    title = slide.shapes.title
    heading = one_line(title.text_frame.text) if title is not None else ""
    # A slide without a title must not stand under the title of the slide before it.
    blocks = [Block("heading", heading or f"Slide {place.slide}", 1, place=place)]
    body: list[Block] = []
    for shape in slide.shapes:
        if title is None or shape.shape_id != title.shape_id:
            body += _shape_blocks(shape, place, 0)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        body += _text_blocks(slide.notes_slide.notes_text_frame, place)
    return blocks + body if heading or body else []


def _shape_blocks(shape: Any, place: Place, depth: int) -> Iterator[Block]:
    if depth > MAX_GROUP_DEPTH:
        raise UnreadableFile("too_complex", "This presentation is nested too deeply to be read.")
    if hasattr(shape, "shapes"):
        for member in shape.shapes:
            yield from _shape_blocks(member, place, depth + 1)
    elif getattr(shape, "has_table", False):
        yield from _tables([[cell.text for cell in row.cells] for row in shape.table.rows], place)
    elif getattr(shape, "has_chart", False):
        yield from _tables(_chart_rows(shape.chart), place)
    elif shape.has_text_frame:
        yield from _text_blocks(shape.text_frame, place)


def _text_blocks(frame: Any, place: Place) -> Iterator[Block]:
    paragraphs = [
        (paragraph.text.replace("\v", "\n").strip(), paragraph.level) for paragraph in frame.paragraphs
    ]
    written = [(text, level) for text, level in paragraphs if text]
    for text, level in written:
        for piece in pieces_of(text):
            # Several paragraphs in one frame are bullets in all but name; one alone is prose.
            if len(written) > 1:
                yield Block("list_item", piece, level + 1, place=place)
            else:
                yield Block("paragraph", piece, place=place)


def _tables(rows: list[list[str]], place: Place) -> Iterator[Block]:
    for block in table_blocks((0, 0, cells) for cells in rows):
        yield Block("table", block.text, place=place, header=block.header)


def _chart_rows(chart: Any) -> list[list[str]]:
    """Return the categories and values of a chart as rows, the series' names first."""
    rows: list[list[str]] = []
    for plot in chart.plots:
        series = list(plot.series)
        rows.append(["", *(str(one.name) for one in series)])
        for at, category in enumerate(plot.categories):
            values = [one.values[at] if at < len(one.values) else None for one in series]
            rows.append([str(category), *("" if value is None else f"{value:.15g}" for value in values)])
    return rows
