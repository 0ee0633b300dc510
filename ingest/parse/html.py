"""HTML: what a reader sees, in order; scripts, styles, navigation and hidden elements are dropped."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Callable
from typing import BinaryIO

from bs4 import BeautifulSoup, Tag, XMLParsedAsHTMLWarning
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString, PreformattedString

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, BlockKind, ParsedDocument, one_line, row_text, with_heading_paths
from ingest.parse.detect import HTML
from ingest.parse.limits import ParseLimits
from ingest.parse.text import CHARSET_SAMPLE_BYTES, decoded, no_text, pieces_of, too_much_text

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
_HIDING_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
# A page nested deeper than this is an attack or an accident; Python's own limit would fall first otherwise.
MAX_DEPTH = 200
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an HTML page. The title is the `<title>`, or the first heading of level 1."""
    raw = file.read(limits.max_text_chars + 1)
    if len(raw) > limits.max_text_chars:
        raise too_much_text(limits)
    with warnings.catch_warnings():
        # XHTML parses well enough as HTML, and XML entities must not be expanded anyway.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(_decoded(raw), "lxml")
    walk = _Walk()
    walk.element(soup.body or soup, 0)
    walk.flush()
    if not walk.blocks:
        raise no_text()
    title = one_line(soup.title.get_text()) if soup.title else ""
    if not title:
        title = next((block.text for block in walk.blocks if block.kind == "heading"), "")
    return ParsedDocument(
        title=title or None, pages=None, blocks=with_heading_paths(walk.blocks), media_type=HTML
    )


def _decoded(raw: bytes) -> str:
    """Decode by mark, declaration (a `<meta charset>`), or statistics."""
    declared = EncodingDetector.find_declared_encoding(raw[:CHARSET_SAMPLE_BYTES], is_html=True)
    if declared and not raw.startswith(BYTE_ORDER_MARKS):
        try:
            return raw.decode(declared)
        except (LookupError, UnicodeDecodeError):
            return decoded(raw)
    return decoded(raw)


class _Walk:
    """Collects inline text until a block-level element begins or ends, then makes it a block."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._inline: list[str] = []
        self._list_depth = 0
        self._item_pending = False

    def element(self, element: Tag, depth: int) -> None:
        """Add what `element` shows."""
        if depth > MAX_DEPTH:
            raise UnreadableFile("too_complex", "This page is nested too deeply to be read.")
        for child in element.children:
            if isinstance(child, Tag):
                self._tag(child, depth)
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                self._inline.append(str(child))

    def _tag(self, tag: Tag, depth: int) -> None:
        if tag.name in _DROPPED or _is_hidden(tag):
            return
        if tag.name == "br":
            self._inline.append("\n")
        elif tag.name == "img":
            self._inline.append(f" {tag.get('alt') or ''} ")
        elif _HEADING.match(tag.name):
            self._heading(tag)
        elif tag.name == "pre":
            self.flush()
            self._add("code", _visible_text(tag).strip("\n"))
        elif tag.name == "table" and _is_data_table(tag):
            self.flush()
            self._table(tag)
        elif tag.name in _BLOCKS:
            self._container(tag, depth)
        else:
            self.element(tag, depth + 1)

    def _heading(self, tag: Tag) -> None:
        self.flush()
        self._add("heading", one_line(_visible_text(tag)), level=int(tag.name[1]))

    def _container(self, tag: Tag, depth: int) -> None:
        self.flush()
        is_list = tag.name in {"ul", "ol"}
        self._list_depth += is_list
        if tag.name == "li":
            self._item_pending = True
        self.element(tag, depth + 1)
        self.flush()
        self._list_depth -= is_list

    def flush(self) -> None:
        """Make a block of the inline text gathered so far."""
        lines = [one_line(line) for line in "".join(self._inline_lines()).split("\n")]
        text = "\n".join(line for line in lines if line)
        self._inline = []
        if not text:
            return
        if self._item_pending and self._list_depth:
            self._add("list_item", text, level=self._list_depth)
        else:
            self._add("paragraph", text)
        self._item_pending = False

    def _inline_lines(self) -> list[str]:
        # Only a `<br>` breaks a line; a line break in the source is a space (HTML, white space collapsing).
        return [piece if piece == "\n" else re.sub(r"\s", " ", piece) for piece in self._inline]

    def _add(self, kind: BlockKind, text: str, *, level: int = 0, header: str = "") -> None:
        for piece in pieces_of(text):
            self.blocks.append(Block(kind, piece, level, header=header))

    def _table(self, table: Tag) -> None:
        caption = table.find("caption", recursive=False)
        if isinstance(caption, Tag):
            self._add("paragraph", one_line(_visible_text(caption)))
        rows = [_cells(row) for row in table.find_all("tr") if row.find_parent("table") is table]
        texts = [text for text in (row_text(cells) for cells in rows) if text]
        if len(texts) > 1:
            self._add("table", "\n".join(texts[1:]), header=texts[0])
        elif texts:
            self._add("table", texts[0])


def _is_hidden(tag: Tag) -> bool:
    return (
        tag.has_attr("hidden")
        or str(tag.get("aria-hidden", "")).lower() == "true"
        or bool(_HIDING_STYLE.search(str(tag.get("style", ""))))
    )


def _is_data_table(table: Tag) -> bool:
    """Say whether a table holds data; one column, or tables within, mean that it only lays out a page."""
    if table.find("table") is not None:
        return False
    return any(len(row.find_all(["td", "th"])) > 1 for row in table.find_all("tr"))


def _cells(row: Tag) -> list[str]:
    if _is_hidden(row):
        return []
    return [
        _visible_text(cell) for cell in row.find_all(["td", "th"], recursive=False) if not _is_hidden(cell)
    ]


def _visible_text(tag: Tag) -> str:
    pieces: list[str] = []
    for node in tag.descendants:
        if isinstance(node, Tag):
            if node.name == "br" or node.name in _BLOCKS:
                pieces.append("\n")
        elif (
            isinstance(node, NavigableString)
            and not isinstance(node, PreformattedString)
            and not _within_hidden(node, tag)
        ):
            pieces.append(str(node))
    return "".join(pieces)


def _within_hidden(node: NavigableString, root: Tag) -> bool:
    for parent in node.parents:
        if parent is root:
            return False
        if parent.name in _DROPPED or _is_hidden(parent):
            return True
    return False
