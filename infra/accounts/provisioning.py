"""People and groups that a directory pushes here (SCIM), and what follows for accounts and memberships.

A directory sees and changes only what it pushed itself, which is what has a `DirectoryRecord` of its name:
local accounts and groups, and those of other directories, do not exist for it. Nothing here gives anybody
roles beyond `employee`, a clearance or a compartment.

Accounts of administrators and auditors do not exist for it either, from when they are made so: whoever holds
the directory's key, an administrator among them, could otherwise change their own groups through it, or close
the account of whoever would notice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import ColumnElement, Text, cast, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.access import Role
from infra.accounts import groups
from infra.accounts.identities import ensure_directory_group
from infra.accounts.people import set_disabled
from infra.clock import new_id, now_ms
from infra.database.batches import in_batches
from infra.database.tables import ApiKey, DirectoryRecord, Group, GroupMember, Identity, User
from infra.epoch import raise_epoch
from infra.errors import Conflict, InvalidInput, NotFound

Kind = Literal["user", "group"]
PersonChange = Literal["attributes", "disabled", "enabled"]

MAX_UNIQUE_CHARS: Final = 255
_PRIVILEGED: Final = frozenset({Role.ADMIN, Role.AUDITOR})
# An id stands in addresses, so it must be one path segment; `bulkId` is reserved (RFC 7643, section 3.1).
_GROUP_ID: Final = re.compile(r"(?!.*bulkId)[A-Za-z0-9][A-Za-z0-9._~-]{0,159}")


@dataclass(frozen=True)
class PushedPerson:
    """What a directory says about one person. `external_id` is the subject that they sign in with."""

    user_name: str
    external_id: str | None
    name: str
    email: str | None
    active: bool
    attributes: dict[str, object]


@dataclass(frozen=True)
class PushedGroup:
    """What a directory says about one group, without its members."""

    name: str
    external_id: str | None
    attributes: dict[str, object]


@dataclass(frozen=True)
class MemberChange:
    """Which accounts were put into a group and taken out of it."""

    added: frozenset[str]
    removed: frozenset[str]


# --- finding --------------------------------------------------------------------------------------


def get_record(
    session: Session, directory: str, kind: Kind, record_id: str, *, to_change: bool = False
) -> DirectoryRecord:
    """Return what `directory` pushed under this id, locked if it is `to_change`; raises NotFound."""
    record = session.get(
        DirectoryRecord, (directory, kind, record_id), with_for_update=True if to_change else None
    )
    is_hidden = kind == "user" and _is_privileged(session.get(User, record_id))
    if record is None or record.deleted_at is not None or is_hidden:
        raise NotFound("There is no such user." if kind == "user" else "There is no such group.")
    return record


def is_as_seen(record: DirectoryRecord, seen: DirectoryRecord) -> bool:
    """Say whether a record is what it was when somebody read it, outside of this transaction."""
    return (record.changed_at, record.external_id, record.attributes) == (
        seen.changed_at,
        seen.external_id,
        seen.attributes,
    )


def find_records(
    session: Session,
    directory: str,
    kind: Kind,
    wanted: ColumnElement[bool] | None,
    *,
    skip: int,
    limit: int,
) -> tuple[int, Sequence[DirectoryRecord]]:
    """Return how many records of a directory match, and a page of them, oldest first."""
    matching = [*_live(directory, kind), *([] if wanted is None else [wanted])]
    total = session.scalar(select(func.count()).select_from(DirectoryRecord).where(*matching)) or 0
    page = select(DirectoryRecord).where(*matching).order_by(DirectoryRecord.created_at, DirectoryRecord.id)
    return total, session.scalars(page.offset(skip).limit(limit)).all()


def accounts_of(session: Session, records: Iterable[DirectoryRecord]) -> dict[str, User]:
    """Return the accounts that belong to records of people, by id."""
    ids = [record.id for record in records]
    return {user.id: user for user in session.scalars(select(User).where(User.id.in_(ids)))}


def members_pushed(session: Session, directory: str, group_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return, for each group's record id, the account ids of its members that the directory pushed."""
    found: dict[str, list[str]] = {}
    by_principal = {group_principal(directory, group_id): group_id for group_id in group_ids}
    rows = (
        select(GroupMember.group_id, GroupMember.user_id)
        .join(DirectoryRecord, DirectoryRecord.id == GroupMember.user_id)
        .where(GroupMember.group_id.in_(by_principal), *_live(directory, "user"))
        .order_by(GroupMember.user_id)
    )
    for principal, user_id in session.execute(rows):
        found.setdefault(by_principal[principal], []).append(user_id)
    return found


def groups_pushed(session: Session, directory: str, user_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return, for each account, the groups it is in that the directory pushed: record id to name."""
    found: dict[str, dict[str, str]] = {}
    prefix = group_principal(directory, "")
    rows = (
        select(GroupMember.user_id, Group.id, Group.name)
        .join(Group, Group.id == GroupMember.group_id)
        .join(DirectoryRecord, prefix + DirectoryRecord.id == Group.id)
        .where(GroupMember.user_id.in_(list(user_ids)), *_live(directory, "group"))
        .order_by(Group.id)
    )
    for user_id, principal, name in session.execute(rows):
        found.setdefault(user_id, {})[principal.removeprefix(prefix)] = name
    return found


def group_principal(directory: str, record_id: str) -> str:
    """Return the principal id of a directory's group; a sign-in with that directory names the same one."""
    return f"group:{directory}:{record_id}"


def folded(name: str) -> str:
    """Return what names are compared by: composed (NFC) and in lower case, as RFC 7643 asks of userName."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())


# --- people ---------------------------------------------------------------------------------------


def add_person(session: Session, directory: str, pushed: PushedPerson) -> DirectoryRecord:
    """Create the account of somebody who joined, or take up the one that their first sign-in made.

    Raises Conflict when the user name, the subject or the e-mail address belongs to somebody already.
    """
    user, now = _account_for(session, directory, pushed.external_id), now_ms()
    record = DirectoryRecord(
        directory=directory, kind="user", id=user.id, attributes={}, created_at=now, changed_at=now
    )
    session.add(record)
    _describe_person(session, record, user, pushed)
    if not pushed.active:
        _close(session, record, user)
    return record


def change_person(session: Session, record: DirectoryRecord, pushed: PushedPerson) -> list[PersonChange]:
    """Bring an account to what the directory says now; returns what changed.

    Somebody whom an administrator here closed stays closed, whatever the directory says.
    """
    if (pushed.attributes, pushed.external_id) == (record.attributes, record.external_id):
        return []
    user = session.get_one(User, record.id)
    was_active = record.attributes.get("active") is True
    changes: list[PersonChange] = []
    if _without_state(record.attributes) != _without_state(pushed.attributes):
        changes.append("attributes")
    _move_identity(session, record, pushed.external_id)
    _describe_person(session, record, user, pushed)
    if was_active and not pushed.active:
        _close(session, record, user)
        changes.append("disabled")
    if pushed.active and not was_active and _reopen(session, record, user):
        changes.append("enabled")
    return changes or ["attributes"]


def remove_person(session: Session, record: DirectoryRecord) -> None:
    """Close an account for good: no sign-in, no keys, no memberships; its row stays for the record.

    The subject goes on naming the closed account, so that signing in does not make a new one. The e-mail
    address and the user name become free for whoever comes next.
    """
    user = session.get_one(User, record.id)
    _close(session, record, user)
    user.email, user.email_vouched = None, False
    if session.scalars(
        delete(GroupMember).where(GroupMember.user_id == user.id).returning(GroupMember.group_id)
    ).all():
        raise_epoch(session)
    record.attributes, record.unique_name, record.external_id = {}, None, None
    record.deleted_at = record.changed_at = now_ms()


def _account_for(session: Session, directory: str, subject: str | None) -> User:
    identity = session.get(Identity, (directory, subject)) if subject else None
    if identity is not None and _is_privileged(session.get(User, identity.user_id)):
        raise Conflict("Another user has this externalId.", param="externalId")
    if identity is None:
        user = _new_account(session)
        session.add(Identity(directory=directory, subject=subject or user.id, user_id=user.id))
        return user
    known = session.get(DirectoryRecord, (directory, "user", identity.user_id))
    if known is None:
        return session.get_one(User, identity.user_id)
    if known.deleted_at is None:
        raise Conflict("Another user has this externalId.", param="externalId")
    # Somebody who left and came back is a new account: what the old one could read is not theirs again.
    user = _new_account(session)
    identity.user_id = user.id
    return user


def _new_account(session: Session) -> User:
    user = User(
        id=new_id(), kind="user", name="", roles=[Role.EMPLOYEE], compartments=[], created_at=now_ms()
    )
    session.add(user)
    # Nothing relates the tables for the unit of work, so the row that others refer to is written first.
    session.flush()
    return user


def _describe_person(session: Session, record: DirectoryRecord, user: User, pushed: PushedPerson) -> None:
    if pushed.email is not None and session.scalar(
        select(User.id).where(User.email == pushed.email, User.id != user.id)
    ):
        raise Conflict("Another account has this e-mail address.", param="emails")
    user.name, user.email, user.email_vouched = pushed.name, pushed.email, pushed.email is not None
    _describe(record, pushed.user_name, pushed.external_id, pushed.attributes)
    _flush_unique(session, "Another user has this userName or externalId.")


def _move_identity(session: Session, record: DirectoryRecord, external_id: str | None) -> None:
    before, after = record.external_id or record.id, external_id or record.id
    if before == after:
        return
    if session.get(Identity, (record.directory, after)) is not None:
        raise Conflict("Another user has this externalId.", param="externalId")
    session.execute(
        delete(Identity).where(Identity.directory == record.directory, Identity.subject == before)
    )
    session.add(Identity(directory=record.directory, subject=after, user_id=record.id))


def _close(session: Session, record: DirectoryRecord, user: User) -> None:
    if user.disabled_at is None:
        set_disabled(session, user, disabled=True)
        record.closed_at = user.disabled_at
    # A closed account's keys do not work; these shall not come back with the account either.
    session.execute(
        update(ApiKey)
        .where(ApiKey.user_id == user.id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now_ms())
    )


def _reopen(session: Session, record: DirectoryRecord, user: User) -> bool:
    if user.disabled_at is None or user.disabled_at != record.closed_at:
        return False
    set_disabled(session, user, disabled=False)
    record.closed_at = None
    return True


def _without_state(attributes: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in attributes.items() if name != "active"}


# --- groups ---------------------------------------------------------------------------------------


def add_group(session: Session, directory: str, pushed: PushedGroup) -> DirectoryRecord:
    """Make a group, or take up the one that a sign-in named; raises Conflict for a name or id in use.

    An external id that can stand in an address becomes the group's id, so that the groups which a sign-in
    with the same directory names are these.
    """
    external = pushed.external_id or ""
    record_id = external if _GROUP_ID.fullmatch(external) else new_id()
    if session.get(DirectoryRecord, (directory, "group", record_id)) is not None:
        raise Conflict("Another group has this externalId.", param="externalId")
    now = now_ms()
    record = DirectoryRecord(
        directory=directory, kind="group", id=record_id, attributes={}, created_at=now, changed_at=now
    )
    session.add(record)
    _describe_group(session, record, pushed)
    return record


def change_group(session: Session, record: DirectoryRecord, pushed: PushedGroup) -> bool:
    """Rename a group; its id, and with it what is shared with it, stays. Returns whether anything changed."""
    if (pushed.attributes, pushed.external_id) == (record.attributes, record.external_id):
        return False
    _describe_group(session, record, pushed)
    return True


def set_members(session: Session, record: DirectoryRecord, wanted: frozenset[str]) -> MemberChange:
    """Make these people the group's members, of all that the directory pushed.

    Raises InvalidInput when one of them is no person of this directory. Members that it did not push, who
    came by a sign-in, are left alone.
    """
    now_in = frozenset(members_pushed(session, record.directory, [record.id]).get(record.id, []))
    change = MemberChange(added=wanted - now_in, removed=now_in - wanted)
    _check_pushed(session, record.directory, change.added)
    principal = group_principal(record.directory, record.id)
    for ids in in_batches(sorted(change.removed)):
        session.execute(
            delete(GroupMember).where(GroupMember.group_id == principal, GroupMember.user_id.in_(ids))
        )
    session.add_all(GroupMember(group_id=principal, user_id=user_id) for user_id in sorted(change.added))
    if change.added or change.removed:
        record.changed_at = now_ms()
        raise_epoch(session)
    return change


def remove_group(session: Session, record: DirectoryRecord) -> None:
    """Remove a group, its memberships, and every line of an access list that names it.

    A group that gets the same id later thus starts with nothing. Refresh the index afterwards.
    """
    group = session.get_one(Group, group_principal(record.directory, record.id))
    session.delete(record)
    groups.remove_group(session, group)


def _describe_group(session: Session, record: DirectoryRecord, pushed: PushedGroup) -> None:
    _describe(record, pushed.name, pushed.external_id, pushed.attributes)
    _flush_unique(session, "Another group has this displayName or externalId.")
    ensure_directory_group(
        session, record.directory, group_principal(record.directory, record.id), pushed.name
    )


def _check_pushed(session: Session, directory: str, user_ids: Iterable[str]) -> None:
    wanted = sorted(user_ids)
    known = {
        found
        for ids in in_batches(wanted)
        for found in session.scalars(
            select(DirectoryRecord.id).where(DirectoryRecord.id.in_(ids), *_live(directory, "user"))
        )
    }
    if len(known) != len(wanted):
        raise InvalidInput("A member is no user of this directory.", param="members")


# --- both -----------------------------------------------------------------------------------------


def _live(directory: str, kind: Kind) -> list[ColumnElement[bool]]:
    live = [
        DirectoryRecord.directory == directory,
        DirectoryRecord.kind == kind,
        DirectoryRecord.deleted_at.is_(None),
    ]
    if kind == "group":
        return live
    # Roles are a JSON list, which the two databases search in different ways; as text it is the same in both.
    roles = cast(User.roles, Text)
    privileged = select(User.id).where(or_(*(roles.contains(f'"{role}"') for role in _PRIVILEGED)))
    return [*live, DirectoryRecord.id.not_in(privileged)]


def _is_privileged(user: User | None) -> bool:
    return user is not None and not _PRIVILEGED.isdisjoint(user.roles)


def _describe(
    record: DirectoryRecord, name: str, external_id: str | None, attributes: dict[str, object]
) -> None:
    record.unique_name = folded(name)
    if len(record.unique_name) > MAX_UNIQUE_CHARS or len(external_id or "") > MAX_UNIQUE_CHARS:
        raise InvalidInput(f"userName and externalId have at most {MAX_UNIQUE_CHARS} characters.")
    record.external_id, record.attributes, record.changed_at = external_id, attributes, now_ms()


def _flush_unique(session: Session, taken: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(taken) from error
