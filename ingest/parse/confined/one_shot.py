"""Run one parsing child: its request, its answers under a deadline, and what its end means."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from infra.errors import ReaderKilled, UnreadableFile
from ingest.parse.confined import bubblewrap
from ingest.parse.limits import ParseLimits

log = structlog.get_logger(__name__)

# No block is longer than some hundred kilobytes; a page image is the longest line by far.
MAX_ANSWER_LINE_BYTES: Final = 64 * 1024 * 1024
# JSON takes six bytes for most characters beyond ASCII, and boxes take some sixty for each printed line.
ANSWER_BYTES_PER_CHARACTER: Final = 8
READ_BYTES: Final = 64 * 1024
# How often cancellation and the clock are looked at while the child says nothing, in seconds.
WATCH_INTERVAL_S: Final = 0.1
PACKAGES: Final = Path(__file__).resolve().parents[3]
# A process that ends by a signal inside bubblewrap makes bubblewrap end with this plus the signal's number.
SIGNALLED: Final = 128


class ParsingCancelled(Exception):
    """The caller's `cancelled` said so; the child is gone."""


def answers(
    request: dict[str, Any],
    limits: ParseLimits,
    wall_s: float,
    cancelled: Callable[[], bool] = lambda: False,
    descriptors: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """Run a child, which inherits `descriptors`, and yield its answers.

    Raises the child's own error, or what its end means.
    """
    wrapped = bubblewrap.is_usable()
    program = [sys.executable, "-P", "-s", "-m", "ingest.parse.confined.child"]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        bubblewrap.command(program) if wrapped else program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a library's complaints may quote the document
        pass_fds=descriptors,
        env=child_environment(),
        cwd="/",
        start_new_session=True,
    )
    try:
        # Inside bubblewrap, which dies with this process, the child has another parent.
        walls = {"wrapped": wrapped, "parent": None if wrapped else os.getpid()}
        _request(child, {**request, **walls, "limits": limits.as_dict()})
        most = MAX_ANSWER_LINE_BYTES + ANSWER_BYTES_PER_CHARACTER * limits.max_text_chars
        for line in _lines(child, time.monotonic() + wall_s, cancelled, most):
            answer = _decoded(line)
            if "error" in answer:
                _raise(answer["error"])
            yield answer
        _check_end(child.wait())
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()


def child_environment() -> dict[str, str]:
    """Return the child's whole environment: where our packages are, and nothing of the server's."""
    return {
        "PYTHONPATH": str(PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        # Threads are forbidden to the child, and these libraries would start some when they are imported.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        # onnxruntime would write down its use, and report it.
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _request(child: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    stdin = child.stdin
    if stdin is None:
        return
    try:
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.close()
    except BrokenPipeError:
        return  # The child died already; its end says why.


def _lines(
    child: subprocess.Popen[bytes], deadline: float, cancelled: Callable[[], bool], most_bytes: int
) -> Iterator[bytes]:
    """Yield the child's lines until it closes its output, the deadline passes or it says too much."""
    stdout = child.stdout
    if stdout is None:
        return
    descriptor = stdout.fileno()
    pending = bytearray()
    received = 0
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if cancelled():
                raise ParsingCancelled
            if time.monotonic() > deadline:
                raise took_too_long()
            if not selector.select(WATCH_INTERVAL_S):
                continue
            piece = os.read(descriptor, READ_BYTES)
            if not piece:
                return
            received += len(piece)
            if received > most_bytes or len(pending) > MAX_ANSWER_LINE_BYTES:
                raise _too_complex()
            *line_ends, rest = piece.split(b"\n")
            for line_end in line_ends:
                yield bytes(pending + line_end)
                pending.clear()
            pending += rest


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise damaged() from error
    if not isinstance(answer, dict):
        raise damaged()
    return answer


def _raise(error: dict[str, Any]) -> None:
    if "cause" in error:
        log.warning("parser_failed", cause=error["cause"])
    raise UnreadableFile(str(error["code"]), str(error["message"]), hint=error.get("hint"))


def _check_end(status: int) -> None:
    """Translate how the child ended; a negative status is the signal that killed it."""
    if status == 0:
        return
    status = SIGNALLED - status if status > SIGNALLED else status
    log.warning("parser_died", status=status)
    if status == -signal.SIGXCPU:
        raise took_too_long()
    if status == -signal.SIGKILL:
        # The kernel does so when the machine is short of memory, which need not be this document's fault.
        raise _too_complex(ReaderKilled)
    # Native code aborts when it is refused memory.
    if -status in (signal.SIGABRT, signal.SIGTRAP, signal.SIGILL):
        raise _too_complex()
    raise damaged()


def took_too_long() -> UnreadableFile:
    """Return the error for a document that needs more time than a child has."""
    return UnreadableFile(
        "took_too_long",
        "Reading this document took longer than is allowed.",
        hint="Split it into smaller files, or ask an administrator to raise the limit.",
    )


def _too_complex(kind: type[UnreadableFile] = UnreadableFile) -> UnreadableFile:
    return kind(
        "too_complex",
        "This document needs more memory than is allowed.",
        hint="Split it into smaller files, or ask an administrator to raise the limit.",
    )


def damaged() -> UnreadableFile:
    """Return the error for a child whose answers make no sense."""
    return UnreadableFile(
        "damaged",
        "This file is damaged and cannot be read.",
        hint="Check that the original opens, and upload it again.",
    )
