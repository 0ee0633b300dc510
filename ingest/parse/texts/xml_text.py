"""XML: elements as headings, records as tables, with the lines they stand on. Entities are not expanded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final
from xml.parsers import expat

from infra.errors import UnreadableFile
from ingest.parse.blocks import ParsedDocument, one_line, with_heading_paths
from ingest.parse.detect import XML
from ingest.parse.limits import ParseLimits, too_much_text
from ingest.parse.texts.json_text import title_of
from ingest.parse.texts.nested import Fields, Items, Scalar, Value, nested_blocks
from ingest.parse.texts.text import decoded, decoded_as, no_text
from ingest.parse.texts.text import parse as parse_text

MAX_DEPTH: Final = 100
_DECLARED: Final = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z][\w.-]{1,39})[\"']")
_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
# These say nothing to a reader: names of schemas and where they are.
_SILENT_ATTRIBUTES: Final = ("xmlns", "xsi:", "xml:space")


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an XML document. What is not well-formed is read as plain text.

    Raises UnreadableFile: `damaged` for a document that declares entities, `too_complex` for nesting beyond
    reason, `no_text` for elements that say nothing.
    """
    start = file.tell()
    raw = file.read(limits.max_text_chars + 1)
    if len(raw) > limits.max_text_chars:
        raise too_much_text(limits)
    try:
        root = _Reader().tree(_text_of(raw))
    except expat.ExpatError:
        file.seek(start)
        return parse_text(file, limits, on_progress)
    value = root.value()
    blocks = with_heading_paths(nested_blocks(value))
    if not blocks:
        raise no_text()
    return ParsedDocument(title_of(value) or None, None, blocks, XML)


def _text_of(raw: bytes) -> str:
    match = _DECLARED.match(raw)
    text = decoded_as(raw, match[1].decode()) if match else decoded(raw)
    # What was declared is no longer true; its lines stay, so that the others keep their numbers.
    return _DECLARATION.sub(
        lambda found: "\n" * found.group().count("\n"), text.removeprefix("\ufeff"), count=1
    )


@dataclass(slots=True)
class _Element:
    name: str
    first: int
    attributes: list[tuple[str, str]]
    last: int = 0
    children: list[_Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # all the text within, for elements mixed with text
    mixed: bool = False

    def value(self) -> Value:
        """Return the element as a value: a text, or its attributes and children by name."""
        text = one_line("".join(self.texts))
        attributes = [(name, Scalar(value, self.first, self.first)) for name, value in self.attributes]
        if self.mixed or not self.children:
            if not attributes:
                return Scalar(text, self.first, self.last)
            said = [("text", Scalar(text, self.first, self.last))] if text else []
            return Fields((*attributes, *said), self.first, self.last)
        return Fields((*attributes, *self._by_name()), self.first, self.last)

    def _by_name(self) -> list[tuple[str, Value]]:
        """Put children of one name together, so that records become a list; all others keep their order."""
        groups: dict[str, list[Value]] = {}
        for child in self.children:
            groups.setdefault(child.name, []).append(child.value())
        return [
            (name, values[0] if len(values) == 1 else Items(tuple(values), values[0].first, values[-1].last))
            for name, values in groups.items()
        ]


class _Reader:
    """Builds a tree with line numbers from the events of expat, which never looks outside of the text."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(encoding="utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._say
        self._parser.EntityDeclHandler = _refuse_entity
        self._open: list[_Element] = []
        self._root: _Element | None = None

    def tree(self, text: str) -> _Element:
        """Return the root element. Raises expat.ExpatError, or UnreadableFile from a handler."""
        self._parser.Parse(text.encode("utf-8", "replace"), True)
        if self._root is None:
            raise expat.ExpatError("no element")
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise UnreadableFile("too_complex", "This file is nested too deeply to be read.")
        kept = [
            (_local(key), value)
            for key, value in attributes.items()
            if value.strip() and not key.startswith(_SILENT_ATTRIBUTES)
        ]
        element = _Element(_local(name), self._parser.CurrentLineNumber, kept)
        if self._open:
            self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        element.last = self._parser.CurrentLineNumber
        if self._open:
            apart = [" "] if element.children and not element.mixed else []
            self._open[-1].texts += [*apart, *element.texts, *apart]
        else:
            self._root = element

    def _say(self, text: str) -> None:
        if self._open:
            element = self._open[-1]
            element.texts.append(text)
            element.mixed = element.mixed or bool(text.strip())


def _local(name: str) -> str:
    return name.rsplit(":", 1)[-1]


def _refuse_entity(*_declaration: object) -> None:
    raise UnreadableFile(
        "damaged",
        "This XML file declares entities of its own, which are never expanded here.",
        hint="Save it without its document type definition and upload the new copy.",
    )
