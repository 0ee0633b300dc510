"""Read a stored document, whatever has to be done for it: convert an old format first, then parse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ingest.parse.blocks import ParsedDocument
from ingest.parse.confined.sandbox import NeedsConversion, parse_in_child
from ingest.parse.conversion.office_converter import CONVERTED, convert
from ingest.parse.limits import ParseLimits


def read_document(
    plaintext: Callable[[], Iterable[bytes]],
    name: str,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ParsedDocument:
    """Read a document; `plaintext` gives its bytes in pieces, anew each time that it is called.

    Everything else is as in `parse_in_child`, but for old Word and PowerPoint files: they are converted
    first, each step under the limits of its own. What stands in the result about pages and places is of the
    converted file. Raises UnreadableFile, also `needs_converter`, or ParsingCancelled.
    """
    try:
        return parse_in_child(plaintext(), name, limits, on_progress, cancelled)
    except NeedsConversion as old:
        media_type = old.media_type
    ending, _, _ = CONVERTED[media_type]
    pieces = convert(plaintext(), media_type, limits, cancelled)
    parsed = parse_in_child(pieces, f"file{ending}x", limits, on_progress, cancelled)
    return replace(parsed, media_type=media_type)
