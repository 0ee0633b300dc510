"""Open the database: SQLite (WAL, synchronous=FULL) or PostgreSQL, and give out transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

from infra.errors import DatabaseBusy

_BEGIN: Final = text("BEGIN")
_BEGIN_TO_WRITE: Final = text("BEGIN IMMEDIATE")


class Database:
    """One engine with read and write transactions.

    SQLite has one writer at a time, and this process is the only one (design §2), so writers queue on
    a lock here instead of polling on SQLITE_BUSY; `lock_timeout_s` bounds that wait. On PostgreSQL it
    bounds the wait for one of the `connections` that this process opens at the most and then keeps.
    """

    def __init__(self, url: str, *, lock_timeout_s: float = 10.0, connections: int = 15) -> None:
        self.url = url
        self.lock_timeout_s = lock_timeout_s
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = (
            _sqlite_engine(url, lock_timeout_s)
            if self.is_sqlite
            else _postgresql_engine(url, lock_timeout_s, connections)
        )
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._writer = threading.Lock() if self.is_sqlite else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees one moment of the database, and whose changes are not kept.

        An access list is read in several statements; between two moments it could look like neither.
        """
        with self._sessions() as session:
            if self.is_sqlite:
                session.execute(_BEGIN)
            else:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def write(self, *, timeout_s: float | None = None) -> Iterator[Session]:
        """Yield a session that commits at the end, or rolls back on an error.

        Raises DatabaseBusy when another writer of this process holds SQLite for longer than
        `timeout_s` seconds.
        """
        with self._turn(timeout_s), self._sessions.begin() as session:
            if self.is_sqlite:
                session.execute(_BEGIN_TO_WRITE)
            yield session

    def _turn(self, timeout_s: float | None) -> Any:
        if self._writer is None:
            return nullcontext()
        return _locked(self._writer, self.lock_timeout_s if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Return every connection."""
        self.engine.dispose()


@contextmanager
def _locked(lock: threading.Lock, timeout_s: float) -> Iterator[None]:
    if not lock.acquire(timeout=timeout_s):
        raise DatabaseBusy("The database is busy; nothing was changed.", hint="Try again in a moment.")
    try:
        yield
    finally:
        lock.release()


def _postgresql_engine(url: str, timeout_s: float, connections: int) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        # Connections beyond the pool's size would be opened and closed again with every peak.
        pool_size=connections,
        max_overflow=0,
        pool_timeout=timeout_s,
        # Parameters hold file names and addresses, and an error's text ends in logs.
        hide_parameters=True,
    )


def _sqlite_engine(url: str, timeout_s: float) -> Engine:
    engine = create_engine(
        url, hide_parameters=True, connect_args={"check_same_thread": False, "timeout": timeout_s}
    )

    # pysqlite opens transactions by itself and late; with isolation_level None we say BEGIN ourselves,
    # so that a write takes its lock first and never fails half-way with SQLITE_BUSY_SNAPSHOT.
    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
