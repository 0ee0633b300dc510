"""HTML: what a reader sees, in order; what is in the page and hidden from readers is kept apart.

Scripts, styles, navigation and the controls of forms are dropped.
"""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from bs4 import BeautifulSoup, Comment, Tag, XMLParsedAsHTMLWarning
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString, PageElement, PreformattedString

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, BlockKind, ParsedDocument, one_line, row_text, with_heading_paths
from ingest.parse.detect import HTML
from ingest.parse.limits import ParseLimits, too_much_text
from ingest.parse.runs import Run, unseen_blocks
from ingest.parse.texts.html_looks import Look, Styles
from ingest.parse.texts.text import (
    CHARSET_SAMPLE_BYTES,
    decoded,
    decoded_as,
    no_text,
    pieces_of,
)

_DROPPED = frozenset(
    "script style noscript template nav iframe object embed svg canvas audio video head select button "
    "input textarea datalist dialog".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure "
    "footer form header hr html legend li main ol p pre section summary table tbody td tfoot th thead tr "
    "ul h1 h2 h3 h4 h5 h6".split()
)
_HEADING = re.compile(r"h[1-6]$")
# What mail programs and old browsers read as instructions (`<!--[if mso]>`).
_CONDITION = re.compile(r"^\s*(?:\[(?:if|endif)\b|<!\[endif)", re.IGNORECASE)
_TAGS = re.compile(r"<[^<>]*>")
# Shorter comments are the marks of those who wrote the page ("end of header").
MIN_COMMENT_WORDS = 4
# A page nested deeper than this is an attack or an accident; Python's own limit would fall first otherwise.
MAX_DEPTH = 200
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Page:
    """A page's title, empty if it has none, and its blocks, whose heading paths are not filled in yet."""

    title: str
    blocks: list[Block]


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an HTML page. The title is the `<title>`, or the first heading of level 1."""
    raw = file.read(limits.max_text_chars + 1)
    if len(raw) > limits.max_text_chars:
        raise too_much_text(limits)
    page = page_of(markup_of(raw))
    if not page.blocks:
        raise no_text()
    title = page.title or next((block.text for block in page.blocks if block.kind == "heading"), "")
    return ParsedDocument(
        title=title or None, pages=None, blocks=with_heading_paths(page.blocks), media_type=HTML
    )


def page_of(markup: str) -> Page:
    """Read a page. Raises UnreadableFile(`too_complex`) for one that is nested beyond reason."""
    soup = _soup(markup)
    walk = _Walk(Styles.of(soup))
    walk.element(soup.body or soup, walk.look(soup.body, Look()), 0)
    walk.flush()
    return Page(one_line(soup.title.get_text()) if soup.title else "", walk.blocks)


def html_blocks(markup: str) -> list[Block]:
    """Return the blocks of a page or of a piece of one, without heading paths."""
    return page_of(markup).blocks if markup.strip() else []


def inline_runs(markup: str) -> list[Run]:
    """Return the runs of a piece of HTML within one paragraph."""
    soup = _soup(markup)
    walk = _Walk(Styles())
    return list(walk.runs(soup.body or soup, Look(), 0))


def markup_of(raw: bytes) -> str:
    """Decode a page by its mark, its declaration (a `<meta charset>`, say), or statistics."""
    declared = EncodingDetector.find_declared_encoding(raw[:CHARSET_SAMPLE_BYTES], is_html=True)
    if declared and not raw.startswith(BYTE_ORDER_MARKS):
        return decoded_as(raw, declared)
    return decoded(raw)


def _soup(markup: str) -> BeautifulSoup:
    with warnings.catch_warnings():
        # XHTML parses well enough as HTML, and XML entities must not be expanded anyway.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        return BeautifulSoup(markup, "lxml")


class _Walk:
    """Collects inline text until a block-level element begins or ends, then makes it a block."""

    def __init__(self, styles: Styles) -> None:
        self.blocks: list[Block] = []
        self._styles = styles
        self._inline: list[Run] = []
        self._list_depth = 0
        self._item_pending = False

    def look(self, tag: Tag | None, around: Look) -> Look:
        """Return the look of `tag` within something that looks like `around`."""
        return around if tag is None else self._styles.look(tag, around)

    def element(self, element: Tag, look: Look, depth: int) -> None:
        """Add what `element`, which looks like `look`, shows and hides."""
        _check_depth(depth)
        for child in element.children:
            if isinstance(child, Tag):
                self._tag(child, self.look(child, look), depth)
            else:
                self._inline += _said(child, look)

    def _tag(self, tag: Tag, look: Look, depth: int) -> None:
        if tag.name in _DROPPED:
            return
        if tag.name == "br":
            self._inline.append(Run("\n", look.hidden()))
        elif tag.name == "img":
            self._inline.append(Run(f" {tag.get('alt') or ''} ", look.hidden()))
        elif _HEADING.match(tag.name):
            self._whole(tag, look, depth, "heading", level=int(tag.name[1]))
        elif tag.name == "pre":
            self._whole(tag, look, depth, "code")
        elif tag.name == "table" and _is_data_table(tag):
            self.flush()
            self._table(tag, look, depth)
        elif tag.name in _BLOCKS:
            self._container(tag, look, depth)
        else:
            self.element(tag, look, depth + 1)

    def _whole(self, tag: Tag, look: Look, depth: int, kind: BlockKind, *, level: int = 0) -> None:
        self.flush()
        runs = list(self.runs(tag, look, depth + 1))
        text = _seen(runs)
        self._add(kind, one_line(text) if kind == "heading" else text.strip("\n"), level=level)
        self._hide(runs)

    def _container(self, tag: Tag, look: Look, depth: int) -> None:
        self.flush()
        is_list = tag.name in {"ul", "ol"}
        self._list_depth += is_list
        if tag.name == "li":
            self._item_pending = True
        self.element(tag, look, depth + 1)
        self.flush()
        self._list_depth -= is_list

    def flush(self) -> None:
        """Make blocks of the inline text gathered so far: of what is seen, and of what is not."""
        runs = [Run(_spaced(run.text), run.hidden) for run in self._inline]
        self._inline = []
        lines = [one_line(line) for line in _seen(runs).split("\n")]
        text = "\n".join(line for line in lines if line)
        if text and self._item_pending and self._list_depth:
            self._add("list_item", text, level=self._list_depth)
        elif text:
            self._add("paragraph", text)
        self._item_pending = self._item_pending and not text
        self._hide(runs)

    def runs(self, tag: Tag, look: Look, depth: int) -> Iterator[Run]:
        """Yield the texts of an element that becomes one block or one cell, with their looks."""
        _check_depth(depth)
        for child in tag.children:
            if not isinstance(child, Tag):
                yield from _said(child, look)
            elif child.name not in _DROPPED:
                inner = self.look(child, look)
                if child.name == "br" or child.name in _BLOCKS:
                    yield Run("\n", inner.hidden())
                yield from self.runs(child, inner, depth + 1)

    def _hide(self, runs: Iterable[Run]) -> None:
        for block in unseen_blocks(runs):
            text = one_line(block.text)
            if text:
                self.blocks.append(Block("paragraph", text, hidden=block.hidden))

    def _add(self, kind: BlockKind, text: str, *, level: int = 0, header: str = "") -> None:
        for piece in pieces_of(text):
            self.blocks.append(Block(kind, piece, level, header=header))

    def _table(self, table: Tag, look: Look, depth: int) -> None:
        caption = table.find("caption", recursive=False)
        if isinstance(caption, Tag):
            self._whole(caption, self.look(caption, look), depth, "paragraph")
        rows: list[str] = []
        unseen: list[Run] = []
        for row in table.find_all("tr"):
            if row.find_parent("table") is table:
                cells = self._cells(row, self._look_within(row, table, look), depth)
                rows.append(row_text([_seen(cell) for cell in cells]))
                unseen += [Run(f"{run.text} ", run.hidden) for cell in cells for run in cell if run.hidden]
        texts = [text for text in rows if text]
        if len(texts) > 1:
            self._add("table", "\n".join(texts[1:]), header=texts[0])
        elif texts:
            self._add("table", texts[0])
        self._hide(unseen)

    def _look_within(self, row: Tag, table: Tag, look: Look) -> Look:
        between = [row]
        for parent in row.parents:
            if parent is table:
                break
            between.append(parent)
        for tag in reversed(between):
            look = self.look(tag, look)
        return look

    def _cells(self, row: Tag, look: Look, depth: int) -> list[list[Run]]:
        cells = row.find_all(["td", "th"], recursive=False)
        return [list(self.runs(cell, self.look(cell, look), depth + 1)) for cell in cells]


def _said(node: PageElement, look: Look) -> list[Run]:
    """Return what a node that is no element says."""
    if isinstance(node, Comment):
        text = one_line(_TAGS.sub(" ", node))
        if _CONDITION.match(node) or len(text.split()) < MIN_COMMENT_WORDS:
            return []
        return [Run(f" {text} ", "comment")]
    if isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
        return [Run(str(node), look.hidden())]
    return []


def _spaced(text: str) -> str:
    # Only a `<br>` breaks a line; a line break in the source is a space (HTML, white space collapsing).
    return text if text == "\n" else re.sub(r"\s", " ", text)


def _seen(runs: Iterable[Run]) -> str:
    return "".join(run.text for run in runs if run.hidden is None)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UnreadableFile("too_complex", "This page is nested too deeply to be read.")


def _is_data_table(table: Tag) -> bool:
    """Say whether a table holds data; one column, or tables within, mean that it only lays out a page."""
    if table.find("table") is not None:
        return False
    return any(len(row.find_all(["td", "th"])) > 1 for row in table.find_all("tr"))
