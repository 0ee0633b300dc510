"""Zip containers that are safe to hand to a library: honest sizes, whole entries, no DTD."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO

from infra.errors import UnreadableFile
from ingest.parse.limits import ParseLimits

MAX_ENTRIES = 20_000
# Small repetitive parts compress well without being an attack, so the ratio counts only above this size.
RATIO_MATTERS_ABOVE_BYTES = 8 * 1024 * 1024
READ_BYTES = 256 * 1024
# What the library raises for a directory or an entry that is not as it should be.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError),
    *(OverflowError, struct.error),
)


def check_archive(file: BinaryIO, limits: ParseLimits, *, with_dtd: bool = False) -> None:
    """Read every entry once and leave `file` at its start.

    The directory is checked first, because it is cheap; then the entries themselves, because a directory
    can lie. Raises UnreadableFile: `expands_too_much`, `encrypted`, or `damaged` (which includes XML with a
    DTD: the Open Packaging Conventions forbid them, and they are how entities attack a parser). `with_dtd`
    is for formats that have them; their parser must not expand entities.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise expands_too_much()
            _check_total(sum(entry.file_size for entry in entries), size, limits)
            _read_through(archive, entries, size, limits, with_dtd=with_dtd)
    except _BROKEN as error:
        raise UnreadableFile(
            "damaged",
            "This file is incomplete or damaged and cannot be opened.",
            hint="Open it in the program that made it, save it again, and upload the new copy.",
        ) from error
    file.seek(0)


def _read_through(
    archive: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    size: int,
    limits: ParseLimits,
    *,
    with_dtd: bool,
) -> None:
    expanded = 0
    for entry in entries:
        if entry.flag_bits & 0x1:
            raise UnreadableFile(
                "encrypted",
                "This file is protected with a password.",
                hint="Remove the password and upload it again.",
            )
        with archive.open(entry) as stream:
            first = True
            while piece := stream.read(READ_BYTES):
                expanded += len(piece)
                _check_total(expanded, size, limits)
                if first and not with_dtd and entry.filename.lower().endswith((".xml", ".rels")):
                    _refuse_dtd(piece)
                first = False


def _check_total(expanded: int, compressed: int, limits: ParseLimits) -> None:
    suspicious = expanded > RATIO_MATTERS_ABOVE_BYTES and expanded > limits.max_ratio * max(compressed, 1)
    if suspicious or expanded > limits.max_expanded_bytes:
        raise expands_too_much()


def _refuse_dtd(start_of_part: bytes) -> None:
    # A DTD stands before the root element; removing NUL bytes covers UTF-16, in which it could hide.
    if b"<!DOCTYPE" in start_of_part.replace(b"\x00", b"").upper():
        raise UnreadableFile(
            "damaged",
            "This file contains a document type definition, which Office files never do.",
            hint="Open it in Office, save it again, and upload the new copy.",
        )


def expands_too_much() -> UnreadableFile:
    """Return the error for a file whose size once unpacked is an attack or an accident."""
    return UnreadableFile(
        "expands_too_much",
        "This file expands to far more data than a document should, so it was not opened.",
        hint="Split the document, or remove very large embedded content.",
    )
