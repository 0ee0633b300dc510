"""Passwords of local accounts: Argon2id (RFC 9106), with the library's current default cost."""

from __future__ import annotations

import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from infra.database.tables import User, WebSession
from infra.errors import Conflict, InvalidInput, NotAuthenticated

MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 1024
_PASSWORDS: Final = PasswordHasher()
# Verified when no such account exists, so that a wrong name costs the same time as a wrong password.
_NOBODYS_HASH: Final = _PASSWORDS.hash(secrets.token_hex(16))
_BAD_SIGN_IN: Final = "That e-mail address and password do not match an account."


def check_password_length(password: str, *, param: str = "password") -> None:
    """Raise InvalidInput for a password that is too short or too long to be anybody's."""
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise InvalidInput(f"A password needs at least {MIN_PASSWORD_CHARS} characters.", param=param)


def hash_password(password: str) -> str:
    """Return the Argon2id hash; takes tens of milliseconds on purpose, so call it outside transactions."""
    check_password_length(password)
    return _PASSWORDS.hash(password)


def sign_in(session: Session, email: str, password: str) -> User:
    """Return the account, or raise NotAuthenticated; a wrong name and a wrong password look alike."""
    user = session.scalar(select(User).where(User.email == email.strip().lower(), User.kind == "user"))
    usable = user is not None and user.password_hash is not None and user.disabled_at is None
    right = password_matches(user.password_hash if user and user.password_hash else _NOBODYS_HASH, password)
    if user is None or not usable or not right:
        raise NotAuthenticated(_BAD_SIGN_IN)
    return user


def password_matches(password_hash: str, password: str) -> bool:
    """Say whether a password is the one that was hashed; takes as long as hashing it."""
    try:
        return _PASSWORDS.verify(password_hash, password[:MAX_PASSWORD_CHARS])
    except VerificationError:
        return False


def check_unchanged(session: Session, user: User) -> None:
    """Raise NotAuthenticated when the account's password changed since `user` was read.

    Verifying happens outside of the transaction that opens the session, so the two are tied together here.
    """
    now = session.scalar(select(User.password_hash).where(User.id == user.id))
    if now is None or now != user.password_hash:
        raise NotAuthenticated(_BAD_SIGN_IN)


def change_password(session: Session, user: User, new_hash: str) -> None:
    """Replace the password of `user` as it was read and verified; ends every session of the account.

    Raises Conflict when the password was changed meanwhile.
    """
    changed = session.execute(
        update(User)
        .where(User.id == user.id, User.password_hash == user.password_hash)
        .values(password_hash=new_hash)
        .returning(User.id)
    ).first()
    if changed is None:
        raise Conflict("Your password was changed a moment ago.", hint="Sign in again.")
    session.execute(delete(WebSession).where(WebSession.user_id == user.id))
