"""An exported bundle that is still in its tar archive, read where it lies: nothing is unpacked.

Names in the archive are looked up and never become paths, so none can lead anywhere. Only plain files and
folders are accepted (POSIX.1-1988 ustar, and what GNU tar makes of plain names): no links, no sparse files,
no extended headers, no compression.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO, Final

from infra.audit.bundles.bundle_files import BundleFiles, BundleFolder, missing
from infra.audit.bundles.manifest import KEY, MANIFEST
from infra.audit.verify import Finding, Verdict

MOST_FILES: Final = 1_000_000
"""Files in an archive that are looked at: a bundle of 100 million records has fewer."""
LONGEST_PADDING: Final = 1024 * 1024
"""Bytes after the last file; writers of archives fill up to a multiple of 10 KiB, some to more."""
_NO_ARCHIVE: Final = (
    "There is no bundle: a bundle is a folder, or the tar archive of one as an export gave it."
)
_CUT_OFF: Final = "The archive is cut off: its end is missing. Fetch it again."


def open_bundle(path: Path) -> BundleFiles:
    """Open a bundle in a folder or in a tar archive; raises Finding for anything else. Close it after use."""
    return BundleFolder(path) if path.is_dir() else BundleArchive(path)


class BundleArchive(BundleFiles):
    """The files of a bundle in one archive. Whatever cannot be read raises Finding."""

    def __init__(self, path: Path) -> None:
        """Look through the archive at `path`; raises Finding for what no export made."""
        self._opened = _opened(path)
        try:
            self._places = _without_root(_members(self._opened))
        except BaseException:
            self._opened.close()
            raise
        self.names = frozenset(self._places)

    def open(self, name: str) -> BinaryIO:
        """Open a file of the archive for reading; raises Finding when it is missing."""
        place = self._places.get(name)
        if place is None:
            raise missing(name)
        return io.BufferedReader(_Part(self._opened.fileno(), *place))

    def close(self) -> None:
        """Close the archive."""
        self._opened.close()


class _Part(io.RawIOBase):
    """The bytes of one file within the archive."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._next, self._end = start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._next)
        data = os.pread(self._descriptor, wanted, self._next)
        buffer[: len(data)] = data
        self._next += len(data)
        return len(data)


_Places = dict[str, tuple[int, int]]
"""Where each file begins in the archive, and its size, in bytes."""


def _opened(path: Path) -> BinaryIO:
    try:
        # A pipe would be waited for without end.
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except (OSError, ValueError) as error:
        raise Finding(Verdict.UNREADABLE, _NO_ARCHIVE) from error
    raise Finding(Verdict.UNREADABLE, _NO_ARCHIVE)


def _members(archive: BinaryIO) -> _Places:
    """Return the files of an archive by their names in it."""
    length = os.fstat(archive.fileno()).st_size
    places: _Places = {}
    offset = 0
    while True:
        block = os.pread(archive.fileno(), tarfile.BLOCKSIZE, offset)
        if not any(block) and len(block) == tarfile.BLOCKSIZE:
            _check_end(archive, offset, length)
            return places
        entry = _entry(block, offset)
        start = offset + tarfile.BLOCKSIZE
        if entry.size > length - start:
            raise Finding(Verdict.INCOMPLETE, _CUT_OFF)
        if not entry.isdir():
            _add(places, entry, start)
        offset = start + entry.size + -entry.size % tarfile.BLOCKSIZE


def _entry(block: bytes, offset: int) -> tarfile.TarInfo:
    """Read one header, of a plain file or a folder."""
    if offset and len(block) < tarfile.BLOCKSIZE:
        raise Finding(Verdict.INCOMPLETE, _CUT_OFF)
    try:
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        sentence = "The archive is damaged." if offset else _NO_ARCHIVE
        raise Finding(Verdict.UNREADABLE, sentence) from error
    is_plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and entry.size >= 0
    if not is_plain and not (entry.isdir() and entry.size == 0):
        sentence = "The archive holds something that is neither a plain file nor a folder."
        raise Finding(Verdict.UNREADABLE, sentence)
    return entry


def _add(places: _Places, entry: tarfile.TarInfo, start: int) -> None:
    name = entry.name.removeprefix("./")
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise Finding(Verdict.UNREADABLE, "The archive holds a file with a name that no bundle has.")
    if name in places:
        # Which of the two would be meant?
        raise Finding(Verdict.UNREADABLE, "The archive holds two files of one name.")
    if len(places) == MOST_FILES:
        raise Finding(Verdict.UNREADABLE, f"The archive holds more than {MOST_FILES} files.")
    places[name] = (start, entry.size)


def _check_end(archive: BinaryIO, offset: int, length: int) -> None:
    """Refuse an archive without the second block of zeros, or with anything but zeros after it."""
    rest = length - offset
    if rest < 2 * tarfile.BLOCKSIZE:
        raise Finding(Verdict.INCOMPLETE, _CUT_OFF)
    if rest > LONGEST_PADDING or any(os.pread(archive.fileno(), rest, offset)):
        raise Finding(Verdict.UNREADABLE, "Something follows after the end of the archive.")


def _without_root(places: _Places) -> _Places:
    """Return the files by their names in the bundle, without the folder that an export puts around them."""
    if MANIFEST in places or KEY in places:
        return places
    roots = {name.partition("/")[0] for name in places}
    if len(roots) != 1 or any("/" not in name for name in places):
        return places
    return {name.partition("/")[2]: place for name, place in places.items()}
