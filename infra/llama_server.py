"""The embedded profile's own language model: llama.cpp's OpenAI-compatible server in a child process.

The child listens on 127.0.0.1 at a port the system picks, behind a random key that only this process knows:
it travels through a pipe, never through the command line or the environment, which others may read. It is a
child so that a crash in native code takes no question, no index and no ledger with it; it is started again a
bounded number of times, each time at a new port, and it ends when its parent does, however that ends.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import psutil

from infra.errors import ModelUnavailable
from infra.models.files import check_gguf

MODEL_ALIAS: Final = "local"
"""The model's name in this server's answers, so that no file name travels."""

RESTARTS: Final = 3
RESTART_WINDOW_S: Final = 600.0
"""At most `RESTARTS` new starts within `RESTART_WINDOW_S` seconds; more means that it will not get better."""

_PROMPT_CACHE_MIB: Final = 256
_STOP_GRACE_S: Final = 5.0


class ServerState(StrEnum):
    """Where the child stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class _Order:
    """What the child is told through its pipe. `context` is in tokens and for each slot."""

    gguf: str
    threads: int
    context: int
    slots: int
    api_key: str
    log_file: str


class LlamaServer:
    """Serves one GGUF file to this machine, and keeps serving it.

    `threads` 0 means one for each core that this process may use; `context` is the longest prompt plus
    answer in tokens; `slots` answers are generated at once. `log_file` takes llama.cpp's errors, which
    hold no prompt. `on_state` hears of each change, from a background thread.
    """

    def __init__(
        self,
        gguf: Path,
        *,
        log_file: Path,
        threads: int = 0,
        context: int = 4096,
        slots: int = 1,
        on_state: Callable[[ServerState], None] | None = None,
    ) -> None:
        check_gguf(gguf)
        self.api_key = secrets.token_urlsafe(32)
        self._order = _Order(
            gguf=str(gguf.resolve()),
            threads=threads or len(os.sched_getaffinity(0)),
            context=context,
            slots=slots,
            api_key=self.api_key,
            log_file=str(log_file.resolve()),
        )
        self._on_state = on_state or (lambda _state: None)
        self._changed = threading.Condition()
        self._state = ServerState.STOPPED
        self._process: subprocess.Popen[str] | None = None
        self._base_url: str | None = None
        self._supervisor: threading.Thread | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the child and return at once; `wait_ready` tells when it can be asked."""
        with self._changed:
            if self._supervisor is not None and self._supervisor.is_alive():
                return
            self._stopping = False
            self._state = ServerState.STARTING
        # The child is tied to the thread that started it (see `_die_with_parent`), so that thread must last.
        self._supervisor = threading.Thread(target=self._supervise, name="llama-server", daemon=True)
        self._supervisor.start()

    def wait_ready(self, timeout_s: float) -> None:
        """Block until the model is loaded; raises ModelUnavailable when it fails or takes too long."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not ServerState.STARTING, timeout_s)
            if self._state is not ServerState.READY:
                raise _unavailable(self._state)

    def stop(self) -> None:
        """End the child; safe to call twice."""
        with self._changed:
            self._stopping = True
            process = self._process
        if process is not None:
            _end(process)
        if self._supervisor is not None:
            self._supervisor.join(_STOP_GRACE_S * 2)

    @property
    def state(self) -> ServerState:
        """Where the child stands now."""
        return self._state

    @property
    def base_url(self) -> str:
        """The address to ask, ending in /v1; raises ModelUnavailable while there is none.

        It changes with every start. Ask for it before each request: between a crash and the next start, any
        local program could take the old port and read what is sent there.
        """
        with self._changed:
            if self._base_url is None:
                raise _unavailable(self._state)
            return self._base_url

    def memory_bytes(self) -> int:
        """Return the child's resident memory in bytes, mapped model file included; 0 when not running."""
        process = self._process
        if process is None or process.poll() is not None:
            return 0
        try:
            return int(psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _supervise(self) -> None:
        """Run the child until it is stopped, or has crashed once too often."""
        starts: deque[float] = deque(maxlen=RESTARTS + 1)
        while not self._stopping:
            if len(starts) == starts.maxlen and time.monotonic() - starts[0] < RESTART_WINDOW_S:
                self._enter(ServerState.FAILED)
                return
            starts.append(time.monotonic())
            self._run_once()
        self._enter(ServerState.STOPPED)

    def _run_once(self) -> None:
        process = _spawn(self._order)
        with self._changed:
            self._process = process
            stop_now = self._stopping
        if stop_now:
            _end(process)
        address = _announced_address(process)
        if address is not None and not stop_now:
            self._enter(ServerState.READY, f"{address}/v1")
        process.wait()
        # The old address goes at once, long before there is a new one.
        self._enter(ServerState.STOPPED if self._stopping else ServerState.STARTING)
        _close_pipes(process)

    def _enter(self, state: ServerState, base_url: str | None = None) -> None:
        with self._changed:
            changed = state is not self._state
            self._state, self._base_url = state, base_url
            self._changed.notify_all()
        if changed:
            self._on_state(state)


def _unavailable(state: ServerState) -> ModelUnavailable:
    message = {
        ServerState.STARTING: "The language model is still starting.",
        ServerState.FAILED: "The language model crashed repeatedly and was given up.",
    }.get(state, "The language model is not running.")
    return ModelUnavailable(message, hint="Quote mode answers without it; `strongroom doctor` tells more.")


def _spawn(order: _Order) -> subprocess.Popen[str]:
    """Start the child and hand it its order through the pipe, which then stays open as a sign of life."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.llama_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A group of its own: Ctrl-C at the terminal is for the parent, which ends answers in good order.
        process_group=0,
        cwd=Path(__file__).resolve().parent.parent,
    )
    try:
        _pipe(process.stdin).write(json.dumps(asdict(order)) + "\n")
        _pipe(process.stdin).flush()
    except BrokenPipeError:
        # It died at once; the supervisor sees that when it waits for the address.
        process.kill()
    return process


def _announced_address(process: subprocess.Popen[str]) -> str | None:
    """Wait for the child's one line; None when it ends first."""
    line = _pipe(process.stdout).readline()
    return str(json.loads(line)["address"]) if line else None


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


def _close_pipes(process: subprocess.Popen[str]) -> None:
    _pipe(process.stdout).close()
    try:
        _pipe(process.stdin).close()
    except BrokenPipeError:
        # Closing flushes, and the reader is gone: nothing is lost.
        return


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- the child ------------------------------------------------------------------------------------


def serve_from_pipe() -> None:
    """Be the child: read the order from standard input, serve, announce the address, end with the parent."""
    _die_with_parent()
    order = _Order(**json.loads(sys.stdin.readline()))
    announce = _redirect_output(Path(order.log_file))
    server = _serve(order)
    with os.fdopen(announce, "w") as out:
        out.write(json.dumps({"address": server.listening_address}) + "\n")
    # The parent never writes again: end of file means that it is gone, by whatever death.
    sys.stdin.read()
    os._exit(0)


def _serve(order: _Order) -> Any:
    """Start llama.cpp's server with the routes we use, and nothing of the others that can be left out."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = order.gguf
    parameters.model_alias = {MODEL_ALIAS}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [order.api_key]
    parameters.offline = True
    parameters.n_parallel = order.slots
    # The context is shared out among the slots.
    parameters.n_ctx = order.context * order.slots
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = order.threads
        # Spinning threads starve each other on a busy machine: generation fell to one token a second.
        threads.poll = 0
    parameters.n_threads_http = order.slots + 2
    # The chat template is the model's own. The default cache of 8 GiB would take the machine's memory.
    parameters.use_jinja = True
    parameters.cache_prompt = True
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    # These pages show prompts, or files, or are for browsers; none of them is ours to offer.
    parameters.ui = parameters.endpoint_slots = parameters.endpoint_props = False
    parameters.endpoint_metrics = False
    parameters.cors_origins = parameters.cors_methods = parameters.cors_headers = ""
    parameters.cors_credentials = False
    # Errors only: even its warnings quote a request that it could not parse.
    parameters.verbosity = 1
    return xllamacpp.Server(parameters)


def _redirect_output(log_file: Path) -> int:
    """Send everything written to the standard streams to `log_file`; returns the old standard output."""
    announce = os.dup(1)
    os.set_inheritable(announce, False)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    return announce


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the thread that started us ends (Linux, prctl(2) PR_SET_PDEATHSIG).

    The pipe tells the same, but nobody reads it while native code loads a model. Elsewhere the pipe must do.
    """
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    serve_from_pipe()
