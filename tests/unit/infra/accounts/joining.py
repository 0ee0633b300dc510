"""How the account tests make people."""

from __future__ import annotations

from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Principal, Role
from infra.database.tables import User

PASSWORD = "a long enough password"
HASHED = accounts.hash_password(PASSWORD)


def join(session: Session, email: str, *roles: Role) -> User:
    """Accept a fresh invitation."""
    token, _ = accounts.invite(session, roles or {Role.EMPLOYEE}, created_by=None)
    return accounts.accept_invitation(session, token, name="Ada", email=email, password_hash=HASHED)


def principal_of(user: User) -> Principal:
    """Return an account as the one who asks for something."""
    return Principal(user.id, user.kind, frozenset(Role(role) for role in user.roles))
