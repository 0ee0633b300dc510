"""Browser sessions: who a cookie belongs to, and how one begins and ends."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from infra.access import Principal
from infra.accounts.people import principal_of
from infra.accounts.tokens import hash_secret
from infra.clock import now_ms
from infra.database.tables import User, WebSession

_HOUR_MS: Final = 3_600_000


def open_session(session: Session, user_id: str, *, hours: int, auth_method: str = "password") -> str:
    """Start a browser session and return its token, which is nowhere stored in clear.

    `auth_method` says how the person proved who they are: `password`, `invitation`, `oidc:<directory>` or
    `ldap:<directory>`; the session's principal carries it from then on.
    """
    token, now = secrets.token_urlsafe(32), now_ms()
    over = delete(WebSession).where(WebSession.user_id == user_id, WebSession.expires_at <= now)
    session.execute(over)
    session.add(
        WebSession(
            token_hash=hash_secret(token),
            user_id=user_id,
            auth_method=auth_method,
            created_at=now,
            expires_at=now + hours * _HOUR_MS,
        )
    )
    return token


def close_session(session: Session, token: str) -> None:
    """End a browser session; an unknown one is already ended."""
    found = session.get(WebSession, hash_secret(token))
    if found is not None:
        session.delete(found)


def sessions_of(session: Session, user_id: str) -> Sequence[WebSession]:
    """List a person's open sessions, newest first."""
    mine = select(WebSession).where(WebSession.user_id == user_id, WebSession.expires_at > now_ms())
    return session.scalars(mine.order_by(WebSession.created_at.desc())).all()


def close_other_sessions(session: Session, user_id: str, kept_hash: str) -> int:
    """End all sessions of a person but the one with this hash; returns how many."""
    others = delete(WebSession).where(WebSession.user_id == user_id, WebSession.token_hash != kept_hash)
    return len(session.execute(others.returning(WebSession.token_hash)).all())


def principal_of_session(session: Session, token: str) -> Principal | None:
    """Return who a session cookie belongs to, or None."""
    row = session.get(WebSession, hash_secret(token))
    if row is None or row.expires_at <= now_ms():
        return None
    user = session.get(User, row.user_id)
    return principal_of(session, user, auth_method=row.auth_method, secret_hash=row.token_hash)
