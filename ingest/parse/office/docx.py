"""DOCX: headings, paragraphs, lists, tables and notes in the order in which they stand.

What a reader does not see (hidden, white, tiny text and comments) is kept apart. Headers and footers come
once each, before and after the text.
"""

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
from ingest.parse.blocks import Block, ParsedDocument, Place, one_line, row_text, with_heading_paths
from ingest.parse.containers.archive import check_archive
from ingest.parse.detect import DOCX
from ingest.parse.limits import ParseLimits
from ingest.parse.office.docx_looks import Looks, page_colour
from ingest.parse.office.safe_xml import tree_of
from ingest.parse.runs import Run, concealed, hidden_text, seen, text_blocks, unseen_blocks, without_headings
from ingest.parse.texts.tabular import table_blocks
from ingest.parse.texts.text import no_text

# Templates and macro-enabled documents have the same main part; macros are never run here.
for _subtype in (
    "vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
    "vnd.ms-word.document.macroEnabled.main+xml",
):
    PartFactory.part_type_for[f"application/{_subtype}"] = DocumentPart

_HEADING_STYLE = re.compile(r"heading ([1-9])$", re.IGNORECASE)
_MC_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MATH_TEXT = f"{_MATH}t"
_RUNS = frozenset({qn("w:r"), f"{_MATH}r"})
_TEXT_BOX = qn("w:txbxContent")
# Deleted text is a tracked change that the document no longer says; text boxes are read on their own.
_NOT_READ_INLINE = frozenset({qn("w:del"), qn("w:moveFrom"), _MC_FALLBACK, _TEXT_BOX})
_WRAPPERS = frozenset(
    {qn("w:sdt"), qn("w:sdtContent"), qn("w:ins"), qn("w:moveTo"), qn("w:customXml"), qn("w:smartTag")}
)
_REFERENCES = {
    qn("w:footnoteReference"): "footnote",
    qn("w:endnoteReference"): "endnote",
    qn("w:commentReference"): "comment",
}
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
    body = [*reader.body(part.element.body, 0), *reader.comments_left()]
    headers, footers = reader.margins("header"), reader.margins("footer")
    blocks = [*headers, *with_heading_paths(body), *footers]
    if not blocks:
        raise no_text()
    title = one_line(part.core_properties.title or "") or reader.title or _first_heading(body)
    return ParsedDocument(title=title, pages=None, blocks=tuple(blocks), media_type=DOCX)


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
        self._part = part
        self._looks = Looks(part.styles.element, page_colour(part.element))
        self._headings, self._list_styles, self._title_styles = _styles_of(part)
        self._notes = {kind: _notes(part, kind) for kind in ("footnote", "endnote", "comment")}

    def body(self, parent: Any, depth: int) -> Iterator[Block]:
        """Yield the blocks below `parent`, an XML element that holds paragraphs and tables."""
        if depth > MAX_DEPTH:
            raise UnreadableFile("too_complex", "This document is nested too deeply to be read.")
        for child in parent:
            if child.tag == qn("w:p"):
                yield from self._paragraph(child, depth)
            elif child.tag == qn("w:tbl"):
                yield from self._table(child, depth)
            elif child.tag in _WRAPPERS:
                yield from self.body(child, depth + 1)

    def margins(self, kind: str) -> list[Block]:
        """Return the headers or footers that the sections name, each text once."""
        found: dict[str, list[Block]] = {}
        for reference in self._part.element.body.iter(qn(f"w:{kind}Reference")):
            relation = self._part.rels.get(reference.get(qn("r:id")))
            if relation is not None and not relation.is_external:
                blocks = without_headings(self.body(_root(relation.target_part), 0))
                found.setdefault("\n".join(f"{block.header}\n{block.text}" for block in blocks), blocks)
        return [block for blocks in found.values() for block in blocks]

    def comments_left(self) -> Iterator[Block]:
        """Yield the comments that no place in the text refers to."""
        for identity in list(self._notes["comment"]):
            yield from self._note("comment", identity, 0)

    def _paragraph(self, paragraph: Any, depth: int) -> Iterator[Block]:
        runs, references = self._inline(paragraph)
        yield from self._styled(paragraph, runs)
        for kind, identity in references:
            yield from self._note(kind, identity, depth)
        for box in paragraph.iter(_TEXT_BOX):
            if not _inside(box, _MC_FALLBACK, paragraph) and not _inside(box, _TEXT_BOX, paragraph):
                blocks = self.body(box, depth + 1)
                yield from concealed(blocks, "not_shown") if self._looks.box_is_hidden(box) else blocks

    def _note(self, kind: str, identity: str, depth: int) -> Iterator[Block]:
        """Yield a note where the text refers to it; each once, whatever refers to it again."""
        note = self._notes[kind].pop(identity, None)
        if note is None:
            return
        if kind == "comment":
            texts = (_all_text(paragraph) for paragraph in note.iter(qn("w:p")))
            yield from hidden_text("\n".join(texts), "comment")
        else:
            yield from self.body(note, depth + 1)

    def _styled(self, paragraph: Any, runs: list[Run]) -> Iterator[Block]:
        text = seen(runs)
        style = _value(paragraph, "w:pPr/w:pStyle") or ""
        level = _outline_level(paragraph) or self._headings.get(style)
        if style in self._title_styles and text:
            self.title = self.title or one_line(text)
            level = level or 1
        if level:
            yield from text_blocks(runs, "heading", level)
            return
        depth = self._list_depth(paragraph, style)
        yield from text_blocks(runs, "list_item" if depth else "paragraph", depth)

    def _inline(self, paragraph: Any) -> tuple[list[Run], list[tuple[str, str]]]:
        """Return a paragraph's runs, without what was deleted, and the notes that it refers to."""
        runs: list[Run] = []
        references: list[tuple[str, str]] = []
        pending = list(reversed(paragraph))
        while pending:
            node = pending.pop()
            if node.tag in _RUNS:
                if text := _all_text(node):
                    runs.append(Run(text, self._looks.of_run(node, paragraph)))
                for reference in node:
                    if reference.tag in _REFERENCES:
                        references.append((_REFERENCES[reference.tag], reference.get(qn("w:id")) or ""))
            elif node.tag not in _NOT_READ_INLINE and node.tag != qn("w:pPr"):
                pending.extend(reversed(node))
        return runs, references

    def _list_depth(self, paragraph: Any, style: str) -> int:
        number = _value(paragraph, "w:pPr/w:numPr/w:numId")
        if number is not None and number != "0":
            return int(_value(paragraph, "w:pPr/w:numPr/w:ilvl") or 0) + 1
        # Number 0 switches off the numbering that the style would give.
        return 1 if number is None and style in self._list_styles else 0

    def _table(self, table: Any, depth: int) -> Iterator[Block]:
        after: list[Block] = []
        rows: list[list[str]] = []
        for row in _children(table, qn("w:tr")):
            cells = [self._cell(cell, depth, after) for cell in _children(row, qn("w:tc"))]
            if self._looks.row_is_hidden(row):
                after += hidden_text(row_text(cells), "not_shown")
            else:
                rows.append(cells)
        for block in table_blocks((0, 0, cells) for cells in rows):
            yield Block("table", block.text, place=Place(), header=block.header)
        yield from after

    def _cell(self, cell: Any, depth: int, after: list[Block]) -> str:
        """Return a cell's text; `after` gets what is hidden in it, and its notes."""
        texts = []
        for paragraph in _paragraphs_within(cell):
            runs, references = self._inline(paragraph)
            texts.append(seen(runs))
            after += unseen_blocks(runs)
            for kind, identity in references:
                after += self._note(kind, identity, depth)
        # A cell that continues a vertical merge has no text of its own.
        return one_line(" ".join(texts))


def _notes(part: DocumentPart, kind: str) -> dict[str, Any]:
    """Return a document's footnotes, endnotes or comments by their numbers, without the separator lines."""
    for relation in part.rels.values():
        if relation.reltype.endswith(f"/relationships/{kind}s") and not relation.is_external:
            notes = _root(relation.target_part).iter(qn(f"w:{kind}"))
            return {
                note.get(qn("w:id")) or "": note
                for note in notes
                if note.get(qn("w:type")) in (None, "normal")
            }
    return {}


def _root(part: Any) -> Any:
    element = getattr(part, "element", None)
    return element if element is not None else tree_of(part.blob)


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


def _all_text(element: Any) -> str:
    """Return all text below `element`, without what was deleted and what text boxes hold."""
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
        elif node.tag not in (qn("w:pPr"), qn("w:rPr")):
            pending.extend(reversed(node))
    return "".join(pieces)


def _paragraphs_within(cell: Any) -> Iterator[Any]:
    """Yield a cell's paragraphs, also those of tables and text boxes in it, but no fallback's copies."""
    pending = list(reversed(cell))
    while pending:
        node = pending.pop()
        if node.tag == _MC_FALLBACK:
            continue
        if node.tag == qn("w:p"):
            yield node
        pending.extend(reversed(node))


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
