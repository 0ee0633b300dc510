"""The record: leaves, contents, keys, and what guards them."""

from __future__ import annotations

from sqlalchemy import Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database.tables.base import Base, BigInt


class AuditSubject(Base):
    """The only link between a random subject id in the ledger and a principal; deletable."""

    __tablename__ = "audit_subjects"
    subject_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    principal: Mapped[str] = mapped_column(String(200), unique=True)


class SubjectKey(Base):
    """The key that opens one subject's recorded content, wrapped by the master key; deletable."""

    __tablename__ = "subject_keys"
    key_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    subject_id: Mapped[str] = mapped_column(String(36), unique=True)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)


class AuditContent(Base):
    """The encrypted content of one event."""

    __tablename__ = "audit_content"
    event_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(36), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class AuditInbox(Base):
    """Leaves that are durable and have no index yet; `mac` shows that a server put them here."""

    __tablename__ = "audit_inbox"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    mac: Mapped[bytes] = mapped_column(LargeBinary)


class AuditLeaf(Base):
    """The log: leaf `index` (from 0), its canonical bytes, and columns to look it up by."""

    __tablename__ = "audit_leaves"
    index: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    corr: Mapped[str] = mapped_column(String(36), index=True)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class AuditNode(Base):
    """The hash of a complete subtree: level 0 are leaf hashes; `index` counts nodes of that level."""

    __tablename__ = "audit_nodes"
    level: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditCheckpoint(Base):
    """A signed tree head (C2SP tlog-checkpoint in a signed note)."""

    __tablename__ = "audit_checkpoints"
    size: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    created_at: Mapped[int] = mapped_column(BigInt)
    note: Mapped[str] = mapped_column(Text)


class AuditLookup(Base):
    """What records are looked for by. Derived from the leaves, written together with them."""

    __tablename__ = "audit_lookup"
    __table_args__ = (
        Index("ix_audit_lookup_type", "type", "index"),
        Index("ix_audit_lookup_sub", "sub", "index"),
        Index("ix_audit_lookup_res", "res_id", "index"),
        Index("ix_audit_lookup_ver", "res_ver", "index"),
        Index("ix_audit_lookup_time", "time", "index"),
    )
    index: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(64))
    sub: Mapped[str] = mapped_column(String(64))
    time: Mapped[int] = mapped_column(BigInt)
    res_id: Mapped[str | None] = mapped_column(String(200))
    res_ver: Mapped[str | None] = mapped_column(String(36))
    outcome: Mapped[str | None] = mapped_column(String(200))


class AuditPassage(Base):
    """Which records name a document version among their passages: how far a document reached."""

    __tablename__ = "audit_passages"
    # New rows come last in the table itself; only the index is written all over.
    __table_args__ = (Index("ix_audit_passages_doc", "doc", "index", "ver"), {"sqlite_with_rowid": False})
    index: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    doc: Mapped[str] = mapped_column(String(36), primary_key=True)
    ver: Mapped[str] = mapped_column(String(36), primary_key=True)


class AuditCosignature(Base):
    """A witness's signature line under the checkpoint of one size (C2SP tlog-cosignature)."""

    __tablename__ = "audit_cosignatures"
    size: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    witness: Mapped[str] = mapped_column(String(200), primary_key=True)
    line: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInt)


class AuditMark(Base):
    """A position in the log by name: the first record that is kept, the next one to forward."""

    __tablename__ = "audit_marks"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    index: Mapped[int] = mapped_column(BigInt)


class ContentPermission(Base):
    """One auditor's request to read contents, and the second auditor's approval, for a while.

    The reason is the sealed content of the event `event_id`, so that it goes when its author is erased.
    """

    __tablename__ = "content_permissions"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    requester: Mapped[str] = mapped_column(String(200), index=True)
    event_id: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[int] = mapped_column(BigInt)
    approver: Mapped[str | None] = mapped_column(String(200))
    expires_at: Mapped[int] = mapped_column(BigInt)


class LegalHold(Base):
    """While it stands nothing under it is pruned or erased. Without a principal it covers everybody."""

    __tablename__ = "legal_holds"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    principal: Mapped[str | None] = mapped_column(String(200), index=True)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInt)
    lifted_at: Mapped[int | None] = mapped_column(BigInt)


class Erasure(Base):
    """The certificate of one erasure; it names the subject id only, which maps to nobody any more."""

    __tablename__ = "erasures"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created_at: Mapped[int] = mapped_column(BigInt)
    certificate: Mapped[str] = mapped_column(Text)


class KeyBackup(Base):
    """What opens one backup of subject keys; destroyed when the backup expires."""

    __tablename__ = "key_backups"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)
    expires_at: Mapped[int] = mapped_column(BigInt)
