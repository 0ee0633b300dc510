"""A folder of this machine as a source. Nothing outside of it is opened: no symbolic link is followed."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from infra.sources import WatchedFolder
from ingest.sync.source import (
    Listing,
    NotReadable,
    Seen,
    SourceUnavailable,
    Unsettled,
    is_left_out,
    is_watched,
)

QUIET_S: Final = 3.0
"""How long nobody must have written a file before it is read, in seconds."""
PIECE_BYTES: Final = 1024 * 1024
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe would wait for somebody to write into it.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})


class Folder:
    """Lists and reads the regular files below one folder."""

    def __init__(self, watched: WatchedFolder) -> None:
        self._watched = watched
        # Where clocks differ, a file's time may lie ahead; what did not change between two looks is settled.
        self._before: dict[str, str] = {}

    def look(self) -> Listing:
        """List every watched file; raises SourceUnavailable when the folder itself cannot be listed."""
        listing = Listing()
        try:
            os.close(os.open(self._watched.path, _FOLDER))
            for name, found in self._files(listing):
                state = _state(found)
                item = Seen(name, state, found.st_size)
                quiet = time.time() - found.st_mtime >= QUIET_S
                listing.add(Seen(name, state, found.st_size, quiet or self._before.get(item.item) == state))
        except PermissionError as error:
            raise SourceUnavailable("refused") from error
        except OSError as error:
            raise SourceUnavailable("unreachable") from error
        self._before = {item: seen.state for item, seen in listing.found.items() if not seen.settled}
        return listing

    def read(self, seen: Seen) -> Generator[bytes, None, None]:
        """Yield the bytes of a file; raises Unsettled at the end when it changed on the way."""
        descriptor = self._opened(seen.name)
        try:
            if _state(_regular(descriptor)) != seen.state:
                raise Unsettled
            while piece := os.read(descriptor, PIECE_BYTES):
                yield piece
            if _state(os.fstat(descriptor)) != seen.state:
                raise Unsettled
        except OSError as error:
            raise (Unsettled() if error.errno in _GONE else NotReadable()) from error
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held between two looks."""

    def _files(self, listing: Listing) -> Iterator[tuple[str, os.stat_result]]:
        # The folder itself may be a link, as the operator's name for a share; what is below it may not.
        root = self._watched.path.resolve()

        def unlisted(_: OSError) -> None:
            listing.complete = False

        for folder, folders, files, descriptor in os.fwalk(root, onerror=unlisted, follow_symlinks=False):
            folders[:] = [name for name in folders if not is_left_out(name)]
            inside = Path(folder).relative_to(root)
            for file in files:
                name = (inside / file).as_posix()
                if not is_watched(name, self._watched.include, self._watched.exclude):
                    continue
                try:
                    found = os.stat(file, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield name, found

    def _opened(self, name: str) -> int:
        """Open a file step by step from the root, so that no link put in its way leads outside."""
        *folders, file = name.split("/")
        try:
            at = os.open(self._watched.path, _FOLDER)
        except OSError as error:
            raise SourceUnavailable("unreachable") from error
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = inner
            return os.open(file, _FILE, dir_fd=at)
        except OSError as error:
            raise (Unsettled() if error.errno in _GONE else NotReadable()) from error
        finally:
            os.close(at)


def _regular(descriptor: int) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise Unsettled
    return found


def _state(found: os.stat_result) -> str:
    return f"{found.st_size}:{found.st_mtime_ns}"
