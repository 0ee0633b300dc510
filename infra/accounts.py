"""People, sign-ins, keys, invitations and groups. Secrets are stored only as hashes."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.access import EVERY_SCOPE, KeyScope, Principal, Role
from infra.clock import new_id, now_ms
from infra.database.tables import ApiKey, Group, GroupMember, Invitation, User, WebSession
from infra.epoch import raise_epoch
from infra.errors import Conflict, InvalidInput, NotAuthenticated, NotFound

KEY_PREFIX: Final = "sr-"
MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 1024
INVITATION_HOURS: Final = 72
_HOUR_MS: Final = 3_600_000
_PASSWORDS: Final = PasswordHasher()
# Verified when no such account exists, so that a wrong name costs the same time as a wrong password.
_NOBODYS_HASH: Final = _PASSWORDS.hash(secrets.token_hex(16))
_NOT_VALID: Final = "This invitation is not valid any more."
_ASK_AGAIN: Final = "Ask an administrator for a new link."
_BAD_SIGN_IN: Final = "That e-mail address and password do not match an account."


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a 256-bit random token; enough, because such a token cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


# --- invitations ----------------------------------------------------------------------------------


def invite(session: Session, roles: Iterable[Role], *, created_by: str | None) -> tuple[str, int]:
    """Make a one-time link; returns its token and when it expires (UTC ms)."""
    wanted = _checked_roles(roles)
    token, now = secrets.token_urlsafe(32), now_ms()
    expires = now + INVITATION_HOURS * _HOUR_MS
    session.add(
        Invitation(
            token_hash=hash_secret(token),
            roles=wanted,
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

    Raises NotAuthenticated for an unknown, used or expired one, Conflict when the address has an account.
    """
    now = now_ms()
    claimed = session.execute(
        update(Invitation)
        .where(
            Invitation.token_hash == hash_secret(token),
            Invitation.used_at.is_(None),
            Invitation.expires_at > now,
        )
        .values(used_at=now)
        .returning(Invitation.roles)
    ).first()
    if claimed is None:
        raise NotAuthenticated(_NOT_VALID, hint=_ASK_AGAIN)
    user = User(
        id=new_id(),
        kind="user",
        email=_checked_email(email),
        name=_checked_name(name),
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


# --- passwords and sessions -----------------------------------------------------------------------


def hash_password(password: str) -> str:
    """Return the Argon2id hash; takes tens of milliseconds on purpose, so call it outside transactions."""
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise InvalidInput(f"A password needs at least {MIN_PASSWORD_CHARS} characters.", param="password")
    return _PASSWORDS.hash(password)


def sign_in(session: Session, email: str, password: str) -> User:
    """Return the account, or raise NotAuthenticated; a wrong name and a wrong password look alike."""
    user = session.scalar(select(User).where(User.email == email.strip().lower(), User.kind == "user"))
    usable = user is not None and user.password_hash is not None and user.disabled_at is None
    try:
        _PASSWORDS.verify(
            user.password_hash if user and user.password_hash else _NOBODYS_HASH,
            password[:MAX_PASSWORD_CHARS],
        )
    except VerificationError as error:
        raise NotAuthenticated(_BAD_SIGN_IN) from error
    if user is None or not usable:
        raise NotAuthenticated(_BAD_SIGN_IN)
    return user


def open_session(session: Session, user_id: str, *, hours: int) -> str:
    """Start a browser session and return its token, which is nowhere stored in clear."""
    token, now = secrets.token_urlsafe(32), now_ms()
    session.add(
        WebSession(
            token_hash=hash_secret(token), user_id=user_id, created_at=now, expires_at=now + hours * _HOUR_MS
        )
    )
    return token


def close_session(session: Session, token: str) -> None:
    """End a browser session; an unknown one is already ended."""
    found = session.get(WebSession, hash_secret(token))
    if found is not None:
        session.delete(found)


def principal_of_session(session: Session, token: str) -> Principal | None:
    """Return who a session cookie belongs to, or None."""
    row = session.get(WebSession, hash_secret(token))
    if row is None or row.expires_at <= now_ms():
        return None
    return _principal(
        session, session.get(User, row.user_id), auth_method="session", secret_hash=row.token_hash
    )


# --- keys -----------------------------------------------------------------------------------------


def create_key(
    session: Session,
    user_id: str,
    name: str,
    *,
    scopes: Iterable[KeyScope] = EVERY_SCOPE,
    expires_at: int | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key; returns its row and the secret (256 bits), which is shown once."""
    wanted = sorted(KeyScope(scope) for scope in scopes)
    if not wanted:
        raise InvalidInput("A key needs at least one scope.", param="scopes")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id(),
        key_hash=hash_secret(secret),
        user_id=user_id,
        name=_checked_name(name),
        scopes=wanted,
        created_at=now_ms(),
        expires_at=expires_at,
    )
    session.add(row)
    return row, secret


def keys_of(session: Session, user_id: str) -> Sequence[ApiKey]:
    """List a person's keys that still work, newest first."""
    mine = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    return session.scalars(mine.order_by(ApiKey.created_at.desc())).all()


def revoke_key(session: Session, user_id: str, key_id: str) -> None:
    """Revoke one's own key; raises NotFound for anything else."""
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
    return _principal(
        session,
        session.get(User, row.user_id),
        auth_method="api_key",
        secret_hash=row.key_hash,
        scopes=frozenset(KeyScope(scope) for scope in row.scopes),
    )


def ensure_service_account(session: Session, name: str) -> User:
    """Return the service account called `name`, made on first use with the employee role."""
    user = session.scalar(select(User).where(User.kind == "service", User.name == name))
    if user is None:
        user = User(
            id=new_id(),
            kind="service",
            name=name,
            roles=[Role.EMPLOYEE],
            compartments=[],
            created_at=now_ms(),
        )
        session.add(user)
        session.flush()
    return user


# --- people and groups ----------------------------------------------------------------------------


def list_people(session: Session) -> Sequence[User]:
    """List all accounts, oldest first."""
    return session.scalars(select(User).order_by(User.created_at)).all()


def create_group(session: Session, name: str) -> Group:
    """Make a group with an id of its own that never changes; raises Conflict for a name in use."""
    group = Group(id=f"group:local:{new_id()}", name=_checked_name(name), created_at=now_ms())
    session.add(group)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict("A group with this name exists already.", param="name") from error
    return group


def list_groups(session: Session) -> Sequence[Group]:
    """List all groups by name."""
    return session.scalars(select(Group).order_by(Group.name)).all()


def members_of(session: Session, group_id: str) -> Sequence[str]:
    """List the user ids of a group's members."""
    return session.scalars(select(GroupMember.user_id).where(GroupMember.group_id == group_id)).all()


def add_member(session: Session, group_id: str, user_id: str) -> None:
    """Put a person into a group; doing it twice is the same as once."""
    if session.get(Group, group_id) is None or session.get(User, user_id) is None:
        raise NotFound("There is no such group or person.")
    if session.get(GroupMember, (group_id, user_id)) is None:
        session.add(GroupMember(group_id=group_id, user_id=user_id))
        raise_epoch(session)


def remove_member(session: Session, group_id: str, user_id: str) -> None:
    """Take a person out of a group; raises NotFound when they are not in it."""
    row = session.get(GroupMember, (group_id, user_id))
    if row is None:
        raise NotFound("There is no such group or person.")
    session.delete(row)
    raise_epoch(session)


def groups_of(session: Session, user_id: str) -> Sequence[Group]:
    """List the groups a person is in."""
    mine = (
        select(Group)
        .join(GroupMember, GroupMember.group_id == Group.id)
        .where(GroupMember.user_id == user_id)
    )
    return session.scalars(mine.order_by(Group.name)).all()


def _principal(
    session: Session,
    user: User | None,
    *,
    auth_method: str,
    secret_hash: str,
    scopes: frozenset[KeyScope] = EVERY_SCOPE,
) -> Principal | None:
    if user is None or user.disabled_at is not None:
        return None
    return Principal(
        user_id=user.id,
        kind=user.kind,
        roles=frozenset(Role(role) for role in user.roles),
        group_ids=frozenset(group.id for group in groups_of(session, user.id)),
        clearance=user.clearance,
        compartments=frozenset(user.compartments),
        auth_method=auth_method,
        session_hash=secret_hash,
        scopes=scopes,
    )


def _checked_roles(roles: Iterable[Role]) -> list[str]:
    wanted = {Role(role) for role in roles}
    if not wanted:
        raise InvalidInput("An invitation needs at least one role.", param="roles")
    if {Role.ADMIN, Role.AUDITOR} <= wanted:
        raise InvalidInput("An administrator cannot be an auditor as well.", param="roles")
    return sorted(wanted)


def _checked_email(email: str) -> str:
    cleaned = email.strip().lower()
    if len(cleaned) > 320 or not re.fullmatch(r"[^@\s]+@[^@\s]+", cleaned):
        raise InvalidInput("That is not an e-mail address.", param="email")
    return cleaned


def _checked_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not 1 <= len(cleaned) <= 200:
        raise InvalidInput("A name needs 1 to 200 characters.", param="name")
    return cleaned
