"""A tar archive (POSIX ustar) as a stream of bytes, made file by file."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

READ_BYTES: Final = 256 * 1024
END_OF_ARCHIVE: Final = bytes(2 * tarfile.BLOCKSIZE)
"""Two blocks of zeros, without which an archive is recognised as cut off."""


def member(name: str, path: Path) -> Iterator[bytes]:
    """Yield one file of an archive: header, content, padding to whole blocks."""
    entry = tarfile.TarInfo(name)
    entry.size = path.stat().st_size
    entry.mtime = int(path.stat().st_mtime)
    entry.mode = 0o600
    yield entry.tobuf(tarfile.USTAR_FORMAT)
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            yield data
    yield bytes(-entry.size % tarfile.BLOCKSIZE)
