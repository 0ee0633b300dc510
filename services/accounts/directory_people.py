"""Whom a company directory vouches for becomes somebody here: account, memberships and their records."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import KeyScope, Principal
from infra.accounts.people import principal_of
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import DirectoryRecord, User
from infra.directories.claims import DirectoryPerson
from infra.errors import NotAuthenticated, TokenRefused
from services.accounts.records import record_in
from services.parts import Parts

TOKEN_SCOPES: Final = frozenset({KeyScope.ASK, KeyScope.READ, KeyScope.WRITE})
"""What an access token may be used for. A stolen one must not make keys or read the record."""


def take_in(session: Session, parts: Parts, person: DirectoryPerson, corr: str, *, auth_method: str) -> User:
    """Return the account of somebody who signed in, with the groups that the directory gives them now.

    Memberships stay as they are when the directory said nothing of groups, also when it said none while it
    pushes groups over SCIM. Raises NotAuthenticated for a disabled account; roll back then.
    """
    is_new = accounts.user_of_identity(session, person.directory, person.subject) is None
    user = accounts.sign_in_person(session, person)
    moved = _says_groups(session, person) and accounts.set_directory_groups(
        session, user.id, person.directory, person.group_ids
    )
    principal = principal_of(session, user, auth_method=auth_method, secret_hash="")
    if principal is None:
        raise NotAuthenticated("This account is closed.", hint="Ask an administrator.")
    what = Resource("account", user.id)
    if is_new:
        record_in(session, parts, principal, corr, EventType.ACCOUNT_CREATED, what)
    if moved:
        details = {"directory": person.directory, "groups": sorted(person.group_ids)}
        record_in(session, parts, principal, corr, EventType.DIRECTORY_CHANGED, what, "groups", details)
    return user


def _says_groups(session: Session, person: DirectoryPerson) -> bool:
    """Tell whether a sign-in decides about memberships.

    A provider without a list of groups looks like one with an empty list. Where SCIM pushes the groups,
    taking that for an empty one would undo at each sign-in what was pushed, denied groups included.
    """
    if person.group_ids or not person.groups_known:
        return person.groups_known
    pushed = select(DirectoryRecord.id).where(
        DirectoryRecord.directory == person.directory,
        DirectoryRecord.kind == "group",
        DirectoryRecord.deleted_at.is_(None),
    )
    return session.scalar(pushed.limit(1)) is None


def is_directory_token(parts: Parts, secret: str) -> bool:
    """Tell whether a bearer secret is meant to be a directory's token: three parts (RFC 7515) and no key."""
    looks_signed = secret.count(".") == 2 and not secret.startswith(accounts.KEY_PREFIX)
    return looks_signed and parts.directories.take_tokens


def principal_of_token(parts: Parts, token: str, corr: str) -> Principal:
    """Return who an access token speaks for, made an account when it is their first time.

    A token changes no memberships of somebody who is known: it may be older than their last sign-in, and
    would give back what was taken from them since. Raises TokenRefused, DirectoryRefused,
    DirectoryUnavailable or AddressRefused.
    """
    person = parts.directories.person_of_token(token)
    method = f"token:{person.directory}"
    user_id = _known(parts, person) or _taken_in(parts, person, corr, method)
    with parts.database.read() as session:
        principal = principal_of(
            session,
            session.get(User, user_id),
            auth_method=method,
            secret_hash=accounts.hash_secret(token),
            scopes=TOKEN_SCOPES,
        )
    if principal is None:
        raise TokenRefused("account_closed")
    return principal


def _known(parts: Parts, person: DirectoryPerson) -> str | None:
    with parts.database.read() as session:
        user = accounts.user_of_identity(session, person.directory, person.subject)
        return None if user is None else user.id


def _taken_in(parts: Parts, person: DirectoryPerson, corr: str, method: str) -> str:
    with parts.database.write() as session:
        # Somebody may have signed in since we looked; then what the token says of groups is not news either.
        user = accounts.user_of_identity(session, person.directory, person.subject)
        return (user or take_in(session, parts, person, corr, auth_method=method)).id
