"""Nested values (JSON, YAML, XML) as text that people and searches can read, with the lines they stand on.

Keys become headings, single values `key: value` lines, and a list of records that look alike a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ingest.parse.blocks import Block, Place, one_line
from ingest.parse.texts.tabular import table_blocks
from ingest.parse.texts.text import MAX_BLOCK_CHARS, pieces_of

MAX_LEVEL: Final = 9
# More columns than this are not a table that anybody reads.
MAX_COLUMNS: Final = 40
# A longer value is a text of its own rather than the end of a line.
LONG_VALUE_CHARS: Final = 1000
# A list of a few short values reads well on one line; sentences do not.
SHORT_LIST_CHARS: Final = 200
FEW_WORDS: Final = 3
# By these keys people tell the records of a list apart.
_NAMING_KEYS: Final = ("name", "title", "label", "id", "key")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value as text, and its lines, from 1, or 0 where they are not known."""

    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list of values."""

    values: tuple[Value, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Fields:
    """Values with names, in order; a name may come more than once."""

    pairs: tuple[tuple[str, Value], ...]
    first: int
    last: int


Value = Scalar | Items | Fields


def nested_blocks(value: Value) -> list[Block]:
    """Return a whole document as blocks with their lines; heading paths are not filled in yet.

    The depth of `value` is the caller's to bound.
    """
    return list(_blocks(value, 1))


def _blocks(value: Value, level: int) -> Iterator[Block]:
    if isinstance(value, Scalar):
        yield from _text(value.text, value)
    elif isinstance(value, Fields):
        yield from _fields(value, level)
    elif (columns := _columns(value)) is not None:
        yield from _table(value, columns)
    else:
        yield from _list(value, level)


def _fields(fields: Fields, level: int) -> Iterator[Block]:
    """Gather single values into paragraphs; everything larger stands below a heading of its own.

    The single values come first, wherever they stand: behind a heading, they would seem to belong to it.
    """
    lines = _Lines()
    larger: list[tuple[str, Value]] = []
    for name, value in fields.pairs:
        line = _line(value)
        if line is None:
            yield from lines.end()
            larger.append((name, value))
        else:
            yield from lines.add(f"{one_line(name)}: {line}", value)
    yield from lines.end()
    for name, value in larger:
        yield _heading(name, level, value)
        yield from _blocks(value, level + 1)


def _list(items: Items, level: int) -> Iterator[Block]:
    for number, value in enumerate(items.values, start=1):
        if isinstance(value, Scalar):
            for piece in pieces_of(value.text):
                yield Block("list_item", piece, 1, place=_place(value))
        elif (line := _line(value)) is not None:
            yield Block("list_item", line, 1, place=_place(value))
        else:
            yield _heading(_name_of(value) or f"Item {number}", level, value)
            yield from _blocks(value, level + 1)


def _name_of(value: Value) -> str:
    """Return what tells a record apart from the others of its list, or an empty string."""
    if not isinstance(value, Fields):
        return ""
    named = {name.lower(): field.text for name, field in value.pairs if isinstance(field, Scalar)}
    found = next((named[key] for key in _NAMING_KEYS if named.get(key, "").strip()), "")
    return one_line(found)[:SHORT_LIST_CHARS]


def _columns(items: Items) -> list[str] | None:
    """Return the names of a table's columns, in order of appearance, or None when the list is no table."""
    records = [value for value in items.values if isinstance(value, Fields)]
    if len(records) < 2 or len(records) != len(items.values):
        return None
    columns: dict[str, None] = {}
    filled = 0
    for record in records:
        if any(_cell(value) is None for _, value in record.pairs):
            return None
        names = [name for name, _ in record.pairs]
        if len(set(names)) != len(names):
            return None
        columns.update(dict.fromkeys(names))
        filled += len(names)
        if len(columns) > MAX_COLUMNS:
            return None
    # Records of different kinds would leave most of a table empty.
    return list(columns) if 2 * filled >= len(columns) * len(records) else None


def _table(items: Items, columns: list[str]) -> Iterator[Block]:
    rows = [(items.first, items.first, columns)]
    for record in items.values:
        if isinstance(record, Fields):
            cells = {name: _cell(value) or "" for name, value in record.pairs}
            rows.append((record.first, record.last, [cells.get(name, "") for name in columns]))
    yield from table_blocks(rows)


def _cell(value: Value) -> str | None:
    text = _line(value)
    return None if text is None or len(text) > LONG_VALUE_CHARS else text


def _line(value: Value) -> str | None:
    """Return a value that fits on a line, or None."""
    if isinstance(value, Scalar):
        return one_line(value.text) if len(value.text) <= LONG_VALUE_CHARS else None
    if not (value.values if isinstance(value, Items) else value.pairs):
        return ""
    if isinstance(value, Fields) or not all(isinstance(one, Scalar) for one in value.values):
        return None
    texts = [one_line(one.text) for one in value.values if isinstance(one, Scalar)]
    words = max(len(text.split()) for text in texts)
    text = ", ".join(texts)
    return text if words <= FEW_WORDS and len(text) <= SHORT_LIST_CHARS else None


def _text(text: str, value: Value) -> Iterator[Block]:
    for piece in pieces_of(text.strip()):
        yield Block("paragraph", piece, place=_place(value))


def _heading(name: str, level: int, value: Value) -> Block:
    text = one_line(name)[:MAX_BLOCK_CHARS] or "(no name)"
    return Block(
        "heading", text, min(level, MAX_LEVEL), place=Place(first_line=value.first, last_line=value.first)
    )


def _place(value: Value) -> Place:
    return Place(first_line=value.first or None, last_line=value.last or None)


class _Lines:
    """Gathers `key: value` lines into paragraphs of bounded size."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._size = 0
        self._first = 0
        self._last = 0

    def add(self, text: str, value: Value) -> Iterator[Block]:
        """Take a line; yields the paragraph before it when that is full."""
        if self._texts and self._size + len(text) > MAX_BLOCK_CHARS:
            yield from self.end()
        if not self._first:
            self._first = value.first
        self._texts.append(text)
        self._size += len(text) + 1
        self._last = max(value.last, self._first)

    def end(self) -> Iterator[Block]:
        """Yield what has been gathered."""
        if self._texts:
            place = Place(first_line=self._first or None, last_line=self._last or None)
            for piece in pieces_of("\n".join(self._texts)):
                yield Block("paragraph", piece, place=place)
        self._texts, self._size, self._first, self._last = [], 0, 0, 0
