"""Directories, key scopes, throttles, collections, conversations and the access epoch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.database.tables import BigInt

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ALL_SCOPES = '["ask", "read", "write", "audit", "admin"]'


def upgrade() -> None:
    """Add what people, collections and conversations need; what exists keeps its meaning."""
    _people()
    _documents()
    _conversations()
    op.create_table(
        "choices",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_at", BigInt, nullable=False),
    )


def _people() -> None:
    op.create_table(
        "identities",
        sa.Column("directory", sa.String(32), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        _reference("user_id", "users", table="identities"),
    )
    op.create_index("ix_identities_user_id", "identities", ["user_id"])
    op.create_table(
        "directory_records",
        sa.Column("directory", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("id", sa.String(160), primary_key=True),
        sa.Column("unique_name", sa.String(255), nullable=True),
        sa.Column("external_id", sa.String(255), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("changed_at", BigInt, nullable=False),
        sa.Column("closed_at", BigInt, nullable=True),
        sa.Column("deleted_at", BigInt, nullable=True),
        sa.UniqueConstraint("directory", "kind", "unique_name", name="uq_directory_records_unique_name"),
        sa.UniqueConstraint("directory", "kind", "external_id", name="uq_directory_records_external_id"),
    )
    with op.batch_alter_table("groups") as groups:
        groups.add_column(sa.Column("directory", sa.String(32), nullable=False, server_default="local"))
        groups.drop_constraint("uq_groups_name", type_="unique")
        groups.create_unique_constraint("uq_groups_directory", ["directory", "name"])
    with op.batch_alter_table("groups") as groups:
        groups.alter_column("directory", server_default=None)
    _add_filled("web_sessions", sa.Column("auth_method", sa.String(48), nullable=False), "password")
    # A key made before there were scopes could do all that its person could.
    _add_filled("api_keys", sa.Column("scopes", sa.JSON(), nullable=False), ALL_SCOPES)
    op.add_column("api_keys", sa.Column("created_by", sa.String(36), nullable=True))
    op.add_column("invitations", sa.Column("email", sa.String(320), nullable=True))
    _add_filled("users", sa.Column("email_vouched", sa.Boolean(), nullable=False), sa.false())
    op.create_table(
        "sign_in_flows",
        sa.Column("state_hash", sa.String(64), primary_key=True),
        sa.Column("directory", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", BigInt, nullable=False),
    )
    op.create_table(
        "throttles",
        sa.Column("bucket", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", BigInt, nullable=False),
        sa.Column("blocked_until", BigInt, nullable=False),
    )


def _documents() -> None:
    op.create_table(
        "collections",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("clearance", sa.Integer(), nullable=False),
        sa.Column("compartments", sa.JSON(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
    )
    op.create_index("ix_collections_owner", "collections", ["owner"])
    op.create_table(
        "collection_grants",
        _reference("collection_id", "collections", table="collection_grants", primary_key=True),
        sa.Column("principal", sa.String(200), primary_key=True),
        sa.Column("effect", sa.String(8), primary_key=True),
    )
    op.create_index("ix_collection_grants_principal", "collection_grants", ["principal", "effect"])
    with op.batch_alter_table("documents") as documents:
        documents.add_column(sa.Column("collection_id", sa.String(36), nullable=True))
        documents.add_column(sa.Column("inherits", sa.Boolean(), nullable=False, server_default=sa.false()))
        documents.create_foreign_key("fk_documents_collection_id", "collections", ["collection_id"], ["id"])
        documents.create_index("ix_documents_collection_id", ["collection_id"])
    with op.batch_alter_table("documents") as documents:
        documents.alter_column("inherits", server_default=None)
    op.create_table(
        "access_epoch",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("epoch", BigInt, nullable=False),
    )
    op.execute("INSERT INTO access_epoch (id, epoch) VALUES (1, 1)")


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_title", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("updated_at", BigInt, nullable=False),
    )
    op.create_index("ix_conversations_owner", "conversations", ["owner"])
    op.create_table(
        "conversation_turns",
        _reference("conversation_id", "conversations", table="conversation_turns", primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
    )
    op.create_table(
        "conversation_shares",
        _reference("conversation_id", "conversations", table="conversation_shares", primary_key=True),
        sa.Column("principal", sa.String(200), primary_key=True),
    )
    op.create_index("ix_conversation_shares_principal", "conversation_shares", ["principal"])


def _reference(column: str, target: str, *, table: str, primary_key: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey(f"{target}.id", name=f"fk_{table}_{column}", ondelete="CASCADE")
    return sa.Column(column, sa.String(36), key, primary_key=primary_key, nullable=False)


def _add_filled(table: str, column: sa.Column[object], value: str | sa.ColumnElement[bool]) -> None:
    """Add a column that existing rows fill with `value` and new rows must name."""
    column.server_default = sa.DefaultClause(value)
    with op.batch_alter_table(table) as changed:
        changed.add_column(column)
    with op.batch_alter_table(table) as changed:
        changed.alter_column(str(column.name), server_default=None)
