"""`strongroom up` and `down`: the server of one data folder, started once however often one asks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.cli.configuration import load_settings
from services.cli.detach import answers_at, start_detached, stop, wait_for_start
from services.cli.reports import PipeReporter, Ready, TerminalReporter
from services.cli.running import RunningServer, is_claimed
from services.cli.serve import check_model_address, serve
from services.cli.terminal import answers, messages, print_json

if TYPE_CHECKING:
    from infra.settings import Settings

_STOP_DETACHED: Final = "strongroom down"
_STOP_FOREGROUND: Final = "Ctrl-C"


@dataclass(frozen=True)
class Wishes:
    """The flags of `strongroom up`; None leaves a setting to the environment."""

    detach: bool
    small: bool
    quote_only: bool | None
    port: int | None
    data_dir: Path | None

    def settings(self, model_path: Path | None = None) -> Settings:
        """Return the settings with these flags over them; raises ConfigurationError."""
        return load_settings(
            quote_only=self.quote_only, port=self.port, data_dir=self.data_dir, model_path=model_path
        )

    def as_flags(self) -> list[str]:
        """Return the flags for the process that will serve."""
        flags = ["--small"] if self.small else []
        flags += ["--quote-only"] if self.quote_only else []
        flags += ["--port", str(self.port)] if self.port is not None else []
        return flags + (["--data-dir", str(self.data_dir)] if self.data_dir is not None else [])


def up(wishes: Wishes, *, as_json: bool, report_to: int | None = None) -> None:
    """Start the server, or tell where it is running already. Raises StrongroomError when it cannot start.

    `report_to` is the pipe of the command that detached this process.
    """
    if report_to is not None:
        _serve_detached(wishes, report_to)
        return
    settings = wishes.settings()
    check_model_address(settings)
    running = _running(settings)
    if running is not None:
        _tell(running, settings, as_json=as_json)
        return
    from services.cli.starter import ensure_starter

    model_path = ensure_starter(settings, small=wishes.small)
    if wishes.detach:
        reporter = TerminalReporter(stop_hint=_STOP_DETACHED, as_json=as_json)
        reporter.ready(start_detached(wishes.as_flags(), settings, reporter))
    else:
        _serve_here(wishes.settings(model_path), as_json=as_json)


def down(settings: Settings) -> None:
    """Stop the server of this data folder; none running is no error. Raises StrongroomError if it stays."""
    messages().print("Stopping …")
    server = stop(settings.data_dir)
    answers().print("Stopped." if server else "Strongroom was not running here.")


def _serve_here(settings: Settings, *, as_json: bool) -> None:
    try:
        serve(settings, TerminalReporter(stop_hint=_STOP_FOREGROUND, as_json=as_json))
    except KeyboardInterrupt:
        messages().print("Stopped.")


def _serve_detached(wishes: Wishes, report_to: int) -> None:
    from infra.errors import StrongroomError
    from services.cli.starter import small_model

    reporter = PipeReporter(report_to)
    try:
        settings = wishes.settings()
        if wishes.small:
            settings = wishes.settings(small_model(settings))
        serve(settings, reporter)
    except StrongroomError as error:
        reporter.failed(error)
        raise


def _running(settings: Settings) -> RunningServer | None:
    """Return the server of this data folder, waiting for one that is just starting."""
    if not is_claimed(settings.data_dir):
        return None
    server = wait_for_start(settings.data_dir)
    return server if server is not None and answers_at(server.url, settings) else None


def _tell(server: RunningServer, settings: Settings, *, as_json: bool) -> None:
    from services.cli.first_link import renew_first_link

    token = renew_first_link(settings)
    link = f"{settings.public_url or server.url}/join#{token}" if token else None
    if as_json:
        print_json(asdict(Ready(server.url, server.pid, "already running", link)))
        return
    console = answers()
    console.print(f"Strongroom is already running at {server.url} (process {server.pid}).", soft_wrap=True)
    if link is not None:
        console.print("Open this link to create the first administrator; earlier links have ended:")
        console.print(f"  {link}", style="bold", soft_wrap=True)
