"""Every table. Times are UTC milliseconds since 1970; ids are text; JSON columns hold small lists."""

from __future__ import annotations

from sqlalchemy import JSON, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Text, UniqueConstraint
from sqlalchemy import BigInteger as _BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite gives automatic row ids to INTEGER only.
BigInt = _BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The metadata that migrations are checked against."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# --- people ---------------------------------------------------------------------------------------


class User(Base):
    """A person or a service account (`kind`), with roles from `infra.access.Role`."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    email: Mapped[str | None] = mapped_column(String(320), unique=True)
    # An administrator or a directory stated the address; otherwise its owner only says that it is theirs.
    email_vouched: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    roles: Mapped[list[str]] = mapped_column(JSON)
    clearance: Mapped[int] = mapped_column(default=0)
    compartments: Mapped[list[str]] = mapped_column(JSON, default=list)
    created_at: Mapped[int] = mapped_column(BigInt)
    disabled_at: Mapped[int | None] = mapped_column(BigInt)


class Identity(Base):
    """Who a directory's `subject` is here; people are found by this, never by their e-mail address."""

    __tablename__ = "identities"
    directory: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


class DirectoryRecord(Base):
    """What a directory pushed about one person or group (`kind`, SCIM); `attributes` is as it was sent.

    `id` is the account's id, or what follows the directory in a group's principal id. `closed_at` is the
    `disabled_at` that the directory itself caused; a deleted person's record stays, emptied.
    """

    __tablename__ = "directory_records"
    directory: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    id: Mapped[str] = mapped_column(String(160), primary_key=True)
    unique_name: Mapped[str | None] = mapped_column(String(255))
    external_id: Mapped[str | None] = mapped_column(String(255))
    attributes: Mapped[dict[str, object]] = mapped_column(JSON)
    created_at: Mapped[int] = mapped_column(BigInt)
    changed_at: Mapped[int] = mapped_column(BigInt)
    closed_at: Mapped[int | None] = mapped_column(BigInt)
    deleted_at: Mapped[int | None] = mapped_column(BigInt)

    __table_args__ = (
        UniqueConstraint("directory", "kind", "unique_name", name="uq_directory_records_unique_name"),
        UniqueConstraint("directory", "kind", "external_id", name="uq_directory_records_external_id"),
    )


class Group(Base):
    """A group of people; `id` is its namespaced principal id, `group:<directory>:<immutable id>`.

    `directory` says who decides about its members: `local` is administrators here, anything else a directory.
    """

    __tablename__ = "groups"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    directory: Mapped[str] = mapped_column(String(32), default="local")
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[int] = mapped_column(BigInt)

    __table_args__ = (UniqueConstraint("directory", "name"),)


class GroupMember(Base):
    """One membership."""

    __tablename__ = "group_members"
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class WebSession(Base):
    """A browser sign-in; only the SHA-256 of its token is kept."""

    __tablename__ = "web_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    auth_method: Mapped[str] = mapped_column(String(48), default="password")
    created_at: Mapped[int] = mapped_column(BigInt)
    expires_at: Mapped[int] = mapped_column(BigInt)


class SignInFlow(Base):
    """A sign-in at a directory that has begun; `sealed` holds what its answer is checked against."""

    __tablename__ = "sign_in_flows"
    state_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    directory: Mapped[str] = mapped_column(String(32))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[int] = mapped_column(BigInt)


class Throttle(Base):
    """Failed attempts for one account or address; `bucket` is a hash of which."""

    __tablename__ = "throttles"
    bucket: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[int] = mapped_column(BigInt)
    blocked_until: Mapped[int] = mapped_column(BigInt)


class ApiKey(Base):
    """A bearer key for some scopes; only the SHA-256 of its 256 random bits is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    # Who was shown the secret, where that is not the account's own person.
    created_by: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[int] = mapped_column(BigInt)
    expires_at: Mapped[int | None] = mapped_column(BigInt)
    revoked_at: Mapped[int | None] = mapped_column(BigInt)


class Invitation(Base):
    """A one-time link that creates an account with these roles."""

    __tablename__ = "invitations"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    roles: Mapped[list[str]] = mapped_column(JSON)
    # The one address that it is for, when whoever made it named one.
    email: Mapped[str | None] = mapped_column(String(320))
    created_by: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[int] = mapped_column(BigInt)
    expires_at: Mapped[int] = mapped_column(BigInt)
    used_at: Mapped[int | None] = mapped_column(BigInt)


# --- documents ------------------------------------------------------------------------------------


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
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)


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


class Job(Base):
    """One piece of background work; this row is the truth, a queue message only wakes somebody up."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    version_id: Mapped[str | None] = mapped_column(String(36))
    state: Mapped[str] = mapped_column(String(16), index=True)
    stage: Mapped[str] = mapped_column(String(16))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
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
    created_at: Mapped[int] = mapped_column(BigInt)


class AccessEpoch(Base):
    """One row, `id` 1: grows with every change of who may read what, so that no cache outlives one."""

    __tablename__ = "access_epoch"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInt)


# --- conversations --------------------------------------------------------------------------------


class Conversation(Base):
    """A conversation that its owner keeps. `wrapped_key` opens its title and its turns."""

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_title: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)
    updated_at: Mapped[int] = mapped_column(BigInt)


class ConversationTurn(Base):
    """What was said, by whom (`role`), and in `sealed` also the citations it rests on."""

    __tablename__ = "conversation_turns"
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)


class ConversationShare(Base):
    """Who else may look at a conversation; its citations are checked again for each viewer."""

    __tablename__ = "conversation_shares"
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    principal: Mapped[str] = mapped_column(String(200), primary_key=True, index=True)


class Choice(Base):
    """Something that administrators choose while the server runs, by name."""

    __tablename__ = "choices"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[int] = mapped_column(BigInt)


# --- the record -----------------------------------------------------------------------------------


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


class Feedback(Base):
    """What the asker thought of an answer; the comment is sealed like the question."""

    __tablename__ = "feedback"
    answer_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    principal: Mapped[str] = mapped_column(String(200), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(BigInt)
