"""Documents, their versions, passages and access lists."""

from __future__ import annotations

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from infra.database.tables.base import Base, BigInt


class Collection(Base):
    """Documents with a common access list: whoever reads one of them is let in by the collection first."""

    __tablename__ = "collections"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(200), index=True)
    clearance: Mapped[int] = mapped_column(default=0)
    compartments: Mapped[list[str]] = mapped_column(JSON, default=list)
    created_at: Mapped[int] = mapped_column(BigInt)


class CollectionGrant(Base):
    """One line of a collection's access list: `effect` is `allow` or `deny`."""

    __tablename__ = "collection_grants"
    collection_id: Mapped[str] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    principal: Mapped[str] = mapped_column(String(200), primary_key=True)
    effect: Mapped[str] = mapped_column(String(8), primary_key=True)

    __table_args__ = (Index("ix_collection_grants_principal", "principal", "effect"),)


class Document(Base):
    """One document, whatever its version. `indexed_epoch` lags `acl_epoch` until the index has the change.

    In a collection, the document's own access lines, label and compartments can only narrow; with
    `inherits`, its own allow lines do not matter and the collection's readers are its readers.
    """

    __tablename__ = "documents"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    collection_id: Mapped[str | None] = mapped_column(ForeignKey("collections.id"), index=True)
    inherits: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(String(500))
    version_id: Mapped[str | None] = mapped_column(String(36))
    clearance: Mapped[int] = mapped_column(default=0)
    compartments: Mapped[list[str]] = mapped_column(JSON, default=list)
    acl_epoch: Mapped[int] = mapped_column(default=0)
    indexed_epoch: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[int] = mapped_column(BigInt)
    deleted_at: Mapped[int | None] = mapped_column(BigInt)


class DocumentGrant(Base):
    """One line of a document's access list: `effect` is `allow` or `deny`."""

    __tablename__ = "document_grants"
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    principal: Mapped[str] = mapped_column(String(200), primary_key=True)
    effect: Mapped[str] = mapped_column(String(8), primary_key=True)

    __table_args__ = (Index("ix_document_grants_principal", "principal", "effect"),)


class DocumentVersion(Base):
    """The bytes of a document at one time. `wrapped_key` opens its file and its passages."""

    __tablename__ = "document_versions"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    media_type: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInt)
    pages: Mapped[int | None]
    title: Mapped[str | None] = mapped_column(String(500))
    state: Mapped[str] = mapped_column(String(16))  # pending, ready, failed
    # Texts that a reader would not see, and files within the file that could not be read, with the reason.
    hidden_texts: Mapped[int] = mapped_column(default=0)
    unread: Mapped[list[list[str]]] = mapped_column(JSON, default=list)
    # A MinHash of the text, by which near-duplicates are known.
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)


class HiddenText(Base):
    """A text that a reader of the file would not see, and why; `sealed` holds it and its place."""

    __tablename__ = "hidden_texts"
    version_id: Mapped[str] = mapped_column(
        ForeignKey("document_versions.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class Chunk(Base):
    """One passage; `id` is also its point id in the index and its citation id. `sealed` holds its content."""

    __tablename__ = "chunks"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    version_id: Mapped[str] = mapped_column(
        ForeignKey("document_versions.id", ondelete="CASCADE"), index=True
    )
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    ordinal: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class AccessEpoch(Base):
    """One row, `id` 1: grows with every change of who may read what, so that no cache outlives one."""

    __tablename__ = "access_epoch"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInt)
