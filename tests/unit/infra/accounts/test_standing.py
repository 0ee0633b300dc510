"""Who somebody is by now, for requests that take long: the fresh principal, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import KeyScope, Principal
from infra.database.tables import ApiKey, User, WebSession

Identify = Callable[[Session, User], Principal]


def by_key(session: Session, user: User) -> Principal:
    """Identify somebody by a fresh key for asking and reading."""
    _, secret = accounts.create_key(session, user.id, "test", scopes=[KeyScope.ASK, KeyScope.READ])
    found = accounts.principal_of_key(session, secret)
    assert found is not None
    return found


def by_session(session: Session, user: User) -> Principal:
    """Identify somebody by a fresh sign-in."""
    found = accounts.principal_of_session(session, accounts.open_session(session, user.id, hours=1))
    assert found is not None
    return found


def by_token(session: Session, user: User) -> Principal:
    """Identify somebody as a directory's token does."""
    return replace(by_session(session, user), auth_method="token:corp", session_hash="0" * 64)


every_way = pytest.mark.parametrize("identify", [by_key, by_session, by_token])


@every_way
def test_nothing_is_different_while_nothing_changed(session: Session, ada: User, identify: Identify) -> None:
    """The same account, by the same key or sign-in, with the same scopes."""
    before = identify(session, ada)
    assert accounts.renewed(session, before) == before


@every_way
def test_groups_and_clearance_are_those_of_now(session: Session, ada: User, identify: Identify) -> None:
    """What was given or taken since then counts."""
    group = accounts.create_group(session, "Board")
    accounts.add_member(session, group.id, ada.id)
    before = identify(session, ada)
    accounts.remove_member(session, group.id, ada.id)
    ada.clearance = 7
    session.flush()
    by_now = accounts.renewed(session, before)
    assert by_now is not None
    assert (group.id in before.group_ids, group.id in by_now.group_ids, by_now.clearance) == (True, False, 7)


@every_way
def test_a_closed_account_is_nobody(session: Session, ada: User, identify: Identify) -> None:
    """However they were identified."""
    before = identify(session, ada)
    accounts.set_disabled(session, ada, disabled=True)
    assert accounts.renewed(session, before) is None


@pytest.mark.parametrize("end", [{"revoked_at": 1}, {"expires_at": 1}])
def test_a_key_that_ended_identifies_nobody(session: Session, ada: User, end: dict[str, int]) -> None:
    """Withdrawn, or expired."""
    before = by_key(session, ada)
    session.query(ApiKey).filter_by(key_hash=before.session_hash).update(dict(end))
    assert accounts.renewed(session, before) is None


def test_a_sign_in_that_ended_identifies_nobody(session: Session, ada: User) -> None:
    """Expired, or signed out."""
    before = by_session(session, ada)
    row = session.get_one(WebSession, before.session_hash)
    row.expires_at = 1
    session.flush()
    assert accounts.renewed(session, before) is None
    session.delete(row)
    session.flush()
    assert accounts.renewed(session, before) is None


def test_somebody_elses_key_or_sign_in_does_not_count(session: Session, ada: User) -> None:
    """What identified Ada says nothing about another account."""
    ben = accounts.create_service_account(session, "Ben", ["employee"])
    for identify in (by_key, by_session):
        assert accounts.renewed(session, replace(identify(session, ada), user_id=ben.id)) is None


def test_an_unknown_way_of_identifying_counts_for_nothing(session: Session, ada: User) -> None:
    """A principal that no key, sign-in or token stands behind is not renewed."""
    assert accounts.renewed(session, Principal(ada.id, "user", frozenset())) is None
