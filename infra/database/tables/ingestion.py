"""How files come in: jobs, batches, uploads under way, where files were found, and what resembles what."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database.tables.base import Base, BigInt


class Job(Base):
    """One piece of background work; this row is the truth, a queue message only wakes somebody up."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    version_id: Mapped[str | None] = mapped_column(String(36))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"), index=True)
    # `interactive` for what a person waits for, `bulk` for imports.
    queue: Mapped[str] = mapped_column(String(16), default="interactive")
    state: Mapped[str] = mapped_column(String(16), index=True)
    stage: Mapped[str] = mapped_column(String(16))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    # When the stage began; rate and remaining time are reckoned from it.
    stage_since: Mapped[int | None] = mapped_column(BigInt)
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[int | None] = mapped_column(BigInt)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str | None] = mapped_column(Text)
    passages: Mapped[int | None]
    corr: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[int] = mapped_column(BigInt)
    updated_at: Mapped[int] = mapped_column(BigInt)


class Outbox(Base):
    """A wake-up still to be sent; written in the transaction that made the work."""

    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    task: Mapped[str] = mapped_column(String(64))
    argument: Mapped[str] = mapped_column(String(200))
    queue: Mapped[str] = mapped_column(String(16), default="interactive")
    created_at: Mapped[int] = mapped_column(BigInt)


class Batch(Base):
    """Files that came in together; its jobs name it."""

    __tablename__ = "batches"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    sealed_name: Mapped[bytes] = mapped_column(LargeBinary)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)


class PartialUpload(Base):
    """A resumable upload under way; `sealed` holds its file's name and fields, opened by `wrapped_key`."""

    __tablename__ = "partial_uploads"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    length: Mapped[int] = mapped_column(BigInt)
    received: Mapped[int] = mapped_column(BigInt, default=0)
    parts: Mapped[int] = mapped_column(default=0)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    # The document that it became, once it was whole.
    document_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[int] = mapped_column(BigInt)
    expires_at: Mapped[int] = mapped_column(BigInt, index=True)


class DocumentPlace(Base):
    """A name under which a document's bytes were found: an upload's, or one in a folder or bucket (`source`).

    `sha256` is what was found there; a document whose newest version is another has moved on without it.
    """

    __tablename__ = "document_places"
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(500), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    found_at: Mapped[int] = mapped_column(BigInt)


class SyncedItem(Base):
    """One file of a watched folder or bucket, as it was when it was last taken in.

    `item` is the SHA-256 of its path or key; `state` is what tells a changed one (size and time, or ETag).
    """

    __tablename__ = "synced_items"
    source: Mapped[str] = mapped_column(String(64), primary_key=True)
    item: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(200))
    document_id: Mapped[str | None] = mapped_column(
        ForeignKey("documents.id", ondelete="SET NULL"), index=True
    )
    reason: Mapped[str | None] = mapped_column(String(64))
    seen_at: Mapped[int] = mapped_column(BigInt)


class VersionBand(Base):
    """One band of a version's MinHash signature: versions that share a band may be near-duplicates."""

    __tablename__ = "version_bands"
    __table_args__ = (Index("ix_version_bands_hash", "band", "hash"),)
    version_id: Mapped[str] = mapped_column(
        ForeignKey("document_versions.id", ondelete="CASCADE"), primary_key=True
    )
    band: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(32))
