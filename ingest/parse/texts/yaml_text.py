"""YAML 1.1: the structure of its nodes only; no tag makes an object, and no alias is copied out."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final

import yaml

from infra.errors import UnreadableFile
from ingest.parse.blocks import ParsedDocument, with_heading_paths
from ingest.parse.detect import YAML
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.json_text import title_of
from ingest.parse.texts.nested import Fields, Items, Scalar, Value, nested_blocks
from ingest.parse.texts.text import no_text, read_text
from ingest.parse.texts.text import parse as parse_text

MAX_DEPTH: Final = 100
_NULL: Final = "tag:yaml.org,2002:null"


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read YAML, several documents of it if there are. What is not quite YAML is read as plain text.

    Raises UnreadableFile: `too_complex` for nesting beyond reason, `no_text` when nothing is said.
    """
    start = file.tell()
    text = read_text(file, limits)
    try:
        _check_depth(text)
        values = [_Walk().value(node, 0) for node in yaml.compose_all(text, yaml.CSafeLoader) if node]
    except yaml.YAMLError:
        file.seek(start)
        return parse_text(file, limits, on_progress)
    if not values:
        raise no_text()
    value = values[0] if len(values) == 1 else Items(tuple(values), values[0].first, values[-1].last)
    blocks = with_heading_paths(nested_blocks(value))
    if not blocks:
        raise no_text()
    return ParsedDocument(title_of(values[0]), None, blocks, YAML)


def _check_depth(text: str) -> None:
    """Look at the events first: the composer is native code that would run out of its stack."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise UnreadableFile("too_complex", "This file is nested too deeply to be read.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Walk:
    """Turns nodes into values. A collection that an alias repeats is told once, then pointed at."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def value(self, node: yaml.Node, depth: int) -> Value:
        """Return what `node` says."""
        first, last = node.start_mark.line + 1, _last_line(node)
        if isinstance(node, yaml.ScalarNode):
            return Scalar("" if node.tag == _NULL else str(node.value), first, last)
        if id(node) in self._told:
            return Scalar(f"(see line {first})", 0, 0)
        self._told.add(id(node))
        if isinstance(node, yaml.MappingNode):
            pairs = tuple((self._name(key, depth), self.value(inner, depth + 1)) for key, inner in node.value)
            return Fields(pairs, first, last)
        values: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else []
        return Items(tuple(self.value(inner, depth + 1) for inner in values), first, last)

    def _name(self, key: yaml.Node, depth: int) -> str:
        return str(key.value) if isinstance(key, yaml.ScalarNode) else "(a compound key)"


def _last_line(node: yaml.Node) -> int:
    """Return the last line of a node; the mark behind a block stands at the start of the next line."""
    end = node.end_mark
    behind = end.column == 0 and end.line > node.start_mark.line
    return int(end.line) + (0 if behind else 1)
