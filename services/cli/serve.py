"""Run the server in this process, from the claim on the data folder to its release."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from infra.errors import AddressRefused, ConfigurationError, Conflict, StrongroomError
from infra.network import check_private_url
from services.cli.reports import Ready, Reporter
from services.cli.running import claim

if TYPE_CHECKING:
    from fastapi import FastAPI

    from infra.settings import Settings

GRACE_S: Final = 5
"""How long open answers may go on after a request to stop, in seconds."""
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


def serve(settings: Settings, reporter: Reporter) -> None:
    """Serve until a signal says stop. Raises StrongroomError when the server cannot start.

    SIGINT ends it with KeyboardInterrupt, SIGTERM with a plain return; both stop in good order.
    """
    check_model_address(settings)
    held = claim(settings.data_dir)
    if held is None:
        raise Conflict("Another server has this data folder.", hint="`strongroom status` tells where.")
    from services.cli.operator_access import prepare_access

    try:
        with _listener(settings) as listener:
            url = _address(settings.host, listener)
            reporter.step("Opening the database and the record")
            token = prepare_access(settings)
            link = f"{settings.public_url or url}/join#{token}" if token else None

            def on_started(answers: str) -> None:
                held.publish(url)
                reporter.ready(Ready(url, os.getpid(), answers, link))

            _run(settings, listener, reporter, on_started)
    finally:
        held.release()


def check_model_address(settings: Settings) -> None:
    """Refuse a language model outside the private network, before anything is opened."""
    if settings.model_base_url and not settings.quote_only:
        try:
            check_private_url(settings.model_base_url, settings.model_hosts)
        except AddressRefused as error:
            raise ConfigurationError(
                f"STRONGROOM_MODEL_BASE_URL is refused. {error.message}", hint=error.hint
            ) from error


def _listener(settings: Settings) -> socket.socket:
    """Bind the port before the slow part, so that a taken one is known at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise _not_bound(settings, error) from error
    return listener


def _not_bound(settings: Settings, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"Port {settings.port} is in use by another program.",
            hint="Choose another one with --port or STRONGROOM_PORT; 0 takes a free one.",
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            f"This account may not use port {settings.port}.", hint="Choose one from 1024 up with --port."
        )
    return ConfigurationError(
        f"The address {settings.host} is not one of this machine.", hint="Set STRONGROOM_HOST to one that is."
    )


def _address(host: str, listener: socket.socket) -> str:
    shown = _EVERY_ADDRESS.get(host, host)
    port = listener.getsockname()[1]
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _run(
    settings: Settings,
    listener: socket.socket,
    reporter: Reporter,
    on_started: Callable[[str], None],
) -> None:
    import uvicorn

    from infra.logs import configure_logs
    from services.app import create_app

    configure_logs(settings.log_level)
    reporter.step("Opening the index and loading the embedding model")
    app = create_app(settings)
    failures: list[Exception] = []
    _watch(app, failures)
    # The server's own logger stays silent: RequestFrame logs requests, and failures of the start are raised.
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        timeout_graceful_shutdown=GRACE_S,
        # Said even when there are none: the default believes every program on this machine.
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_started(_answers_in_words(settings, app))

    # uvicorn stops in good order at a signal and then raises it again, which would end this process before
    # the claim on the data folder is released.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    try:
        Server(config).run(sockets=[listener])
    except SystemExit:
        raise _start_failure(failures) from (failures[0] if failures else None)


def _watch(app: FastAPI, failures: list[Exception]) -> None:
    """Keep what goes wrong while the parts are opened; the server would only log it."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def watched(running: FastAPI) -> AsyncIterator[None]:
        try:
            async with inner(running):
                yield
        except Exception as error:
            failures.append(error)
            raise

    app.router.lifespan_context = watched


def _start_failure(failures: list[Exception]) -> Exception:
    if failures and isinstance(failures[0], StrongroomError | OSError):
        return failures[0]
    kind = type(failures[0]).__name__ if failures else "no reason given"
    return StrongroomError(
        f"Strongroom could not start ({kind}).",
        hint="`strongroom doctor` checks this machine; STRONGROOM_LOG_LEVEL=debug shows the details.",
    )


def _answers_in_words(settings: Settings, app: FastAPI) -> str:
    """Say what people get when they ask now."""
    status = app.state.parts.model.status()
    if status.state == "none":
        why = "as asked" if settings.quote_only else "no language model is here"
        return f"verbatim quotes with their sources ({why})"
    if status.state == "ready":
        return f"by {status.name}, checked against their sources"
    return f"quotes at once; {status.name} is loading in the background"
