"""One server for each data folder: who holds it, where it answers, and what a dead one left behind."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

# A look at the lock takes it for some microseconds, which must not look like a running server.
_LOOKS_PATIENCE_S: Final = 1.0
_SAME_START_S: Final = 0.02


@dataclass(frozen=True)
class RunningServer:
    """A server's process, its address, and when the process began (seconds since 1970)."""

    pid: int
    url: str
    started: float


class Claim:
    """The right to serve one data folder; the system takes it back when the process ends, however it ends."""

    def __init__(self, descriptor: int, folder: Path) -> None:
        self._descriptor = descriptor
        self._note = folder / "server.json"

    def publish(self, url: str) -> None:
        """Write down where this process answers, for the other commands (mode 0600)."""
        server = RunningServer(os.getpid(), url, psutil.Process().create_time())
        fresh = self._note.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(server), file)
        fresh.replace(self._note)

    def release(self) -> None:
        """Give the folder back."""
        self._note.unlink(missing_ok=True)
        os.close(self._descriptor)


def claim(data_dir: Path) -> Claim | None:
    """Take the data folder for this process; None when another one serves it."""
    folder = private_folder(data_dir, "run")
    descriptor = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOOKS_PATIENCE_S
    while not _lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            os.close(descriptor)
            return None
        time.sleep(0.05)
    (folder / "server.json").unlink(missing_ok=True)
    return Claim(descriptor, folder)


def private_folder(data_dir: Path, name: str) -> Path:
    """Return a folder of the data folder; what is missing of both is made for this account only."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = data_dir / name
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def is_claimed(data_dir: Path) -> bool:
    """Tell whether a server holds the data folder, be it ready or still starting."""
    try:
        descriptor = os.open(data_dir / "run" / "server.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def find_server(data_dir: Path) -> RunningServer | None:
    """Return the server of this data folder once it answers; None when there is none.

    A note left by a server that was killed is not believed: its lock is gone, or its process id belongs to
    another process by now.
    """
    if not is_claimed(data_dir):
        return None
    try:
        noted = RunningServer(**json.loads((data_dir / "run" / "server.json").read_text()))
        process = psutil.Process(noted.pid)
        is_same = abs(process.create_time() - noted.started) < _SAME_START_S
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return noted if is_same else None


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
