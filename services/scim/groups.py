"""What a directory does with groups: each change and its record in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scim2_models import ListResponse
from sqlalchemy.orm import Session

from infra.accounts import provisioning
from infra.accounts.provisioning import MemberChange, PushedGroup
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import DirectoryRecord
from infra.errors import Conflict
from ingest.index import refresh_lagging
from services.scim.caller import ATTEMPTS, Directory
from services.scim.filters import condition
from services.scim.memberships import read_patched_group
from services.scim.resources import (
    Group,
    known_group,
    member_ids,
    pushed_group,
    read_new,
    read_replacement,
)

_Apply = Callable[[Group, frozenset[str]], tuple[Group, frozenset[str]]]


def create_group(caller: Directory, body: Mapping[str, Any]) -> Group:
    """Add a group and its members."""
    wanted = read_new(Group, body)
    pushed, members = pushed_group(wanted), member_ids(wanted)
    with caller.parts.database.write() as session:
        record = provisioning.add_group(session, caller.name, pushed)
        change = provisioning.set_members(session, record, members)
        what = Resource("group", provisioning.group_principal(caller.name, record.id))
        caller.record(session, EventType.GROUP_CREATED, what, about=_about(change))
    return known_group(record, sorted(members), caller.base)


def get_group(caller: Directory, group_id: str) -> Group:
    """Return one group of this directory; raises NotFound."""
    with caller.parts.database.read() as session:
        return _shown(session, caller, [provisioning.get_record(session, caller.name, "group", group_id)])[0]


def list_groups(
    caller: Directory, text: str | None, *, skip: int, limit: int, with_members: bool
) -> ListResponse[Group]:
    """Return a page of this directory's groups that match a filter; raises InvalidFilterException.

    Directories that look a group up leave its members out, and large groups then cost nothing.
    """
    wanted = None if text is None else condition("group", caller.name, text)
    with caller.parts.database.read() as session:
        total, records = provisioning.find_records(
            session, caller.name, "group", wanted, skip=skip, limit=limit
        )
        shown = _shown(session, caller, records, with_members=with_members)
    return ListResponse[Group](
        total_results=total, start_index=skip + 1, items_per_page=len(shown), resources=shown
    )


def replace_group(caller: Directory, group_id: str, body: Mapping[str, Any]) -> Group:
    """Set a group's name and members."""

    def replaced(known: Group, _members: frozenset[str]) -> tuple[Group, frozenset[str]]:
        wanted = read_replacement(Group, body, known)
        return wanted, member_ids(wanted)

    return _change(caller, group_id, replaced)


def patch_group(caller: Directory, group_id: str, body: Mapping[str, Any]) -> Group:
    """Rename a group, or put people into it and take them out; it bites at their next request."""
    return _change(caller, group_id, lambda known, members: read_patched_group(body, known, members))


def delete_group(caller: Directory, group_id: str) -> None:
    """Remove a group and everything that was shared with it."""
    with caller.parts.database.write() as session:
        record = provisioning.get_record(session, caller.name, "group", group_id, to_change=True)
        provisioning.remove_group(session, record)
        what = Resource("group", provisioning.group_principal(caller.name, group_id))
        caller.record(session, EventType.GROUP_DELETED, what)
    refresh_lagging(caller.parts.database, caller.parts.index)


def _change(caller: Directory, group_id: str, apply: _Apply) -> Group:
    for _ in range(ATTEMPTS):
        # Thousands of members take a while to read, and the database has one writer: only what is found
        # to be the same afterwards is written.
        seen, before = _seen(caller, group_id)
        wanted, members = apply(known_group(seen, [], caller.base), before)
        pushed = pushed_group(wanted)
        with caller.parts.database.write() as session:
            record = provisioning.get_record(session, caller.name, "group", group_id, to_change=True)
            if not provisioning.is_as_seen(record, seen) or _members(session, caller, group_id) != before:
                continue
            _write(session, caller, record, pushed, members)
        return known_group(record, sorted(members), caller.base)
    raise Conflict("This group is being changed by others at this moment.", hint="Try again.")


def _seen(caller: Directory, group_id: str) -> tuple[DirectoryRecord, frozenset[str]]:
    with caller.parts.database.read() as session:
        record = provisioning.get_record(session, caller.name, "group", group_id)
        return record, _members(session, caller, group_id)


def _members(session: Session, caller: Directory, group_id: str) -> frozenset[str]:
    return frozenset(provisioning.members_pushed(session, caller.name, [group_id]).get(group_id, []))


def _write(
    session: Session,
    caller: Directory,
    record: DirectoryRecord,
    pushed: PushedGroup,
    members: frozenset[str],
) -> None:
    what = Resource("group", provisioning.group_principal(caller.name, record.id))
    is_changed = provisioning.change_group(session, record, pushed)
    change = provisioning.set_members(session, record, members)
    moved = bool(change.added or change.removed)
    if is_changed or not moved:
        outcome = "attributes" if is_changed else "unchanged"
        caller.record(session, EventType.DIRECTORY_CHANGED, what, outcome)
    if moved:
        caller.record(session, EventType.GROUP_CHANGED, what, "members", about=_about(change))


def _about(change: MemberChange) -> dict[str, list[str]] | None:
    lines = {"added": sorted(change.added), "removed": sorted(change.removed)}
    return {name: ids for name, ids in lines.items() if ids} or None


def _shown(
    session: Session, caller: Directory, records: Sequence[DirectoryRecord], *, with_members: bool = True
) -> list[Group]:
    session.flush()
    ids = [record.id for record in records] if with_members else []
    members = provisioning.members_pushed(session, caller.name, ids)
    return [known_group(record, members.get(record.id, []), caller.base) for record in records]
