"""What the record is measured against: a hash chain whose head every event locks for itself.

This is how an audit log is usually added to an application: one transaction for each event takes the head
of the chain, hashes the event onto it, stores both, and commits. It seals and looks up nothing.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, bindparam, insert, select
from sqlalchemy import update as change

from infra.audit.leaf import Leaf
from infra.audit.records import recorded
from infra.database import Database

TABLES: Final = MetaData()
HEAD: Final = Table(
    "naive_head",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
EVENTS: Final = Table(
    "naive_events",
    TABLES,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
# Built once, so that the naive ledger is not slowed by what it has no reason to repeat. SQLite has no
# FOR UPDATE and takes its lock with BEGIN IMMEDIATE, as `Database.write` does.
_TAKE_HEAD: Final = select(HEAD.c.size, HEAD.c.hash).where(HEAD.c.id == 1).with_for_update()
_ADD_EVENT: Final = insert(EVENTS)
_MOVE_HEAD: Final = (
    change(HEAD).where(HEAD.c.id == 1).values(size=bindparam("new_size"), hash=bindparam("new_hash"))
)


class NaiveLedger:
    """A hash chain in one table, its head in another."""

    def __init__(self, database: Database) -> None:
        """Make the tables and an empty chain."""
        self._database = database
        TABLES.create_all(database.engine)
        with database.engine.begin() as connection:
            connection.execute(insert(HEAD), {"id": 1, "size": 0, "hash": bytes(32)})

    def record(self, leaf: Leaf) -> None:
        """Append one event; it is durable on return."""
        data = recorded(leaf).leaf
        with self._database.write() as session:
            connection = session.connection()
            size, head = connection.execute(_TAKE_HEAD).one()
            hashed = hashlib.sha256(head + data).digest()
            connection.execute(_ADD_EVENT, {"index": size, "leaf": data, "hash": hashed})
            connection.execute(_MOVE_HEAD, {"new_size": size + 1, "new_hash": hashed})

    def is_unbroken(self) -> bool:
        """Tell whether the stored chain leads to the stored head."""
        head, size = bytes(32), 0
        with self._database.read() as session:
            for row in session.execute(select(EVENTS).order_by(EVENTS.c.index)):
                head, size = hashlib.sha256(head + row.leaf).digest(), size + 1
            stored = session.execute(select(HEAD.c.size, HEAD.c.hash)).one()
        return (size, head) == (stored.size, stored.hash)
