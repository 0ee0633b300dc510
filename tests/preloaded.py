"""Servers without the wait: one process imports everything once and forks a server whenever it is asked.

Importing PyTorch takes longer than everything else a start does. A fork of a process that has it already
runs the same command, `strongroom up`, and is a process like any other: it can be killed and started again
at twenty points in the time of one cold start. Nothing is forked after a thread or a model was started.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from infra.embeddings import encoder_child, encoder_process
from tests.serving import ROOT, Server

IMPORT_S = 240.0
PR_SET_PDEATHSIG = 1


class Launcher:
    """The process that has imported everything; ask it for servers, and close it at the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.preloaded"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def launch(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> int:
        """Run `strongroom` with `arguments` in a process of its own; returns its id at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"arguments": arguments, "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the launcher has ended")
        return int(answer)

    def close(self) -> None:
        """End it; servers that still run end with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@dataclass
class PreloadedServer(Server):
    """A `Server` that starts in a second or two."""

    launcher: Launcher | None = None
    pid: int | None = None

    def start(self) -> PreloadedServer:
        """Start the server and wait until it is ready; raises RuntimeError with its output otherwise."""
        assert self.launcher is not None
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log = self.data_dir / "test-server.log"
        arguments = ["up", "--port", "0", "--data-dir", str(self.data_dir), *self.flags]
        self.pid = self.launcher.launch(arguments, self.environment, log)
        note = self.data_dir / "run" / "server.json"
        deadline = time.monotonic() + IMPORT_S
        while time.monotonic() < deadline:
            if not psutil.pid_exists(self.pid):
                raise RuntimeError(f"the server ended: {log.read_text()[-3000:]}")
            noted = _noted(note)
            if noted is not None and noted["pid"] == self.pid:
                self.url = noted["url"]
                return self
            time.sleep(0.02)
        raise RuntimeError(f"the server did not start: {log.read_text()[-3000:]}")

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, without a word."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.pid is None:
            return
        process = psutil.Process(self.pid)
        process.send_signal(how)
        try:
            process.wait(60)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(10)
        self.pid = None


def _noted(note: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


# --- the launcher's own process -------------------------------------------------------------------


def serve_requests() -> None:
    """Import what a server imports, then fork one for every line on standard input."""
    import_everything()
    # Ended servers vanish at once instead of waiting for this process to ask after them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become_server(request)
        print(pid, flush=True)


def import_everything() -> None:
    """Import the server with its heavy libraries, the phone lines closed before."""
    from infra.offline import close_phone_lines

    close_phone_lines()
    import qdrant_edge  # noqa: F401
    import sentence_transformers  # noqa: F401
    import torch  # noqa: F401
    import uvicorn  # noqa: F401

    import services.app
    import services.cli.program  # noqa: F401


@dataclass
class ForkedChild:
    """A fork of this process in the place of a `subprocess.Popen`, as far as the embedder asks it."""

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end; raises TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("encoder", timeout)
            time.sleep(0.02)
        return code

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)


def keep_an_encoder_ready() -> None:
    """Fork now, while there are no threads, what the embedder would start with PyTorch's whole import.

    The fork waits until it is handed its pipes, and then runs the embedder's own child program. Should it
    have to be started once more, that is done the long way.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        become_encoder(theirs)
    theirs.close()
    long_way = encoder_process.start_child

    def start_child(channels: list[int]) -> Any:
        if ours.fileno() == -1:
            return long_way(channels)
        orders, our_orders = os.pipe()
        our_answer, answer = os.pipe()
        socket.send_fds(ours, [json.dumps(channels).encode()], [orders, answer, *channels])
        os.close(orders)
        os.close(answer)
        ours.close()
        return ForkedChild(pid, os.fdopen(our_orders, "wb"), os.fdopen(our_answer, "rb"))

    setattr(encoder_process, "start_child", start_child)  # noqa: B010 - nothing else may be replaced so


def become_encoder(waiting: socket.socket) -> None:
    """Wait for the pipes of an encoder and be one; end when the server has ended before. Never returns."""
    numbers, descriptors, *_ = socket.recv_fds(waiting, 4096, 64)
    if descriptors:
        # Out of the way first: some may have a number that another one must get.
        orders, answer, *channels = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 500) for each in descriptors]
        os.closerange(3, 500)
        for channel, number in zip(channels, json.loads(numbers), strict=True):
            os.dup2(channel, number)
            os.close(channel)
        encoder_child.serve(os.fdopen(orders, "rb"), os.fdopen(answer, "wb"))
    os._exit(0)


def become_server(request: dict[str, Any]) -> None:
    """Turn this fork into the command with its own session, log and environment; never returns."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.environ.update(request["environment"])
    keep_an_encoder_ready()
    sys.argv = ["strongroom", *request["arguments"]]
    from services.cli.program import run

    status: object = 1
    try:
        run()
        status = 0
    except SystemExit as end:
        status = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    serve_requests()
