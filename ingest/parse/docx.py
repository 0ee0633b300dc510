"""DOCX: headings, paragraphs, lists and tables in the order in which they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from docx.opc.exceptions import OpcError
from docx.opc.part import PartFactory
from docx.oxml.ns import qn
from docx.package import Package
from docx.parts.document import DocumentPart

from infra.errors import UnreadableFile
from ingest.parse.archive import check_archive
from ingest.parse.blocks import Block, ParsedDocument, Place, one_line, with_heading_paths
from ingest.parse.detect import DOCX
from ingest.parse.limits import ParseLimits
from ingest.parse.tabular import table_blocks
from ingest.parse.text import no_text, pieces_of

# Templates and macro-enabled documents have the same main part; macros are never run here.
for _subtype in (
    "vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
    "vnd.ms-word.document.macroEnabled.main+xml",
):
    PartFactory.part_type_for[f"application/{_subtype}"] = DocumentPart

_HEADING_STYLE = re.compile(r"heading ([1-9])$", re.IGNORECASE)
_MC_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_TEXT_BOX = qn("w:txbxContent")
# Deleted text is a tracked change that the document no longer says; text boxes are read on their own.
_NOT_READ_INLINE = frozenset({qn("w:del"), qn("w:moveFrom"), _MC_FALLBACK, _TEXT_BOX})
_WRAPPERS = frozenset(
    {qn("w:sdt"), qn("w:sdtContent"), qn("w:ins"), qn("w:moveTo"), qn("w:customXml"), qn("w:smartTag")}
)
_BREAKS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
MAX_DEPTH = 60


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a Word document. The title is its property, or the first paragraph in the style Title."""
    check_archive(file, limits)
    try:
        part = Package.open(file).main_document_part
    except (OpcError, SyntaxError, KeyError, ValueError) as error:
        raise _damaged() from error
    if not isinstance(part, DocumentPart):
        raise _damaged()
    reader = _Reader(part)
    blocks = list(reader.body(part.element.body, 0))
    if not blocks:
        raise no_text()
    title = one_line(part.core_properties.title or "") or reader.title or _first_heading(blocks)
    return ParsedDocument(title=title, pages=None, blocks=with_heading_paths(blocks), media_type=DOCX)


def _first_heading(blocks: list[Block]) -> str | None:
    return next(
        (one_line(block.text) for block in blocks if block.kind == "heading" and block.level == 1), None
    )


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This Word document is damaged and cannot be opened.",
        hint="Open it in Word, save it again, and upload the new copy.",
    )


class _Reader:
    """Walks the document's XML, because the library's own lists leave out content controls and text boxes."""

    def __init__(self, part: DocumentPart) -> None:
        self.title: str | None = None
        self._headings, self._list_styles, self._title_styles = _styles_of(part)

    def body(self, parent: Any, depth: int) -> Iterator[Block]:
        """Yield the blocks below `parent`, an XML element that holds paragraphs and tables."""
        if depth > MAX_DEPTH:
            raise UnreadableFile("too_complex", "This document is nested too deeply to be read.")
        for child in parent:
            if child.tag == qn("w:p"):
                yield from self._paragraph(child, depth)
            elif child.tag == qn("w:tbl"):
                yield from self._table(child)
            elif child.tag in _WRAPPERS:
                yield from self.body(child, depth + 1)

    def _paragraph(self, paragraph: Any, depth: int) -> Iterator[Block]:
        text = _inline_text(paragraph).strip()
        if text:
            yield from self._styled(paragraph, text)
        for box in paragraph.iter(_TEXT_BOX):
            if not _inside(box, _MC_FALLBACK, paragraph) and not _inside(box, _TEXT_BOX, paragraph):
                yield from self.body(box, depth + 1)

    def _styled(self, paragraph: Any, text: str) -> Iterator[Block]:
        style = _value(paragraph, "w:pPr/w:pStyle") or ""
        level = _outline_level(paragraph) or self._headings.get(style)
        if style in self._title_styles:
            self.title = self.title or one_line(text)
            level = level or 1
        if level:
            yield Block("heading", one_line(text), level)
            return
        depth = self._list_depth(paragraph, style)
        for piece in pieces_of(text):
            yield Block("list_item", piece, depth) if depth else Block("paragraph", piece)

    def _list_depth(self, paragraph: Any, style: str) -> int:
        number = _value(paragraph, "w:pPr/w:numPr/w:numId")
        if number is not None and number != "0":
            return int(_value(paragraph, "w:pPr/w:numPr/w:ilvl") or 0) + 1
        # Number 0 switches off the numbering that the style would give.
        return 1 if number is None and style in self._list_styles else 0

    def _table(self, table: Any) -> Iterator[Block]:
        rows = [_row_cells(row) for row in _children(table, qn("w:tr"))]
        for block in table_blocks((0, 0, cells) for cells in rows):
            yield Block("table", block.text, place=Place(), header=block.header)


def _styles_of(part: DocumentPart) -> tuple[dict[str, int], frozenset[str], frozenset[str]]:
    """Return heading level by style id, the ids of list styles, and the ids of title styles."""
    headings: dict[str, int] = {}
    lists: set[str] = set()
    titles: set[str] = set()
    by_id = {style.get(qn("w:styleId")) or "": style for style in part.styles.element.iter(qn("w:style"))}
    for identity in by_id:
        for ancestor in _with_ancestors(identity, by_id):
            name = _value(ancestor, "w:name") or ""
            match = _HEADING_STYLE.match(name)
            level = int(match.group(1)) if match else _outline_level(ancestor)
            if level:
                headings.setdefault(identity, level)
            if name.lower() == "title":
                titles.add(identity)
            if name.lower().startswith("list") and name.lower() != "list paragraph":
                lists.add(identity)
            if _value(ancestor, "w:pPr/w:numPr/w:numId") not in (None, "0"):
                lists.add(identity)
    return headings, frozenset(lists - headings.keys()), frozenset(titles)


def _with_ancestors(identity: str | None, by_id: dict[str, Any]) -> Iterator[Any]:
    """Yield a style and those it is based on; a cycle ends the chain."""
    seen: set[str] = set()
    while identity in by_id and identity not in seen:
        seen.add(identity)
        yield by_id[identity]
        identity = _value(by_id[identity], "w:basedOn")


def _outline_level(element: Any) -> int | None:
    """Return the heading level that an outline level means; 9 is body text (ECMA-376 part 1, 17.3.1.20)."""
    value = _value(element, "w:pPr/w:outlineLvl")
    return int(value) + 1 if value is not None and value in "012345678" else None


def _value(element: Any, path: str) -> str | None:
    for step in path.split("/"):
        element = element.find(qn(step))
        if element is None:
            return None
    value: str | None = element.get(qn("w:val"))
    return value


def _inline_text(element: Any) -> str:
    """Return the text of a paragraph's runs, hyperlinks and equations, without what was deleted."""
    pieces: list[str] = []
    pending = list(reversed(element))
    while pending:
        node = pending.pop()
        if node.tag in _NOT_READ_INLINE:
            continue
        if node.tag in (qn("w:t"), _MATH_TEXT):
            pieces.append(node.text or "")
        elif node.tag in _BREAKS:
            pieces.append(_BREAKS[node.tag])
        elif node.tag != qn("w:pPr"):
            pending.extend(reversed(node))
    return "".join(pieces)


def _row_cells(row: Any) -> list[str]:
    cells = []
    for cell in _children(row, qn("w:tc")):
        # A cell that continues a vertical merge has no text of its own.
        paragraphs = (_inline_text(paragraph) for paragraph in cell.iter(qn("w:p")))
        cells.append(one_line(" ".join(paragraphs)))
    return cells


def _children(parent: Any, tag: str) -> Iterator[Any]:
    """Yield the children with `tag`, also those inside content controls and tracked insertions."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _children(child, tag)


def _inside(element: Any, tag: str, root: Any) -> bool:
    parent = element.getparent()
    while parent is not None and parent is not root:
        if parent.tag == tag:
            return True
        parent = parent.getparent()
    return False
