"""What a message says, in whatever format it was saved: subject, people, date and text as blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ingest.parse.blocks import Block, with_heading_paths
from ingest.parse.texts.html import html_blocks
from ingest.parse.texts.text import paragraphs_of

MAX_LEVEL = 9


@dataclass(frozen=True, slots=True)
class Letter:
    """A message. `fields` are header fields in the order in which they are shown; empty ones are not."""

    subject: str
    fields: tuple[tuple[str, str], ...]
    plain: str = ""
    html: str = ""


def letter_blocks(letter: Letter) -> tuple[Block, ...]:
    """Return the subject as a heading, people and date as a paragraph, and the text below.

    The plain text is read where there is one, else the HTML. Headings in the text stand below the subject.
    """
    blocks: list[Block] = []
    if letter.subject:
        blocks.append(Block("heading", letter.subject, 1))
    shown = "\n".join(f"{name}: {value}" for name, value in letter.fields if value)
    if shown:
        blocks.append(Block("paragraph", shown))
    body = _plain_blocks(letter.plain) or html_blocks(letter.html)
    blocks += [
        replace(block, level=min(block.level + 1, MAX_LEVEL)) if block.kind == "heading" else block
        for block in body
    ]
    return with_heading_paths(blocks)


def _plain_blocks(text: str) -> list[Block]:
    return [Block("paragraph", body) for _, _, body in paragraphs_of(text)]
