"""The files of an exported bundle, read with limits: nothing there is trusted to be a plain file."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from infra.audit.verify import Finding, Verdict

LARGEST_TEXT: Final = 1024 * 1024
"""Bytes of a note, a proof, a key or a manifest that are looked at."""
LONGEST_NAME: Final = 200


class BundleFiles(ABC):
    """The files of a bundle, wherever they lie. Whatever cannot be read raises Finding."""

    names: frozenset[str]
    """Paths of everything but folders, relative to the bundle."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; raises Finding when it is missing or no plain file."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open."""

    def read(self, name: str, limit: int = LARGEST_TEXT) -> bytes:
        """Return a file's bytes; raises Finding when it is missing, longer than `limit`, or no plain file."""
        with self.open(name) as file:
            try:
                data = file.read(limit + 1)
            except OSError as error:
                raise Finding(Verdict.UNREADABLE, f"The file {name} cannot be read.") from error
        if len(data) > limit:
            raise Finding(Verdict.UNREADABLE, f"The file {name} is longer than any that belongs there.")
        return data

    def text(self, name: str) -> str:
        """Return a file's text (UTF-8); raises Finding like `read`."""
        try:
            return self.read(name).decode()
        except UnicodeDecodeError as error:
            raise Finding(Verdict.UNREADABLE, f"The file {name} is not text in UTF-8.") from error


class BundleFolder(BundleFiles):
    """One folder with a bundle in it."""

    def __init__(self, folder: Path) -> None:
        """Look into `folder`; raises Finding when it is no folder that can be read."""
        self._folder = folder
        self.names = frozenset(self._walk(""))

    def _walk(self, inner: str) -> Iterator[str]:
        try:
            with os.scandir(self._folder / inner) as entries:
                for entry in entries:
                    name = f"{inner}/{entry.name}" if inner else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._walk(name)
                    else:
                        yield name
        except (OSError, RecursionError) as error:
            raise Finding(Verdict.UNREADABLE, "The bundle's folders cannot be read.") from error

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; raises Finding when it is missing or no plain file."""
        path = self._folder / name
        try:
            # A pipe would be waited for without end, and a link could lead anywhere.
            is_plain = stat.S_ISREG(path.lstat().st_mode)
            if is_plain:
                return path.open("rb")
        except FileNotFoundError as error:
            raise missing(name) from error
        except OSError as error:
            raise Finding(Verdict.UNREADABLE, f"The file {name} cannot be read.") from error
        raise Finding(Verdict.UNREADABLE, f"{name} is not a plain file.")

    def close(self) -> None:
        """Do nothing: files are opened one by one."""


def missing(name: str) -> Finding:
    """Return the finding that a file of the bundle is not there."""
    return Finding(Verdict.INCOMPLETE, f"The file {name[:LONGEST_NAME]} is missing.")
