"""PPTX: each slide's title, text, tables, chart data and notes.

Hidden slides and shapes, shapes beyond the slide, tiny text, text in its own shape's colour, and comments
are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from pptx import Presentation
from pptx.exc import PythonPptxError

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, Hidden, ParsedDocument, Place, one_line, with_heading_paths
from ingest.parse.containers.archive import check_archive
from ingest.parse.detect import PPTX
from ingest.parse.limits import ParseLimits
from ingest.parse.office.safe_xml import tree_of
from ingest.parse.runs import Colour, Run, colour_of, concealed, hidden_text, looks_hidden, seen, text_blocks
from ingest.parse.texts.tabular import table_blocks
from ingest.parse.texts.text import no_text

MAX_GROUP_DEPTH = 30
_DIAGRAM_DATA = "/relationships/diagramData"
_COMMENTS = "/relationships/comments"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_BREAKS = {f"{_A}br": "\n"}


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
    size = int(presentation.slide_width or 0), int(presentation.slide_height or 0)
    for number, slide in enumerate(slides, start=1):
        blocks += with_heading_paths(_slide_blocks(slide, Place(slide=number), size))
        on_progress(number, len(slides))
    if not blocks:
        raise no_text()
    title = one_line(presentation.core_properties.title or "")
    # The library's own template carries this title into every file made with it.
    if title in ("", "PowerPoint Presentation"):
        headings = (block for block in blocks if block.kind == "heading")
        title = next((block.text for block in headings if block.text != f"Slide {block.place.slide}"), "")
    return ParsedDocument(title=title or None, pages=len(slides), blocks=tuple(blocks), media_type=PPTX)


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This presentation is damaged and cannot be opened.",
        hint="Open it in PowerPoint, save it again, and upload the new copy.",
    )


def _slide_blocks(slide: Any, place: Place, size: tuple[int, int]) -> list[Block]:
    title = slide.shapes.title
    heading = one_line(_frame_text(title.text_frame)) if title is not None else ""
    body: list[Block] = []
    for shape in slide.shapes:
        if title is None or shape.shape_id != title.shape_id:
            reason = _unseen(shape, size)
            found = _shape_blocks(shape, place, 0)
            body += concealed(found, reason) if reason else found
        elif title.has_text_frame:
            body += [block for block in _text_blocks(title.text_frame, place, None) if block.hidden]
    body += _diagrams(slide, place)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        body += _text_blocks(slide.notes_slide.notes_text_frame, place, None)
    # A slide without a title must not stand under the title of the slide before it.
    blocks = [Block("heading", heading or f"Slide {place.slide}", 1, place=place)]
    shown = heading or any(block.hidden is None for block in body)
    found_here = [*blocks, *body] if shown else body
    if slide.element.get("show") in ("0", "false"):
        found_here = concealed([*blocks, *body] if heading else body, "not_shown")
    return [*found_here, *_comments(slide, place)]


def _unseen(shape: Any, size: tuple[int, int]) -> Hidden | None:
    """Say why nobody sees a shape: it is marked as hidden, or stands beyond the slide."""
    properties = next(iter(shape.element.xpath("./*/p:cNvPr")), None)
    if properties is not None and properties.get("hidden") in ("1", "true"):
        return "not_shown"
    edges = (shape.left, shape.top, shape.width, shape.height)
    # A placeholder without a place of its own stands where its layout puts it.
    if any(edge is None for edge in edges) or not all(size):
        return None
    left, top, width, height = (int(edge) for edge in edges)
    outside = left >= size[0] or top >= size[1] or left + width <= 0 or top + height <= 0
    return "off_page" if outside else None


def _shape_blocks(shape: Any, place: Place, depth: int) -> Iterator[Block]:
    if depth > MAX_GROUP_DEPTH:
        raise UnreadableFile("too_complex", "This presentation is nested too deeply to be read.")
    if hasattr(shape, "shapes"):
        for member in shape.shapes:
            yield from _shape_blocks(member, place, depth + 1)
    elif getattr(shape, "has_table", False):
        cells = [list(row.cells) for row in shape.table.rows]
        yield from _tables([[_frame_text(cell) for cell in row] for row in cells], place)
        for cell in chain.from_iterable(cells):
            yield from (block for block in _text_blocks(cell.text_frame, place, None) if block.hidden)
    elif getattr(shape, "has_chart", False):
        yield from _tables(_chart_rows(shape.chart), place)
    elif shape.has_text_frame:
        yield from _text_blocks(shape.text_frame, place, _ground(shape))


def _frame_text(holder: Any) -> str:
    """Return what a reader sees of a title's or a cell's text, in one line."""
    frame = getattr(holder, "text_frame", holder)
    return one_line(" ".join(seen(_runs(paragraph, None)) for paragraph in frame.paragraphs))


def _text_blocks(frame: Any, place: Place, ground: Colour | None) -> Iterator[Block]:
    paragraphs = [(_runs(paragraph, ground), paragraph.level) for paragraph in frame.paragraphs]
    several = sum(bool(seen(runs)) for runs, _ in paragraphs) > 1
    for runs, level in paragraphs:
        # Several paragraphs in one frame are bullets in all but name; one alone is prose.
        if several:
            yield from text_blocks(runs, "list_item", level + 1, place)
        else:
            yield from text_blocks(runs, "paragraph", 0, place)


def _runs(paragraph: Any, ground: Colour | None) -> list[Run]:
    runs: list[Run] = []
    for child in paragraph._p:
        text = "".join(_BREAKS.get(node.tag, node.text or "") for node in child.iter(f"{_A}t", f"{_A}br"))
        if text:
            properties = child.find(f"{_A}rPr")
            size = properties.get("sz") if properties is not None else None
            points = int(size) / 100 if size is not None and size.isdigit() else None
            colour = _solid(properties) if properties is not None else None
            hidden = looks_hidden(colour=colour, ground=ground, points=points)
            runs.append(Run(text.replace("\v", "\n"), hidden))
    return runs


def _ground(shape: Any) -> Colour | None:
    """Return the colour that a shape is filled with; None where it is not the shape's own plain colour.

    What lies behind a shape without a fill is a matter of pictures and themes, and is not judged.
    """
    properties = shape.element.find("{http://schemas.openxmlformats.org/presentationml/2006/main}spPr")
    return _solid(properties) if properties is not None else None


def _solid(properties: Any) -> Colour | None:
    found = properties.find(f"{_A}solidFill/{_A}srgbClr")
    return colour_of(found.get("val")) if found is not None else None


def _diagrams(slide: Any, place: Place) -> Iterator[Block]:
    """Yield the texts of SmartArt, which stand in parts of their own."""
    for root in _related(slide, _DIAGRAM_DATA):
        for paragraph in root.iter(f"{_A}p"):
            text = "".join(piece.text or "" for piece in paragraph.iter(f"{_A}t"))
            yield from text_blocks([Run(text)], "list_item", 1, place)


def _comments(slide: Any, place: Place) -> Iterator[Block]:
    """Yield the comments on a slide, of the older and the newer kind."""
    for root in _related(slide, _COMMENTS):
        for node in root.iter():
            name = node.tag.rpartition("}")[2]
            if name == "text":
                yield from hidden_text(node.text or "", "comment", place)
            elif name == "txBody":
                text = "\n".join(
                    "".join(piece.text or "" for piece in paragraph.iter(f"{_A}t"))
                    for paragraph in node.iter(f"{_A}p")
                )
                yield from hidden_text(text, "comment", place)


def _related(slide: Any, kind: str) -> Iterator[Any]:
    for relation in slide.part.rels.values():
        if relation.reltype.endswith(kind) and not relation.is_external:
            yield tree_of(relation.target_part.blob)


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
