"""Batches, queues, uploads under way, hidden texts, places, synced files and near-duplicates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.database.tables import BigInt

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what following, resuming and comparing files needs; what exists keeps its meaning."""
    _ways_in()
    _jobs()
    _versions()
    _places()


def _ways_in() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
    )
    op.create_index("ix_batches_owner", "batches", ["owner"])
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("length", BigInt, nullable=False),
        sa.Column("received", BigInt, nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("document_id", sa.String(36), nullable=True),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt, nullable=False),
    )
    op.create_index("ix_partial_uploads_owner", "partial_uploads", ["owner"])
    op.create_index("ix_partial_uploads_expires_at", "partial_uploads", ["expires_at"])


def _jobs() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("batch_id", sa.String(36), nullable=True))
        jobs.add_column(sa.Column("queue", sa.String(16), nullable=False, server_default="interactive"))
        jobs.add_column(sa.Column("stage_since", BigInt, nullable=True))
        jobs.create_foreign_key("fk_jobs_batch_id", "batches", ["batch_id"], ["id"])
        jobs.create_index("ix_jobs_batch_id", ["batch_id"])
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("queue", server_default=None)
    with op.batch_alter_table("outbox") as outbox:
        outbox.add_column(sa.Column("queue", sa.String(16), nullable=False, server_default="interactive"))
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("queue", server_default=None)


def _versions() -> None:
    with op.batch_alter_table("document_versions") as versions:
        versions.add_column(sa.Column("hidden_texts", sa.Integer(), nullable=False, server_default="0"))
        versions.add_column(sa.Column("unread", sa.JSON(), nullable=False, server_default="[]"))
        versions.add_column(sa.Column("signature", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("document_versions") as versions:
        versions.alter_column("hidden_texts", server_default=None)
        versions.alter_column("unread", server_default=None)
    op.create_table(
        "hidden_texts",
        _of("version_id", "document_versions", "hidden_texts", primary_key=True),
        sa.Column("ordinal", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "version_bands",
        _of("version_id", "document_versions", "version_bands", primary_key=True),
        sa.Column("band", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(32), nullable=False),
    )
    op.create_index("ix_version_bands_hash", "version_bands", ["band", "hash"])


def _places() -> None:
    op.create_table(
        "document_places",
        _of("document_id", "documents", "document_places", primary_key=True),
        sa.Column("source", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(500), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("found_at", BigInt, nullable=False),
    )
    op.execute(
        "INSERT INTO document_places (document_id, source, name, sha256, found_at)"
        " SELECT d.id, 'upload', d.name, v.sha256, d.created_at FROM documents d"
        " JOIN document_versions v ON v.document_id = d.id WHERE v.number ="
        " (SELECT max(number) FROM document_versions WHERE document_id = d.id)"
    )
    op.create_table(
        "synced_items",
        sa.Column("source", sa.String(64), primary_key=True),
        sa.Column("item", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(200), nullable=False),
        _of("document_id", "documents", "synced_items", ondelete="SET NULL", nullable=True),
        sa.Column("reason", sa.String(64), nullable=True),
        sa.Column("seen_at", BigInt, nullable=False),
    )
    op.create_index("ix_synced_items_document_id", "synced_items", ["document_id"])


def _of(
    column: str,
    other: str,
    table: str,
    *,
    ondelete: str = "CASCADE",
    nullable: bool = False,
    primary_key: bool = False,
) -> sa.Column[str]:
    refers = sa.ForeignKey(f"{other}.id", ondelete=ondelete, name=f"fk_{table}_{column}")
    return sa.Column(column, sa.String(36), refers, nullable=nullable, primary_key=primary_key)
