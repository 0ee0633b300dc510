"""Groups, who is in them, and whom something can be shared with."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import EVERYONE, Role
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.errors import NotPermitted
from infra.sharing import may_name
from ingest.index import refresh_lagging
from services.accounts.records import record_in
from services.accounts.schemas import GroupRequest
from services.accounts.shapes import group_object
from services.deps import Admin, CurrentPerson, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=RecordedRoute)
_OWN_ACCESS = "Somebody else has to change your own access."


@router.get("/groups")
@reads(EventType.GROUPS_READ, "groups")
def list_groups(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """List groups: all of them with their members for administrators, one's own for others."""
    with parts.database.read() as session:
        if Role.ADMIN not in person.roles:
            mine = accounts.groups_of(session, person.id)
            return {"object": "list", "data": [group_object(group) for group in mine]}
        groups = [
            {**group_object(group), "members": accounts.members_of(session, group.id)}
            for group in accounts.list_groups(session)
        ]
        return {"object": "list", "data": groups}


@router.post("/groups", status_code=201)
@writes(EventType.GROUP_CREATED)
def create_group(body: GroupRequest, parts: PartsDep, person: Admin, corr: RequestId) -> dict[str, Any]:
    """Make a group."""
    with parts.database.write() as session:
        group = accounts.create_group(session, body.name)
        what = Resource("group", group.id)
        record_in(session, parts, person.principal, corr, EventType.GROUP_CREATED, what)
    return {**group_object(group), "members": []}


@router.delete("/groups/{group_id}", status_code=204)
@writes(EventType.GROUP_DELETED)
def delete_group(group_id: str, parts: PartsDep, person: Admin, corr: RequestId) -> None:
    """Remove a group that was made here; what was shared with it is so no more."""
    with parts.database.write() as session:
        if person.id in accounts.members_of(session, group_id):
            # With the group goes every line that denies it something.
            raise NotPermitted(_OWN_ACCESS)
        accounts.delete_local_group(session, group_id)
        what = Resource("group", group_id)
        record_in(session, parts, person.principal, corr, EventType.GROUP_DELETED, what)
    refresh_lagging(parts.database, parts.index)


@router.put("/groups/{group_id}/members/{user_id}", status_code=204)
@writes(EventType.GROUP_CHANGED)
def add_member(group_id: str, user_id: str, parts: PartsDep, person: Admin, corr: RequestId) -> None:
    """Put somebody else into a group; what is shared with it is theirs to read from the next request on."""
    _refuse_oneself(person, user_id)
    with parts.database.write() as session:
        accounts.add_member(session, group_id, user_id)
        _record_member(session, parts, person, corr, group_id, user_id, "member_added")


@router.delete("/groups/{group_id}/members/{user_id}", status_code=204)
@writes(EventType.GROUP_CHANGED)
def remove_member(group_id: str, user_id: str, parts: PartsDep, person: Admin, corr: RequestId) -> None:
    """Take somebody else out of a group; it bites at the next request."""
    _refuse_oneself(person, user_id)
    with parts.database.write() as session:
        accounts.remove_member(session, group_id, user_id)
        _record_member(session, parts, person, corr, group_id, user_id, "member_removed")


@router.get("/principals")
@reads(EventType.GROUPS_READ, "principals")
def list_principals(parts: PartsDep, person: CurrentPerson, q: str = "") -> dict[str, Any]:
    """List people and the groups that one may know of; `q` narrows by name."""
    with parts.database.read() as session:
        everyone = [{"id": EVERYONE, "label": "Everyone"}]
        groups = [
            {"id": group.id, "label": group.name}
            for group in accounts.list_groups(session)
            if may_name(person.principal, group.id)
        ]
        people = [
            {"id": f"user:{user.id}", "label": user.name}
            for user in accounts.list_people(session)
            if user.kind == "user" and user.disabled_at is None and user.id != person.id
        ]
    found = [entry for entry in everyone + groups + people if q.lower() in entry["label"].lower()]
    return {"object": "list", "data": found[:50]}


def _refuse_oneself(person: Person, user_id: str) -> None:
    if user_id == person.id:
        raise NotPermitted(_OWN_ACCESS)


def _record_member(
    session: Session, parts: Parts, person: Person, corr: str, group_id: str, user_id: str, outcome: str
) -> None:
    what, details = Resource("group", group_id), {"account": user_id}
    record_in(session, parts, person.principal, corr, EventType.GROUP_CHANGED, what, outcome, details)
