"""Look-up rows of the record, cosignatures, positions, permissions, holds, erasures and feedback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from infra.database.tables import BigInt
from infra.errors import ConfigurationError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WINDOW = 500
"""Leaves that are held in memory at a time."""


def upgrade() -> None:
    """Add what the record is read, witnessed, pruned and erased with."""
    lookup, passages = _lookups()
    _fill(lookup, passages)
    _authenticate_inbox()
    op.create_table(
        "audit_cosignatures",
        sa.Column("size", BigInt, primary_key=True, autoincrement=False),
        sa.Column("witness", sa.String(200), primary_key=True),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
    )
    op.create_table(
        "audit_marks",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("index", BigInt, nullable=False),
    )
    _duties()


def _lookups() -> tuple[sa.Table, sa.Table]:
    lookup = op.create_table(
        "audit_lookup",
        sa.Column("index", BigInt, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("sub", sa.String(64), nullable=False),
        sa.Column("time", BigInt, nullable=False),
        sa.Column("res_id", sa.String(200), nullable=True),
        sa.Column("res_ver", sa.String(36), nullable=True),
        sa.Column("outcome", sa.String(200), nullable=True),
    )
    indexed = {"type": "type", "sub": "sub", "res": "res_id", "ver": "res_ver", "time": "time"}
    for name, column in indexed.items():
        op.create_index(f"ix_audit_lookup_{name}", "audit_lookup", [column, "index"])
    passages = op.create_table(
        "audit_passages",
        sa.Column("index", BigInt, primary_key=True, autoincrement=False),
        sa.Column("doc", sa.String(36), primary_key=True),
        sa.Column("ver", sa.String(36), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_passages_doc", "audit_passages", ["doc", "index", "ver"])
    return lookup, passages


def _fill(lookup: sa.Table, passages: sa.Table) -> None:
    """Derive the rows of the records that are there already."""
    connection = op.get_bind()
    for index, leaf in _stored_leaves(connection):
        connection.execute(
            lookup.insert().values(
                index=index,
                type=leaf["type"][:64],
                sub=leaf["actor"]["sub"][:64],
                time=leaf["time"],
                res_id=leaf.get("res", {}).get("id", "")[:200] or None,
                res_ver=leaf.get("res", {}).get("ver", "")[:36] or None,
                outcome=leaf.get("outcome", "")[:200] or None,
            )
        )
        named = dict.fromkeys((passage["doc"][:36], passage["ver"][:36]) for passage in leaf.get("ret", []))
        for doc, ver in named:
            connection.execute(passages.insert().values(doc=doc, ver=ver, index=index))


def _authenticate_inbox() -> None:
    """Add what shows that a server wrote a waiting record; raises ConfigurationError while records wait.

    Here is no key to make it with, and a record without it is never sealed.
    """
    inbox = sa.table("audit_inbox", sa.column("id", sa.String(36)))
    if op.get_bind().scalar(sa.select(inbox.c.id).limit(1)) is not None:
        raise ConfigurationError(
            "Records of the earlier version still wait for their place in the log.",
            hint="Start and stop the earlier version once: it seals them. Then start this one again.",
        )
    op.drop_table("audit_inbox")
    op.create_table(
        "audit_inbox",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_inbox")),
    )


def _stored_leaves(connection: sa.Connection) -> Iterator[tuple[int, dict[str, Any]]]:
    leaves = sa.table("audit_leaves", sa.column("index", BigInt), sa.column("leaf", sa.LargeBinary()))
    last = -1
    while True:
        window = sa.select(leaves).where(leaves.c.index > last).order_by(leaves.c.index).limit(WINDOW)
        rows = connection.execute(window).all()
        for index, raw in rows:
            leaf = _readable(raw)
            if leaf is not None:
                yield index, leaf
        if len(rows) < WINDOW:
            return
        last = rows[-1][0]


def _readable(raw: bytes) -> dict[str, Any] | None:
    """Return a leaf's members; a record that cannot be read cannot be looked for, and the check names it."""
    try:
        leaf: dict[str, Any] = json.loads(raw)
        known = isinstance(leaf["type"], str) and isinstance(leaf["actor"]["sub"], str)
    except (ValueError, KeyError, TypeError):
        return None
    return leaf if known and isinstance(leaf.get("time"), int) else None


def _duties() -> None:
    op.create_table(
        "content_permissions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("requester", sa.String(200), nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("approver", sa.String(200), nullable=True),
        sa.Column("expires_at", BigInt, nullable=False),
    )
    op.create_index("ix_content_permissions_requester", "content_permissions", ["requester"])
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("principal", sa.String(200), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("lifted_at", BigInt, nullable=True),
    )
    op.create_index("ix_legal_holds_principal", "legal_holds", ["principal"])
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
    )
    op.create_table(
        "key_backups",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt, nullable=False),
    )
    op.create_table(
        "feedback",
        sa.Column("answer_id", sa.String(36), primary_key=True),
        sa.Column("principal", sa.String(200), primary_key=True),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
    )
