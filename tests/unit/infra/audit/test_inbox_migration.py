"""An upgrade leaves no record behind that could never be sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from infra.database import Database
from infra.database.migrate import upgrade
from infra.errors import ConfigurationError


def test_records_that_wait_are_sealed_before_an_upgrade(tmp_path: Path) -> None:
    """Nobody can say any more who wrote them: the upgrade is refused, and they stay where they are."""
    made = Database(f"sqlite:///{tmp_path / 'old.sqlite3'}")
    upgrade(made, "0002")
    with made.write() as session:
        session.execute(text("INSERT INTO audit_inbox (id, leaf) VALUES ('one', x'7b7d')"))
    with pytest.raises(ConfigurationError):
        upgrade(made)
    with made.write() as session:
        assert session.execute(text("SELECT id FROM audit_inbox")).scalars().all() == ["one"]
        session.execute(text("DELETE FROM audit_inbox"))
    upgrade(made)
    with made.read() as session:
        assert session.execute(text("SELECT id, leaf, mac FROM audit_inbox")).all() == []
    made.close()
