"""What a directory does with people: each change and its record in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from scim2_models import ListResponse
from sqlalchemy.orm import Session

from infra.accounts import provisioning
from infra.accounts.provisioning import PersonChange
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import DirectoryRecord
from infra.errors import Conflict
from services.scim.caller import ATTEMPTS, Directory
from services.scim.filters import condition
from services.scim.resources import (
    User,
    check_lists,
    known_user,
    pushed_person,
    read_new,
    read_patched,
    read_replacement,
    shown_user,
)

_EVENTS: Final[dict[PersonChange, tuple[EventType, str]]] = {
    "attributes": (EventType.DIRECTORY_CHANGED, "attributes"),
    "disabled": (EventType.ACCOUNT_DISABLED, "disabled"),
    "enabled": (EventType.DIRECTORY_CHANGED, "enabled"),
}
_UNCHANGED: Final = (EventType.DIRECTORY_CHANGED, "unchanged")


def create_user(caller: Directory, body: Mapping[str, Any]) -> User:
    """Add somebody who joined."""
    check_lists(body)
    pushed = pushed_person(read_new(User, body), was_active=True)
    with caller.parts.database.write() as session:
        record = provisioning.add_person(session, caller.name, pushed)
        outcome = "ok" if pushed.active else "disabled"
        caller.record(session, EventType.ACCOUNT_CREATED, Resource("account", record.id), outcome)
        return _shown(session, caller, [record])[0]


def get_user(caller: Directory, user_id: str) -> User:
    """Return one person of this directory; raises NotFound."""
    with caller.parts.database.read() as session:
        return _shown(session, caller, [provisioning.get_record(session, caller.name, "user", user_id)])[0]


def list_users(caller: Directory, text: str | None, *, skip: int, limit: int) -> ListResponse[User]:
    """Return a page of this directory's people that match a filter; raises InvalidFilterException."""
    wanted = None if text is None else condition("user", caller.name, text)
    with caller.parts.database.read() as session:
        total, records = provisioning.find_records(
            session, caller.name, "user", wanted, skip=skip, limit=limit
        )
        shown = _shown(session, caller, records)
    return ListResponse[User](
        total_results=total, start_index=skip + 1, items_per_page=len(shown), resources=shown
    )


def replace_user(caller: Directory, user_id: str, body: Mapping[str, Any]) -> User:
    """Set everything that the directory says about somebody."""
    check_lists(body)
    return _change(caller, user_id, lambda known: read_replacement(User, body, known))


def patch_user(caller: Directory, user_id: str, body: Mapping[str, Any]) -> User:
    """Change some of what the directory says about somebody, or close or reopen their account."""
    check_lists(body)
    return _change(caller, user_id, lambda known: read_patched(User, body, known))


def delete_user(caller: Directory, user_id: str) -> None:
    """Close the account of somebody who left, for good."""
    with caller.parts.database.write() as session:
        record = provisioning.get_record(session, caller.name, "user", user_id, to_change=True)
        provisioning.remove_person(session, record)
        caller.record(session, EventType.ACCOUNT_DISABLED, Resource("account", user_id), "deleted")


def _change(caller: Directory, user_id: str, apply: Callable[[User], User]) -> User:
    for _ in range(ATTEMPTS):
        # The database has one writer: what was said is read before, and written if nothing changed meanwhile.
        with caller.parts.database.read() as session:
            seen = provisioning.get_record(session, caller.name, "user", user_id)
        was_active = seen.attributes.get("active") is True
        pushed = pushed_person(apply(known_user(seen)), was_active=was_active)
        with caller.parts.database.write() as session:
            record = provisioning.get_record(session, caller.name, "user", user_id, to_change=True)
            if not provisioning.is_as_seen(record, seen):
                continue
            changes = provisioning.change_person(session, record, pushed)
            for event, outcome in [_EVENTS[change] for change in changes] or [_UNCHANGED]:
                caller.record(session, event, Resource("account", user_id), outcome)
            return _shown(session, caller, [record])[0]
    raise Conflict("This user is being changed by others at this moment.", hint="Try again.")


def _shown(session: Session, caller: Directory, records: Sequence[DirectoryRecord]) -> list[User]:
    accounts = provisioning.accounts_of(session, records)
    groups = provisioning.groups_pushed(session, caller.name, accounts)
    return [
        shown_user(record, accounts[record.id], groups.get(record.id, {}), caller.base) for record in records
    ]
