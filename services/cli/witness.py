"""`strongroom witness`: a second pair of eyes on the record, for another machine and another user.

It needs no data folder, no database and no settings of the server.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.errors import ConfigurationError, InvalidInput

witness = typer.Typer(
    help="A witness that watches the record from another machine, and cosigns it while it only grows.",
    no_args_is_help=True,
)

Folder = Annotated[
    Path,
    typer.Option("--dir", help="Folder with the witness's key and what it has seen.", show_default=False),
]
DEFAULT_LISTEN: Final = "127.0.0.1:8720"
CONNECTIONS: Final = 64
"""Connections at a time; a witness has a handful of logs to answer."""


@witness.command("init")
def make_witness(
    folder: Folder,
    name: Annotated[
        str,
        typer.Option(
            "--name", help="Its name in signatures, e.g. `witness.bank.example/1`.", show_default=False
        ),
    ],
) -> None:
    """Make a new witness, and print the key that its cosignatures are checked with.

    A name is used once: a witness whose folder was lost is replaced by one with another name.
    """
    from infra.audit.witness.witness import WitnessFolder

    typer.echo(str(WitnessFolder.create(folder, name).cosigner().key))


@witness.command("key")
def print_key(folder: Folder) -> None:
    """Print the key that this witness's cosignatures are checked with."""
    from infra.audit.witness.witness import WitnessFolder

    typer.echo(str(WitnessFolder(folder).cosigner().key))


@witness.command("checkpoint")
def print_checkpoint(folder: Folder) -> None:
    """Print the last checkpoint that this witness has seen, for `audit verify --kept`.

    With several logs, one after the other.
    """
    from infra.audit.witness.witness import WitnessFolder

    for note in WitnessFolder(folder).read_notes().values():
        typer.echo(note, nl=False)


@witness.command("serve")
def serve_witness(
    folder: Folder,
    logs: Annotated[
        list[str],
        typer.Option("--log", help="Verifier key of a log to watch; may be repeated.", show_default=False),
    ],
    listen: Annotated[
        str, typer.Option("--listen", help="Address and port to answer on; port 0 takes a free one.")
    ] = DEFAULT_LISTEN,
) -> None:
    """Answer requests for cosignatures until it is stopped."""
    import signal

    import uvicorn

    from infra.audit.checkpoint import NoteUnreadable, VerifierKey
    from infra.audit.witness.http import witness_app
    from infra.audit.witness.witness import Witness, WitnessFolder
    from infra.logs import configure_logs

    try:
        keys = [VerifierKey.parse(log) for log in logs]
    except NoteUnreadable as error:
        raise InvalidInput(f"--log: {error.message}", param="log") from error
    configure_logs("info")
    kept = WitnessFolder(folder)
    with kept.claimed(), _listener(listen) as listener:
        app = witness_app(Witness(kept, keys))
        address, port = listener.getsockname()[:2]
        typer.echo(f"Watching {len({key.name for key in keys})} log(s) on http://{address}:{port}")
        # uvicorn raises the signal again after it stopped in good order, which would look like a failure.
        signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
        config = uvicorn.Config(app, log_config=None, log_level="critical", limit_concurrency=CONNECTIONS)
        uvicorn.Server(config).run(sockets=[listener])


def _listener(listen: str) -> socket.socket:
    """Bind `address:port`; raises InvalidInput or ConfigurationError."""
    host, _, digits = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not digits.isascii() or not digits.isdigit() or int(digits) > 65535:
        raise InvalidInput("--listen needs an address and a port, e.g. 127.0.0.1:8720.", param="listen")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(digits)))
        # Before the address is printed: who reads it may ask at once.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{listen} cannot be used: {error.strerror or error}.") from error
    return listener
