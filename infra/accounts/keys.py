"""API keys of people and of service accounts: 256 random bits, shown once and stored hashed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.access import EVERY_SCOPE, KeyScope, Principal
from infra.accounts.names import checked_name
from infra.accounts.people import principal_of
from infra.accounts.tokens import hash_secret
from infra.clock import new_id, now_ms
from infra.database.tables import ApiKey, User
from infra.errors import InvalidInput, NotFound

KEY_PREFIX: Final = "sr-"


def create_key(
    session: Session,
    user_id: str,
    name: str,
    *,
    scopes: Iterable[KeyScope] = EVERY_SCOPE,
    expires_at: int | None = None,
    created_by: str | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key; returns its row and the secret (256 bits), which is shown once.

    Raises InvalidInput without a scope, and for SCIM with another scope or on a person's account: whoever
    pushes people with it acts as a directory, and as nobody else. `created_by` is the account of whoever is
    shown the secret; a key for somebody else ends when they stop being an administrator.
    """
    wanted = _checked_scopes(session, user_id, scopes)
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id(),
        key_hash=hash_secret(secret),
        user_id=user_id,
        name=checked_name(name),
        scopes=wanted,
        created_by=None if created_by == user_id else created_by,
        created_at=now_ms(),
        expires_at=expires_at,
    )
    session.add(row)
    return row, secret


def _checked_scopes(session: Session, user_id: str, scopes: Iterable[KeyScope]) -> list[KeyScope]:
    wanted = sorted({KeyScope(scope) for scope in scopes})
    if not wanted:
        raise InvalidInput("A key needs at least one scope.", param="scopes")
    if KeyScope.SCIM in wanted:
        owner = session.get(User, user_id)
        if owner is None or owner.kind != "service":
            raise InvalidInput("Only a service account's key can be for SCIM.", param="scopes")
        if len(wanted) > 1:
            raise InvalidInput("A key for SCIM is for nothing else.", param="scopes")
    return wanted


def keys_of(session: Session, user_id: str) -> Sequence[ApiKey]:
    """List an account's keys that were not revoked, newest first."""
    mine = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    return session.scalars(mine.order_by(ApiKey.created_at.desc())).all()


def revoke_key(session: Session, user_id: str, key_id: str) -> None:
    """Revoke a key of this account; raises NotFound for anything else."""
    row = session.get(ApiKey, key_id)
    if row is None or row.user_id != user_id or row.revoked_at is not None:
        raise NotFound("There is no such key.")
    row.revoked_at = now_ms()


def principal_of_key(session: Session, secret: str) -> Principal | None:
    """Return who an API key belongs to, or None."""
    row = session.scalar(select(ApiKey).where(ApiKey.key_hash == hash_secret(secret)))
    if (
        row is None
        or row.revoked_at is not None
        or (row.expires_at is not None and row.expires_at <= now_ms())
    ):
        return None
    return principal_of(
        session,
        session.get(User, row.user_id),
        auth_method="api_key",
        secret_hash=row.key_hash,
        scopes=frozenset(KeyScope(scope) for scope in row.scopes),
    )
