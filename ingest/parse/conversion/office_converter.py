"""Old Word and PowerPoint files become new ones, by LibreOffice where the operator has installed it.

This runs before parsing, in a confined child of its own, because the parsing child may not start programs.
The document goes in through a memory file and comes back through another. LibreOffice itself needs files:
its scratch folder is a file system in memory that only the child sees, or, where the kernel grants no mounts,
a private folder in /dev/shm that is wiped when the child has ended.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from infra.errors import UnreadableFile
from ingest.parse.confined.memory import memory_file, write_all
from ingest.parse.confined.sandbox import ParsingCancelled
from ingest.parse.conversion.office_child import NOT_CONFINED
from ingest.parse.detect import DOC, DOCX, PPT, PPTX
from ingest.parse.limits import ParseLimits

log = structlog.get_logger(__name__)

# By media type: the ending that the converter knows the format by, its filter, and what comes out.
CONVERTED: Final = {
    DOC: (".doc", "docx:MS Word 2007 XML", DOCX),
    PPT: (".ppt", "pptx:Impress MS PowerPoint 2007 XML", PPTX),
}
_PROGRAMS: Final = ("/usr/bin/soffice", "/usr/local/bin/soffice", "/usr/bin/libreoffice")
_SCRATCH: Final = Path("/dev/shm")  # noqa: S108 - memory, and the folders made there are private
_SCRATCH_PREFIX: Final = "strongroom-converting"
READ_BYTES: Final = 1024 * 1024
WATCH_INTERVAL_S: Final = 0.05
WIPE_ATTEMPTS: Final = 40


def find_converter() -> Path | None:
    """Return the installed LibreOffice, or None."""
    installed = [
        *map(Path, _PROGRAMS),
        *sorted(Path("/opt").glob("libreoffice*/program/soffice"), reverse=True),
    ]
    return next((path.resolve() for path in installed if os.access(path, os.X_OK)), None)


def convert(
    plaintext: Iterable[bytes],
    media_type: str,
    limits: ParseLimits,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[bytes]:
    """Yield an old Office file, given in pieces, as a DOCX or PPTX, in pieces.

    Raises UnreadableFile: `needs_converter`, `not_confined`, `took_too_long`, `damaged`; or ParsingCancelled.
    Call it from a thread that lives until the last piece is taken: the kernel kills the child when its
    starting thread ends. At most `limits.wall_s` pass before the first piece.
    """
    converter = find_converter()
    if converter is None:
        raise _needs_converter()
    ending, filter_name, _ = CONVERTED[media_type]
    with memory_file("document") as document, memory_file("result") as result, _private_folder() as scratch:
        for piece in plaintext:
            if cancelled():
                raise ParsingCancelled
            write_all(document, piece)
        os.lseek(document, 0, os.SEEK_SET)
        request = {
            "document": document,
            "result": result,
            "scratch": str(scratch),
            "converter": str(converter),
            "ending": ending,
            "filter": filter_name,
            "limits": limits.as_dict(),
            "parent": os.getpid(),
        }
        _run(request, [document, result], limits, cancelled)
        os.lseek(result, 0, os.SEEK_SET)
        while piece := os.read(result, READ_BYTES):
            yield piece


def _run(
    request: dict[str, object], descriptors: list[int], limits: ParseLimits, cancelled: Callable[[], bool]
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "ingest.parse.conversion.office_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a program's complaints may quote the document
        pass_fds=descriptors,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        start_new_session=True,
    )
    try:
        _ask(child, request)
        _check_end(_awaited(child, time.monotonic() + limits.wall_s, cancelled))
    finally:
        # The converter has processes of its own; they are all in the child's session.
        _kill_group(child.pid)
        child.wait()
        if child.stdin is not None:
            child.stdin.close()


def _ask(child: subprocess.Popen[bytes], request: dict[str, object]) -> None:
    if child.stdin is None:
        return
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return  # The child died already; its end says why.


def _awaited(child: subprocess.Popen[bytes], deadline: float, cancelled: Callable[[], bool]) -> int:
    while (status := child.poll()) is None:
        if cancelled():
            raise ParsingCancelled
        if time.monotonic() > deadline:
            raise UnreadableFile(
                "took_too_long",
                "Converting this document took longer than is allowed.",
                hint="Save it in the new format (DOCX, PPTX) and upload that.",
            )
        time.sleep(WATCH_INTERVAL_S)
    return status


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _check_end(status: int) -> None:
    if status == 0:
        return
    log.warning("converter_failed", status=status)
    if status == NOT_CONFINED:
        raise UnreadableFile(
            "not_confined",
            "This machine cannot confine the converter of old Office files, so no such file is read.",
            hint="Save it in the new format (DOCX, PPTX) and upload that.",
        )
    raise UnreadableFile(
        "damaged",
        "This file could not be converted: it is damaged, protected with a password, or too complex.",
        hint="Open it in Office, save it in the new format (DOCX, PPTX), and upload that.",
    )


def _needs_converter() -> UnreadableFile:
    return UnreadableFile(
        "needs_converter",
        "This is an Office 97–2003 file; this server has no program that reads the format.",
        hint="Save it as DOCX, PPTX or PDF and upload that. An administrator can also install LibreOffice on "
        "the server (packages libreoffice-writer-nogui and libreoffice-impress-nogui).",
    )


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield an empty folder in memory that only this user can enter, and wipe it in the end."""
    _wipe_forgotten()
    base = _SCRATCH if _SCRATCH.is_dir() else Path(tempfile.gettempdir())
    folder = base / f"{_SCRATCH_PREFIX}-{os.getpid()}-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _wipe(folder)


def _wipe(folder: Path) -> None:
    """Remove a folder; processes that were just killed may still write into it for a moment."""
    for _ in range(WIPE_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(WATCH_INTERVAL_S)
    log.error("scratch_folder_left")


def _wipe_forgotten() -> None:
    """Remove what a server that was killed in the middle has left."""
    for folder in _SCRATCH.glob(f"{_SCRATCH_PREFIX}-*-*"):
        owner = folder.name.split("-")[2]
        status = folder.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if ours and owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
