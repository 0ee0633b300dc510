"""People and groups of a company directory, as accounts here.

Somebody is found by the directory's name and their immutable subject, never by their e-mail address, which
a directory may give to somebody else later. A directory decides about the groups `group:<its name>:…`, and
about no others.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.access import Role
from infra.accounts.groups import LOCAL
from infra.accounts.names import checked_name
from infra.accounts.people import checked_email
from infra.clock import new_id, now_ms
from infra.database.tables import Group, GroupMember, Identity, User
from infra.directories.claims import DirectoryPerson
from infra.epoch import raise_epoch
from infra.errors import InvalidInput, NotAuthenticated, NotFound


def sign_in_person(session: Session, person: DirectoryPerson) -> User:
    """Return the account of somebody whom a directory vouches for, made when it is their first time.

    Raises NotAuthenticated for a disabled account.
    """
    user = account_of_person(session, person)
    if user.disabled_at is not None:
        raise NotAuthenticated("This account is closed.", hint="Ask an administrator.")
    return user


def account_of_person(session: Session, person: DirectoryPerson) -> User:
    """Return the account of a directory's person, disabled or not, with today's name and e-mail address.

    A new account is an employee's. An address that another account has is left out: it never leads to
    that account.
    """
    user = user_of_identity(session, person.directory, person.subject)
    if user is None:
        return _create(session, person)
    user.name = checked_name(person.name)
    _take_address(user, person, _free_address(session, person, user.id))
    session.flush()
    return user


def user_of_identity(session: Session, directory: str, subject: str) -> User | None:
    """Return the account that a directory's subject has here, or None."""
    identity = session.get(Identity, (directory, subject))
    return None if identity is None else session.get_one(User, identity.user_id)


def identities_of(session: Session) -> Mapping[str, list[str]]:
    """Return the directories that each account comes from, by user id; local accounts are left out."""
    found: dict[str, list[str]] = {}
    for identity in session.scalars(select(Identity).order_by(Identity.directory)):
        found.setdefault(identity.user_id, []).append(identity.directory)
    return found


def set_directory_groups(
    session: Session,
    user_id: str,
    directory: str,
    group_ids: frozenset[str],
    names: Mapping[str, str] | None = None,
) -> bool:
    """Replace a person's memberships in the groups of one directory; returns whether any changed.

    `group_ids` are principals, `group:<directory>:<id>`; `names` says what people call some of them.
    Groups seen for the first time are made. Raises InvalidInput for a group of anybody else's, and NotFound
    for an unknown person; then nothing has changed.
    """
    if not all(is_group_of(directory, group_id) for group_id in group_ids):
        raise InvalidInput("A directory decides about its own groups only.", param="groups")
    if session.get(User, user_id) is None:
        raise NotFound("There is no such person.")
    for group_id in sorted(group_ids):
        ensure_directory_group(session, directory, group_id, (names or {}).get(group_id))
    before = set(
        session.scalars(
            select(GroupMember.group_id)
            .join(Group, Group.id == GroupMember.group_id)
            .where(GroupMember.user_id == user_id, Group.directory == directory)
        )
    )
    for group_id in before - group_ids:
        session.delete(session.get_one(GroupMember, (group_id, user_id)))
    session.add_all(GroupMember(group_id=group_id, user_id=user_id) for group_id in group_ids - before)
    session.flush()
    if before == group_ids:
        return False
    raise_epoch(session)
    return True


def ensure_directory_group(session: Session, directory: str, group_id: str, name: str | None) -> Group:
    """Return a directory's group, made when it is new, under the name that the directory gives it now.

    A name that another group of the directory has is left out; the id is shown instead. Raises
    InvalidInput for an id of anybody else's.
    """
    if not is_group_of(directory, group_id):
        raise InvalidInput("A directory decides about its own groups only.", param="groups")
    group = session.get(Group, group_id)
    if group is None:
        label = _free_name(session, directory, group_id, name)
        group = Group(id=group_id, directory=directory, name=label, created_at=now_ms())
        try:
            with session.begin_nested():
                session.add(group)
        except IntegrityError:
            # Another sign-in made it at the same moment; what it is called is settled at the next one.
            group = session.get_one(Group, group_id)
    elif name is not None:
        group.name = _free_name(session, directory, group_id, name)
    session.flush()
    return group


def is_group_of(directory: str, group_id: str) -> bool:
    """Say whether a principal id is that of a group which `directory` decides about."""
    prefix = f"group:{directory}:"
    return directory != LOCAL and group_id.startswith(prefix) and prefix != group_id and len(group_id) <= 200


def _create(session: Session, person: DirectoryPerson) -> User:
    user = User(
        id=new_id(),
        kind="user",
        email_vouched=False,
        name=checked_name(person.name),
        roles=[Role.EMPLOYEE],
        compartments=[],
        created_at=now_ms(),
    )
    _take_address(user, person, _free_address(session, person, None))
    try:
        with session.begin_nested():
            session.add(user)
            session.flush()
            session.add(Identity(directory=person.directory, subject=person.subject, user_id=user.id))
    except IntegrityError:
        # The same person signed in twice at this moment, or the address was taken in between: both are
        # to be seen now, and there is nothing to take twice.
        return account_of_person(session, person)
    return user


def _take_address(user: User, person: DirectoryPerson, address: str | None) -> None:
    """Give an account the address of today; what was vouched for once stays so until it changes."""
    if address is not None:
        user.email_vouched = person.email_vouched or (user.email_vouched and user.email == address)
        user.email = address


def _free_address(session: Session, person: DirectoryPerson, user_id: str | None) -> str | None:
    """Return the person's address as it is stored, or None when it is none or another account's."""
    try:
        address = checked_email(person.email or "")
    except InvalidInput:
        return None
    holder = session.scalar(select(User.id).where(User.email == address))
    return address if holder in {None, user_id} else None


def _free_name(session: Session, directory: str, group_id: str, name: str | None) -> str:
    """Return the first of the wished name and the id that no other group of the directory has."""
    own_id = group_id.removeprefix(f"group:{directory}:")
    wished = " ".join((name or own_id).split())[:200] or own_id
    for label in (wished, own_id):
        holder = session.scalar(select(Group.id).where(Group.directory == directory, Group.name == label))
        if holder in {None, group_id}:
            return label
    return group_id
