"""The migrations build exactly the tables that the code uses."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from infra.database import Database, tables
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


def test_an_older_database_keeps_its_rows(tmp_path):
    """Altering a table in SQLite copies it; what refers to its rows must survive that."""
    made = Database(f"sqlite:///{tmp_path / 'old.sqlite3'}")
    upgrade(made, "0001")
    old_rows = (
        "INSERT INTO users (id, kind, name, roles, clearance, compartments, created_at)"
        " VALUES ('u', 'user', 'Ada', '[]', 0, '[]', 1)",
        "INSERT INTO groups (id, name, created_at) VALUES ('group:local:g', 'Legal', 1)",
        "INSERT INTO group_members (group_id, user_id) VALUES ('group:local:g', 'u')",
        "INSERT INTO api_keys (id, key_hash, user_id, name, created_at) VALUES ('k', 'h', 'u', 'laptop', 1)",
        "INSERT INTO documents"
        " (id, owner, name, clearance, compartments, acl_epoch, indexed_epoch, created_at)"
        " VALUES ('d', 'user:u', 'a.pdf', 0, '[]', 3, 3, 1)",
        "INSERT INTO document_grants (document_id, principal, effect) VALUES ('d', 'user:u', 'allow')",
    )
    with made.engine.begin() as connection:
        connection.execute(text("BEGIN"))
        for row in old_rows:
            connection.execute(text(row))
        connection.execute(text("COMMIT"))
    upgrade(made)
    with made.read() as session:
        assert session.get_one(tables.GroupMember, ("group:local:g", "u"))
        assert session.get_one(tables.Group, "group:local:g").directory == "local"
        assert session.get_one(tables.DocumentGrant, ("d", "user:u", "allow"))
        assert session.get_one(tables.Document, "d").inherits is False
        assert "ask" in session.get_one(tables.ApiKey, "k").scopes
        assert session.get_one(tables.AccessEpoch, 1).epoch == 1
    made.close()


def test_a_failed_migration_leaves_nothing(tmp_path, monkeypatch):
    """All migrations or none: a failure in the last step undoes the first as well."""
    made = Database(f"sqlite:///{tmp_path / 'half.sqlite3'}")

    def fail_late(_config, _revision):
        with made.engine.connect() as other:
            assert not inspect(other).has_table("users")
        raise RuntimeError("power cut")

    def begin_and_fail(config, revision):
        config.attributes["connection"].execute(text("CREATE TABLE half (id INTEGER)"))
        fail_late(config, revision)

    monkeypatch.setattr("infra.database.migrate.command.upgrade", begin_and_fail)
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(made)
    assert not inspect(made.engine).has_table("half")
    made.close()
