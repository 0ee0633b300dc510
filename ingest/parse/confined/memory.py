"""Anonymous files in memory: how documents and results go between processes without touching a disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(name: str) -> Iterator[int]:
    """Yield the descriptor of an empty file in memory; `name` only shows in lists of open files."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, piece: bytes) -> None:
    """Write the whole piece, however many calls that takes."""
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def seal(descriptor: int) -> None:
    """Make a memory file unchangeable, and go to its start."""
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    os.lseek(descriptor, 0, os.SEEK_SET)
