"""Text as a reader sees it: runs with one look each, put together into blocks, the unseen ones kept apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ingest.parse.blocks import Block, BlockKind, Hidden, Place, one_line
from ingest.parse.texts.text import pieces_of

# Nobody reads type of one point; the smallest print that is meant to be read has three or four.
TINY_POINTS = 1.0
# Two colours of which no channel (0…255) differs by more than this look the same on paper and on a screen.
SAME_COLOUR_WITHIN = 12
WHITE = (255, 255, 255)

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text with one look; `hidden` says why a reader would not see it."""

    text: str
    hidden: Hidden | None = None


def colour_of(value: str | None) -> Colour | None:
    """Read `RRGGBB`, with or without `#` or a leading alpha, as a colour; None for everything else."""
    digits = (value or "").removeprefix("#")[-6:]
    if len(digits) != 6:
        return None
    try:
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    except ValueError:
        return None


def looks_hidden(
    *, colour: Colour | None = None, ground: Colour | None = WHITE, points: float | None = None
) -> Hidden | None:
    """Say why text of this colour and size (in points) on this ground is not seen, or None.

    What is not known (None) is taken to be readable: a ground that a picture or a theme gives, for one.
    """
    if points is not None and points <= TINY_POINTS:
        return "size"
    if colour is not None and ground is not None and _same(colour, ground):
        return "colour"
    return None


def _same(one: Colour, other: Colour) -> bool:
    return all(abs(a - b) <= SAME_COLOUR_WITHIN for a, b in zip(one, other, strict=True))


def seen(runs: Iterable[Run]) -> str:
    """Return what a reader sees of `runs`."""
    return "".join(run.text for run in runs if run.hidden is None).strip()


def unseen_blocks(runs: Iterable[Run], place: Place | None = None) -> list[Block]:
    """Return the hidden text of `runs` as blocks, one or more for each reason, in order."""
    by_reason: dict[Hidden, list[str]] = {}
    for run in runs:
        if run.hidden is not None:
            by_reason.setdefault(run.hidden, []).append(run.text)
    return [
        block
        for reason, texts in by_reason.items()
        for block in hidden_text("".join(texts), reason, place or Place())
    ]


def hidden_text(text: str, reason: Hidden, place: Place | None = None) -> list[Block]:
    """Return `text` as hidden paragraphs; none for white space."""
    pieces = pieces_of(text.strip())
    return [Block("paragraph", piece, place=place or Place(), hidden=reason) for piece in pieces]


def text_blocks(
    runs: list[Run], kind: BlockKind = "paragraph", level: int = 0, place: Place | None = None
) -> list[Block]:
    """Return what a reader sees of one paragraph as blocks of `kind`, followed by what is hidden in it."""
    text, where = seen(runs), place or Place()
    if kind == "heading":
        shown = [Block("heading", one_line(text), level, place=where)] if text else []
    else:
        shown = [Block(kind, piece, level, place=where) for piece in pieces_of(text)]
    return [*shown, *unseen_blocks(runs, place)]


def concealed(blocks: Iterable[Block], reason: Hidden) -> list[Block]:
    """Mark blocks as hidden. A heading becomes a paragraph, as nothing that is seen stands below it."""
    return [
        replace(block, kind="paragraph", level=0, hidden=block.hidden or reason)
        if block.kind == "heading"
        else replace(block, hidden=block.hidden or reason)
        for block in blocks
    ]


def without_headings(blocks: Iterable[Block]) -> list[Block]:
    """Make headings paragraphs: nothing stands below what a page's header or footer says."""
    return [
        replace(block, kind="paragraph", level=0) if block.kind == "heading" else block for block in blocks
    ]
