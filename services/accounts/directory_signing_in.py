"""Sessions of people whom a company directory vouches for, whichever protocol it speaks."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request

from infra.accounts import throttle
from infra.audit.event_types import EventType
from infra.database.tables import User
from infra.directories.claims import DirectoryPerson
from infra.errors import AddressRefused, DirectoryUnavailable, NotAuthenticated, Throttled
from services.accounts.directory_people import take_in
from services.accounts.signing_in import (
    Attempt,
    begin_attempt,
    client_address,
    open_browser_session,
    record_failure,
)
from services.parts import Parts


def sign_in_with_password(
    parts: Parts, request: Request, corr: str, *, directory: str, login: str, password: str
) -> tuple[User, str]:
    """Sign in with a name and password of an LDAP directory; returns the account and the session's token.

    Raises NotFound for an unknown directory, Throttled, NotAuthenticated (a wrong name and a wrong password
    look alike), DirectoryUnavailable or AddressRefused.
    """
    asked = parts.directories.ldap(directory)
    attempt = begin_attempt(parts, request, login, directory)

    def may_try(subject: str) -> bool:
        # A person has several names, and each of them many spellings; the guesses are at one password.
        nonlocal attempt
        attempt = replace(attempt, subject=throttle.subject_bucket(directory, subject))
        return _count_subject(parts, attempt.subject)

    try:
        with parts.directories.asking(directory):
            person = asked.sign_in(login, password, may_try=may_try)
        return open_session_of(parts, request, person, corr, f"ldap:{directory}", attempt)
    except NotAuthenticated as refusal:
        record_failure(parts, corr, reason_of(refusal))
        raise
    except (DirectoryUnavailable, AddressRefused):
        attempt.harmless(parts)
        raise


def _count_subject(parts: Parts, subject: throttle.Bucket | None) -> bool:
    """Count an attempt for a directory's person; says whether the password may be looked at.

    Being held up here looks like a wrong password: it would tell that two names are one person's.
    """
    try:
        with parts.database.write() as session:
            throttle.begin_attempt(session, [subject] if subject else [])
    except Throttled:
        return False
    return True


def open_session_of(
    parts: Parts,
    request: Request,
    person: DirectoryPerson,
    corr: str,
    auth_method: str,
    attempt: Attempt | None = None,
) -> tuple[User, str]:
    """Take somebody in and begin their session, in one transaction with the records of both.

    Returns the account and the session's token. Raises NotAuthenticated for a disabled account.
    """
    with parts.database.write() as session:
        user = take_in(session, parts, person, corr, auth_method=auth_method)
        if attempt is not None:
            attempt.succeeded(session)
        token = open_browser_session(
            session, parts, request, user, corr, EventType.SIGNIN_OK, auth_method=auth_method
        )
    return user, token


def check_address(parts: Parts, request: Request) -> None:
    """Raise Throttled while too many sign-ins from the client's address have failed."""
    with parts.database.read() as session:
        throttle.check_not_blocked(session, throttle.address_bucket(client_address(request)))


def count_refusal(parts: Parts, request: Request, corr: str, refusal: NotAuthenticated) -> None:
    """Put a failed sign-in on the record and count it for the client's address."""
    record_failure(parts, corr, reason_of(refusal))
    with parts.database.write() as session:
        throttle.count_failure(session, throttle.address_bucket(client_address(request)))


def reason_of(refusal: NotAuthenticated) -> str:
    """Return the code under which the record knows a refusal; without one, the account was closed."""
    return str(getattr(refusal, "reason", "account_closed"))
