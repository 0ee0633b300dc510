"""The migrations build exactly the tables that the code uses."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import Base


@pytest.fixture
def database(tmp_path):
    """Return a migrated SQLite database."""
    made = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    upgrade(made)
    yield made
    made.close()


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def test_migrations_equal_the_tables(database):
    """After all migrations Alembic finds nothing to add, change or remove."""
    assert differences(database) == []


def test_a_difference_would_be_found(database):
    """A column that no migration knows shows, so the test above can fail."""
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE users ADD COLUMN planted INTEGER"))
    assert [difference[0] for difference in differences(database)] == ["remove_column"]
