"""Delimited text (CSV, TSV and their relatives): one table, with its column names kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, ParsedDocument, Place, row_text
from ingest.parse.detect import CSV
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.text import MAX_BLOCK_CHARS, no_text, read_text

ROWS_PER_BLOCK = 200
SNIFFED_CHARS = 16_384
DELIMITERS = ",;\t|"


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a delimited file. Raises UnreadableFile(`no_text`) when no cell holds anything."""
    text = read_text(file, limits)
    delimiter = delimiter_of(text[:SNIFFED_CHARS])
    try:
        blocks = tuple(table_blocks(_numbered_rows(text, delimiter)))
    except csv.Error as error:
        raise UnreadableFile(
            "damaged",
            "The quotation marks in this table do not match up.",
            hint="Export the table as CSV again.",
        ) from error
    if not blocks:
        raise no_text()
    return ParsedDocument(title=None, pages=None, blocks=blocks, media_type=CSV)


def delimiter_of(sample: str) -> str:
    """Return the delimiter that cuts the sample's rows most evenly; a comma when none does.

    The standard library's sniffer is not used: it accepts letters as delimiters and takes minutes on some
    inputs.
    """
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(io.StringIO(sample), delimiter=delimiter) if row][:50]
        widths = [len(row) for row in rows]
        if not widths or max(widths) < 2:
            continue
        usual = max(set(widths), key=widths.count)
        score = widths.count(usual) / len(widths) * min(usual, 4)
        if usual > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def _numbered_rows(text: str, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    csv.field_size_limit(MAX_BLOCK_CHARS * 10)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    last_line = 0
    for row in reader:
        first_line, last_line = last_line + 1, reader.line_num
        yield first_line, last_line, row


def table_blocks(rows: Iterable[tuple[int, int, list[str]]]) -> Iterator[Block]:
    """Yield tables of bounded size from (first line, last line, cells); the first row names the columns."""
    header: str | None = None
    gathered: list[str] = []
    size = first = last = 0
    for first_line, last_line, cells in rows:
        text = row_text(cells)
        if not text:
            continue
        if header is None:
            header, first, last = text, first_line, last_line
            continue
        if gathered and (len(gathered) >= ROWS_PER_BLOCK or size + len(text) > MAX_BLOCK_CHARS):
            yield _table(gathered, header, first, last)
            gathered, size = [], 0
        if not gathered:
            first = first_line
        gathered.append(text)
        size, last = size + len(text), last_line
    if gathered:
        yield _table(gathered, header or "", first, last)
    elif header is not None:
        yield _table([header], "", first, last)


def _table(rows: list[str], header: str, first: int, last: int) -> Block:
    return Block("table", "\n".join(rows), place=Place(first_line=first, last_line=last), header=header)
