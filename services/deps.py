"""What endpoints depend on: the parts, the person, their scope, the request's id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session

from infra.access import EVERY_SCOPE, AccessScope, KeyScope, Principal, Role, scope_of
from infra.accounts import principal_of_key, principal_of_session
from infra.database.tables import User
from infra.errors import NotAuthenticated, NotPermitted
from services.accounts.directory_people import is_directory_token, principal_of_token
from services.parts import Parts

COOKIE: Final = "__Host-strongroom"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(auto_error=False, description="An API key, `sr-…`, or a directory's access token.")


@dataclass(frozen=True)
class Person:
    """Who is asking: their principal, and what to call them."""

    principal: Principal
    name: str
    email: str | None

    @property
    def id(self) -> str:
        """The account's id."""
        return self.principal.user_id

    @property
    def roles(self) -> frozenset[Role]:
        """The account's roles."""
        return self.principal.roles


def parts_of(request: Request) -> Parts:
    """Return the opened parts of this server."""
    parts: Parts = request.app.state.parts
    return parts


def request_id(request: Request) -> str:
    """Return this request's id, which ties its records together."""
    found: str = request.state.request_id
    return found


PartsDep = Annotated[Parts, Depends(parts_of)]
RequestId = Annotated[str, Depends(request_id)]


# What a key needs for the operations of each router (their tag): to look, and to change something.
# An operation whose tag is not here is refused to every key that does not have all scopes.
_NEEDED: Final = {
    "chat": (KeyScope.ASK, KeyScope.ASK),
    "search": (KeyScope.READ, KeyScope.READ),
    "mcp": (KeyScope.READ, KeyScope.READ),
    "conversations": (KeyScope.ASK, KeyScope.ASK),
    "files": (KeyScope.READ, KeyScope.WRITE),
    "collections": (KeyScope.READ, KeyScope.WRITE),
    "jobs": (KeyScope.READ, KeyScope.WRITE),
    "sources": (KeyScope.READ, KeyScope.READ),
    "sync": (KeyScope.READ, KeyScope.ADMIN),
    "audit": (KeyScope.AUDIT, KeyScope.AUDIT),
    "erasures": (KeyScope.AUDIT, KeyScope.ADMIN),
    "accounts": (KeyScope.READ, KeyScope.ADMIN),
    "access": (KeyScope.ADMIN, KeyScope.ADMIN),
    "scim": (KeyScope.SCIM, KeyScope.SCIM),
}


def needed_scope(tags: Sequence[str], method: str) -> KeyScope | None:
    """Return the scope that a key needs for an operation, or None where nobody has decided one."""
    for tag in tags:
        if tag in _NEEDED:
            look, change = _NEEDED[tag]
            return look if method in _SAFE_METHODS else change
    return None


def _check_key_scope(request: Request, principal: Principal) -> None:
    """Refuse a key that was not made for this operation."""
    route = request.scope.get("route")
    needed = needed_scope(getattr(route, "tags", ()), request.method)
    if needed in principal.scopes or (needed is None and principal.scopes >= EVERY_SCOPE):
        return
    lacking = f": it lacks the scope {needed}" if needed else ""
    raise NotPermitted(
        f"This key is not for that{lacking}.", hint="Make a key with this scope on your account page."
    )


def _optional_person(
    request: Request, parts: PartsDep, _scheme: Annotated[object, Depends(_bearer)]
) -> Person | None:
    # Before the database is held open: checking a token may mean fetching its provider's keys.
    vouched = _vouched_for(request, parts)
    with parts.database.read() as session:
        principal = vouched or _identified(request, session)
        if principal is None:
            return None
        # Known from here on, so that a refusal further down is on the record as theirs.
        request.state.principal = principal
        _check_key_scope(request, principal)
        user = session.get_one(User, principal.user_id)
        return Person(principal=principal, name=user.name, email=user.email)


def _vouched_for(request: Request, parts: Parts) -> Principal | None:
    """Return whom the access token of a directory speaks for; raises when there is one and it is not good."""
    bearer = _bearer_secret(request)
    if bearer is None or not is_directory_token(parts, bearer):
        return None
    return principal_of_token(parts, bearer, request_id(request))


def _identified(request: Request, session: Session) -> Principal | None:
    """Return whose key or session came with the request; a header that is no good is never made up for."""
    if "authorization" in request.headers:
        key = _bearer_secret(request)
        return None if key is None else principal_of_key(session, key)
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    _refuse_cross_site(request)
    return principal_of_session(session, cookie)


def _bearer_secret(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _refuse_cross_site(request: Request) -> None:
    """Refuse a write that another site's page makes with this browser's cookie.

    Browsers say where a request comes from (Fetch Metadata, W3C); older ones send Origin. A write that
    says neither is refused as well.
    """
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "")
    same = (
        site == "same-origin" if site is not None else urlsplit(origin).netloc == request.headers.get("host")
    )
    if not same:
        raise NotPermitted("This request came from another site.")


def _person(person: Annotated[Person | None, Depends(_optional_person)]) -> Person:
    if person is None:
        raise NotAuthenticated("Sign in, or send an API key.", hint="Authorization: Bearer sr-…")
    return person


OptionalPerson = Annotated[Person | None, Depends(_optional_person)]
CurrentPerson = Annotated[Person, Depends(_person)]


def _scope(person: CurrentPerson) -> AccessScope:
    return scope_of(person.principal)


Scope = Annotated[AccessScope, Depends(_scope)]


def with_role(role: Role) -> Callable[[Person], Person]:
    """Return a dependency that lets only people with `role` pass."""

    def check(person: CurrentPerson) -> Person:
        if role not in person.roles:
            raise NotPermitted(f"This is for people with the role {role}.")
        return person

    return check


Admin = Annotated[Person, Depends(with_role(Role.ADMIN))]
Auditor = Annotated[Person, Depends(with_role(Role.AUDITOR))]
