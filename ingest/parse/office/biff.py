"""What nobody sees in an XLS workbook: hidden rows and columns, and the notes on cells.

The reader of the values does not tell these. The records are those of the Excel Binary File Format
(Microsoft, MS-XLS 2.4); sheets come in the order of their BoundSheet8 records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import olefile

from infra.errors import UnreadableFile

_BEGIN, _END = 0x809, 0x0A
_BOUNDSHEET, _ROW, _COLUMNS, _NOTE = 0x85, 0x208, 0x7D, 0x1C
_OBJECT, _TEXT, _CONTINUE = 0x5D, 0x1B6, 0x3C
_STREAMS: Final = ("Workbook", "Book")
_ROW_IS_HIDDEN, _COLUMN_IS_HIDDEN, _IS_WIDE = 0x20, 0x01, 0x01
_HEADER_BYTES: Final = 512
MAX_NOTES: Final = 10_000


@dataclass(slots=True)
class Unseen:
    """Of one sheet: hidden rows (from 1) and columns (from 0), and notes by row and column (from 0)."""

    rows: set[int] = field(default_factory=set)
    columns: set[int] = field(default_factory=set)
    notes: dict[tuple[int, int], str] = field(default_factory=dict)


def unseen_of(file: BinaryIO) -> list[Unseen]:
    """Return what is not seen of each sheet, in order, and leave `file` at its start.

    Raises UnreadableFile(`damaged`), also for a container whose header promises more than the file holds: the
    reader of the values would ask for that much memory, and be killed.
    """
    try:
        _check_header(file)
        with olefile.OleFileIO(file) as container:
            name = next((name for name in _STREAMS if container.exists(name)), None)
            stream = container.openstream(name).read() if name else b""
        starts = [
            struct.unpack_from("<I", data)[0] for kind, data in _records(stream, 0) if kind == _BOUNDSHEET
        ]
        return [_sheet(stream, start) for start in starts]
    except (OSError, struct.error, ValueError, IndexError, OverflowError) as error:
        raise UnreadableFile(
            "damaged",
            "This workbook is damaged and cannot be opened.",
            hint="Open it in Excel, save it as XLSX, and upload the new copy.",
        ) from error
    finally:
        file.seek(0)


def _check_header(file: BinaryIO) -> None:
    """Compare the header's counts of sectors with the file's size (Microsoft, MS-CFB 2.2)."""
    size = file.seek(0, 2)
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    sector_bytes = 1 << min(struct.unpack_from("<H", header, 30)[0], 16)
    counts = (struct.unpack_from("<I", header, at)[0] for at in (40, 44, 64, 72))
    if any(count * sector_bytes > size for count in counts):
        raise ValueError("the header counts more sectors than there are")
    file.seek(0)


def _records(stream: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, data) of the records from `at` to the end of their part, without parts within it."""
    depth = 0
    while at + 4 <= len(stream):
        kind, size = struct.unpack_from("<HH", stream, at)
        depth += (kind == _BEGIN) - (kind == _END)
        if depth == 1:
            yield kind, stream[at + 4 : at + 4 + size]
        elif depth < 1:
            return
        at += 4 + size


def _sheet(stream: bytes, start: int) -> Unseen:
    found = Unseen()
    # A note names the object that holds its text; the text follows the object, in pieces.
    texts: dict[int, str] = {}
    holders: dict[tuple[int, int], int] = {}
    current, awaited = -1, 0
    for kind, data in _records(stream, start):
        if kind == _ROW and len(data) >= 13 and data[12] & _ROW_IS_HIDDEN:
            found.rows.add(struct.unpack_from("<H", data)[0] + 1)
        elif kind == _COLUMNS and len(data) >= 9 and data[8] & _COLUMN_IS_HIDDEN:
            first, last = struct.unpack_from("<HH", data)
            found.columns.update(range(first, min(last, 255) + 1))
        elif kind == _OBJECT and len(data) >= 8:
            current = struct.unpack_from("<H", data, 6)[0]
        elif kind == _TEXT and len(data) >= 12:
            awaited = struct.unpack_from("<H", data, 10)[0]
            texts[current] = ""
        elif kind == _CONTINUE and awaited > 0 and data:
            piece = data[1:].decode("utf-16-le" if data[0] & _IS_WIDE else "latin-1", errors="replace")
            texts[current] += piece[:awaited]
            awaited -= len(piece)
        elif kind == _NOTE and len(data) >= 8 and len(holders) < MAX_NOTES:
            row, column, _, holder = struct.unpack_from("<HHHH", data)
            holders[row, column] = holder
    found.notes = {place: texts[holder] for place, holder in holders.items() if texts.get(holder)}
    return found
