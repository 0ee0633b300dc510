"""What deleted rows leave on the disk, and how SQLite is made to leave nothing.

`secure_delete` overwrites deleted rows in the database file. The write-ahead log still holds the pages as
they were before; a checkpoint that truncates it (https://sqlite.org/pragma.html#pragma_wal_checkpoint) ends
that. PostgreSQL keeps dead rows until a vacuum, and its own log for as long as it is told to: there, what
was deleted is unreadable because it was encrypted, and not because it is gone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from infra.database import search_files
from infra.database.engine import Database

PATIENCE_S: Final = 5.0
"""How long readers are waited for that still need the log."""
_PAUSE_S: Final = 0.1
SEARCHER: Final = Path(search_files.__file__)


def empty_write_ahead_log(database: Database, *, patience_s: float = PATIENCE_S) -> bool:
    """Write SQLite's log into the database file and cut it to nothing; False while a reader needs it.

    Writers go on meanwhile. On PostgreSQL there is nothing to do here, and the answer is False.
    """
    if not database.is_sqlite:
        return False
    deadline = time.monotonic() + patience_s
    while True:
        if _truncate(database):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)


def _truncate(database: Database) -> bool:
    with database.engine.connect() as connection:
        # Without waiting: a checkpoint that waits for readers would keep writers waiting as well.
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        try:
            busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        except OperationalError:
            return False
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={round(database.lock_timeout_s * 1000)}")
    return not busy


def rewrite_database(database: Database) -> bool:
    """Write SQLite's file anew (VACUUM); False while somebody else is writing, and on PostgreSQL.

    `secure_delete` overwrites rows, but not the copies that a split page leaves between its rows. Writers
    wait meanwhile, some seconds for each gigabyte; empty the log afterwards.
    """
    if not database.is_sqlite:
        return False
    with database.engine.connect() as connection:
        try:
            connection.exec_driver_sql("VACUUM")
        except OperationalError:
            return False
    return True


def database_files(database: Database) -> list[Path]:
    """Return the files that SQLite keeps the database in, those that exist; none for PostgreSQL."""
    name = make_url(database.url).database
    if not database.is_sqlite or not name:
        return []
    files = (Path(f"{name}{ending}") for ending in ("", "-wal", "-shm", "-journal"))
    return [file for file in files if file.is_file()]


def occurrences(files: list[Path], needle: bytes) -> tuple[int, int]:
    """Count how often `needle` stands in files; returns that, and how many bytes were looked at.

    Another process reads them: see `infra.database.search_files` for what would happen otherwise.
    """
    command = [sys.executable, "-I", str(SEARCHER), *map(str, files)]
    done = subprocess.run(command, input=needle, capture_output=True, check=True, env={})  # noqa: S603
    found, looked_at = done.stdout.split()
    return int(found), int(looked_at)
