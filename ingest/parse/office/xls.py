"""XLS (Excel 97–2003): the sheets as tables, with column names kept and cell ranges known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from openpyxl.utils import get_column_letter
from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, Hidden, ParsedDocument, with_heading_paths
from ingest.parse.detect import XLS
from ingest.parse.limits import ParseLimits
from ingest.parse.office.biff import Unseen, unseen_of
from ingest.parse.office.sheets import SheetBlocks, check_sheet_count, shown_value
from ingest.parse.texts.text import no_text


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an old workbook: each sheet is a heading, each run of rows between empty rows a table.

    A formula shows the value that Excel stored. Number formats are not known: a percentage is a fraction.
    Hidden sheets, rows and columns, and the notes on cells, become hidden blocks with their cells.
    """
    try:
        return _read(file, limits, on_progress)
    except PasswordError as error:
        raise UnreadableFile(
            "encrypted",
            "This file is protected with a password.",
            hint="Remove the password in Excel and upload it again.",
        ) from error
    except (CalamineError, ValueError, OSError) as error:
        raise _damaged() from error
    except BaseException as error:
        # The library's own assertions end in an exception that has no importable name.
        if type(error).__name__ == "PanicException":
            raise _damaged() from error
        raise


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This workbook is damaged and cannot be opened.",
        hint="Open it in Excel, save it as XLSX, and upload the new copy.",
    )


def _read(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    blocks: list[Block] = []
    visible = 0
    unseen = unseen_of(file)
    with CalamineWorkbook.from_filelike(file) as workbook:
        every = enumerate(workbook.sheets_metadata)
        sheets = [(at, sheet) for at, sheet in every if sheet.typ == SheetTypeEnum.WorkSheet]
        check_sheet_count(len(sheets), limits)
        if len(unseen) < len(workbook.sheet_names):
            raise _damaged()
        for number, (at, sheet) in enumerate(sheets, start=1):
            shown = sheet.visible == SheetVisibleEnum.Visible
            visible += shown
            table = SheetBlocks(sheet.name, limits, hidden=None if shown else "not_shown")
            for row, cells in _rows(workbook.get_sheet_by_index(at)):
                table.row(row, cells, _unseen_cells(row, cells, unseen[at]))
            for (row, column), text in unseen[at].notes.items():
                table.comment(f"{get_column_letter(column + 1)}{row + 1}", text)
            blocks += with_heading_paths(table.blocks())
            on_progress(number, len(sheets))
    if not blocks:
        raise no_text()
    return ParsedDocument(title=None, pages=visible, blocks=tuple(blocks), media_type=XLS)


def _rows(sheet: CalamineSheet) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with their numbers from 1; the library leaves out the empty columns on the left."""
    left = sheet.start[1] if sheet.start else 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [shown_value(None if value == "" else value) for value in row]
        yield number, [""] * left + cells if any(cells) else []


def _unseen_cells(number: int, cells: list[str], hidden: Unseen) -> dict[int, Hidden]:
    row_is_hidden = number in hidden.rows
    return {
        at: "not_shown" for at, cell in enumerate(cells) if cell and (row_is_hidden or at in hidden.columns)
    }
