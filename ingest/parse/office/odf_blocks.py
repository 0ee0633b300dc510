"""OpenDocument text as blocks: headings, paragraphs, lists, tables and notes, wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, BlockKind, Hidden, Place, one_line, row_text
from ingest.parse.office.odf import Styles, name
from ingest.parse.runs import WHITE, Colour, Run, concealed, hidden_text, seen, text_blocks, unseen_blocks
from ingest.parse.texts.tabular import table_blocks

MAX_DEPTH = 60
# Spaces and columns that a file may ask for by a number instead of writing them.
MAX_REPEATED = 1000
_COLLAPSED = re.compile(r"[ \t\r\n]+")

_P, _H, _LIST, _TABLE = (name(one) for one in ("text:p", "text:h", "text:list", "table:table"))
_NOTE, _NOTE_BODY = name("text:note"), name("text:note-body")
_ANNOTATION = name("office:annotation")
_SECTION = name("text:section")
_ROW = name("table:table-row")
_CELLS: Final = frozenset({name("table:table-cell"), name("table:covered-table-cell")})
# Text that the document no longer says, that a program says, or that only names things.
_NOT_READ: Final = frozenset(
    name(one)
    for one in (
        "text:tracked-changes",
        "text:sequence-decls",
        "text:variable-decls",
        "text:user-field-decls",
        "text:script",
        "text:note-citation",
        "text:ruby-text",
        "office:forms",
        "office:event-listeners",
        "office:annotation-end",
        "svg:title",
        "svg:desc",
        "text:table-of-content-source",
        "text:alphabetical-index-source",
    )
)
_MARKED_HIDDEN: Final = {
    name("text:hidden-text"): name("text:is-hidden"),
    name("text:hidden-paragraph"): name("text:is-hidden"),
}
_SHAPES: Final = frozenset(
    name(f"draw:{one}")
    for one in "frame g custom-shape rect ellipse circle line polygon path caption".split()
)


@dataclass(slots=True)
class _Paragraph:
    """What was found in one paragraph: its runs, and what hangs on it."""

    runs: list[Run] = field(default_factory=list)
    hanging: list[Any] = field(default_factory=list)


class BlockReader:
    """Walks below an element; `place` goes into every block, `ground` is the colour behind the text."""

    def __init__(
        self,
        styles: Styles,
        place: Place | None = None,
        ground: Colour | None = WHITE,
        looks: tuple[tuple[str, str | None], ...] = (),
    ) -> None:
        self.title: str | None = None
        self._styles = styles
        self._place = place or Place()
        self._ground = ground
        self._outer = list(looks)

    def below(self, parent: Any, depth: int = 0, list_depth: int = 0) -> Iterator[Block]:
        """Yield the blocks of what stands below `parent`, in order."""
        if depth > MAX_DEPTH:
            raise UnreadableFile("too_complex", "This document is nested too deeply to be read.")
        for child in parent:
            if child.tag in (_P, _H):
                yield from self._paragraph(child, depth, list_depth)
            elif child.tag == _LIST:
                yield from self.below(child, depth + 1, list_depth + 1)
            elif child.tag == _TABLE:
                yield from self._table(child, depth)
            elif child.tag == _ANNOTATION:
                yield from hidden_text(_plain(child), "comment", self._place)
            elif child.tag == _SECTION and self._section_is_hidden(child):
                yield from concealed(self.below(child, depth + 1, list_depth), "not_shown")
            elif child.tag not in _NOT_READ:
                yield from self.below(child, depth + 1, list_depth)

    def _section_is_hidden(self, section: Any) -> bool:
        # A condition that is not met hides it; the program stores which it was.
        shown, is_hidden = section.get(name("text:display")), section.get(name("text:is-hidden"))
        return bool(shown == "none" or (shown == "condition" and is_hidden == "true"))

    def _paragraph(self, element: Any, depth: int, list_depth: int) -> Iterator[Block]:
        found = self.inline(element)
        style = element.get(name("text:style-name"))
        level = self._level(element, style)
        if level is None and self._styles.is_or_descends_from(style, "Title") and seen(found.runs):
            self.title = self.title or one_line(seen(found.runs))
            level = 1
        if level:
            yield from text_blocks(found.runs, "heading", level, self._place)
        else:
            kind: BlockKind = "list_item" if list_depth else "paragraph"
            yield from text_blocks(found.runs, kind, list_depth, self._place)
        for hanging in found.hanging:
            yield from self._hanging(hanging, depth + 1)

    def _level(self, element: Any, style: str | None) -> int | None:
        own = element.get(name("text:outline-level")) if element.tag == _H else None
        value = own or self._styles.value("paragraph", style, "style:default-outline-level")
        if value and value.isdigit() and int(value) > 0:
            return min(int(value), 9)
        return 1 if element.tag == _H else None

    def _hanging(self, element: Any, depth: int) -> Iterator[Block]:
        if element.tag == _ANNOTATION:
            yield from hidden_text(_plain(element), "comment", self._place)
        elif element.tag == _NOTE:
            for body in element.iter(_NOTE_BODY):
                yield from self.below(body, depth)
        else:
            yield from self.below([element], depth)

    def inline(self, paragraph: Any) -> _Paragraph:
        """Return a paragraph's runs, and the notes, comments and boxes that hang on it."""
        found = _Paragraph()
        style = paragraph.get(name("text:style-name"))
        self._inline(paragraph, [("paragraph", style), *self._outer], found, 0)
        return found

    def _inline(
        self, element: Any, looks: list[tuple[str, str | None]], found: _Paragraph, depth: int
    ) -> None:
        if depth > MAX_DEPTH:
            raise UnreadableFile("too_complex", "This document is nested too deeply to be read.")
        hidden = self._styles.unseen(looks, self._ground)
        _add(found, element.text, hidden)
        for child in element:
            if child.tag in (_ANNOTATION, _NOTE) or child.tag in _SHAPES:
                found.hanging.append(child)
            elif child.tag in _MARKED_HIDDEN:
                self._marked(child, found)
            elif child.tag not in _NOT_READ:
                if (white := _white_space(child)) is not None:
                    found.runs.append(Run(white, hidden))
                elif child.tag == name("text:span"):
                    span = ("text", child.get(name("text:style-name")))
                    self._inline(child, [span, *looks], found, depth + 1)
                else:
                    self._inline(child, looks, found, depth + 1)
            _add(found, child.tail, hidden)

    def _marked(self, element: Any, found: _Paragraph) -> None:
        """Take a field that shows its text on a condition."""
        if element.tag == name("text:hidden-paragraph"):
            if element.get(_MARKED_HIDDEN[element.tag]) == "true":
                found.runs[:] = [Run(run.text, run.hidden or "not_shown") for run in found.runs]
            return
        text = element.get(name("text:string-value")) or element.text or ""
        is_hidden = element.get(_MARKED_HIDDEN[element.tag]) != "false"
        found.runs.append(Run(text, "not_shown" if is_hidden else None))

    def _table(self, table: Any, depth: int) -> Iterator[Block]:
        rows: list[list[str]] = []
        after: list[Block] = []
        for row in _rows(table, 0):
            cells = [self._cell(cell, depth, after) for cell in _cells(row)]
            if row.get(name("table:visibility")) in ("collapse", "filter"):
                after += hidden_text(row_text(cells), "not_shown", self._place)
            else:
                rows.append(cells)
        for block in table_blocks((0, 0, cells) for cells in rows):
            yield Block("table", block.text, place=self._place, header=block.header)
        yield from after

    def _cell(self, cell: Any, depth: int, after: list[Block]) -> str:
        """Return what a reader sees in a cell; `after` gets what is hidden in it, and its notes."""
        outer = self._outer
        self._outer = [*outer, ("table-cell", cell.get(name("table:style-name")))]
        texts = []
        for paragraph in cell.iter(_P, _H):
            if _hangs(paragraph, cell):
                continue
            found = self.inline(paragraph)
            texts.append(seen(found.runs))
            after += unseen_blocks(found.runs, self._place)
            for hanging in found.hanging:
                # The text of shapes is found by the loop around this.
                if hanging.tag in (_ANNOTATION, _NOTE):
                    after += self._hanging(hanging, depth + 1)
        self._outer = outer
        return one_line(" ".join(texts))


def _hangs(paragraph: Any, cell: Any) -> bool:
    """Say whether a paragraph below `cell` belongs to a note or a comment in it."""
    around = paragraph.getparent()
    while around is not None and around is not cell:
        if around.tag in (_ANNOTATION, _NOTE):
            return True
        around = around.getparent()
    return False


def _add(found: _Paragraph, text: str | None, hidden: Hidden | None) -> None:
    if text:
        found.runs.append(Run(_COLLAPSED.sub(" ", text), hidden))


def _white_space(element: Any) -> str | None:
    if element.tag == name("text:s"):
        return " " * count(element.get(name("text:c")))
    if element.tag == name("text:tab"):
        return "\t"
    return "\n" if element.tag == name("text:line-break") else None


def count(value: str | None, most: int = MAX_REPEATED) -> int:
    """Return a number of repetitions that a file asks for, from 1 to `most`."""
    return min(max(int(value), 1), most) if value and value.isdigit() else 1


def _plain(annotation: Any) -> str:
    """Return the text of a comment, without its author and date."""
    return "\n".join("".join(paragraph.itertext()) for paragraph in annotation.iter(_P))


def _rows(parent: Any, depth: int) -> Iterator[Any]:
    for child in parent:
        if child.tag == _ROW:
            yield child
        elif depth < MAX_DEPTH and child.tag not in _CELLS:
            yield from _rows(child, depth + 1)


def _cells(row: Any) -> Iterator[Any]:
    for cell in row:
        if cell.tag in _CELLS:
            for _ in range(count(cell.get(name("table:number-columns-repeated")), 100)):
                yield cell
