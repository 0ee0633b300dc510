"""One's own API keys, and the accounts and keys of programs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Principal
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.clock import now_ms
from infra.database.tables import User
from services.accounts.records import record_in
from services.accounts.schemas import KeyRequest, ServiceAccountRequest, ServiceKeyRequest
from services.accounts.shapes import account_object, key_object
from services.accounts.signing_in import SignedInAdmin, signed_in_person
from services.deps import Admin, CurrentPerson, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=RecordedRoute)
_DAY_MS = 86_400_000


# --- one's own keys -------------------------------------------------------------------------------


@router.get("/keys")
@reads(EventType.ACCOUNTS_READ, "keys", at="own")
def list_keys(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """List one's own API keys, without their secrets."""
    with parts.database.read() as session:
        return {"object": "list", "data": [key_object(key) for key in accounts.keys_of(session, person.id)]}


@router.post("/keys", status_code=201)
@writes(EventType.KEY_CREATED)
def create_key(
    body: KeyRequest, parts: PartsDep, person: Annotated[Person, Depends(signed_in_person)], corr: RequestId
) -> dict[str, Any]:
    """Make an API key; its secret is in this answer and nowhere else."""
    with parts.database.write() as session:
        return _new_key(session, parts, person.principal, corr, person.id, body)


@router.delete("/keys/{key_id}", status_code=204)
@writes(EventType.KEY_REVOKED)
def revoke_key(key_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> None:
    """Withdraw one of one's own keys; it stops working at once."""
    with parts.database.write() as session:
        accounts.revoke_key(session, person.id, key_id)
        record_in(session, parts, person.principal, corr, EventType.KEY_REVOKED, Resource("key", key_id))


# --- programs -------------------------------------------------------------------------------------


@router.get("/service-accounts")
@reads(EventType.ACCOUNTS_READ, "service_accounts")
def list_service_accounts(parts: PartsDep, _admin: Admin) -> dict[str, Any]:
    """List the accounts of programs and their keys."""
    with parts.database.read() as session:
        found = [_service_object(session, user) for user in accounts.list_service_accounts(session)]
    return {"object": "list", "data": found}


@router.post("/service-accounts", status_code=201)
@writes(EventType.ACCOUNT_CREATED)
def create_service_account(
    body: ServiceAccountRequest, parts: PartsDep, person: SignedInAdmin, corr: RequestId
) -> dict[str, Any]:
    """Make an account for a program; it reads what is shared with it, like a person."""
    with parts.database.write() as session:
        user = accounts.create_service_account(session, body.name, body.roles)
        what = Resource("account", user.id)
        record_in(session, parts, person.principal, corr, EventType.ACCOUNT_CREATED, what, outcome="service")
        return _service_object(session, user)


@router.post("/service-accounts/{account_id}/keys", status_code=201)
@writes(EventType.KEY_CREATED)
def create_service_key(
    account_id: str,
    body: ServiceKeyRequest,
    parts: PartsDep,
    person: SignedInAdmin,
    corr: RequestId,
) -> dict[str, Any]:
    """Make a key for a program; its secret is in this answer and nowhere else."""
    with parts.database.write() as session:
        user = accounts.get_service_account(session, account_id)
        return _new_key(session, parts, person.principal, corr, user.id, body)


@router.delete("/service-accounts/{account_id}/keys/{key_id}", status_code=204)
@writes(EventType.KEY_REVOKED)
def revoke_service_key(account_id: str, key_id: str, parts: PartsDep, person: Admin, corr: RequestId) -> None:
    """Withdraw a program's key; it stops working at once."""
    with parts.database.write() as session:
        user = accounts.get_service_account(session, account_id)
        accounts.revoke_key(session, user.id, key_id)
        what = Resource("key", key_id)
        details = {"account": user.id}
        record_in(session, parts, person.principal, corr, EventType.KEY_REVOKED, what, details=details)


def _new_key(
    session: Session, parts: Parts, by: Principal, corr: str, user_id: str, body: KeyRequest
) -> dict[str, Any]:
    expires_at = now_ms() + body.expires_in_days * _DAY_MS if body.expires_in_days else None
    key, secret = accounts.create_key(
        session, user_id, body.name, scopes=body.scopes, expires_at=expires_at, created_by=by.user_id
    )
    outcome, details = ",".join(key.scopes), {"account": user_id}
    record_in(session, parts, by, corr, EventType.KEY_CREATED, Resource("key", key.id), outcome, details)
    return {**key_object(key), "key": secret}


def _service_object(session: Session, user: User) -> dict[str, Any]:
    keys = [key_object(key) for key in accounts.keys_of(session, user.id)]
    return {**account_object(user, []), "keys": keys}
