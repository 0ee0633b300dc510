"""The commands of `strongroom access`: their flags and words. What they do stands in `access_….py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
