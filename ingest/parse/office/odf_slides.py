"""ODP: each slide's title, text, tables and notes; what is hidden is kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, Hidden, ParsedDocument, Place, one_line, with_heading_paths
from ingest.parse.detect import ODP
from ingest.parse.limits import ParseLimits
from ingest.parse.office.odf import Package, name, open_package, points
from ingest.parse.office.odf_blocks import BlockReader
from ingest.parse.runs import Colour, colour_of, concealed
from ingest.parse.texts.text import no_text

_PAGE, _NOTES = name("draw:page"), name("presentation:notes")
_CLASS = name("presentation:class")
# What the program fills in on every page.
_FILLED_IN = frozenset({"page-number", "date-time", "header", "footer"})
_IGNORED = frozenset({name("office:forms"), name("svg:title"), name("svg:desc")})


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an OpenDocument presentation; every block's place names its slide, counted from 1."""
    package = open_package(file, limits)
    pages = package.body.findall(_PAGE)
    if len(pages) > limits.max_pages:
        raise UnreadableFile(
            "too_many_pages",
            f"This presentation has {len(pages):,} slides; {limits.max_pages:,} are accepted.",
        )
    blocks: list[Block] = []
    for number, page in enumerate(pages, start=1):
        blocks += with_heading_paths(_slide_blocks(page, package, Place(slide=number)))
        on_progress(number, len(pages))
    if not blocks:
        raise no_text()
    headings = (block for block in blocks if block.kind == "heading")
    given = (block.text for block in headings if block.text != f"Slide {block.place.slide}")
    title = package.title or next(given, None)
    return ParsedDocument(title=title, pages=len(pages), blocks=tuple(blocks), media_type=ODP)


def _slide_blocks(page: Any, package: Package, place: Place) -> list[Block]:
    heading = ""
    body: list[Block] = []
    notes: list[Block] = []
    size = _page_size(page, package)
    for shape in page:
        if shape.tag in _IGNORED or shape.get(_CLASS) in _FILLED_IN:
            continue
        if shape.tag == _NOTES:
            written = [frame for frame in shape if frame.get(_CLASS) not in _FILLED_IN]
            notes += [block for frame in written for block in _below(frame, package, place)]
            continue
        found = list(_below(shape, package, place))
        reason = _unseen(shape, size)
        if reason:
            body += concealed(found, reason)
        elif shape.get(_CLASS) == "title" and not heading:
            heading = one_line(" ".join(block.text for block in found if block.hidden is None))
            body += [block for block in found if block.hidden]
        else:
            body += found
    body += notes
    # A slide without a title must not stand under the title of the slide before it.
    shown = bool(heading) or any(block.hidden is None for block in body)
    top = [Block("heading", heading or f"Slide {place.slide}", 1, place=place)] if shown else []
    visibility = package.styles.value(
        "drawing-page", page.get(name("draw:style-name")), "presentation:visibility"
    )
    if visibility == "hidden":
        return concealed([*(top if heading else []), *body], "not_shown")
    return [*top, *body]


def _below(shape: Any, package: Package, place: Place) -> Iterator[Block]:
    """Yield the text of a shape; none of it is a heading, whatever its style."""
    reader = BlockReader(package.styles, place, _ground(shape, package))
    for block in reader.below([shape]):
        if block.kind == "heading":
            yield Block("paragraph", block.text, place=place)
        else:
            yield block


def _ground(shape: Any, package: Package) -> Colour | None:
    """Return the colour that a shape is filled with; None where a theme or a picture gives it."""
    for family, attribute in (("graphic", "draw:style-name"), ("presentation", "presentation:style-name")):
        style = shape.get(name(attribute))
        if style is not None and package.styles.value(family, style, "draw:fill") == "solid":
            return colour_of(package.styles.value(family, style, "draw:fill-color"))
    return None


def _unseen(shape: Any, size: tuple[float, float] | None) -> Hidden | None:
    """Say why nobody sees a shape: it is marked as hidden, or stands beyond the slide."""
    if shape.get(name("draw:display")) in ("none", "printer"):
        return "not_shown"
    x, y, width, height = (points(shape.get(name(f"svg:{one}"))) for one in ("x", "y", "width", "height"))
    if size is None or x is None or y is None:
        return None
    outside = x >= size[0] or y >= size[1] or x + (width or 0) <= 0 or y + (height or 0) <= 0
    return "off_page" if outside and (width or height) else None


def _page_size(page: Any, package: Package) -> tuple[float, float] | None:
    """Return the slide's width and height in points, by its master page and that one's layout."""
    masters = package.master_styles
    if masters is None:
        return None
    wanted = page.get(name("draw:master-page-name"))
    for master in masters.iter(name("style:master-page")):
        if master.get(name("style:name")) == wanted:
            layout = master.get(name("style:page-layout-name"))
            return package.layouts.get(layout)
    return None
