"""Sign-in, invitations, the person themself, keys, groups."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import EVERYONE, Principal, Role
from infra.audit.leaf import ANONYMOUS, Event, EventType, Resource, Stage
from infra.clock import now_ms
from infra.database.tables import ApiKey, Group, User
from infra.errors import NotAuthenticated, NotPermitted
from services.accounts.schemas import Acceptance, GroupRequest, InvitationRequest, KeyRequest, SignIn
from services.deps import COOKIE, Admin, CurrentPerson, PartsDep, RequestId
from services.parts import Parts

router = APIRouter(prefix="/v1", tags=["accounts"])
_DAY_MS = 86_400_000


# --- sign-in --------------------------------------------------------------------------------------


@router.post("/session")
def sign_in(body: SignIn, parts: PartsDep, corr: RequestId, response: Response) -> dict[str, Any]:
    """Sign in with a local account; the session is a cookie that scripts cannot read."""
    try:
        with parts.database.read() as session:
            user = accounts.sign_in(session, body.email, body.password)
    except NotAuthenticated:
        event = Event(EventType.SIGNIN_FAILED, Stage.SINGLE, corr, ANONYMOUS, outcome="refused")
        parts.ledger.record(event)
        raise
    with parts.database.write() as session:
        token = _signed_in(session, parts, user, corr, EventType.SIGNIN_OK, auth="password")
    _set_cookie(response, token)
    return {"user": _user(user)}


@router.delete("/session", status_code=204)
def sign_out(
    request: Request, parts: PartsDep, person: CurrentPerson, corr: RequestId, response: Response
) -> None:
    """End this browser session."""
    with parts.database.write() as session:
        accounts.close_session(session, request.cookies.get(COOKIE, ""))
        _record(
            session, parts, person.principal, corr, EventType.SIGNIN_ENDED, Resource("account", person.id)
        )
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


@router.post("/invitations", status_code=201)
def invite(
    body: InvitationRequest, request: Request, parts: PartsDep, person: Admin, corr: RequestId
) -> dict[str, Any]:
    """Make a one-time link for a new account."""
    with parts.database.write() as session:
        token, expires_at = accounts.invite(session, body.roles, created_by=person.id)
        outcome = ",".join(sorted(body.roles))
        what = Resource("invitation", accounts.hash_secret(token)[:16])
        _record(session, parts, person.principal, corr, EventType.INVITATION_CREATED, what, outcome)
    url = urljoin(parts.settings.public_url or str(request.base_url), "/join") + f"#{token}"
    return {"url": url, "expires_at": expires_at, "roles": body.roles}


@router.post("/invitations/accept", status_code=201)
def accept_invitation(
    body: Acceptance, parts: PartsDep, corr: RequestId, response: Response
) -> dict[str, Any]:
    """Create the account that the invitation is for, and sign in."""
    with parts.database.read() as session:
        accounts.check_invitation(session, body.token)
    password_hash = accounts.hash_password(body.password)
    with parts.database.write() as session:
        user = accounts.accept_invitation(
            session, body.token, name=body.name, email=body.email, password_hash=password_hash
        )
        token = _signed_in(session, parts, user, corr, EventType.ACCOUNT_CREATED, auth="invitation")
    _set_cookie(response, token)
    return {"user": _user(user)}


# --- the person themself --------------------------------------------------------------------------


@router.get("/me")
def me(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """Say who is signed in."""
    with parts.database.read() as session:
        groups = [{"id": group.id, "name": group.name} for group in accounts.groups_of(session, person.id)]
    roles = sorted(person.roles)
    return {"id": person.id, "name": person.name, "email": person.email, "roles": roles, "groups": groups}


@router.get("/keys")
def list_keys(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """List one's own API keys, without their secrets."""
    with parts.database.read() as session:
        return {"object": "list", "data": [_key(key) for key in accounts.keys_of(session, person.id)]}


@router.post("/keys", status_code=201)
def create_key(body: KeyRequest, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Make an API key; its secret is in this answer and nowhere else."""
    if person.principal.auth_method == "api_key":
        raise NotPermitted(
            "A key cannot make further keys.", hint="Sign in, and make it on your account page."
        )
    expires_at = now_ms() + body.expires_in_days * _DAY_MS if body.expires_in_days else None
    with parts.database.write() as session:
        key, secret = accounts.create_key(session, person.id, body.name, expires_at=expires_at)
        _record(session, parts, person.principal, corr, EventType.KEY_CREATED, Resource("key", key.id))
    return {**_key(key), "key": secret}


@router.delete("/keys/{key_id}", status_code=204)
def revoke_key(key_id: str, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> None:
    """Withdraw one of one's own keys; it stops working at once."""
    with parts.database.write() as session:
        accounts.revoke_key(session, person.id, key_id)
        _record(session, parts, person.principal, corr, EventType.KEY_REVOKED, Resource("key", key_id))


# --- people and groups ----------------------------------------------------------------------------


@router.get("/users")
def list_users(parts: PartsDep, _admin: Admin) -> dict[str, Any]:
    """List all accounts."""
    with parts.database.read() as session:
        return {"object": "list", "data": [_user(user) for user in accounts.list_people(session)]}


@router.get("/groups")
def list_groups(parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """List groups: all of them with their members for administrators, one's own for others."""
    with parts.database.read() as session:
        if Role.ADMIN not in person.roles:
            return {"object": "list", "data": [_group(g) for g in accounts.groups_of(session, person.id)]}
        groups = [
            {**_group(group), "members": accounts.members_of(session, group.id)}
            for group in accounts.list_groups(session)
        ]
        return {"object": "list", "data": groups}


@router.post("/groups", status_code=201)
def create_group(body: GroupRequest, parts: PartsDep, person: Admin, corr: RequestId) -> dict[str, Any]:
    """Make a group."""
    with parts.database.write() as session:
        group = accounts.create_group(session, body.name)
        _record(session, parts, person.principal, corr, EventType.GROUP_CREATED, Resource("group", group.id))
    return {**_group(group), "members": []}


@router.put("/groups/{group_id}/members/{user_id}", status_code=204)
def add_member(group_id: str, user_id: str, parts: PartsDep, person: Admin, corr: RequestId) -> None:
    """Put a person into a group; what is shared with it is theirs to read from the next request on."""
    with parts.database.write() as session:
        accounts.add_member(session, group_id, user_id)
        what = Resource("group", group_id)
        _record(
            session, parts, person.principal, corr, EventType.GROUP_CHANGED, what, "member_added", user_id
        )


@router.delete("/groups/{group_id}/members/{user_id}", status_code=204)
def remove_member(group_id: str, user_id: str, parts: PartsDep, person: Admin, corr: RequestId) -> None:
    """Take a person out of a group; it bites at the next request."""
    with parts.database.write() as session:
        accounts.remove_member(session, group_id, user_id)
        what = Resource("group", group_id)
        _record(
            session, parts, person.principal, corr, EventType.GROUP_CHANGED, what, outcome="member_removed"
        )


@router.get("/principals")
def list_principals(parts: PartsDep, person: CurrentPerson, q: str = "") -> dict[str, Any]:
    """List people and one's own groups, for administrators all groups; `q` narrows by name."""
    with parts.database.read() as session:
        everyone = [{"id": EVERYONE, "label": "Everyone"}]
        is_admin = Role.ADMIN in person.roles
        mine = accounts.list_groups(session) if is_admin else accounts.groups_of(session, person.id)
        groups = [{"id": group.id, "label": group.name} for group in mine]
        people = [
            {"id": f"user:{user.id}", "label": user.name}
            for user in accounts.list_people(session)
            if user.kind == "user" and user.disabled_at is None and user.id != person.id
        ]
    found = [entry for entry in everyone + groups + people if q.lower() in entry["label"].lower()]
    return {"object": "list", "data": found[:50]}


# --- shapes and records ---------------------------------------------------------------------------


def _signed_in(session: Session, parts: Parts, user: User, corr: str, event: EventType, *, auth: str) -> str:
    token = accounts.open_session(session, user.id, hours=parts.settings.session_hours)
    principal = Principal(
        user_id=user.id,
        kind=user.kind,
        roles=frozenset(Role(role) for role in user.roles),
        auth_method=auth,
        session_hash=accounts.hash_secret(token),
    )
    _record(session, parts, principal, corr, event, Resource("account", user.id))
    return token


def _record(
    session: Session,
    parts: Parts,
    principal: Principal,
    corr: str,
    event_type: EventType,
    what: Resource,
    outcome: str = "ok",
    about: str | None = None,
) -> None:
    actor = parts.ledger.actor_for(session, principal)
    event = Event(event_type, Stage.SINGLE, corr, actor, res=what, outcome=outcome)
    # Whom it is about is content: encrypted, and erasable with the person who did it.
    content = json.dumps({"account": about}).encode() if about else None
    parts.ledger.record_in(session, event, content)


def _set_cookie(response: Response, token: str) -> None:
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="strict")


def _user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "kind": user.kind,
        "roles": user.roles,
        "created_at": user.created_at,
        "disabled": user.disabled_at is not None,
    }


def _group(group: Group) -> dict[str, Any]:
    return {"id": group.id, "name": group.name}


def _key(key: ApiKey) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "created_at": key.created_at, "expires_at": key.expires_at}
