"""The commands of `strongroom`: their flags and words. What they do stands in the files beside this one.

Those files are imported by the command that needs them, so that the light commands start at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from infra.errors import ConfigurationError, InvalidInput, StrongroomError
from services.cli.access import access
from services.cli.audit import audit
from services.cli.evaluate import evaluation
from services.cli.flags import DataDir, Json, Key, Url
from services.cli.models import Small, models
from services.cli.witness import witness

if TYPE_CHECKING:
    from infra.settings import Settings

INTERRUPTED: Final = 130
"""128 + SIGINT, as shells report it."""
OUR_MISTAKE: Final = 70
"""EX_SOFTWARE of sysexits.h; not 1, which `audit verify` uses for a record that was tampered with."""

app = typer.Typer(
    name="strongroom",
    help="Private answers from private documents: nothing leaves the building, everything is on the record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config = typer.Typer(help="Settings.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(audit, name="audit")
app.add_typer(config, name="config")
app.add_typer(access, name="access")
app.add_typer(witness, name="witness")
app.add_typer(evaluation, name="eval")


def run() -> None:
    """Run the command line; expected errors become one sentence, a hint and an exit code."""
    try:
        app()
    except StrongroomError as error:
        _end(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        _end(ConfigurationError(f"The system refused: {error.strerror or error}.", hint=_place(error)))
    except Exception as error:
        from infra.settings import environment_value

        if environment_value("STRONGROOM_LOG_LEVEL") == "debug":
            raise
        hint = "That is our mistake. STRONGROOM_LOG_LEVEL=debug shows the details for a report."
        message = f"Something went wrong that should not have ({type(error).__name__})."
        _end(StrongroomError(message, hint=hint), code=OUR_MISTAKE)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
    small: Small = False,
    quote_only: Annotated[
        bool, typer.Option("--quote-only", help="Answer with verbatim quotes; no language model.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port to bind; 0 takes a free one.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    report_to: Annotated[int | None, typer.Option("--report-to", hidden=True)] = None,
) -> None:
    """Start the server on this machine, and print its address.

    The first start fetches a language model (once) and prints the link that creates the first administrator.
    A second `up` only tells where the server is.
    """
    from services.cli.up import Wishes, up

    up(Wishes(detach, small, quote_only or None, port, data_dir), as_json=as_json, report_to=report_to)


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the server of this data folder, and wait until it has stopped."""
    from services.cli.up import down

    down(_settings(data_dir=data_dir))


@app.command()
def ingest(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, or quoted patterns.", show_default=False)
    ],
    share: Annotated[
        str | None,
        typer.Option("--share", help="Who may read them, too: `everyone`, a name, or a principal id."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Upload files and folders and follow them until they can be asked about.

    Exit code 1 when a file failed. Unchanged files are recognised and not read again.
    """
    from services.cli.connection import connect
    from services.cli.ingest import ingest

    with connect(_settings(data_dir=data_dir, url=url), api_key=api_key) as connection:
        if not ingest(connection, paths, share, as_json=as_json):
            raise typer.Exit(1)


@app.command()
def sync(
    name: Annotated[
        str | None, typer.Argument(help="The source to look at now; default: list all.", show_default=False)
    ] = None,
    accept_deletions: Annotated[
        bool, typer.Option("--accept-deletions", help="What the last look missed may go.")
    ] = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the watched folders and buckets, or have one looked at now.

    Listing needs a curator's or administrator's key with the scope read; a look, an administrator's with the
    scope admin. Exit code 1 when a source is halted.
    """
    from services.cli.connection import connect
    from services.cli.sync import list_sources, sync

    if accept_deletions and name is None:
        raise InvalidInput("--accept-deletions is for one source: name it.")
    with connect(_settings(data_dir=data_dir, url=url), api_key=api_key) as connection:
        if name is None:
            is_well = list_sources(connection, as_json=as_json)
        else:
            is_well = sync(connection, name, accept_deletions=accept_deletions, as_json=as_json)
        if not is_well:
            raise typer.Exit(1)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.", show_default=False)],
    quotes: Annotated[bool, typer.Option("--quotes", help="Verbatim quotes only.")] = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Ask a question; evidence comes first, then the checked answer, then its sources."""
    from services.cli.ask import ask
    from services.cli.connection import connect

    settings = _settings(data_dir=data_dir, url=url)
    with connect(settings, api_key=api_key) as connection:
        ask(connection, question, settings, quotes_only=quotes, as_json=as_json)


@app.command()
def status(url: Url = None, api_key: Key = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Tell how the server is, what it holds, and what it takes of this machine."""
    from services.cli.connection import connect
    from services.cli.status import status

    settings = _settings(data_dir=data_dir, url=url)
    with connect(settings, api_key=api_key) as connection:
        if not status(connection, settings, as_json=as_json):
            raise typer.Exit(1)


@app.command()
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check everything that a server needs on this machine, and say what to do about it."""
    from services.cli.doctor import doctor

    if not doctor(_settings(data_dir=data_dir), as_json=as_json):
        raise typer.Exit(1)


@config.command("show")
def show_config(as_json: Json = False) -> None:
    """List every setting, its value, and whether it is the default; secrets are masked."""
    from services.cli.configuration import show

    show(_settings(), as_json=as_json)


@app.command()
def openapi() -> None:
    """Print the HTTP interface as an OpenAPI document, without starting anything."""
    from services.cli.interface import print_openapi

    print_openapi(_settings())


def _settings(**flags: Any) -> Settings:
    from services.cli.configuration import load_settings

    return load_settings(**flags)


def _end(error: StrongroomError, *, code: int | None = None) -> NoReturn:
    from services.cli.terminal import print_error

    print_error(error)
    if code is None:
        code = 2 if isinstance(error, InvalidInput) else 1
    sys.exit(code)


def _place(error: OSError) -> str | None:
    return f"It was about {error.filename}." if error.filename else None
