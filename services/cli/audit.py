"""The commands of `strongroom audit` that export and check: their flags and words.

What they do stands in `audit_….py` and `record.py`. Checking a bundle or a receipt opens no database and
reads no settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.errors import StrongroomError
from services.cli.flags import DataDir, Json

UNREADABLE: Final = 4
"""What a check ends with when it cannot look at the record, whatever the reason."""

audit = typer.Typer(
    help="The record of who asked, what was read and what was answered.", no_args_is_help=True
)

VerifierKeyOption = Annotated[
    str | None,
    typer.Option("--key", help="The log's verifier key, or a file with it, kept from an earlier day."),
]


@audit.command("verify")
def verify_record(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="An exported bundle, a folder or a tar; default: the data folder's record."),
    ] = None,
    key: VerifierKeyOption = None,
    kept: Annotated[
        Path | None,
        typer.Option(
            "--kept", help="A checkpoint that was kept elsewhere; shows whether records were cut off."
        ),
    ] = None,
    witness_key: Annotated[
        list[str] | None,
        typer.Option("--witness-key", help="A witness that must have cosigned; may be given several times."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Check the whole record, or an exported bundle, without changing it.

    The server may run or not. A bundle needs no server, no database and no settings.

    Exit code: 0 sound, 1 tampered with, 2 incomplete, 3 signed by another key or not cosigned, 4 unreadable.
    """

    def check() -> int:
        from services.cli.audit_checks import Trusted, check_bundle

        trusted = Trusted.read(key, kept, witness_key or [])
        if bundle is not None:
            return check_bundle(bundle, trusted, as_json=as_json)
        from services.cli.configuration import load_settings
        from services.cli.record import verify

        return verify(load_settings(data_dir=data_dir), trusted, as_json=as_json)

    raise typer.Exit(_exit_code(check))


@audit.command("verify-receipt")
def verify_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt, as the server gave it.", show_default=False)],
    key: VerifierKeyOption = None,
    as_json: Json = False,
) -> None:
    """Check the receipt of an answer, and show what it covers. Needs no server, database or settings.

    Exit code: 0 sound, 1 tampered with, 2 incomplete, 3 signed by another key, 4 unreadable.
    """

    def check() -> int:
        from services.cli.audit_checks import Trusted, check_receipt

        return check_receipt(file, Trusted.read(key, None, []), as_json=as_json)

    raise typer.Exit(_exit_code(check))


def _exit_code(check: Callable[[], int]) -> int:
    """Return what `check` ends with, or that nothing could be looked at.

    Every other code would be read as a verdict: 1, with which commands fail, says here that a record was
    tampered with.
    """
    from services.cli.terminal import print_error

    try:
        return check()
    except StrongroomError as error:
        print_error(error)
    except Exception as error:  # noqa: BLE001
        # The edge of the command: a mistake of ours must not pass for a verdict either.
        message = f"The check could not be done: something unexpected happened ({type(error).__name__})."
        print_error(StrongroomError(message))
    return UNREADABLE


@audit.command("export")
def export_record(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to make; an empty one is taken.", show_default=False)
    ],
    start: Annotated[
        str | None,
        typer.Option("--from", help="First day (UTC), moment (RFC 3339) or record's number."),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--to", help="Last day, moment or record's number; it is included.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write the record, or a part of it, as a bundle that anybody can check alone.

    The server may run or not. The export itself is recorded before anything is written.
    """
    from services.cli.audit_export import export
    from services.cli.configuration import load_settings

    export(load_settings(data_dir=data_dir), out, start, stop, as_json=as_json)


@audit.command("prune")
def prune_record(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Remove contents and records whose days are over, as the server does every night.

    The days stand in STRONGROOM_RETENTION_DAYS; without any, everything is kept, and so is what a legal hold
    covers.
    """
    from services.cli.audit_upkeep import prune_record
    from services.cli.configuration import load_settings

    prune_record(load_settings(data_dir=data_dir), as_json=as_json)


@audit.command("backup-keys")
def backup_keys(
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")],
    days: Annotated[int, typer.Option("--days", help="For how long it can be restored, 1 to 366 days.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Back up the keys of recorded contents, for a number of days.

    The file opens on this server only, and on the last day what opens it is destroyed.
    """
    from services.cli.audit_upkeep import backup_keys
    from services.cli.configuration import load_settings

    backup_keys(load_settings(data_dir=data_dir), out, days, as_json=as_json)


@audit.command("restore-keys")
def restore_keys(
    file: Annotated[Path, typer.Argument(help="A backup of keys.", show_default=False)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put back keys that are missing. The keys of people who were erased since stay destroyed."""
    from services.cli.audit_upkeep import restore_backup
    from services.cli.configuration import load_settings

    restore_backup(load_settings(data_dir=data_dir), file, as_json=as_json)
