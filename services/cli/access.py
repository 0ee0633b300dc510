"""The commands of `strongroom access`: their flags and words. What they do stands in `access_….py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.errors import StrongroomError
from services.cli.flags import DataDir, Json, Key, Url

access = typer.Typer(help="Who may read what.", no_args_is_help=True)


@access.command("import")
def import_access(
    manifest: Annotated[
        Path,
        typer.Argument(help="A CSV or JSON file with the access lists of a file share.", show_default=False),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would happen, change nothing.")
    ] = False,
    everyone: Annotated[
        bool,
        typer.Option(
            "--everyone", help="Let Windows' `Everyone` and `Authenticated Users` mean everybody here."
        ),
    ] = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Give one's own files the access lists that they have on a file share.

    A row that fails leaves its file as it was. Exit code 1 when a row failed.
    """
    from services.cli.access_import import import_manifest
    from services.cli.configuration import load_settings
    from services.cli.connection import connect

    with connect(load_settings(data_dir=data_dir, url=url), api_key=api_key) as connection:
        if not import_manifest(connection, manifest, everyone=everyone, dry_run=dry_run, as_json=as_json):
            raise typer.Exit(1)


@access.command("explain")
def explain_access(
    user: Annotated[
        str, typer.Argument(help="An account: its id, `user:<id>` or e-mail address.", show_default=False)
    ],
    document: Annotated[str, typer.Argument(help="A file's id.", show_default=False)],
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say which rule lets somebody read a file, or keeps it from them; for administrators, on the record.

    It needs an administrator's key with the scope admin.
    """
    from services.cli.access_explain import explain
    from services.cli.configuration import load_settings
    from services.cli.connection import connect

    with connect(load_settings(data_dir=data_dir, url=url), api_key=api_key) as connection:
        explain(connection, user, document, as_json=as_json)


@access.command("leak-test")
def leak_test(url: Url = None, api_key: Key = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Plant canaries, ask for them in every role through every interface, and name each leak.

    It needs an administrator's key with the scope admin. Exit code: 0 no leak, 1 a leak, 2 nothing proved.
    """
    from services.cli.access_leak_test import NOTHING_PROVED
    from services.cli.access_leak_test import leak_test as run_leak_test
    from services.cli.configuration import load_settings
    from services.cli.connection import connect
    from services.cli.terminal import print_error

    try:
        with connect(load_settings(data_dir=data_dir, url=url), api_key=api_key) as connection:
            code = run_leak_test(connection, as_json=as_json)
    except StrongroomError as error:
        print_error(error)
        code = NOTHING_PROVED
    raise typer.Exit(code)
