"""A syslog receiver over TLS (RFC 5425) for tests, in a process of its own that can be killed.

`python -m tests.syslog_receiver FILE PORT CERTIFICATE KEY [--die-after N] [--bare] [--ask AUTHORITY]` appends
each message to FILE as one line, and prints its port. `--die-after` kills it, as `kill -9` does, before it
writes message N+1; `--bare` ends connections without a word of TLS, as some receivers do; `--ask` wants a
certificate from the sender.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import ssl
import threading
from pathlib import Path

_FRAME = re.compile(rb"([1-9][0-9]{0,9}) ")


class Receiver:
    """Takes connections one after the other, and writes what they carry."""

    def __init__(self, file: Path, context: ssl.SSLContext, *, die_after: int | None, bare: bool) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._context = context
        self._left = die_after
        self._bare = bare

    def serve(self, listener: socket.socket) -> None:
        """Serve until the process ends."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._take, args=[connection], daemon=True).start()

    def _take(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            secured = self._context.wrap_socket(plain, server_side=True)
            with secured:
                waiting = b""
                while data := secured.recv(65536):
                    waiting = self._written(waiting + data)
                if not self._bare:
                    secured.unwrap()

    def _written(self, waiting: bytes) -> bytes:
        """Write whole messages; returns what is left."""
        while match := _FRAME.match(waiting):
            end = match.end() + int(match[1])
            if len(waiting) < end:
                break
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._left is not None:
                self._left -= 1
            os.write(self._descriptor, waiting[match.end() : end] + b"\n")
            waiting = waiting[end:]
        return waiting


def main() -> None:
    """Run the receiver."""
    parser = argparse.ArgumentParser()
    for name in ("file", "port", "certificate", "key"):
        parser.add_argument(name)
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--ask")
    given = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(given.certificate, given.key)
    if given.ask:
        context.load_verify_locations(given.ask)
        context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", int(given.port))) as listener:
        print(listener.getsockname()[1], flush=True)
        Receiver(Path(given.file), context, die_after=given.die_after, bare=given.bare).serve(listener)


if __name__ == "__main__":
    main()
