"""Rows of a spreadsheet become tables with column names and cell ranges; what is hidden is kept apart."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import chain

from openpyxl.utils import get_column_letter

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, Hidden, Place, one_line, row_text
from ingest.parse.limits import ParseLimits, too_much_text
from ingest.parse.runs import concealed, hidden_text
from ingest.parse.texts.tabular import ROWS_PER_BLOCK
from ingest.parse.texts.text import MAX_BLOCK_CHARS


class SheetBlocks:
    """Takes one sheet's rows in order. `hidden` is why nobody sees the whole sheet, if nobody does."""

    def __init__(self, name: str, limits: ParseLimits, *, hidden: Hidden | None = None) -> None:
        self._name = name
        self._hidden = hidden
        self._shown = _Table(name)
        self._unseen: dict[Hidden, _Table] = {}
        self._comments: list[Block] = []
        self._characters = 0
        self._limits = limits

    def row(self, number: int, cells: list[str], unseen: dict[int, Hidden] | None = None) -> None:
        """Take the row with this number (from 1); `cells` begin at column A, `unseen` counts them from 0."""
        self._count(cells)
        if not unseen:
            self._shown.row(number, cells)
            return
        visible = ["" if at in unseen else cell for at, cell in enumerate(cells)]
        # A row of which nothing is seen does not end the table around it.
        if any(visible) or not any(cells):
            self._shown.row(number, visible)
        for reason in dict.fromkeys(unseen.values()):
            part = [cell if unseen.get(at) == reason else "" for at, cell in enumerate(cells)]
            if any(part):
                self._unseen.setdefault(reason, _Table(self._name, named_columns=False)).row(number, part)

    def comment(self, cell: str, text: str) -> None:
        """Take a note that hangs on a cell, named in A1 notation."""
        self._comments += hidden_text(text, "comment", Place(sheet=self._name, cells=f"{cell}:{cell}"))

    def blocks(self) -> list[Block]:
        """Return the sheet's name as a heading and its tables, then what is hidden; nothing for no text."""
        self._shown.end()
        shown = self._shown.blocks
        if self._hidden:
            shown = concealed(shown, self._hidden)
        elif shown:
            shown = [Block("heading", self._name, 1, place=Place(sheet=self._name)), *shown]
        for table in self._unseen.values():
            table.end()
        unseen = [concealed(table.blocks, reason) for reason, table in self._unseen.items()]
        return [*shown, *chain.from_iterable(unseen), *self._comments]

    def _count(self, cells: list[str]) -> None:
        self._characters += sum(map(len, cells))
        if self._characters > self._limits.max_text_chars:
            raise too_much_text(self._limits)


def check_sheet_count(sheets: int, limits: ParseLimits) -> None:
    """Refuse a workbook with more sheets than a document may have pages."""
    if sheets > limits.max_pages:
        raise UnreadableFile(
            "too_many_pages", f"This workbook has {sheets:,} sheets; {limits.max_pages:,} are accepted."
        )


def plain_number(value: float) -> str:
    """Return a number as a spreadsheet shows it without a format: 15 digits, whole numbers in full."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.15g}"


def shown_value(value: object, number: Callable[[float], str] = plain_number) -> str:
    """Return a cell's value nearly as a reader sees it: dates in ISO 8601, numbers by `number`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ", "minutes")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, int | float):
        return number(value)
    return one_line(str(value))


class _Table:
    """Gathers rows; an empty row ends a table, and so does the size that one block may have.

    Without `named_columns` the first row is a row like the others: what is hidden of a table has no head.
    """

    def __init__(self, sheet: str, *, named_columns: bool = True) -> None:
        self.blocks: list[Block] = []
        self._sheet = sheet
        self._named_columns = named_columns
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
        elif not self._named_columns:
            self._body_row(number, cells, row_text([cell for cell in cells if cell]))
        elif not self._header and not self._rows and sum(map(bool, cells)) == 1:
            # One cell alone above a table is its title, not a column name.
            title = row_text([cell for cell in cells if cell])
            self.blocks.append(Block("paragraph", title, place=self._place(number, number, cells)))
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
