"""The outer wall around a parsing child, where bubblewrap is installed: namespaces with nothing in them.

The child sees an empty file system but for programs, libraries and our own code, no other process and no
network. Its own confinement (`ingest.parse.confined.confinement`) stands inside this wall just the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

# Not the environment's PATH: the wall must not be whatever a user's folder holds.
PROGRAM_FOLDERS: Final = "/usr/bin:/usr/local/bin:/bin"
PROBE_S: Final = 20.0
PACKAGES: Final = Path(__file__).resolve().parents[3]
# Programs, libraries, and the fonts that PDFium draws unembedded text with.
_SYSTEM: Final = ("/usr", "/etc/fonts", "/etc/ld.so.cache")
_SYSTEM_FOLDERS: Final = ("/bin", "/lib", "/lib64", "/lib32")


@cache
def is_usable() -> bool:
    """Say whether bubblewrap is here and this account may use it; tried once."""
    if _program() is None:
        return False
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter
            command([sys.executable, "-S", "-c", "import ctypes"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            check=False,
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def is_installed() -> bool:
    """Say whether bubblewrap is on this machine, usable or not."""
    return _program() is not None


def command(program: list[str]) -> list[str]:
    """Return the command that runs `program` inside the wall. Descriptors it inherits stay open."""
    walls = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    return [_program() or "bwrap", *walls, *_mounts(), "--chdir", "/", "--", *program]


def _mounts() -> Iterator[str]:
    for name in _SYSTEM:
        yield from ("--ro-bind-try", name, name)
    for path in map(Path, _SYSTEM_FOLDERS):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.exists():
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--dev", "/dev", "--tmpfs", "/tmp")  # noqa: S108 - the wall's own empty folder, not the machine's
    for path in _outermost(_python_folders()):
        yield from ("--ro-bind", str(path), str(path))


def _python_folders() -> Iterator[Path]:
    for prefix in (sys.base_prefix, sys.prefix):
        yield Path(prefix)
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name))
    yield PACKAGES / "ingest"
    yield PACKAGES / "infra"


def _outermost(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield each existing folder that is not below another one, nor below the system's own."""
    kept: list[Path] = [Path("/usr")]
    for folder in sorted(set(folders)):
        if folder.exists() and not any(folder.is_relative_to(one) for one in kept):
            kept.append(folder)
            yield folder


def _program() -> str | None:
    return shutil.which("bwrap", path=PROGRAM_FOLDERS)
