"""Bring the database to the newest schema with Alembic; the migrations stand beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from infra.database.engine import Database

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK: Final = 0x5354524F4E48
"""PostgreSQL advisory lock, so that of several replicas that start at once one migrates."""


def is_empty(database: Database) -> bool:
    """Say whether no migration has been applied yet."""
    return not inspect(database.engine).has_table("alembic_version")


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every missing migration up to `revision`, all of them or none."""
    with database.engine.begin() as connection, _alone(connection, is_sqlite=database.is_sqlite):
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def _alone(connection: Connection, *, is_sqlite: bool) -> Iterator[None]:
    """Let one process migrate at a time, in one transaction.

    Altering a table in SQLite copies it and drops the old one, and dropping it would cascade to every row
    that refers to it; so references are checked at the end instead, as SQLite's manual has it
    (https://www.sqlite.org/lang_altertable.html#otheralter).
    """
    if not is_sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        yield
        return
    # The connection begins nothing by itself (see `engine`); the switch works outside a transaction only.
    connection.execute(text("PRAGMA foreign_keys=OFF"))
    connection.execute(text("BEGIN IMMEDIATE"))
    try:
        yield
        _check_references(connection)
        connection.execute(text("COMMIT"))
    except BaseException:
        connection.execute(text("ROLLBACK"))
        raise
    finally:
        connection.execute(text("PRAGMA foreign_keys=ON"))


def _check_references(connection: Connection) -> None:
    if connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
        raise RuntimeError("a migration left rows that refer to nothing")


def alembic_config() -> Config:
    """Return Alembic's configuration; there is no ini file to keep in step."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
