"""ZIP and TAR archives: every entry is read by its own type, in memory, under one budget."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import IO, BinaryIO, Final, cast

from infra.errors import UnreadableFile
from ingest.parse import kinds
from ingest.parse.blocks import ParsedDocument
from ingest.parse.containers.archive import expands_too_much
from ingest.parse.containers.members import Budget, Members, Progress, container, tidy_name
from ingest.parse.detection.detect_compressed import BZIP2, GZIP, XZ
from ingest.parse.detection.detect_ole import OLE_MAGIC
from ingest.parse.limits import ParseLimits

READ_BYTES: Final = 256 * 1024
# An entry is held in memory, once packed and once not, beside what its parser needs.
MAX_MEMBER_BYTES: Final = 256 * 1024 * 1024
_LOCAL_HEADER_BYTES: Final = 30
# What systems leave beside the files that people packed.
_LITTER_FOLDERS: Final = ("__MACOSX/",)
_LITTER: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_BROKEN: Final = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error),
)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an archive. Each block's place names the entry it stands in.

    Raises UnreadableFile: `damaged`, `encrypted`, `expands_too_much`, `nothing_readable` or `no_text`.
    """
    return parse_within(file, Budget.of(file, limits), on_progress)


def parse_within(file: BinaryIO, budget: Budget, on_progress: Progress) -> ParsedDocument:
    """Read an archive that may itself stand in another file; `budget` is shared with that."""
    head = file.read(len(OLE_MAGIC))
    file.seek(0)
    members = Members(budget)
    try:
        if head.startswith(b"PK"):
            _read_zip(file, members, on_progress)
            media_type = kinds.ZIP
        else:
            _read_tar(file, head, members, on_progress)
            media_type = kinds.TAR
    except _BROKEN as error:
        # What stands before the damage has been read, and is worth having.
        if not members.read:
            raise kinds.damaged() from error
        members.refuse("the rest of the archive", "damaged")
        media_type = kinds.ZIP if head.startswith(b"PK") else kinds.TAR
    return container(media_type, None, (), members)


def _read_zip(file: BinaryIO, members: Members, on_progress: Progress) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not _left_out(entry.filename)]
        for _ in entries:
            members.budget.spend_entry()
        if sum(entry.file_size for entry in entries) > members.budget.room():
            raise expands_too_much()
        _refuse_overlaps(entries)
        names = _Names()
        for done, entry in enumerate(entries, start=1):
            name = names.next(_name_of(entry))
            if entry.flag_bits & 0x1:
                members.refuse(name, "encrypted")
            elif stat.S_ISLNK(entry.external_attr >> 16):
                members.refuse(name, "not_a_file")
            elif entry.file_size > MAX_MEMBER_BYTES:
                members.refuse(name, "too_large")
            else:
                _read_entry(archive, entry, name, members)
            on_progress(done, len(entries))


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, members: Members) -> None:
    try:
        with archive.open(entry) as stream:
            content = _content(stream, members.budget)
    except UnreadableFile as error:
        members.refuse(name, error.code)
    except MemoryError:
        members.refuse(name, "too_complex")
    except _BROKEN:
        members.refuse(name, "damaged")
    else:
        members.add(name, content)


def _refuse_overlaps(entries: list[zipfile.ZipInfo]) -> None:
    """Entries that share their bytes are how a small file holds petabytes (Fifield, WOOT 2019)."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise expands_too_much()
        end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Return an entry's name; without the flag for UTF-8 it is often UTF-8 all the same."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _read_tar(file: BinaryIO, head: bytes, members: Members, on_progress: Progress) -> None:
    names = _Names()
    stream = _Counted(_expanding(file, head), members.budget)
    # A stream is read once, from its start to its end, so that what is skipped is counted, too.
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", errorlevel=1) as archive:
        for done, entry in enumerate(_entries_of(archive, members.budget), start=1):
            on_progress(done, None)
            if entry.isdir() or _left_out(entry.name):
                continue
            name = names.next(entry.name)
            content = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
            if content is None:
                members.refuse(name, "not_a_file")
            elif entry.size > MAX_MEMBER_BYTES:
                members.refuse(name, "too_large")
            else:
                members.add(name, content.read())


def _entries_of(archive: tarfile.TarFile, budget: Budget) -> Iterable[tarfile.TarInfo]:
    for entry in archive:
        budget.spend_entry()
        yield entry


def _expanding(file: BinaryIO, head: bytes) -> IO[bytes]:
    if head.startswith(GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if head.startswith(BZIP2):
        return bz2.BZ2File(file)
    if head.startswith(XZ):
        return lzma.LZMAFile(file)
    return file


class _Counted(io.RawIOBase):
    """A stream that spends a budget for every byte it gives."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        super().__init__()
        self._stream = stream
        self._budget = budget

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes. Raises UnreadableFile(`expands_too_much`) at the end of the budget."""
        data = self._stream.read(size if size >= 0 else READ_BYTES)
        self._budget.spend_bytes(len(data))
        return data


def _content(stream: IO[bytes], budget: Budget) -> bytes:
    pieces: list[bytes] = []
    while piece := stream.read(READ_BYTES):
        budget.spend_bytes(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


class _Names:
    """Tells entries of the same name apart, which an archive may well have."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def next(self, name: str) -> str:
        """Return the name as a label, with a number when it has come before."""
        label = tidy_name(name)
        times = self._seen[label] = self._seen.get(label, 0) + 1
        if times == 1:
            return label
        stem, dot, ending = label.rpartition(".")
        return f"{stem} ({times}){dot}{ending}" if stem else f"{label} ({times})"


def _left_out(name: str) -> bool:
    tail = name.rsplit("/", 1)[-1].lower()
    return name.endswith(("/", "\\")) or name.startswith(_LITTER_FOLDERS) or tail in _LITTER
