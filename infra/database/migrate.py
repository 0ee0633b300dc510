"""Bring the database to the newest schema with Alembic; the migrations stand beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from infra.database.engine import Database

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK: Final = 0x5354524F4E48
"""PostgreSQL advisory lock, so that of several replicas that start at once one migrates."""


def is_empty(database: Database) -> bool:
    """Say whether no migration has been applied yet."""
    return not inspect(database.engine).has_table("alembic_version")


def upgrade(database: Database) -> None:
    """Apply every missing migration."""
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def alembic_config() -> Config:
    """Return Alembic's configuration; there is no ini file to keep in step."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
