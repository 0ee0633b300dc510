"""Server, workers and index without the wait: forks of one process that has imported everything.

    python -m tests.faults.site_programs

Like `tests.preloaded`, for a whole site: the first argument names the program. A fork may be told to keep
shorter leases, so that a test need not wait for minutes after each kill, and to send every wake-up twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import preloaded
from tests.preloaded import Launcher
from tests.serving import ROOT

LEASE = "SITE_LEASE_MS"
SWEEP = "SITE_SWEEP_S"
WAKES = "SITE_WAKES"
"""Variables that a fork reads: a lease in milliseconds, the sweep's period, how often a wake-up is sent."""


class SiteLauncher(Launcher):
    """The process that has imported everything; it runs `celery …`, `qdrant …` or what `strongroom` does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.site_programs"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@dataclass
class Program:
    """One program that can be killed and started again."""

    launcher: Launcher
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    pid: int | None = None

    def start(self) -> None:
        """Start it; it is not awaited."""
        self.pid = self.launcher.launch(self.arguments, self.environment, self.log)

    def kill(self) -> None:
        """End it as a power cut would; nothing happens when it has ended already."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.pid is not None and psutil.pid_exists(self.pid)

    def _end(self, how: signal.Signals) -> None:
        if self.pid is None:
            return
        try:
            process = psutil.Process(self.pid)
            process.send_signal(how)
            process.wait(60)
        except psutil.NoSuchProcess:
            pass
        self.pid = None


# --- the launcher's own process -------------------------------------------------------------------


def serve_requests() -> None:
    """Import what the programs import, then fork one for every line on standard input."""
    preloaded.import_everything()
    import celery.apps.worker
    import celery.bin.celery  # noqa: F401
    import kombu.transport.redis  # noqa: F401
    import psycopg  # noqa: F401

    import ingest.worker  # noqa: F401
    import tests.qdrant_server  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            from services.cli import program

            # The fork runs one function in the place of the command; which one, the first argument says.
            program.run = _run(program.run)
            preloaded.become_server(request)
        print(pid, flush=True)


def _run(strongroom: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        _hurry()
        match sys.argv[1]:
            case "celery":
                from celery.bin.celery import celery

                celery(args=sys.argv[2:], prog_name="celery")
            case "qdrant":
                from tests.qdrant_server import main

                sys.argv = sys.argv[1:]
                main()
            case _:
                strongroom()

    return run


def _hurry() -> None:
    """Shorten leases and double wake-ups, as the environment says."""
    import infra.queue
    import ingest.worker
    from ingest import jobs

    if LEASE in os.environ:
        setattr(jobs, "LEASE_MS", int(os.environ[LEASE]))  # noqa: B010 - it is final for everybody else
    if SWEEP in os.environ:
        setattr(ingest.worker, "SWEEP_PERIOD_S", float(os.environ[SWEEP]))  # noqa: B010
    once = infra.queue.BrokerWaker.wake
    wakes = int(os.environ.get(WAKES, "1"))

    def wake(self: infra.queue.BrokerWaker, task: str, argument: str, queue: str = "interactive") -> None:
        for _ in range(wakes):
            once(self, task, argument, queue)

    setattr(infra.queue.BrokerWaker, "wake", wake)  # noqa: B010


if __name__ == "__main__":
    serve_requests()
