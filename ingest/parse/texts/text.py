"""Plain text: paragraphs between blank lines, with their line numbers."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO

from charset_normalizer import from_bytes

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, ParsedDocument, Place
from ingest.parse.detect import HEAD_BYTES, TEXT, utf16_without_mark
from ingest.parse.limits import ParseLimits, too_much_text

# One block is one JSON line between the child and its parent; a novel without blank lines is many blocks.
MAX_BLOCK_CHARS = 20_000
# Statistics over more of a file take seconds and change no verdict.
CHARSET_SAMPLE_BYTES = 256 * 1024
# Fewer bytes are no statistics: a word with one accent would become two Chinese ones.
MIN_GUESSED_BYTES = 32
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What programs declare, and what they write: a superset of it, or the same by another name.
_WIDER_ENCODINGS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "iso-8859-8-i": "iso-8859-8",
    "unicode-1-1-utf-7": "utf-7",
}
# Python knows them as encodings; no text is written in them, and the first two take quadratic time.
_NO_ENCODINGS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined"})
# White space, a digit or a mark; among them the bullets that plain text uses.
_BEGINS_A_LINE = re.compile(r"[\s\d\-*+•#>|=_]|\(?\w[.)]\s")


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a text file. Raises UnreadableFile(`no_text`) for white space only."""
    text = read_text(file, limits)
    blocks = tuple(
        Block("paragraph", body, place=Place(first_line=first, last_line=last))
        for first, last, body in paragraphs_of(text)
    )
    if not blocks:
        raise no_text()
    return ParsedDocument(title=None, pages=None, blocks=blocks, media_type=TEXT)


def no_text() -> UnreadableFile:
    """Return the error for a document that opens but says nothing."""
    return UnreadableFile(
        "no_text", "This file contains no text.", hint="Check that the upload was the right file."
    )


def read_text(file: BinaryIO, limits: ParseLimits) -> str:
    """Return the whole file with `\\n` line ends. Raises UnreadableFile(`too_complex`) when too long."""
    # Four bytes is the longest UTF-8 and UTF-32 form of one character.
    raw = file.read(4 * limits.max_text_chars + 1)
    if len(raw) > 4 * limits.max_text_chars:
        raise too_much_text(limits)
    text = decoded(raw)
    if len(text) > limits.max_text_chars:
        raise too_much_text(limits)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


def decoded(raw: bytes) -> str:
    """Decode `raw` by its byte-order mark, as UTF-8, or by what its bytes look like, in this order."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    if wide := utf16_without_mark(raw[:HEAD_BYTES]):
        return raw.decode(wide, errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        guess = from_bytes(raw[:CHARSET_SAMPLE_BYTES]).best() if len(raw) >= MIN_GUESSED_BYTES else None
        # Windows-1252 assigns nearly every byte; it is what an unmarked Western office file is.
        return raw.decode(guess.encoding if guess else "cp1252", errors="replace")


def decoded_as(raw: bytes, encoding: str) -> str:
    """Decode `raw` by the encoding that it declares, or as `decoded` does when that is unknown or wrong."""
    name = _WIDER_ENCODINGS.get(encoding.strip().lower(), encoding.strip())
    try:
        if codecs.lookup(name).name in _NO_ENCODINGS:
            return decoded(raw)
        return raw.decode(name)
    except (LookupError, ValueError):
        return decoded(raw)


def paragraphs_of(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (first line, last line, paragraph); lines count from 1, blank lines separate."""
    gathered: list[str] = []
    size, first = 0, 1
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if gathered and (not line.strip() or size + len(line) > MAX_BLOCK_CHARS):
            yield first, number - 1, unwrapped(gathered)
            gathered, size = [], 0
        for piece in pieces_of(line.rstrip()):
            if gathered and size + len(piece) > MAX_BLOCK_CHARS:
                yield first, number, unwrapped(gathered)
                gathered, size = [], 0
            if not gathered:
                first = number
            gathered.append(piece)
            size += len(piece) + 1


def unwrapped(lines: list[str]) -> str:
    """Join the lines of a paragraph: a line that was full runs on, one that was ended on purpose does not."""
    width = max(len(line) for line in lines)
    text = lines[0]
    for before, line in pairwise(lines):
        text += (" " if _runs_on(before, line, width) else "\n") + line
    return text


def _runs_on(before: str, line: str, width: int) -> bool:
    first_word = line.split(" ", 1)[0]
    was_full = len(before) + 1 + len(first_word) > width
    # Columns, log lines and list items begin lines of their own, however long the line before.
    columns = "  " in before.strip() or "\t" in before or "|" in before
    return was_full and not columns and not _BEGINS_A_LINE.match(line)


def pieces_of(text: str) -> Iterator[str]:
    """Yield `text` in pieces of at most `MAX_BLOCK_CHARS`, cut at white space where there is any."""
    while len(text) > MAX_BLOCK_CHARS:
        cut = text.rfind(" ", 1, MAX_BLOCK_CHARS)
        cut = cut if cut > 0 else MAX_BLOCK_CHARS
        yield text[:cut]
        text = text[cut:].lstrip()
    if text.strip():
        yield text
