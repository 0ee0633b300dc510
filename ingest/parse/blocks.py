"""What every parser returns: a document as blocks of text that know where they stand in the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

BlockKind = Literal["heading", "paragraph", "list_item", "table", "code"]
Hidden = Literal["colour", "size", "off_page", "covered", "comment", "not_shown"]
"""Why a reader does not see a text: its colour is the ground's, it is too small, beyond the page or under
something else, a comment beside the text, or marked by its author as not to be shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands; a format fills in what it has.

    `page`, `slide`, `message` and the line numbers in `first_line`…`last_line` count from 1 and include both
    ends. `cells` is a range in A1 notation within `sheet`. `heading_path` names the enclosing headings,
    outermost first. `within` names the files around the text, outermost first: an archive's entry, a
    message's attachment; the other fields then count within the innermost of them.
    """

    page: int | None = None
    slide: int | None = None
    sheet: str | None = None
    cells: str | None = None
    heading_path: tuple[str, ...] = ()
    first_line: int | None = None
    last_line: int | None = None
    message: int | None = None
    within: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON values."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        for name in ("heading_path", "within"):
            if name in fields:
                fields[name] = list(fields[name])
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Place:
        """Rebuild what `as_dict` returned."""
        paths = {name: tuple(fields.get(name, ())) for name in ("heading_path", "within")}
        return cls(**{**fields, **paths})


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line: characters `start`…`end` (exclusive) of a text, and the box they occupy.

    The box is in points (1/72 inch) from the top left corner of page `page` as it is displayed, after
    rotation and cropping: multiplied by the scale of a rendered page image, it is in that image's pixels.
    """

    start: int
    end: int
    page: int
    x0: float
    y0: float
    x1: float
    y1: float

    def moved(self, offset: int) -> Line:
        """Return the line with its characters shifted by `offset`."""
        return replace(self, start=self.start + offset, end=self.end + offset)

    def as_list(self) -> list[float]:
        """Return the fields in order, as a compact JSON value."""
        return [self.start, self.end, self.page, self.x0, self.y0, self.x1, self.y1]

    @classmethod
    def from_list(cls, fields: list[float]) -> Line:
        """Rebuild what `as_list` returned."""
        start, end, page, x0, y0, x1, y1 = fields
        return cls(int(start), int(end), int(page), x0, y0, x1, y1)


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of structure.

    `level` is 1…9 for a heading (1 is outermost), the depth from 1 for a list item, and 0 otherwise. The
    text of a table is one row a line, cells separated by ` | `; `header` is its row of column names, which
    is not part of the text. Code keeps its line breaks. `hidden` says why a reader would not see the text;
    such blocks are kept apart from all others.
    """

    kind: BlockKind
    text: str
    level: int = 0
    lines: tuple[Line, ...] = ()
    place: Place = Place()
    header: str = ""
    hidden: Hidden | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the block as JSON values."""
        return {
            "kind": self.kind,
            "text": self.text,
            "level": self.level,
            "lines": [line.as_list() for line in self.lines],
            "place": self.place.as_dict(),
            "header": self.header,
            "hidden": self.hidden,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Block:
        """Rebuild what `as_dict` returned."""
        lines = tuple(Line.from_list(line) for line in fields["lines"])
        return cls(**{**fields, "lines": lines, "place": Place.from_dict(fields["place"])})


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A whole document in reading order.

    `pages` counts pages, slides or sheets, if the format has them. `unread` names the files within this file
    that could not be read, each with the code of its reason.
    """

    title: str | None
    pages: int | None
    blocks: tuple[Block, ...]
    media_type: str = ""
    unread: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        blocks = [block.as_dict() for block in self.blocks]
        return {
            "title": self.title,
            "pages": self.pages,
            "blocks": blocks,
            "media_type": self.media_type,
            "unread": [list(member) for member in self.unread],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ParsedDocument:
        """Rebuild what `as_dict` returned."""
        blocks = tuple(Block.from_dict(block) for block in fields["blocks"])
        return cls(**{**fields, "blocks": blocks, "unread": unread_from(fields.get("unread", ()))})


def unread_from(members: Iterable[Iterable[Any]]) -> tuple[tuple[str, str], ...]:
    """Rebuild `ParsedDocument.unread` from JSON values. Raises ValueError for anything else than pairs."""
    return tuple((str(name), str(code)) for name, code in members)


def with_heading_paths(blocks: list[Block]) -> tuple[Block, ...]:
    """Fill in each block's heading path from the headings before it.

    A heading's own path names only the headings around it. A heading closes those of its own level and
    deeper.
    """
    open_headings: list[Block] = []
    placed: list[Block] = []
    for block in blocks:
        if block.kind == "heading":
            open_headings = [heading for heading in open_headings if heading.level < block.level]
        path = tuple(one_line(heading.text) for heading in open_headings)
        placed.append(replace(block, place=replace(block.place, heading_path=path)))
        if block.kind == "heading":
            open_headings.append(block)
    return tuple(placed)


def one_line(text: str) -> str:
    """Return `text` with every run of white space made one space."""
    return " ".join(text.split())


def row_text(cells: list[str]) -> str:
    """Return one table row as text; the cells' own line breaks become spaces. Empty for an empty row."""
    tidy = [one_line(cell) for cell in cells]
    while tidy and not tidy[-1]:
        tidy.pop()
    return " | ".join(tidy)
