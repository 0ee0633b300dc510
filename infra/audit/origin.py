"""The name of a log: a random one for each installation, so that a witness can watch several.

A witness knows logs by their names (https://c2sp.org/tlog-checkpoint, "origin"). Two logs of one name would
be two histories of one log to it.
"""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.database import Database
from infra.database.tables import AuditCheckpoint, AuditLeaf, AuditMark

SHARED: Final = "strongroom/ledger"
"""The whole name of logs that were begun before installations had ids, and the beginning of every other."""
INSTALLATION: Final = "installation"
"""Name of the mark that holds the installation's id."""
ID_BITS: Final = 63
"""As many as the column holds without a sign. The key tells logs apart; the id only has to differ."""


def log_origin(database: Database) -> str:
    """Return the name of the log. One that is not begun, or waits for its schema, has only the shared part.

    A name that somebody changed in the database is found at once: no checkpoint is signed under it.
    """
    if not inspect(database.engine).has_table(AuditMark.__tablename__):
        return SHARED
    with database.read() as session:
        return _origin(session) or SHARED


def name_log(database: Database) -> None:
    """Give a log that is not begun yet its name; one that is begun keeps what it has."""
    with database.read() as session:
        if _origin(session) is not None:
            return
    try:
        with database.write() as session:
            if _origin(session) is None:
                session.add(AuditMark(name=INSTALLATION, index=secrets.randbits(ID_BITS)))
    except IntegrityError:
        # Another replica's first start was faster, and its name is the log's.
        with database.read() as session:
            if _origin(session) is None:
                raise


def _origin(session: Session) -> str | None:
    mark = session.get(AuditMark, INSTALLATION)
    if mark is not None:
        return f"{SHARED}/{mark.index:016x}"
    leaf = session.scalar(select(AuditLeaf.index).limit(1))
    checkpoint = session.scalar(select(AuditCheckpoint.size).limit(1))
    return None if leaf is None and checkpoint is None else SHARED
