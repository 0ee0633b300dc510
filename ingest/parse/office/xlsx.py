"""XLSX: the sheets as tables, with column names kept and cell ranges known; what is hidden is kept apart."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

from openpyxl import load_workbook
from openpyxl.packaging.relationship import get_dependents, get_rels_path
from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._reader import WorkSheetParser

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, Hidden, ParsedDocument, one_line, with_heading_paths
from ingest.parse.containers.archive import check_archive
from ingest.parse.detect import XLSX
from ingest.parse.limits import ParseLimits
from ingest.parse.office.safe_xml import tree_of
from ingest.parse.office.sheets import SheetBlocks, check_sheet_count, plain_number, shown_value
from ingest.parse.runs import WHITE, Colour, colour_of, looks_hidden
from ingest.parse.texts.text import no_text

_PERCENT = re.compile(r"0(?:\.(0+))?%")
_SHEET_XML = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
# The theme's colours by number: 0 is the paper's, which all but no workbook changes.
_THEME_PAPER = 0
MAX_COLUMNS = 16_384


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a workbook: each sheet is a heading, each run of rows between empty rows a table.

    A formula shows the value that Excel stored. Hidden sheets, rows, columns and values, and the notes on
    cells, become hidden blocks with their cells.
    """
    check_archive(file, limits)
    blocks: list[Block] = []
    try:
        with warnings.catch_warnings():
            # The library warns about features that it does not keep when writing; nothing is written here.
            warnings.simplefilter("ignore")
            workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheets = workbook.worksheets
            check_sheet_count(len(sheets), limits)
            looks = _Looks(workbook)
            for number, sheet in enumerate(sheets, start=1):
                blocks += with_heading_paths(_sheet_blocks(sheet, looks, limits))
                on_progress(number, len(sheets))
            title = one_line(workbook.properties.title or "")
    except (
        InvalidFileException,
        zipfile.BadZipFile,
        IndexError,
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
    visible = sum(sheet.sheet_state == "visible" for sheet in sheets)
    return ParsedDocument(title=title or None, pages=visible, blocks=tuple(blocks), media_type=XLSX)


def _sheet_blocks(sheet: Any, looks: _Looks, limits: ParseLimits) -> list[Block]:
    hidden: Hidden | None = None if sheet.sheet_state == "visible" else "not_shown"
    table = SheetBlocks(sheet.title, limits, hidden=hidden)
    last = 0
    for number, cells, unseen in _rows(sheet, looks):
        if number <= last:
            continue
        if number > last + 1:
            table.row(last + 1, [])
        table.row(number, cells, unseen)
        last = number
    for cell, text in _notes(sheet):
        table.comment(cell, text)
    return table.blocks()


def _rows(sheet: Any, looks: _Looks) -> Iterator[tuple[int, list[str], dict[int, Hidden]]]:
    """Yield the rows that the file holds, with the columns (from 0) whose cells are not seen.

    The library's own read-only rows leave out which rows and columns are hidden, so its parser is called.
    """
    workbook = sheet.parent
    with sheet._get_source() as source:
        parser = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=workbook.epoch,
            date_formats=workbook._date_formats,
            timedelta_formats=workbook._timedelta_formats,
        )
        columns: list[range] | None = None
        for number, row in parser.parse():
            # Columns are described before the first row.
            columns = _hidden_columns(parser.column_dimensions) if columns is None else columns
            row_is_hidden = _is_set(parser.row_dimensions.pop(str(number), {}).get("hidden"))
            yield number, *_row(row, columns, row_is_hidden=row_is_hidden, looks=looks)


def _row(
    row: list[dict[str, Any]], columns: list[range], *, row_is_hidden: bool, looks: _Looks
) -> tuple[list[str], dict[int, Hidden]]:
    cells: list[str] = []
    unseen: dict[int, Hidden] = {}
    for cell in row:
        at = cell["column"] - 1
        if cell["value"] is None or at >= MAX_COLUMNS:
            continue
        number_format, hidden = looks.of(cell["style_id"])
        cells += [""] * (at + 1 - len(cells))
        cells[at] = shown_value(cell["value"], partial(_number, number_format))
        if row_is_hidden or any(at + 1 in columns_hidden for columns_hidden in columns):
            hidden = "not_shown"
        if hidden and cells[at]:
            unseen[at] = hidden
    return cells, unseen


def _hidden_columns(dimensions: dict[str, dict[str, str]]) -> list[range]:
    return [
        range(int(column["min"]), int(column.get("max", column["min"])) + 1)
        for column in dimensions.values()
        if _is_set(column.get("hidden"))
    ]


def _is_set(value: str | None) -> bool:
    return value in {"1", "true", "on"}


class _Looks:
    """Number format and visibility of each cell style, worked out once for each."""

    def __init__(self, workbook: Any) -> None:
        self._workbook = workbook
        self._known: dict[int, tuple[str, Hidden | None]] = {}

    def of(self, style_id: int) -> tuple[str, Hidden | None]:
        """Return the number format, and why values in this style are not seen, if they are not."""
        if style_id not in self._known:
            self._known[style_id] = self._look(self._workbook._cell_styles[style_id])
        return self._known[style_id]

    def _look(self, style: Any) -> tuple[str, Hidden | None]:
        book = self._workbook
        number_format = _format(book, style.numFmtId)
        # Three empty sections show nothing for any number or text.
        if number_format.replace(" ", "").startswith(";;;"):
            return number_format, "not_shown"
        font, fill = book._fonts[style.fontId], book._fills[style.fillId]
        ground = WHITE if fill.fill_type is None else None
        if fill.fill_type == "solid":
            ground = _colour(fill.fgColor)
        points = float(font.sz) if font.sz is not None else None
        return number_format, looks_hidden(colour=_colour(font.color), ground=ground, points=points)


def _format(workbook: Any, number: int) -> str:
    if number < BUILTIN_FORMATS_MAX_SIZE:
        return str(BUILTIN_FORMATS.get(number, "General"))
    return str(workbook._number_formats[number - BUILTIN_FORMATS_MAX_SIZE])


def _colour(colour: Any) -> Colour | None:
    if colour is None:
        return None
    if colour.type == "rgb":
        return colour_of(colour.rgb)
    if colour.type == "theme" and colour.theme == _THEME_PAPER and not colour.tint:
        return WHITE
    return None


def _notes(sheet: Any) -> Iterator[tuple[str, str]]:
    """Yield (cell, text) of the notes; a threaded comment is there too, as a note for older programs."""
    archive, path = sheet.parent._archive, sheet._worksheet_path
    relations = get_rels_path(path)  # type: ignore[no-untyped-call]
    if relations not in archive.namelist():
        return
    for relation in get_dependents(archive, relations):
        if not relation.Type.endswith("/relationships/comments") or relation.TargetMode == "External":
            continue
        for note in tree_of(archive.read(relation.Target)).iter(f"{_SHEET_XML}comment"):
            text = "".join(piece.text or "" for piece in note.iter(f"{_SHEET_XML}t"))
            yield note.get("ref", "A1"), text


def _number(number_format: str, value: float) -> str:
    percent = _PERCENT.search(number_format)
    if percent:
        return f"{value * 100:.{len(percent.group(1) or '')}f}%"
    return plain_number(value)
