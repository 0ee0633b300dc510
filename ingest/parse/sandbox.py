"""Read a document in a one-shot child process without network, file system or unbounded resources.

The child (`ingest.parse.child`) gets the plaintext in a sealed memory file, so that it never reaches a disk,
and answers in JSON lines. The parent holds no more of them than the document's blocks, watches the clock,
and kills the child on cancellation.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Final

import structlog

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, ParsedDocument
from ingest.parse.limits import ParseLimits

log = structlog.get_logger(__name__)

# No block is longer than some hundred kilobytes; a page image is the longest line by far.
MAX_ANSWER_LINE_BYTES: Final = 64 * 1024 * 1024
# JSON takes six bytes for most characters beyond ASCII, and boxes take some sixty for each printed line.
ANSWER_BYTES_PER_CHARACTER: Final = 8
READ_BYTES: Final = 64 * 1024
# How often cancellation and the clock are looked at while the child says nothing, in seconds.
WATCH_INTERVAL_S: Final = 0.1
RENDER_WALL_S: Final = 20.0
GUARANTEES_WALL_S: Final = 20.0


class ParsingCancelled(Exception):
    """The caller's `cancelled` said so; the child is gone."""


def parse_in_child(
    plaintext: Iterable[bytes],
    name: str,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ParsedDocument:
    """Read a document; `plaintext` is its bytes in pieces, `name` its file name (only its ending is used).

    `on_progress` gets pages done and their number; `cancelled` is asked several times a second. Raises
    UnreadableFile with a reason, or ParsingCancelled. Call it from a thread that lives until it returns: the
    kernel kills the child when its starting thread ends.
    """
    blocks: list[Block] = []
    outcome: dict[str, Any] | None = None
    with _memory_file(plaintext, cancelled) as descriptor:
        request = {"task": "parse", "name": _ending(name), "descriptor": descriptor}
        for answer in _answers(request, limits, limits.wall_s, cancelled):
            if "block" in answer:
                blocks.append(_block(answer["block"]))
            elif "progress" in answer:
                on_progress(*_counts(answer["progress"]))
            else:
                outcome = answer.get("done")
    if outcome is None:
        raise _damaged()
    return ParsedDocument(
        title=outcome["title"], pages=outcome["pages"], blocks=tuple(blocks), media_type=outcome["media_type"]
    )


def _block(fields: dict[str, Any]) -> Block:
    # A child that a document has taken over can write anything; here it becomes a block or an error.
    try:
        return Block.from_dict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged() from error


def _counts(progress: list[int | None]) -> tuple[int, int | None]:
    match progress:
        case [int() as done, int() | None as total]:
            return done, total
        case _:
            raise _damaged()


def render_page_in_child(
    plaintext: Iterable[bytes], page: int, scale: float, limits: ParseLimits, *, name: str = "source.pdf"
) -> bytes:
    """Return page `page` (from 1) of a PDF as a PNG image, `scale` pixels to a point (1/72 inch).

    Very large pages come smaller than asked. Raises UnreadableFile: `no_such_page`, or as in parsing.
    """
    with _memory_file(plaintext, lambda: False) as descriptor:
        request = {
            "task": "render",
            "name": _ending(name),
            "descriptor": descriptor,
            "page": page,
            "scale": scale,
        }
        for answer in _answers(request, limits, min(limits.wall_s, RENDER_WALL_S), lambda: False):
            if "png" in answer:
                return base64.b64decode(answer["png"])
    raise _damaged()


def sandbox_guarantees(limits: ParseLimits | None = None) -> dict[str, bool]:
    """Start a child and return which confinements this machine's kernel granted it, by name.

    `no_network` (own network namespace) or `no_sockets` (seccomp) each keep a parser off the network.
    """
    request = {"task": "guarantees", "name": "", "descriptor": -1}
    for answer in _answers(request, limits or ParseLimits(), GUARANTEES_WALL_S, lambda: False):
        if "guarantees" in answer:
            return dict(answer["guarantees"])
    raise _damaged()


def _ending(name: str) -> str:
    # The name itself is nobody's business in the child.
    return "file" + PurePath(name).suffix[:16]


@contextmanager
def _memory_file(plaintext: Iterable[bytes], cancelled: Callable[[], bool]) -> Iterator[int]:
    """Yield a descriptor of an anonymous file in memory that holds the plaintext and cannot change."""
    descriptor = os.memfd_create("document", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for piece in plaintext:
            if cancelled():
                raise ParsingCancelled
            _write_all(descriptor, piece)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _answers(
    request: dict[str, Any], limits: ParseLimits, wall_s: float, cancelled: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Run a child and yield its answers; raises its error, or what its end means."""
    descriptor = request["descriptor"]
    child = subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "ingest.parse.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a library's complaints may quote the document
        pass_fds=[descriptor] if descriptor >= 0 else [],
        env=_environment(),
        cwd="/",
        start_new_session=True,
    )
    try:
        _request(child, {**request, "limits": limits.as_dict(), "parent": os.getpid()})
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


def _environment() -> dict[str, str]:
    """Return the child's whole environment: where our packages are, and nothing of the server's."""
    return {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
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
                raise _took_too_long()
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
        raise _damaged() from error
    if not isinstance(answer, dict):
        raise _damaged()
    return answer


def _raise(error: dict[str, Any]) -> None:
    if "cause" in error:
        log.warning("parser_failed", cause=error["cause"])
    raise UnreadableFile(str(error["code"]), str(error["message"]), hint=error.get("hint"))


def _check_end(status: int) -> None:
    """Translate how the child ended; a negative status is the signal that killed it."""
    if status == 0:
        return
    log.warning("parser_died", status=status)
    if status == -signal.SIGXCPU:
        raise _took_too_long()
    # The kernel kills for memory, and native code aborts when it is refused more of it.
    if -status in (signal.SIGKILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGILL):
        raise _too_complex()
    raise _damaged()


def _took_too_long() -> UnreadableFile:
    return UnreadableFile(
        "took_too_long",
        "Reading this document took longer than is allowed.",
        hint="Split it into smaller files, or ask an administrator to raise the limit.",
    )


def _too_complex() -> UnreadableFile:
    return UnreadableFile(
        "too_complex",
        "This document needs more memory than is allowed.",
        hint="Split it into smaller files, or ask an administrator to raise the limit.",
    )


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This file is damaged and cannot be read.",
        hint="Check that the original opens, and upload it again.",
    )
