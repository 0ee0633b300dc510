"""ODS: the sheets as tables, with column names kept and cell ranges known; what is hidden is kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from openpyxl.utils import get_column_letter

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, Hidden, ParsedDocument, one_line, with_heading_paths
from ingest.parse.detect import ODS
from ingest.parse.limits import ParseLimits
from ingest.parse.office.odf import Package, Styles, name, open_package
from ingest.parse.office.odf_blocks import count
from ingest.parse.office.sheets import SheetBlocks, check_sheet_count, plain_number
from ingest.parse.texts.text import no_text

MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384
MAX_GROUP_DEPTH: Final = 30
_P = name("text:p")
_ANNOTATION = name("office:annotation")
_SPACES = frozenset({name("text:s"), name("text:tab"), name("text:line-break")})
_ROW, _COLUMN = name("table:table-row"), name("table:table-column")
_GROUPS = frozenset(
    name(f"table:table-{one}")
    for one in ("row-group", "rows", "header-rows", "column-group", "columns", "header-columns")
)
_CELLS = frozenset({name("table:table-cell"), name("table:covered-table-cell")})
_REPEATED_ROWS, _REPEATED = name("table:number-rows-repeated"), name("table:number-columns-repeated")
_VISIBILITY, _DISPLAY, _STYLE = name("table:visibility"), name("table:display"), name("table:style-name")
_DEFAULT_STYLE = name("table:default-cell-style-name")


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an OpenDocument workbook: each sheet is a heading, each run of rows a table with its cells.

    Hidden sheets, rows and columns, text in the colour of its cell, and comments become hidden blocks.
    """
    package = open_package(file, limits)
    sheets = package.body.findall(name("table:table"))
    check_sheet_count(len(sheets), limits)
    blocks: list[Block] = []
    visible = 0
    for number, sheet in enumerate(sheets, start=1):
        hidden = package.styles.value("table", sheet.get(_STYLE), "table:display") == "false"
        visible += not hidden
        blocks += with_heading_paths(
            _Sheet(sheet, package, limits, hidden="not_shown" if hidden else None).blocks()
        )
        on_progress(number, len(sheets))
    if not blocks:
        raise no_text()
    return ParsedDocument(title=package.title or None, pages=visible, blocks=tuple(blocks), media_type=ODS)


class _Sheet:
    """Reads the rows of one sheet. A file may say of rows and cells how often they repeat."""

    def __init__(self, sheet: Any, package: Package, limits: ParseLimits, *, hidden: Hidden | None) -> None:
        self._sheet = sheet
        self._styles: Styles = package.styles
        self._table = SheetBlocks(sheet.get(name("table:name")) or "", limits, hidden=hidden)
        self._columns = list(self._columns_of(sheet, 0, hidden=False))
        self._unseen_styles: dict[str | None, Hidden | None] = {}

    def blocks(self) -> list[Block]:
        """Return the sheet's blocks."""
        number = 1
        for row, row_is_hidden in _rows(self._sheet, 0, hidden=False):
            repeated = count(row.get(_REPEATED_ROWS), MAX_ROWS)
            cells, unseen, comments = self._row(row)
            if row_is_hidden:
                unseen = {at: "not_shown" for at, cell in enumerate(cells) if cell}
            for at, text in comments:
                self._table.comment(f"{get_column_letter(at + 1)}{number}", text)
            # However often an empty row repeats, it ends a table once.
            for again in range(repeated if cells else 1):
                self._table.row(number + again, cells, unseen)
            number += repeated
            if number > MAX_ROWS + 1:
                break
        return self._table.blocks()

    def _columns_of(self, parent: Any, depth: int, *, hidden: bool) -> Iterator[tuple[int, bool, str | None]]:
        """Yield (number of columns, whether they are hidden, their cells' style) from the left."""
        for child in parent:
            if child.tag == _COLUMN:
                gone = hidden or child.get(_VISIBILITY) in ("collapse", "filter")
                yield count(child.get(_REPEATED), MAX_COLUMNS), gone, child.get(_DEFAULT_STYLE)
            elif child.tag in _GROUPS:
                _check_depth(depth)
                gone = hidden or child.get(_DISPLAY) == "false"
                yield from self._columns_of(child, depth + 1, hidden=gone)

    def _row(self, row: Any) -> tuple[list[str], dict[int, Hidden], list[tuple[int, str]]]:
        """Return a row's cells from column A, which of them (from 0) are not seen, and their comments."""
        cells: list[str] = []
        unseen: dict[int, Hidden] = {}
        comments: list[tuple[int, str]] = []
        at = 0
        for cell in row:
            if cell.tag not in _CELLS or at >= MAX_COLUMNS:
                continue
            repeated = min(count(cell.get(_REPEATED), MAX_COLUMNS), MAX_COLUMNS - at)
            if text := _shown(cell):
                cells += [""] * (at - len(cells)) + [text] * repeated
                for column in range(at, at + repeated):
                    if reason := self._unseen(cell, column):
                        unseen[column] = reason
            comments += [(at, _comment(one)) for one in cell.iter(_ANNOTATION)]
            at += repeated
        return cells, unseen, comments

    def _unseen(self, cell: Any, column: int) -> Hidden | None:
        hidden, default_style = self._column(column)
        if hidden:
            return "not_shown"
        style = cell.get(_STYLE) or default_style
        if style not in self._unseen_styles:
            self._unseen_styles[style] = self._styles.unseen([("table-cell", style)])
        return self._unseen_styles[style]

    def _column(self, column: int) -> tuple[bool, str | None]:
        end = 0
        for repeated, hidden, style in self._columns:
            end += repeated
            if column < end:
                return hidden, style
        return False, None


def _rows(parent: Any, depth: int, *, hidden: bool) -> Iterator[tuple[Any, bool]]:
    for child in parent:
        if child.tag == _ROW:
            yield child, hidden or child.get(_VISIBILITY) in ("collapse", "filter")
        elif child.tag in _GROUPS:
            _check_depth(depth)
            yield from _rows(child, depth + 1, hidden=hidden or child.get(_DISPLAY) == "false")


def _check_depth(depth: int) -> None:
    if depth > MAX_GROUP_DEPTH:
        raise UnreadableFile("too_complex", "This workbook is nested too deeply to be read.")


def _shown(cell: Any) -> str:
    """Return a cell as a reader sees it, nearly: dates in ISO 8601, plain numbers without a format."""
    kind = cell.get(name("office:value-type"))
    if kind == "float" and (value := cell.get(name("office:value"))):
        try:
            return plain_number(float(value))
        except ValueError:
            return one_line(value)
    if kind == "date" and (date := cell.get(name("office:date-value"))):
        return one_line(date).removesuffix("T00:00:00").replace("T", " ")
    if kind == "boolean":
        return "TRUE" if cell.get(name("office:boolean-value")) == "true" else "FALSE"
    return one_line(" ".join(_text(paragraph) for paragraph in cell.findall(_P)))


def _text(element: Any) -> str:
    """Return the text of a paragraph or a part of it; comments within are not its own."""
    pieces = [element.text or ""]
    for child in element:
        if child.tag in _SPACES:
            pieces.append(" ")
        elif child.tag != _ANNOTATION:
            pieces.append(_text(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


def _comment(annotation: Any) -> str:
    return "\n".join("".join(paragraph.itertext()) for paragraph in annotation.iter(_P))
