"""Sign in and out, see where one is signed in, change the password, and accept an invitation."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urljoin

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Role
from infra.accounts import throttle
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.database.tables import User, WebSession
from infra.errors import Conflict, InvalidInput, NotAuthenticated
from services.accounts.directory_signing_in import sign_in_with_password
from services.accounts.records import record_in
from services.accounts.schemas import Acceptance, InvitationRequest, PasswordChange, SignIn
from services.accounts.shapes import user_object
from services.accounts.signing_in import (
    begin_attempt,
    client_address,
    delete_cookie,
    open_browser_session,
    record_failure,
    set_cookie,
    signed_in_person,
)
from services.deps import COOKIE, Admin, CurrentPerson, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=RecordedRoute)
SignedIn = Annotated[Person, Depends(signed_in_person)]
_FOR_KEYS: Final = frozenset({Role.EMPLOYEE, Role.CURATOR})
"""The roles of those whom a key may invite."""


# --- sign-in --------------------------------------------------------------------------------------


@router.post("/session")
@writes(EventType.SIGNIN_OK)
def sign_in(
    body: SignIn, request: Request, parts: PartsDep, corr: RequestId, response: Response
) -> dict[str, Any]:
    """Sign in with a password, here or in an LDAP directory; the session is a cookie no script can read."""
    if body.directory is None:
        user, token = _sign_in_here(body, request, parts, corr)
    else:
        user, token = sign_in_with_password(
            parts, request, corr, directory=body.directory, login=body.email, password=body.password
        )
    set_cookie(response, token)
    return {"user": user_object(user)}


def _sign_in_here(body: SignIn, request: Request, parts: Parts, corr: str) -> tuple[User, str]:
    attempt = begin_attempt(parts, request, body.email)
    try:
        with parts.database.read() as session:
            user = accounts.sign_in(session, body.email, body.password)
        with parts.database.write() as session:
            accounts.check_unchanged(session, user)
            attempt.succeeded(session)
            token = open_browser_session(
                session, parts, request, user, corr, EventType.SIGNIN_OK, auth_method="password"
            )
    except NotAuthenticated:
        record_failure(parts, corr)
        raise
    return user, token


@router.delete("/session", status_code=204)
@writes(EventType.SIGNIN_ENDED)
def sign_out(
    request: Request, parts: PartsDep, person: CurrentPerson, corr: RequestId, response: Response
) -> None:
    """End this browser session."""
    with parts.database.write() as session:
        accounts.close_session(session, request.cookies.get(COOKIE, ""))
        _record_end(session, parts, person, corr)
    delete_cookie(response)


@router.get("/sessions")
@reads(EventType.ACCOUNTS_READ, "sessions", at="own")
def list_sessions(parts: PartsDep, person: SignedIn) -> dict[str, Any]:
    """List where one is signed in, newest first."""
    here = person.principal.session_hash
    with parts.database.read() as session:
        found = [_session_object(row, here) for row in accounts.sessions_of(session, person.id)]
    return {"object": "list", "data": found}


@router.delete("/sessions", status_code=204)
@writes(EventType.SIGNIN_ENDED)
def end_other_sessions(parts: PartsDep, person: SignedIn, corr: RequestId) -> None:
    """Sign out everywhere but here."""
    with parts.database.write() as session:
        accounts.close_other_sessions(session, person.id, person.principal.session_hash)
        _record_end(session, parts, person, corr, outcome="others")


def _session_object(row: WebSession, here: str) -> dict[str, Any]:
    return {
        # Enough to tell sessions apart; the token cannot be had from its hash.
        "id": row.token_hash[:16],
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "auth_method": row.auth_method,
        "current": row.token_hash == here,
    }


def _record_end(session: Session, parts: Parts, person: Person, corr: str, outcome: str = "ok") -> None:
    what = Resource("account", person.id)
    record_in(session, parts, person.principal, corr, EventType.SIGNIN_ENDED, what, outcome)


# --- password -------------------------------------------------------------------------------------


@router.post("/me/password", status_code=204)
@writes(EventType.PASSWORD_CHANGED)
def change_password(
    body: PasswordChange,
    request: Request,
    parts: PartsDep,
    person: SignedIn,
    corr: RequestId,
    response: Response,
) -> None:
    """Change one's own password; every other session ends, and this one goes on under a new token."""
    accounts.check_password_length(body.new, param="new")
    with parts.database.read() as session:
        user = session.get_one(User, person.id)
    if user.password_hash is None:
        raise Conflict("This account has no password here.", hint="Change it in your company directory.")
    attempt = begin_attempt(parts, request, user.email or user.id)
    if not accounts.password_matches(user.password_hash, body.current):
        raise InvalidInput("That is not your current password.", param="current")
    new_hash = accounts.hash_password(body.new)
    with parts.database.write() as session:
        attempt.succeeded(session)
        accounts.change_password(session, user, new_hash)
        token = open_browser_session(
            session,
            parts,
            request,
            user,
            corr,
            EventType.PASSWORD_CHANGED,
            auth_method=person.principal.auth_method,
        )
    set_cookie(response, token)


# --- invitations ----------------------------------------------------------------------------------


@router.post("/invitations", status_code=201)
@writes(EventType.INVITATION_CREATED)
def invite(
    body: InvitationRequest, request: Request, parts: PartsDep, person: Admin, corr: RequestId
) -> dict[str, Any]:
    """Make a one-time link for a new account; a key cannot invite administrators or auditors.

    With an e-mail address, the account has to have that one, and it counts as known to be theirs.
    """
    if body.email is not None or not _FOR_KEYS.issuperset(body.roles):
        # What it makes would outlive the key.
        signed_in_person(person)
    with parts.database.write() as session:
        token, expires_at = accounts.invite(session, body.roles, created_by=person.id, email=body.email)
        outcome = ",".join(sorted(body.roles))
        what = Resource("invitation", accounts.hash_secret(token)[:16])
        record_in(session, parts, person.principal, corr, EventType.INVITATION_CREATED, what, outcome)
    url = urljoin(parts.settings.public_url or str(request.base_url), "/join") + f"#{token}"
    return {"url": url, "expires_at": expires_at, "roles": body.roles, "email": body.email}


@router.post("/invitations/accept", status_code=201)
@writes(EventType.ACCOUNT_CREATED)
def accept_invitation(
    body: Acceptance, request: Request, parts: PartsDep, corr: RequestId, response: Response
) -> dict[str, Any]:
    """Create the account that the invitation is for, and sign in."""
    try:
        user, token = _accept(body, request, parts, corr)
    except (NotAuthenticated, Conflict):
        # An invitation that holds would otherwise find out for any address whether it has an account.
        _count_bad_invitation(parts, request)
        raise
    set_cookie(response, token)
    return {"user": user_object(user)}


def _accept(body: Acceptance, request: Request, parts: Parts, corr: str) -> tuple[User, str]:
    with parts.database.read() as session:
        throttle.check_not_blocked(session, _invitations_from(request))
        accounts.check_invitation(session, body.token)
    password_hash = accounts.hash_password(body.password)
    with parts.database.write() as session:
        user = accounts.accept_invitation(
            session, body.token, name=body.name, email=body.email, password_hash=password_hash
        )
        token = open_browser_session(
            session, parts, request, user, corr, EventType.ACCOUNT_CREATED, auth_method="invitation"
        )
    return user, token


def _count_bad_invitation(parts: Parts, request: Request) -> None:
    with parts.database.write() as session:
        throttle.count_failure(session, _invitations_from(request))


def _invitations_from(request: Request) -> throttle.Bucket:
    return throttle.address_bucket(client_address(request), "invitation")
