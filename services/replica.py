"""The name of this server in the record: on PostgreSQL, one running server at a time has it.

At its start a server closes what it left open in the record, by its name. A second one of the same name would
close what the first is still doing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, text

from infra.database import Database
from infra.errors import ConfigurationError

PATIENCE_S: Final = 10.0
"""How long a server of the same name that is stopping is waited for, in seconds."""
_PAUSE_S: Final = 0.2


@contextmanager
def replica_name_held(database: Database, name: str, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold a name while the block runs, by an advisory lock that ends with its connection.

    Raises ConfigurationError while another server has it. SQLite has one server anyway.
    """
    if database.is_sqlite:
        yield
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Not one of those that requests share, and never given back to them with the lock still on it.
        connection.detach()
        _take(connection, name, patience_s)
        yield


def _take(connection: Connection, name: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    taking = text("SELECT pg_try_advisory_lock(:lock)")
    while not connection.scalar(taking, {"lock": lock_of(name)}):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"Another server with the name {name} is running.",
                hint="Give each one a name of its own: STRONGROOM_REPLICA.",
            )
        time.sleep(_PAUSE_S)


def lock_of(name: str) -> int:
    """Return the lock that stands for a name: 64 bits, signed, as PostgreSQL takes them."""
    digest = hashlib.sha256(f"strongroom replica {name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
