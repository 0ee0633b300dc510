"""What several suites share: the process that starts servers quickly, and the embedding model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.preloaded import Launcher, PreloadedServer

if TYPE_CHECKING:
    from infra.embeddings import Embedder
    from infra.stores import Stores


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Import a server's libraries once for the whole run."""
    running = Launcher()
    yield running
    running.close()


@pytest.fixture(scope="session")
def make_server(
    launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., PreloadedServer]]:
    """Make servers, each with a fresh data folder; they are stopped at the end."""
    made: list[PreloadedServer] = []

    def make(data_dir: Path | None = None, **settings: str) -> PreloadedServer:
        folder = data_dir or tmp_path_factory.mktemp("data")
        environment = {f"STRONGROOM_{name.upper()}": value for name, value in settings.items()}
        flags = () if "model_base_url" in settings else ("--quote-only",)
        server = PreloadedServer(folder, environment=environment, flags=flags, launcher=launcher)
        made.append(server)
        return server

    yield make
    for server in made:
        server.say_goodbye()
        server.kill()


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """Load the real embedding model once."""
    from infra.embeddings import Embedder

    loaded = Embedder(None)
    loaded.load()
    return loaded


@pytest.fixture
def stores(embedder: Embedder, tmp_path: Path) -> Iterator[Stores]:
    """Open real stores on a fresh folder, with the one embedding model."""
    from infra.settings import Settings
    from infra.stores import open_stores

    opened = replace(open_stores(Settings(data_dir=tmp_path / "data")), embedder=embedder)
    yield opened
    opened.close()
