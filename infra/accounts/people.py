"""Accounts of people and of services, and the principal that each of them is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from infra.access import EVERY_SCOPE, KeyScope, Principal, Role
from infra.accounts.groups import groups_of
from infra.accounts.names import checked_name
from infra.clock import new_id, now_ms
from infra.database.tables import ApiKey, DirectoryRecord, Invitation, User, WebSession
from infra.epoch import raise_epoch
from infra.errors import Conflict, InvalidInput, NotFound, NotPermitted
from infra.sharing import MAX_CLEARANCE, check_compartments

SERVICE_ROLES: Final = frozenset({Role.EMPLOYEE, Role.CURATOR})
"""The roles that a service account can have: nobody administrates or audits without a name."""
_NO_ACCOUNT: Final = "There is no such account."


@dataclass(frozen=True)
class AccountChange:
    """What shall be different about an account; None leaves a thing as it is. Clearance is 0 to 100."""

    roles: frozenset[Role] | None = None
    clearance: int | None = None
    compartments: frozenset[str] | None = None
    disabled: bool | None = None


@dataclass(frozen=True)
class Changed:
    """An account after a change, and what was different before: by field, the value before and after.

    `withdrawn` are the ids of keys that it made for others as an administrator and that ended with this.
    """

    user: User
    fields: dict[str, tuple[object, object]]
    withdrawn: Sequence[str] = ()


def principal_of(
    session: Session,
    user: User | None,
    *,
    auth_method: str,
    secret_hash: str,
    scopes: frozenset[KeyScope] = EVERY_SCOPE,
) -> Principal | None:
    """Return who an account is at this moment, or None for nobody and for a disabled account."""
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


def list_people(session: Session) -> Sequence[User]:
    """List all accounts, oldest first."""
    return session.scalars(select(User).order_by(User.created_at)).all()


def change_account(session: Session, user_id: str, wanted: AccountChange, *, by: Principal) -> Changed:
    """Change roles, clearance, compartments or state of somebody else's account; it bites at once.

    Raises NotFound, NotPermitted for one's own account, InvalidInput for values out of range, and Conflict
    when no administrator would be left.
    """
    if user_id == by.user_id:
        raise NotPermitted("Somebody else has to change your own access.")
    # The epoch's row is locked by this: of two changes at once, the second sees what the first has left,
    # so that two administrators cannot remove each other.
    raise_epoch(session)
    user = session.get(User, user_id, populate_existing=True)
    if user is None:
        raise NotFound(_NO_ACCOUNT)
    before, was_administrator = _state_of(user), _is_administrator(user)
    if wanted.roles is not None:
        user.roles = _roles_for(user, wanted.roles)
    if wanted.clearance is not None:
        user.clearance = _checked_clearance(wanted.clearance)
    if wanted.compartments is not None:
        user.compartments = check_compartments(wanted.compartments)
    withdrawn: list[str] = []
    if wanted.disabled is not None and wanted.disabled != (user.disabled_at is not None):
        withdrawn += set_disabled(session, user, disabled=wanted.disabled)
    session.flush()
    if was_administrator and not _is_administrator(user):
        _check_an_administrator_is_left(session)
        withdrawn += _end_what_they_gave(session, user.id)
    after = _state_of(user)
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    if wanted.disabled is not None and _take_over_closure(session, user) and wanted.disabled:
        changed.setdefault("disabled", ("by its directory", True))
    return Changed(user, changed, withdrawn)


def set_disabled(session: Session, user: User, *, disabled: bool) -> Sequence[str]:
    """Close an account or open it again. Closing ends its sessions, and its keys work no more.

    Returns the ids of the keys that it had made for others, which end as well. Raises Conflict when no
    administrator would be left; roll back then.
    """
    # Locks the epoch's row first: two closures at once must not each find the other's administrator.
    raise_epoch(session)
    was_administrator = _is_administrator(user)
    user.disabled_at = now_ms() if disabled else None
    session.flush()
    if not disabled:
        return ()
    if was_administrator:
        _check_an_administrator_is_left(session)
    session.execute(delete(WebSession).where(WebSession.user_id == user.id))
    return _end_what_they_gave(session, user.id)


def list_service_accounts(session: Session) -> Sequence[User]:
    """List the accounts of services, oldest first."""
    return session.scalars(select(User).where(User.kind == "service").order_by(User.created_at)).all()


def get_service_account(session: Session, user_id: str) -> User:
    """Return a service's account; raises NotFound for anything else, a person's account included."""
    user = session.get(User, user_id)
    if user is None or user.kind != "service":
        raise NotFound("There is no such service account.")
    return user


def create_service_account(session: Session, name: str, roles: Iterable[Role]) -> User:
    """Make an account for a program; raises Conflict for a name in use, InvalidInput for other roles."""
    wanted = checked_name(name)
    # Two at once could both find the name free; the epoch's row makes one of them wait for the other.
    raise_epoch(session)
    if session.scalar(select(User.id).where(User.kind == "service", User.name == wanted)) is not None:
        raise Conflict("A service account with this name exists already.", param="name")
    user = User(id=new_id(), kind="service", name=wanted, roles=[], compartments=[], created_at=now_ms())
    user.roles = _roles_for(user, roles)
    session.add(user)
    session.flush()
    return user


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


# --- administrators -------------------------------------------------------------------------------


def _is_administrator(user: User) -> bool:
    return user.kind == "user" and user.disabled_at is None and Role.ADMIN in user.roles


def _check_an_administrator_is_left(session: Session) -> None:
    people = session.scalars(select(User).where(User.kind == "user", User.disabled_at.is_(None)))
    if not any(_is_administrator(user) for user in people):
        raise Conflict("Nobody would be left to administrate.", hint="Make somebody else an administrator.")


def _end_what_they_gave(session: Session, user_id: str) -> Sequence[str]:
    """Make links and others' keys worthless that an administrator made; they may have kept some.

    Returns the ids of the keys.
    """
    unused = update(Invitation).where(Invitation.created_by == user_id, Invitation.used_at.is_(None))
    session.execute(unused.values(expires_at=0))
    theirs = update(ApiKey).where(ApiKey.created_by == user_id, ApiKey.revoked_at.is_(None))
    return session.scalars(theirs.values(revoked_at=now_ms()).returning(ApiKey.id)).all()


def _take_over_closure(session: Session, user: User) -> bool:
    """Make it an administrator's decision whether an account is closed; says whether it was a directory's."""
    closed_there = update(DirectoryRecord).where(
        DirectoryRecord.kind == "user", DirectoryRecord.id == user.id, DirectoryRecord.closed_at.is_not(None)
    )
    return bool(session.execute(closed_there.values(closed_at=None).returning(DirectoryRecord.id)).all())


def _state_of(user: User) -> dict[str, object]:
    return {
        "roles": list(user.roles),
        "clearance": user.clearance,
        "compartments": list(user.compartments),
        "disabled": user.disabled_at is not None,
    }


# --- what an account may look like ----------------------------------------------------------------


def _roles_for(user: User, roles: Iterable[Role]) -> list[str]:
    wanted = checked_roles(roles)
    if user.kind == "service" and not SERVICE_ROLES.issuperset(wanted):
        raise InvalidInput("A service account can be an employee or a curator.", param="roles")
    return wanted


def _checked_clearance(clearance: int) -> int:
    if not 0 <= clearance <= MAX_CLEARANCE:
        raise InvalidInput(f"A clearance is a number from 0 to {MAX_CLEARANCE}.", param="clearance")
    return clearance


def checked_roles(roles: Iterable[Role]) -> list[str]:
    """Return role names, sorted; raises InvalidInput for none, and for admin together with auditor."""
    wanted = {Role(role) for role in roles}
    if not wanted:
        raise InvalidInput("An account needs at least one role.", param="roles")
    if {Role.ADMIN, Role.AUDITOR} <= wanted:
        raise InvalidInput("An administrator cannot be an auditor as well.", param="roles")
    return sorted(wanted)


def checked_email(email: str) -> str:
    """Return an e-mail address as it is stored; raises InvalidInput for what is none."""
    cleaned = email.strip().lower()
    if len(cleaned) > 320 or not re.fullmatch(r"[^@\s]+@[^@\s]+", cleaned):
        raise InvalidInput("That is not an e-mail address.", param="email")
    return cleaned
