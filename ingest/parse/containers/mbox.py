"""Mailboxes (mbox, RFC 4155): many messages in one file, each with its number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO, Final

from ingest.parse import kinds
from ingest.parse.blocks import Block, ParsedDocument
from ingest.parse.containers.mail import read_message
from ingest.parse.containers.members import Budget, Members, Progress, container, within
from ingest.parse.limits import ParseLimits

# The line that separates messages, an address and a time, behind a blank line or at the start of the file.
_SEPARATOR: Final = re.compile(
    rb"From (?:(?<=\n\nFrom )|(?<=\n\r\nFrom )|(?<=\AFrom ))"
    rb"\S[^\n]{0,200}?\d\d:\d\d[^\n]{0,60}(?:\n|\Z)"
)
# A line of a text that looks like a separator was written with a `>` before it.
_QUOTED_FROM: Final = re.compile(rb"(?m)^>(>*From )")


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a mailbox. A block's place names its message, from 1, and the attachment it stands in.

    Raises UnreadableFile: `no_text`, `nothing_readable`, or `expands_too_much` for too many messages.
    """
    return parse_within(file, Budget.of(file, limits), on_progress)


def parse_within(file: BinaryIO, budget: Budget, on_progress: Progress) -> ParsedDocument:
    """Read a mailbox that may itself stand in another file; `budget` is shared with that."""
    raw = file.read()
    spans = list(_spans(raw))
    members = Members(budget)
    for number, (start, end) in enumerate(spans, start=1):
        budget.spend_entry()
        _add(members, number, _QUOTED_FROM.sub(rb"\1", raw[start:end]))
        on_progress(number, len(spans))
    return container(kinds.MBOX, None, (), members)


def _spans(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each message starts, behind its separator, and ends."""
    separators = [(match.start(), match.end()) for match in _SEPARATOR.finditer(raw)]
    ends = [start for start, _ in separators[1:]] + [len(raw)]
    for (_, start), end in zip(separators, ends, strict=True):
        yield start, end


def _add(members: Members, number: int, raw: bytes) -> None:
    name = f"message {number}"
    if members.budget.seconds() <= 0:
        members.refuse(name, "took_too_long")
        return
    members.take(
        name,
        lambda: read_message(raw, members.budget),
        lambda block, label: _placed(block, number, label),
    )


def _placed(block: Block, number: int, name: str) -> Block:
    # What is attached counts its own pages and messages, so there the message is one of the names around.
    if block.place.within:
        return within(block, name)
    return replace(block, place=replace(block.place, message=number))
