"""What every way to sign in has in common: attempts are counted, a session begins, both are on the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response
from sqlalchemy.orm import Session

from infra import accounts
from infra.accounts import throttle
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import ANONYMOUS, Event, Resource
from infra.database.tables import User
from infra.errors import NotAuthenticated, NotPermitted
from services.accounts.records import record_in
from services.deps import COOKIE, Admin, CurrentPerson, Person
from services.parts import Parts


@dataclass(frozen=True)
class Attempt:
    """A sign-in that was counted as a failure until it is known to be none."""

    account: throttle.Bucket
    address: throttle.Bucket
    # The directory's person whom the typed name led to, once that is known.
    subject: throttle.Bucket | None = None

    def succeeded(self, session: Session) -> None:
        """Clear what was counted, in the transaction that opens the session."""
        throttle.attempt_succeeded(session, account=self.account, address=self.address, subject=self.subject)

    def harmless(self, parts: Parts) -> None:
        """Take back what was counted, because nobody looked at the secret, e.g. a directory was down."""
        with parts.database.write() as session:
            throttle.attempt_harmless(session, *self._counted())

    def _counted(self) -> list[throttle.Bucket]:
        return [self.account, self.address, *([self.subject] if self.subject else [])]


def begin_attempt(parts: Parts, request: Request, name: str, directory: str | None = None) -> Attempt:
    """Count an attempt for the account called `name`, here or in a directory, and for the client's address.

    Raises Throttled while either is held up: call it before anything looks at the secret.
    """
    attempt = Attempt(
        throttle.account_bucket(name, directory), throttle.address_bucket(client_address(request))
    )
    buckets = (attempt.account, attempt.address)
    # Whoever is held up is told so without taking the database's one writer.
    with parts.database.read() as session:
        for bucket in buckets:
            throttle.check_not_blocked(session, bucket)
    with parts.database.write() as session:
        throttle.begin_attempt(session, buckets)
    return attempt


def client_address(request: Request) -> str:
    """Return the client's address: what a proxy says of it, if the settings name it, else who connects."""
    return request.client.host if request.client else "unknown"


def open_browser_session(
    session: Session,
    parts: Parts,
    request: Request,
    user: User,
    corr: str,
    event: EventType,
    *,
    auth_method: str,
) -> str:
    """Begin a session and end the one that came with the request; returns the new token.

    A token that somebody planted in the browser before is worth nothing after a sign-in (OWASP: session
    fixation). Raises NotAuthenticated when the account was disabled meanwhile.
    """
    accounts.close_session(session, request.cookies.get(COOKIE, ""))
    token = accounts.open_session(
        session, user.id, hours=parts.settings.session_hours, auth_method=auth_method
    )
    session.flush()
    principal = accounts.principal_of_session(session, token)
    if principal is None:
        raise NotAuthenticated("This account is closed.", hint="Ask an administrator.")
    record_in(session, parts, principal, corr, event, Resource("account", user.id))
    return token


def record_failure(parts: Parts, corr: str, outcome: str = "refused") -> None:
    """Put a failed sign-in on the record; `outcome` is a code and never what was typed."""
    event = Event(EventType.SIGNIN_FAILED, Stage.SINGLE, corr, ANONYMOUS, outcome=outcome)
    parts.ledger.record(event)


def set_cookie(response: Response, token: str) -> None:
    """Hand the session's token to the browser, out of reach for scripts and other sites."""
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="strict")


def delete_cookie(response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


def is_program(person: Person) -> bool:
    """Say whether a request came with a key or a directory's access token, and not with a sign-in."""
    return person.principal.auth_method == "api_key" or person.principal.auth_method.startswith("token:")


def signed_in_admin(person: Admin) -> Person:
    """Return the administrator who signed in; raises NotPermitted for others, and for their keys."""
    return signed_in_person(person)


def signed_in_person(person: CurrentPerson) -> Person:
    """Return who signed in; raises NotPermitted for a key, which must not outlive its own withdrawal.

    The same holds for a directory's access token.
    """
    if is_program(person):
        raise NotPermitted("A key cannot do this.", hint="Sign in, and do it on your account page.")
    return person


SignedInAdmin = Annotated[Person, Depends(signed_in_admin)]
