"""The person themself, and for administrators everybody's account."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from infra import accounts
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import User
from services.accounts.records import record_in
from services.accounts.schemas import AccountPatch
from services.accounts.shapes import account_object, group_object
from services.accounts.signing_in import SignedInAdmin
from services.deps import Admin, CurrentPerson, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=RecordedRoute)


@router.get("/me")
@reads(EventType.ACCOUNTS_READ, "account", at="own")
def me(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """Say who is signed in, and how."""
    with parts.database.read() as session:
        groups = [group_object(group) for group in accounts.groups_of(session, person.id)]
        has_password = session.get_one(User, person.id).password_hash is not None
    return {
        "id": person.id,
        "name": person.name,
        "email": person.email,
        "roles": sorted(person.roles),
        "groups": groups,
        "auth_method": person.principal.auth_method,
        "has_password": has_password,
    }


@router.get("/users")
@reads(EventType.ACCOUNTS_READ, "accounts")
def list_users(parts: PartsDep, _admin: Admin) -> dict[str, Any]:
    """List all accounts."""
    with parts.database.read() as session:
        directories = accounts.identities_of(session)
        people = accounts.list_people(session)
        found = [account_object(user, directories.get(user.id, [])) for user in people]
    return {"object": "list", "data": found}


@router.patch("/users/{user_id}")
@writes(EventType.ACCOUNT_CHANGED, EventType.ACCOUNT_DISABLED)
def change_user(
    user_id: str, body: AccountPatch, parts: PartsDep, person: SignedInAdmin, corr: RequestId
) -> dict[str, Any]:
    """Change somebody else's roles, clearance, compartments or state; it bites at their next request."""
    wanted = accounts.AccountChange(
        roles=None if body.roles is None else frozenset(body.roles),
        clearance=body.clearance,
        compartments=None if body.compartments is None else frozenset(body.compartments),
        disabled=body.disabled,
    )
    with parts.database.write() as session:
        changed = accounts.change_account(session, user_id, wanted, by=person.principal)
        _record_change(session, parts, person, corr, changed)
        for key_id in changed.withdrawn:
            what = Resource("key", key_id)
            record_in(session, parts, person.principal, corr, EventType.KEY_REVOKED, what, "maker_left")
        return account_object(changed.user, accounts.identities_of(session).get(user_id, []))


def _record_change(
    session: Session, parts: Parts, person: Person, corr: str, changed: accounts.Changed
) -> None:
    closed = changed.fields.get("disabled") == (False, True)
    event = EventType.ACCOUNT_DISABLED if closed else EventType.ACCOUNT_CHANGED
    outcome = ",".join(sorted(changed.fields)) or "unchanged"
    details = {name: {"before": before, "after": after} for name, (before, after) in changed.fields.items()}
    what = Resource("account", changed.user.id)
    record_in(session, parts, person.principal, corr, event, what, outcome, details)
