"""What a folder and a bucket have in common: they list their files and give out one file's bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final, Protocol

from infra.errors import StrongroomError

MAX_NAME_CHARS: Final = 500
MAX_NAME_BYTES: Final = 1024
_LEFT_OUT: Final = ("~$*", "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.swp")
_LEFT_OUT_NAMES: Final = frozenset({"thumbs.db", "desktop.ini", "$recycle.bin", "lost+found", "#recycle"})


class SourceUnavailable(StrongroomError):
    """A source cannot be listed, so nothing is known about what is gone. `code` is in `reasons`."""

    code = "unreachable"

    def __init__(self, code: str) -> None:
        super().__init__("A watched folder or bucket cannot be listed.")
        self.code = code


class NotReadable(StrongroomError):
    """One file of a source cannot be read, while the others can. `code` is in `reasons`."""

    code = "not_readable"

    def __init__(self, code: str = "not_readable") -> None:
        super().__init__("A file of a watched folder or bucket cannot be read.")
        self.code = code


class Unsettled(Exception):
    """A file is changing, or went, while it was read; the next look sees what became of it."""


class Stopping(Exception):
    """The server stops; a look ends between two pieces of a file, and the next start goes on."""


@dataclass(frozen=True)
class Seen:
    """A file as it was listed. `name` is relative, with `/`; `state` differs when its content may.

    `settled` says that nobody seems to be writing it; `size` is in bytes.
    """

    name: str
    state: str
    size: int
    settled: bool = True

    @property
    def item(self) -> str:
        """What stands for the name in the table: its SHA-256, 64 hex digits."""
        return item_of(self.name)


@dataclass
class Listing:
    """What a source holds now, by item. `complete` is False when a part of it could not be listed."""

    found: dict[str, Seen] = field(default_factory=dict)
    complete: bool = True

    def add(self, seen: Seen) -> None:
        """Add a file."""
        self.found[seen.item] = seen


class Source(Protocol):
    """A folder or a bucket."""

    def look(self) -> Listing:
        """List every file that is watched; raises SourceUnavailable."""
        ...

    def read(self, seen: Seen) -> Generator[bytes, None, None]:
        """Yield a file's bytes as they were when it was listed.

        Raises NotReadable, Unsettled when it is another file by now, or SourceUnavailable.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def item_of(name: str) -> str:
    """Return the SHA-256 of a name, 64 hex digits; names that are no UTF-8 keep their bytes."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def is_usable_name(name: str) -> bool:
    """Say whether a document may go by this name: text that prints, not too long, no `.` or `..` in it."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    parts = name.split("/")
    return (
        len(name) <= MAX_NAME_CHARS
        and size <= MAX_NAME_BYTES
        and name.isprintable()
        and not {"", ".", ".."} & set(parts)
    )


def is_left_out(part: str) -> bool:
    """Say whether a file or folder of this name is hidden or some program's scratch, and never watched."""
    lower = part.lower()
    return (
        part.startswith(".")
        or lower in _LEFT_OUT_NAMES
        or any(fnmatchcase(lower, pattern) for pattern in _LEFT_OUT)
    )


def is_watched(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Say whether a relative name is watched. In patterns, `*` stands for any characters, `/` among them."""
    return (
        not any(is_left_out(part) for part in PurePosixPath(name).parts)
        and any(fnmatchcase(name, pattern) for pattern in include)
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    )
