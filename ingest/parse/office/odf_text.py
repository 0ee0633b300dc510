"""ODT: headings, paragraphs, lists, tables and notes in the order in which they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from ingest.parse.blocks import Block, ParsedDocument, with_heading_paths
from ingest.parse.detect import ODT
from ingest.parse.limits import ParseLimits
from ingest.parse.office.odf import Package, name, open_package
from ingest.parse.office.odf_blocks import BlockReader
from ingest.parse.runs import without_headings
from ingest.parse.texts.text import no_text


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an OpenDocument text. The title is its property, or the first paragraph in the style Title."""
    package = open_package(file, limits)
    reader = BlockReader(package.styles)
    body = with_heading_paths(list(reader.below(package.body)))
    blocks = (*_margins(package, "header"), *body, *_margins(package, "footer"))
    if not blocks:
        raise no_text()
    first = next((block.text for block in body if block.kind == "heading" and block.level == 1), None)
    title = package.title or reader.title or first
    return ParsedDocument(title=title, pages=None, blocks=blocks, media_type=ODT)


def _margins(package: Package, kind: str) -> Iterator[Block]:
    """Yield the headers or footers of all kinds of pages, each text once."""
    if package.master_styles is None:
        return
    told: set[tuple[str, str]] = set()
    for margin in package.master_styles.iter(name(f"style:{kind}"), name(f"style:{kind}-first")):
        if margin.get(name("style:display")) == "false":
            continue
        for block in without_headings(BlockReader(package.styles).below(margin)):
            if (block.header, block.text) not in told:
                told.add((block.header, block.text))
                yield block
