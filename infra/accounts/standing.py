"""Who somebody is by now: what takes longer than a moment asks again before it shows or stores anything."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.access import KeyScope, Principal
from infra.accounts.people import principal_of
from infra.clock import now_ms
from infra.database.tables import ApiKey, User, WebSession

SIGNED_OUT = "You are not signed in any more."


def renewed(session: Session, principal: Principal) -> Principal | None:
    """Return the same principal with the roles, groups and labels of this moment.

    None when the account is closed or gone, and when the key or the sign-in that identified them has ended.
    A directory's token cannot be withdrawn, so there the account decides alone.
    """
    scopes: frozenset[KeyScope] | None = principal.scopes
    if principal.auth_method == "api_key":
        scopes = _scopes_of_key(session, principal)
    elif not principal.auth_method.startswith("token:") and not _is_signed_in(session, principal):
        scopes = None
    if scopes is None:
        return None
    # A session that looks again and again must not be told what it remembers.
    user = session.get(User, principal.user_id, populate_existing=True)
    return principal_of(
        session,
        user,
        auth_method=principal.auth_method,
        secret_hash=principal.session_hash,
        scopes=scopes,
    )


def _scopes_of_key(session: Session, principal: Principal) -> frozenset[KeyScope] | None:
    usable = select(ApiKey.scopes).where(
        ApiKey.key_hash == principal.session_hash,
        ApiKey.user_id == principal.user_id,
        ApiKey.revoked_at.is_(None),
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > now_ms()),
    )
    found = session.scalar(usable)
    return None if found is None else frozenset(KeyScope(scope) for scope in found)


def _is_signed_in(session: Session, principal: Principal) -> bool:
    mine = select(WebSession.token_hash).where(
        WebSession.token_hash == principal.session_hash,
        WebSession.user_id == principal.user_id,
        WebSession.expires_at > now_ms(),
    )
    return session.scalar(mine) is not None
