"""Source code: blocks that end where a definition or a paragraph of the program ends, with their lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from ingest.parse.blocks import Block, ParsedDocument, Place
from ingest.parse.detect import CODE
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.text import MAX_BLOCK_CHARS, no_text, pieces_of, read_text

# Small neighbours (imports, constants) share a block up to this size; a larger definition keeps its own.
TARGET_CHARS: Final = 1200
_CLOSING: Final = re.compile(
    r"[})\]]|end\b|else\b|elif\b|except\b|finally\b|catch\b|#\s*(?:endif|else)\b|fi\b|done\b"
)
_DEFINES: Final = re.compile(
    r"(?:@|(?:export |default |public |private |protected |internal |static |final |abstract |async |pub |"
    r"extern |inline |unsafe |virtual |override |open |data |sealed )*"
    r"(?:def|class|function|func|fn|fun|interface|struct|enum|trait|impl|module|namespace|package|type|record|"
    r"object|protocol|extension|sub|procedure|create|alter|resource|data|message|service|section)\b)",
    re.IGNORECASE,
)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read source code. Raises UnreadableFile(`no_text`) for white space only."""
    lines = read_text(file, limits).split("\n")
    blocks = [
        block for first, last in _merged(lines, list(_units(lines))) for block in _cut(lines, first, last)
    ]
    if not blocks:
        raise no_text()
    return ParsedDocument(title=None, pages=None, blocks=tuple(blocks), media_type=CODE)


def _units(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield (first, end) indices of pieces that begin at the margin, after a gap or as a definition."""
    first: int | None = None
    blank_before = True
    for at, line in enumerate(lines):
        if not line.strip():
            blank_before = True
            continue
        begins = line[0] not in " \t" and not _CLOSING.match(line)
        if first is None:
            first = at
        elif begins and (blank_before or _begins_definition(lines, at)):
            yield first, at
            first = at
        blank_before = False
    if first is not None:
        yield first, len(lines)


def _begins_definition(lines: list[str], at: int) -> bool:
    # A decorator or a comment right above belongs to the definition below it.
    above = lines[at - 1] if at else ""
    return bool(_DEFINES.match(lines[at])) and not above.startswith(("@", "#", "//", "/*", " *", "--", "*"))


def _merged(lines: list[str], units: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Put small neighbours together."""
    start: int | None = None
    end = size = 0
    for first, behind in units:
        length = sum(len(line) + 1 for line in lines[first:behind])
        if start is not None and size + length > TARGET_CHARS:
            yield start, end
            start, size = None, 0
        start = first if start is None else start
        end, size = behind, size + length
    if start is not None:
        yield start, end


def _cut(lines: list[str], first: int, end: int) -> Iterator[Block]:
    """Yield blocks of bounded size, cut between lines, without blank lines around them."""
    gathered: list[str] = []
    size, start = 0, first
    for at in range(first, end):
        for piece in pieces_of(lines[at].rstrip()) if lines[at].strip() else [""]:
            if gathered and size + len(piece) > MAX_BLOCK_CHARS:
                yield from _block(gathered, start)
                gathered, size = [], 0
            if not gathered:
                start = at
            gathered.append(piece)
            size += len(piece) + 1
    yield from _block(gathered, start)


def _block(gathered: list[str], start: int) -> Iterator[Block]:
    while gathered and not gathered[-1].strip():
        gathered = gathered[:-1]
    while gathered and not gathered[0].strip():
        gathered, start = gathered[1:], start + 1
    if gathered:
        place = Place(first_line=start + 1, last_line=start + len(gathered))
        yield Block("code", "\n".join(gathered), place=place)
