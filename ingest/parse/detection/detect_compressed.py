"""Tell TAR archives apart, plain or compressed by gzip, bzip2 or xz."""

from __future__ import annotations

import bz2
import lzma
import tarfile
import zlib
from typing import BinaryIO, Final

from ingest.parse import kinds

GZIP: Final = b"\x1f\x8b"
BZIP2: Final = b"BZh"
XZ: Final = b"\xfd7zXZ\x00"
# A block of bzip2 is up to 900,000 bytes and gives nothing before it is whole.
_SAMPLE_BYTES: Final = 1024 * 1024
XZ_MEMORY_BYTES: Final = 256 * 1024 * 1024


def is_tar(head: bytes) -> bool:
    """Say whether `head` begins with a TAR header: its checksum says so (POSIX.1-1988, ustar)."""
    if len(head) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def compressed_kind(file: BinaryIO, head: bytes, extension: str) -> str | None:
    """Return TAR for a compressed TAR archive, None for what is not compressed at all.

    Raises UnreadableFile: `damaged`, or `unsupported_type` for a compressed file that is no TAR.
    """
    if not head.startswith((GZIP, BZIP2 + b"1", XZ)) and not (head[:3] == BZIP2 and head[4:10] == b"1AY&SY"):
        return None
    file.seek(0)
    try:
        start = _start_of(file.read(_SAMPLE_BYTES))
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise kinds.damaged() from error
    if is_tar(start):
        return kinds.TAR
    raise kinds.unsupported("a compressed file", extension, "Unpack it and upload the document inside.")


def _start_of(sample: bytes) -> bytes:
    """Decompress no more than one block of TAR, however much the sample would expand to."""
    size = tarfile.BLOCKSIZE
    if sample.startswith(GZIP):
        return zlib.decompressobj(wbits=31).decompress(sample, size)
    if sample.startswith(BZIP2):
        return bz2.BZ2Decompressor().decompress(sample, size)
    return lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES).decompress(sample, size)
