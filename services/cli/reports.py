"""How a start tells of its progress: on the terminal, or through a pipe to the command that detached it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

from infra.errors import StrongroomError
from services.cli.terminal import answers, messages, plain, print_json


@dataclass(frozen=True)
class Ready:
    """A server that answers. `link` creates the first administrator, once; None when there is one."""

    url: str
    pid: int
    answers: str
    link: str | None


class Reporter(Protocol):
    """Hears how far a start has come."""

    def step(self, text: str) -> None:
        """Hear what is being done now."""
        ...

    def ready(self, ready: Ready) -> None:
        """Hear that the server answers."""
        ...


class TerminalReporter:
    """Prints each step on a line of its own, and then the address."""

    def __init__(self, *, stop_hint: str, as_json: bool) -> None:
        self._stop_hint = stop_hint
        self._as_json = as_json
        self._console = messages()

    def step(self, text: str) -> None:
        """Print the step."""
        self._console.print(f"  • {plain(text)}", soft_wrap=True)

    def ready(self, ready: Ready) -> None:
        """Print where the server answers, how to sign in for the first time, and how to stop it."""
        if self._as_json:
            print_json(asdict(ready))
        else:
            print_block(ready, self._stop_hint)


def print_block(ready: Ready, stop_hint: str) -> None:
    """Print what a person needs to go on; lines are never wrapped, so that links stay whole."""
    console = answers()
    console.print(f"\nStrongroom is ready at {ready.url}", style="bold green", soft_wrap=True)
    console.print(f"  Answers   {plain(ready.answers)}", soft_wrap=True)
    console.print(f"  Stop      {stop_hint}", soft_wrap=True)
    if ready.link is not None:
        console.print("\nOpen this link to create the first administrator (it works once, for 72 hours):")
        console.print(f"  {ready.link}", style="bold", soft_wrap=True)


class PipeReporter:
    """Writes JSON lines for `follow`; falls silent when nobody reads them any more."""

    def __init__(self, descriptor: int) -> None:
        # Nothing that this server starts shall hold the pipe open.
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor

    def step(self, text: str) -> None:
        """Write the step."""
        self._write({"step": text})

    def ready(self, ready: Ready) -> None:
        """Write the end of the start; the pipe is closed after it."""
        self._write({"ready": asdict(ready)})
        os.close(self._descriptor)

    def failed(self, error: StrongroomError) -> None:
        """Write why there will be no server."""
        self._write({"failed": {"message": error.message, "hint": error.hint}})

    def _write(self, line: dict[str, object]) -> None:
        try:
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            return  # The starting command was interrupted; the server goes on.


def follow(pipe: IO[str], reporter: Reporter) -> Ready | None:
    """Pass on what a PipeReporter writes; returns None when the start ended without a server.

    Raises StrongroomError with the reason that the server gave.
    """
    for line in _lines(pipe):
        if "ready" in line:
            return Ready(**line["ready"])
        if "failed" in line:
            raise StrongroomError(line["failed"]["message"], hint=line["failed"]["hint"])
        reporter.step(line["step"])
    return None


def _lines(pipe: IO[str]) -> Iterator[dict[str, Any]]:
    for line in pipe:
        yield json.loads(line)
