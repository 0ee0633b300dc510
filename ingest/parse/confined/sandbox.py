"""Read a document in one-shot child processes without network, file system or unbounded resources.

A child (`ingest.parse.confined.child`) gets the plaintext in a sealed memory file, so that it never reaches
a disk, and answers in JSON lines. The parent holds no more of them than the document's blocks, watches the
clock, and kills the child on cancellation.

One child reads a document. Where more of its pages are scanned than one child may recognise, further
children recognise a few pages each, and a last one makes the document of everything: headings and running
lines can only be told over all of its pages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from ingest.parse.blocks import Block, ParsedDocument, unread_from
from ingest.parse.confined import bubblewrap
from ingest.parse.confined.memory import memory_file, seal, write_all
from ingest.parse.confined.one_shot import (
    ANSWER_BYTES_PER_CHARACTER,
    ParsingCancelled,
    answers,
    damaged,
    took_too_long,
)
from ingest.parse.kinds import CONVERTED_FIRST
from ingest.parse.limits import ParseLimits

__all__ = [
    "NeedsConversion",
    "ParsingCancelled",
    "parse_in_child",
    "render_page_in_child",
    "sandbox_guarantees",
    "sandbox_is_wrapped",
]

RENDER_WALL_S: Final = 20.0
GUARANTEES_WALL_S: Final = 20.0
_Progress = Callable[[int, int | None], None]


class NeedsConversion(Exception):
    """The file is of an old format (`media_type`) that another program must turn into a new one first."""

    def __init__(self, media_type: str) -> None:
        super().__init__(media_type)
        self.media_type = media_type


@dataclass(frozen=True, slots=True)
class _Needed:
    """The pages (from 1) of `total` that must be recognised before the document can be read."""

    pages: list[int]
    total: int


def parse_in_child(
    plaintext: Iterable[bytes],
    name: str,
    limits: ParseLimits,
    on_progress: _Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ParsedDocument:
    """Read a document; `plaintext` is its bytes in pieces, `name` its file name (only its ending is used).

    `on_progress` gets pages done and their number; `cancelled` is asked several times a second. `limits`
    hold for each child, of which there is one, or one for some scanned pages and two more. Raises
    UnreadableFile with a reason, NeedsConversion, or ParsingCancelled. Call it from a thread that lives until
    it returns: the kernel kills the child when its starting thread ends.
    """
    with _memory_file(plaintext, cancelled) as descriptor:
        request = {"task": "parse", "name": _ending(name), "descriptor": descriptor}
        read = _read(request, limits, on_progress, cancelled)
        if isinstance(read, ParsedDocument):
            return read
        with _recognised(request, read, limits, on_progress, cancelled) as pages:
            read = _read({**request, "recognised": pages}, limits, lambda done, total: None, cancelled)
    if not isinstance(read, ParsedDocument):
        raise damaged()
    return read


def _read(
    request: dict[str, Any], limits: ParseLimits, on_progress: _Progress, cancelled: Callable[[], bool]
) -> ParsedDocument | _Needed:
    """Return the document, or which pages must be recognised first."""
    blocks: list[Block] = []
    outcome: dict[str, Any] | None = None
    descriptors = [request[name] for name in ("descriptor", "recognised") if name in request]
    for answer in answers(request, limits, limits.wall_s, cancelled, descriptors):
        if "block" in answer:
            blocks.append(_block(answer["block"]))
        elif "progress" in answer:
            on_progress(*_counts(answer["progress"]))
        elif answer.get("convert") in CONVERTED_FIRST:
            raise NeedsConversion(answer["convert"])
        elif "recognise" in answer:
            return _needed(answer["recognise"], limits)
        else:
            outcome = answer.get("done")
    if outcome is None:
        raise damaged()
    return _document(outcome, blocks)


@contextmanager
def _recognised(
    request: dict[str, Any],
    needed: _Needed,
    limits: ParseLimits,
    on_progress: _Progress,
    cancelled: Callable[[], bool],
) -> Iterator[int]:
    """Have pages recognised, some by each child, and yield a descriptor of a memory file with their lines.

    The lines go from pipe to memory file, so that the parent holds one page of them at a time.
    """
    pages = needed.pages
    with memory_file("document") as descriptor:
        done, written = 0, 0
        while done < len(pages):
            some = pages[done : done + limits.recognised_pages]
            before = done
            task = {**request, "task": "recognise", "pages": some}
            for answer in answers(task, limits, limits.wall_s, cancelled, [request["descriptor"]]):
                line = json.dumps(answer).encode() + b"\n"
                written += len(line)
                if "page" not in answer or written > ANSWER_BYTES_PER_CHARACTER * limits.max_text_chars:
                    raise damaged()
                write_all(descriptor, line)
                done += 1
                on_progress(needed.total - len(pages) + done, needed.total)
            if done == before:
                raise took_too_long()
        seal(descriptor)
        yield descriptor


def _needed(fields: Any, limits: ParseLimits) -> _Needed:
    match fields:
        case {"pages": [*pages], "total": int() as total} if all(type(page) is int for page in pages):
            if 0 < len(pages) <= min(total, limits.max_pages):
                return _Needed(pages, total)
    raise damaged()


def _document(outcome: dict[str, Any], blocks: list[Block]) -> ParsedDocument:
    try:
        unread = unread_from(outcome["unread"])
        return ParsedDocument(
            outcome["title"], outcome["pages"], tuple(blocks), outcome["media_type"], unread=unread
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged() from error


def _block(fields: dict[str, Any]) -> Block:
    # A child that a document has taken over can write anything; here it becomes a block or an error.
    try:
        return Block.from_dict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged() from error


def _counts(progress: list[int | None]) -> tuple[int, int | None]:
    match progress:
        case [int() as done, int() | None as total]:
            return done, total
        case _:
            raise damaged()


def render_page_in_child(
    plaintext: Iterable[bytes], page: int, scale: float, limits: ParseLimits, *, name: str = "source.pdf"
) -> bytes:
    """Return page `page` (from 1) of a PDF or an image as a PNG image, `scale` pixels to a point (1/72 inch).

    Very large pages come smaller than asked. Raises UnreadableFile: `no_such_page`, or as in parsing.
    """
    with _memory_file(plaintext, lambda: False) as descriptor:
        request = {
            "task": "render",
            "name": _ending(name),
            "descriptor": descriptor,
            "page": page,
            "scale": scale,
        }
        wall_s = min(limits.wall_s, RENDER_WALL_S)
        for answer in answers(request, limits, wall_s, descriptors=[descriptor]):
            if "png" in answer:
                return base64.b64decode(answer["png"])
    raise damaged()


def sandbox_guarantees(limits: ParseLimits | None = None) -> dict[str, bool]:
    """Start a child and return which confinements this machine's kernel granted it, by name.

    `no_network` (own network namespace) or `no_sockets` (seccomp) each keep a parser off the network.
    """
    request = {"task": "guarantees", "name": ""}
    for answer in answers(request, limits or ParseLimits(), GUARANTEES_WALL_S):
        if "guarantees" in answer:
            return dict(answer["guarantees"])
    raise damaged()


def sandbox_is_wrapped() -> bool:
    """Say whether bubblewrap stands around every child, as an outer wall."""
    return bubblewrap.is_usable()


def _ending(name: str) -> str:
    # The name itself is nobody's business in the child.
    return "file" + PurePath(name).suffix[:16]


@contextmanager
def _memory_file(plaintext: Iterable[bytes], cancelled: Callable[[], bool]) -> Iterator[int]:
    """Yield a descriptor of an anonymous file in memory that holds the plaintext and cannot change."""
    with memory_file("document") as descriptor:
        for piece in plaintext:
            if cancelled():
                raise ParsingCancelled
            write_all(descriptor, piece)
        seal(descriptor)
        yield descriptor
