"""Count how often some bytes stand in files; a program of its own, which imports nothing of ours.

It has to be another process: when a process closes a file, the system drops every lock that this process has
on it (POSIX), SQLite's included. A server that read its own database file would lose the locks of its open
connections, and the next program at the database would take it for abandoned and ruin it
(https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).

Takes the bytes on standard input and the files as arguments; prints the count and the bytes looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

WINDOW = 8 * 1024 * 1024


def count_in(file: Path, needle: bytes, window: int = WINDOW) -> tuple[int, int]:
    """Return how often `needle` stands in a file, which is read in windows, and the file's length."""
    found = looked_at = 0
    for piece, new_bytes in _windows(file, len(needle) - 1, window):
        found += piece.count(needle)
        looked_at += new_bytes
    return found, looked_at


def _windows(file: Path, overlap: int, window: int) -> Iterator[tuple[bytes, int]]:
    """Yield a file in pieces that each begin with the end of the one before, and how much of each is new."""
    tail = b""
    with file.open("rb") as opened:
        while piece := opened.read(window):
            joined = tail + piece
            yield joined, len(piece)
            tail = joined[-overlap:] if overlap else b""


def main() -> None:
    """Search the files that are named on the command line."""
    needle = sys.stdin.buffer.read()
    counts = [count_in(Path(name), needle) for name in sys.argv[1:]]
    sys.stdout.write(f"{sum(found for found, _ in counts)} {sum(size for _, size in counts)}\n")


if __name__ == "__main__":
    main()
