"""JSON (RFC 8259) and JSON Lines: keys as headings, records as tables, with the lines they stand on."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from json import decoder
from typing import BinaryIO, Final

from infra.errors import UnreadableFile
from ingest.parse.blocks import ParsedDocument, with_heading_paths
from ingest.parse.detect import JSON, JSONL
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.nested import Fields, Items, Scalar, Value, nested_blocks
from ingest.parse.texts.text import no_text, read_text
from ingest.parse.texts.text import parse as parse_text

MAX_DEPTH: Final = 100
# Each value takes some hundred bytes of memory and some microseconds.
MAX_VALUES: Final = 2_000_000
_SPACE: Final = re.compile(r"[ \t\n\r\ufeff]*")
_PLAIN: Final = re.compile(r"-?\d[\d.eE+-]*|true|false|null|-?Infinity|NaN")
_TITLE_KEYS: Final = ("title", "name")
MAX_TITLE_CHARS: Final = 200


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read JSON, or several JSON values one after the other. What is not quite JSON is read as plain text.

    Raises UnreadableFile: `too_complex` for nesting beyond reason, `no_text` for nothing but brackets.
    """
    start = file.tell()
    text = read_text(file, limits)
    try:
        values = _Reader(text).values()
    except ValueError:
        file.seek(start)
        return parse_text(file, limits, on_progress)
    one = len(values) == 1
    value = values[0] if one else Items(tuple(values), values[0].first, values[-1].last)
    blocks = with_heading_paths(nested_blocks(value))
    if not blocks:
        raise no_text()
    return ParsedDocument(title_of(value), None, blocks, JSON if one else JSONL)


def title_of(value: Value) -> str | None:
    """Return what the outermost record calls itself, or None."""
    if not isinstance(value, Fields):
        return None
    named = {name.lower(): field.text for name, field in value.pairs if isinstance(field, Scalar)}
    found = next((named[key] for key in _TITLE_KEYS if named.get(key, "").strip()), None)
    return " ".join(found.split())[:MAX_TITLE_CHARS] if found else None


class _Reader:
    """Reads values and where they stand, which the standard library's decoder does not tell."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self._count = 0

    def values(self) -> list[Value]:
        """Return all values of the text. Raises ValueError when it is not JSON."""
        found: list[Value] = []
        self._skip()
        while self._at < len(self._text):
            found.append(self._value(0))
            self._skip()
        if not found:
            raise ValueError("no value")
        return found

    def _value(self, depth: int) -> Value:
        self._count += 1
        if self._count > MAX_VALUES:
            raise UnreadableFile(
                "too_complex",
                f"This file holds more than {MAX_VALUES:,} values.",
                hint="Split it into several files.",
            )
        if depth > MAX_DEPTH:
            raise UnreadableFile("too_complex", "This file is nested too deeply to be read.")
        mark = self._text[self._at : self._at + 1]
        first = self._line()
        if mark == "{":
            return self._fields(first, depth)
        if mark == "[":
            return self._items(first, depth)
        text = self._string() if mark == '"' else self._plain()
        return Scalar(text, first, self._line())

    def _fields(self, first: int, depth: int) -> Fields:
        pairs: list[tuple[str, Value]] = []
        self._at += 1
        self._skip()
        while not self._takes("}"):
            if self._text[self._at : self._at + 1] != '"':
                raise ValueError("a name was expected")
            name = self._string()
            self._skip()
            if not self._takes(":"):
                raise ValueError("a colon was expected")
            self._skip()
            pairs.append((name, self._value(depth + 1)))
            self._separator("}")
        return Fields(tuple(pairs), first, self._line())

    def _items(self, first: int, depth: int) -> Items:
        values: list[Value] = []
        self._at += 1
        self._skip()
        while not self._takes("]"):
            values.append(self._value(depth + 1))
            self._separator("]")
        return Items(tuple(values), first, self._line())

    def _separator(self, closing: str) -> None:
        self._skip()
        if self._takes(","):
            self._skip()
        elif self._text[self._at : self._at + 1] != closing:
            raise ValueError("a comma was expected")

    def _string(self) -> str:
        # The decoder of the standard library, which its types keep to themselves.
        text, self._at = decoder.scanstring(self._text, self._at + 1, False)  # type: ignore[attr-defined]
        return str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _plain(self) -> str:
        match = _PLAIN.match(self._text, self._at)
        if match is None:
            raise ValueError("no value")
        self._at = match.end()
        return "" if match.group() == "null" else match.group()

    def _takes(self, mark: str) -> bool:
        taken = self._text.startswith(mark, self._at)
        self._at += taken
        return taken

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _line(self) -> int:
        return bisect.bisect_left(self._ends, self._at) + 1
