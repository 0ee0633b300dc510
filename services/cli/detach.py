"""Start the server in the background, and stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from infra.errors import StrongroomError
from infra.network import private_sync_client
from services.cli.reports import Ready, Reporter, follow
from services.cli.running import RunningServer, find_server, is_claimed, private_folder

if TYPE_CHECKING:
    from infra.settings import Settings

READY_WITHIN_S: Final = 60.0
STOPPED_WITHIN_S: Final = 60.0
"""The server finishes the document at hand (30 s at most) and closes open answers before it ends."""


def start_detached(flags: list[str], settings: Settings, reporter: Reporter) -> Ready:
    """Start `strongroom up` with `flags` in a session of its own; returns when it answers.

    Its log is `logs/server.log` under the data folder. Raises StrongroomError with the server's reason.
    """
    log_file = private_folder(settings.data_dir, "logs") / "server.log"
    reader, writer = os.pipe()
    process = _spawn([*flags, "--report-to", str(writer)], log_file, writer)
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            ready = follow(pipe, reporter)
        if ready is None:
            raise StrongroomError(
                f"The server ended before it was ready (status {process.wait()}).",
                hint=f"Its last words are in {log_file}.",
            )
        _wait_until_ready(ready.url, settings, reporter)
    except KeyboardInterrupt:
        process.terminate()
        raise
    return ready


def stop(data_dir: Path) -> RunningServer | None:
    """Stop the server of this data folder and wait for its end; None when there is none.

    Raises StrongroomError when it is still there after `STOPPED_WITHIN_S` seconds.
    """
    server = find_server(data_dir)
    if server is None:
        return None
    process = psutil.Process(server.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPPED_WITHIN_S)
    except psutil.TimeoutExpired as error:
        raise StrongroomError(
            f"The server (process {server.pid}) has not stopped after {STOPPED_WITHIN_S:.0f} seconds.",
            hint="Wait and try again; `kill -9` is safe as well, nothing that was acknowledged is lost.",
        ) from error
    return server


def wait_for_start(data_dir: Path) -> RunningServer | None:
    """Wait for a server that somebody else is starting; None when it ended instead."""
    deadline = time.monotonic() + READY_WITHIN_S
    while is_claimed(data_dir) and time.monotonic() < deadline:
        found = find_server(data_dir)
        if found is not None:
            return found
        time.sleep(0.2)
    return None


def answers_at(url: str, settings: Settings) -> bool:
    """Tell whether a Strongroom process answers at `url`."""
    import httpx2

    try:
        with private_sync_client(settings.model_hosts, timeout_s=5.0) as client:
            return bool(client.get(f"{url}/healthz").json() == {"status": "ok"})
    except (httpx2.HTTPError, ValueError):
        return False


def _spawn(flags: list[str], log_file: Path, report_to: int) -> subprocess.Popen[bytes]:
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # The program is this one, and the flags are our own; no shell reads them.
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "services.cli", "up", *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(report_to,),
            start_new_session=True,
        )
    finally:
        os.close(log)


def _wait_until_ready(url: str, settings: Settings, reporter: Reporter) -> None:
    """Wait for `/readyz`: record and index answer; the model may still be loading."""
    import httpx2

    reporter.step("Waiting for the server to answer")
    deadline = time.monotonic() + READY_WITHIN_S
    with private_sync_client(settings.model_hosts, timeout_s=5.0) as client:
        while time.monotonic() < deadline:
            try:
                if client.get(f"{url}/readyz").status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.2)
    raise StrongroomError(
        "The server runs, but its record or index does not answer.", hint="`strongroom doctor` tells more."
    )
