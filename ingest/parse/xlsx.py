"""XLSX: the visible sheets as tables, with column names kept and cell ranges known."""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from infra.errors import UnreadableFile
from ingest.parse.archive import check_archive
from ingest.parse.blocks import Block, ParsedDocument, Place, one_line, row_text, with_heading_paths
from ingest.parse.detect import XLSX
from ingest.parse.limits import ParseLimits
from ingest.parse.tabular import ROWS_PER_BLOCK
from ingest.parse.text import MAX_BLOCK_CHARS, no_text

_PERCENT = re.compile(r"0(?:\.(0+))?%")
PROGRESS_EVERY_ROWS = 1000


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a workbook: each sheet is a heading, each run of rows between empty rows a table.

    A formula shows the value that Excel stored. Hidden sheets are left out, as a reader cannot see them.
    """
    check_archive(file, limits)
    blocks: list[Block] = []
    try:
        with warnings.catch_warnings():
            # The library warns about features that it does not keep when writing; nothing is written here.
            warnings.simplefilter("ignore")
            workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheets = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
            _check_count(len(sheets), limits)
            for number, sheet in enumerate(sheets, start=1):
                blocks += _sheet_blocks(sheet)
                on_progress(number, len(sheets))
            title = one_line(workbook.properties.title or "")
    except (
        InvalidFileException,
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        TypeError,
        ParseError,
        SyntaxError,
    ) as error:
        raise UnreadableFile(
            "damaged",
            "This workbook is damaged and cannot be opened.",
            hint="Open it in Excel, save it again, and upload the new copy.",
        ) from error
    if not blocks:
        raise no_text()
    return ParsedDocument(
        title=title or None, pages=len(sheets), blocks=with_heading_paths(blocks), media_type=XLSX
    )


def _check_count(sheets: int, limits: ParseLimits) -> None:
    if sheets > limits.max_pages:
        raise UnreadableFile(
            "too_many_pages", f"This workbook has {sheets:,} sheets; {limits.max_pages:,} are accepted."
        )


def _sheet_blocks(sheet: Any) -> list[Block]:
    # Files by other programs declare wrong dimensions, which would cut rows off.
    sheet.reset_dimensions()
    table = _Table(sheet.title)
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        table.row(number, [_shown(cell) for cell in cells])
    table.end()
    if not table.blocks:
        return []
    return [Block("heading", sheet.title, 1, place=Place(sheet=sheet.title)), *table.blocks]


class _Table:
    """Gathers rows; an empty row ends a table, and so does the size that one block may have."""

    def __init__(self, sheet: str) -> None:
        self.blocks: list[Block] = []
        self._sheet = sheet
        self._forget()

    def _forget(self) -> None:
        self._header = ""
        self._left = 0  # empty columns before the table
        self._header_place = Place()
        self._rows: list[str] = []
        self._size = 0
        self._range: list[int] = []

    def row(self, number: int, cells: list[str]) -> None:
        """Take the row with this number (from 1); `cells` begin at column A."""
        text = row_text(self._within(cells))
        if not text:
            self.end()
        elif not self._header and not self._rows and sum(map(bool, cells)) == 1:
            # One cell alone above a table is its title, not a column name.
            self.blocks.append(Block("paragraph", text, place=self._place(number, number, cells)))
        elif not self._header:
            self._left = _filled_columns(cells)[0] - 1
            self._header = row_text(self._within(cells))
            self._header_place = self._place(number, number, cells)
        else:
            self._body_row(number, cells, text)

    def _within(self, cells: list[str]) -> list[str]:
        """Leave out the empty columns before the table, unless this row reaches into them."""
        return cells if any(cells[: self._left]) else cells[self._left :]

    def _body_row(self, number: int, cells: list[str], text: str) -> None:
        if self._rows and (len(self._rows) >= ROWS_PER_BLOCK or self._size + len(text) > MAX_BLOCK_CHARS):
            self._emit()
        first, last = _filled_columns(cells)
        if not self._range:
            self._range = [number, number, first, last]
        self._range = [self._range[0], number, min(self._range[2], first), max(self._range[3], last)]
        self._rows.append(text)
        self._size += len(text)

    def end(self) -> None:
        """Finish the table at hand, if there is one."""
        if self._rows:
            self._emit()
        elif self._header and not self._emitted():
            self.blocks.append(Block("table", self._header, place=self._header_place))
        self._forget()

    def _emitted(self) -> bool:
        return bool(self.blocks) and self.blocks[-1].header == self._header

    def _emit(self) -> None:
        top, bottom, left, right = self._range
        cells = f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}"
        place = Place(sheet=self._sheet, cells=cells, first_line=top, last_line=bottom)
        self.blocks.append(Block("table", "\n".join(self._rows), place=place, header=self._header))
        self._rows, self._size, self._range = [], 0, []

    def _place(self, top: int, bottom: int, cells: list[str]) -> Place:
        first, last = _filled_columns(cells)
        area = f"{get_column_letter(first)}{top}:{get_column_letter(last)}{bottom}"
        return Place(sheet=self._sheet, cells=area, first_line=top, last_line=bottom)


def _filled_columns(cells: list[str]) -> tuple[int, int]:
    filled = [at for at, cell in enumerate(cells, start=1) if cell]
    return filled[0], filled[-1]


def _shown(cell: Any) -> str:
    """Return a cell as a reader sees it, nearly: dates in ISO 8601, percentages as such."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ", "minutes")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, int | float):
        return _number(value, str(cell.number_format or ""))
    return one_line(str(value))


def _number(value: float, number_format: str) -> str:
    percent = _PERCENT.search(number_format)
    if percent:
        return f"{value * 100:.{len(percent.group(1) or '')}f}%"
    return f"{value:.15g}"
