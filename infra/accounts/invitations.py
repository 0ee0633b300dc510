"""One-time links that make an account, the first administrator's included."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.access import Role
from infra.accounts.names import checked_name
from infra.accounts.people import checked_email, checked_roles
from infra.accounts.tokens import hash_secret
from infra.clock import new_id, now_ms
from infra.database.tables import Invitation, User
from infra.errors import Conflict, InvalidInput, NotAuthenticated

INVITATION_HOURS: Final = 72
_HOUR_MS: Final = 3_600_000
_NOT_VALID: Final = "This invitation is not valid any more."
_ASK_AGAIN: Final = "Ask an administrator for a new link."


def invite(
    session: Session, roles: Iterable[Role], *, created_by: str | None, email: str | None = None
) -> tuple[str, int]:
    """Make a one-time link; returns its token and when it expires (UTC ms).

    With an e-mail address, only an account with exactly that address can be made, and whoever invites
    vouches that it is theirs. Raises InvalidInput for roles that do not go together or for no address.
    """
    wanted = checked_roles(roles)
    token, now = secrets.token_urlsafe(32), now_ms()
    expires = now + INVITATION_HOURS * _HOUR_MS
    session.add(
        Invitation(
            token_hash=hash_secret(token),
            roles=wanted,
            email=None if email is None else checked_email(email),
            created_by=created_by,
            created_at=now,
            expires_at=expires,
        )
    )
    return token, expires


def invite_first_admin(session: Session) -> str | None:
    """Replace any earlier first-admin link and return a new token; None once an admin exists."""
    if any(
        Role.ADMIN in user.roles for user in session.scalars(select(User).where(User.disabled_at.is_(None)))
    ):
        return None
    session.execute(update(Invitation).where(Invitation.created_by.is_(None)).values(expires_at=0))
    token, _ = invite(session, {Role.ADMIN, Role.CURATOR, Role.EMPLOYEE}, created_by=None)
    return token


def check_invitation(session: Session, token: str) -> None:
    """Raise NotAuthenticated unless the invitation can be accepted now; cheaper than hashing a password."""
    row = session.get(Invitation, hash_secret(token))
    if row is None or row.used_at is not None or row.expires_at <= now_ms():
        raise NotAuthenticated(_NOT_VALID, hint=_ASK_AGAIN)


def accept_invitation(session: Session, token: str, *, name: str, email: str, password_hash: str) -> User:
    """Create the account that the invitation is for, and use the invitation up.

    Raises NotAuthenticated for an unknown, used or expired one, InvalidInput for another address than the
    invitation names, and Conflict when the address has an account; roll back then.
    """
    now, address = now_ms(), checked_email(email)
    claimed = session.execute(
        update(Invitation)
        .where(
            Invitation.token_hash == hash_secret(token),
            Invitation.used_at.is_(None),
            Invitation.expires_at > now,
        )
        .values(used_at=now)
        .returning(Invitation.roles, Invitation.email)
    ).first()
    if claimed is None:
        raise NotAuthenticated(_NOT_VALID, hint=_ASK_AGAIN)
    if claimed.email not in {None, address}:
        raise InvalidInput("This invitation is for another e-mail address.", param="email")
    user = User(
        id=new_id(),
        kind="user",
        email=address,
        # What somebody types about themself is no proof that the address is theirs.
        email_vouched=claimed.email is not None,
        name=checked_name(name),
        password_hash=password_hash,
        roles=claimed.roles,
        compartments=[],
        created_at=now,
    )
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict("This e-mail address already has an account.", param="email") from error
    return user
