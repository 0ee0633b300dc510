"""People, programs and groups, and how they sign in."""

from __future__ import annotations

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from infra.database.tables.base import Base, BigInt


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
