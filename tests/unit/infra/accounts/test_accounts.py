"""People, invitations, sessions, keys and groups."""

from __future__ import annotations

import pytest
from joining import PASSWORD, join
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import KeyScope, Role
from infra.clock import now_ms
from infra.database.tables import ApiKey, Invitation, User, WebSession
from infra.errors import Conflict, InvalidInput, NotAuthenticated, NotFound


def test_an_invitation_is_used_once_and_gives_its_roles(session: Session) -> None:
    """The account has the roles of the invitation, whoever accepts; a second use is refused."""
    token, expires = accounts.invite(session, {Role.CURATOR, Role.EMPLOYEE}, created_by=None)
    user = accounts.accept_invitation(session, token, name=" A  B ", email=" A@X.org ", password_hash="h")
    assert (user.name, user.email, user.roles) == ("A B", "a@x.org", ["curator", "employee"])
    assert expires > now_ms()
    with pytest.raises(NotAuthenticated):
        accounts.accept_invitation(session, token, name="C", email="c@x.org", password_hash="h")


def test_an_expired_or_unknown_invitation_is_refused(session: Session) -> None:
    """Both look alike."""
    token, _ = accounts.invite(session, {Role.EMPLOYEE}, created_by=None)
    session.get_one(Invitation, accounts.hash_secret(token)).expires_at = now_ms()
    session.flush()
    for wrong in (token, "unknown", ""):
        with pytest.raises(NotAuthenticated):
            accounts.accept_invitation(session, wrong, name="C", email="c@x.org", password_hash="h")


def test_an_address_has_one_account(session: Session, ada: User) -> None:
    """Whatever the case it is written in."""
    with pytest.raises(Conflict):
        join(session, "ADA@example.org")
    session.rollback()


@pytest.mark.parametrize("roles", [set(), {Role.ADMIN, Role.AUDITOR}])
def test_nobody_is_invited_to_nothing_or_to_both(session: Session, roles: set[Role]) -> None:
    """No role is a mistake, and an administrator does not audit themself."""
    with pytest.raises(InvalidInput):
        accounts.invite(session, roles, created_by=None)


def test_a_new_first_link_ends_the_earlier_ones(session: Session) -> None:
    """Only the last one works, and there is none once an administrator exists."""
    earlier, later = accounts.invite_first_admin(session), accounts.invite_first_admin(session)
    assert earlier is not None
    assert later is not None
    with pytest.raises(NotAuthenticated):
        accounts.accept_invitation(session, earlier, name="C", email="c@x.org", password_hash="h")
    accounts.accept_invitation(session, later, name="C", email="c@x.org", password_hash="h")
    assert accounts.invite_first_admin(session) is None


def test_signing_in(session: Session, ada: User) -> None:
    """The right password opens; wrong password, wrong name and a disabled account all sound the same."""
    assert accounts.sign_in(session, " Ada@Example.org", PASSWORD) is ada
    refusals = set()
    for email, password in (("ada@example.org", "wrong"), ("nobody@example.org", PASSWORD), ("", "")):
        with pytest.raises(NotAuthenticated) as refused:
            accounts.sign_in(session, email, password)
        refusals.add(refused.value.message)
    ada.disabled_at = now_ms()
    session.flush()
    with pytest.raises(NotAuthenticated) as refused:
        accounts.sign_in(session, "ada@example.org", PASSWORD)
    assert len(refusals | {refused.value.message}) == 1


@pytest.mark.parametrize("password", ["", "short", "x" * 11, "x" * 1025])
def test_a_password_has_a_length(password: str) -> None:
    """At least 12 characters, and not so many that hashing them hurts."""
    with pytest.raises(InvalidInput):
        accounts.hash_password(password)


def test_a_session_ends_by_time_by_signing_out_and_with_its_account(session: Session, ada: User) -> None:
    """It names its person until then, and only its hash is stored."""
    token = accounts.open_session(session, ada.id, hours=1)
    session.flush()
    found = accounts.principal_of_session(session, token)
    assert found is not None
    assert (found.principal_id, found.auth_method) == (f"user:{ada.id}", "password")
    assert session.get(WebSession, token) is None
    row = session.get_one(WebSession, accounts.hash_secret(token))
    row.expires_at = now_ms()
    assert accounts.principal_of_session(session, token) is None
    row.expires_at = now_ms() + 1000
    ada.disabled_at = now_ms()
    assert accounts.principal_of_session(session, token) is None
    ada.disabled_at = None
    accounts.close_session(session, token)
    session.flush()
    assert accounts.principal_of_session(session, token) is None
    accounts.close_session(session, token)


def test_a_key_ends_by_time_by_revoking_and_with_its_account(session: Session, ada: User) -> None:
    """It names its person until then, and only its hash is stored."""
    row, secret = accounts.create_key(session, ada.id, "laptop", expires_at=now_ms() + 60_000)
    session.flush()
    found = accounts.principal_of_key(session, secret)
    assert found is not None
    assert (found.user_id, found.auth_method) == (ada.id, "api_key")
    assert secret not in (row.key_hash, row.name)
    assert accounts.principal_of_key(session, secret + "x") is None
    row.expires_at = now_ms()
    assert accounts.principal_of_key(session, secret) is None
    row.expires_at = None
    ada.disabled_at = now_ms()
    assert accounts.principal_of_key(session, secret) is None
    ada.disabled_at = None
    accounts.revoke_key(session, ada.id, row.id)
    assert accounts.principal_of_key(session, secret) is None
    assert accounts.keys_of(session, ada.id) == []


def test_one_revokes_ones_own_keys_only(session: Session, ada: User) -> None:
    """Another person's key looks like one that does not exist."""
    ben = join(session, "ben@example.org", Role.ADMIN)
    row, _ = accounts.create_key(session, ada.id, "laptop")
    session.flush()
    for key_id in (row.id, "unknown"):
        with pytest.raises(NotFound, match="There is no such key"):
            accounts.revoke_key(session, ben.id, key_id)
    assert session.get_one(ApiKey, row.id).revoked_at is None


def test_groups_follow_into_the_principal(session: Session, ada: User) -> None:
    """Membership is read with every request, so that leaving a group bites at the next one."""
    legal = accounts.create_group(session, "Legal")
    _, secret = accounts.create_key(session, ada.id, "laptop")
    for _ in range(2):
        accounts.add_member(session, legal.id, ada.id)
        session.flush()
    found = accounts.principal_of_key(session, secret)
    assert found is not None
    assert found.group_ids == {legal.id}
    accounts.remove_member(session, legal.id, ada.id)
    session.flush()
    found = accounts.principal_of_key(session, secret)
    assert found is not None
    assert found.group_ids == frozenset()
    with pytest.raises(NotFound):
        accounts.remove_member(session, legal.id, ada.id)
    with pytest.raises(NotFound):
        accounts.add_member(session, "group:local:none", ada.id)


def test_a_service_account_is_made_once(session: Session) -> None:
    """It is an employee and nothing more, and cannot sign in by password."""
    account = accounts.ensure_service_account(session, "nightly")
    assert accounts.ensure_service_account(session, "nightly") is account
    assert (account.kind, account.roles, account.password_hash) == ("service", ["employee"], None)


def test_a_session_says_how_its_person_signed_in(session: Session, ada: User) -> None:
    """What the directory's sign-in was called is what the record will say."""
    token = accounts.open_session(session, ada.id, hours=1, auth_method="oidc:corp")
    session.flush()
    found = accounts.principal_of_session(session, token)
    assert found is not None
    assert found.auth_method == "oidc:corp"


def test_the_other_sessions_end_and_this_one_goes_on(session: Session, ada: User) -> None:
    """Nobody else's session ends with them."""
    ben = join(session, "ben@example.org")
    here, there, bens = (accounts.open_session(session, who, hours=1) for who in (ada.id, ada.id, ben.id))
    session.flush()
    assert accounts.close_other_sessions(session, ada.id, accounts.hash_secret(here)) == 1
    alive = [accounts.principal_of_session(session, token) is not None for token in (here, there, bens)]
    assert alive == [True, False, True]
    assert [row.token_hash for row in accounts.sessions_of(session, ada.id)] == [accounts.hash_secret(here)]


def test_sessions_that_are_over_are_swept_at_the_next_sign_in(session: Session, ada: User) -> None:
    """Their rows do not pile up."""
    old = accounts.open_session(session, ada.id, hours=1)
    session.flush()
    session.get_one(WebSession, accounts.hash_secret(old)).expires_at = now_ms()
    session.flush()
    assert accounts.sessions_of(session, ada.id) == []
    accounts.open_session(session, ada.id, hours=1)
    session.flush()
    session.expire_all()
    assert session.get(WebSession, accounts.hash_secret(old)) is None


def test_a_password_changes_once_for_what_was_verified(session: Session, ada: User) -> None:
    """Every session ends; a second change that verified the old password comes too late."""
    token = accounts.open_session(session, ada.id, hours=1)
    session.flush()
    verified_before = User(id=ada.id, password_hash=ada.password_hash)
    accounts.change_password(session, ada, accounts.hash_password("another long password"))
    assert accounts.principal_of_session(session, token) is None
    assert accounts.sign_in(session, "ada@example.org", "another long password").id == ada.id
    with pytest.raises(NotAuthenticated):
        accounts.sign_in(session, "ada@example.org", PASSWORD)
    with pytest.raises(NotAuthenticated):
        accounts.check_unchanged(session, verified_before)
    with pytest.raises(Conflict):
        accounts.change_password(session, verified_before, "h")


@pytest.mark.parametrize("scopes", [[], ["scim"], ["ask", "scim"]])
def test_a_person_has_no_key_for_a_directory(session: Session, ada: User, scopes: list[KeyScope]) -> None:
    """Nor a key for nothing."""
    with pytest.raises(InvalidInput):
        accounts.create_key(session, ada.id, "laptop", scopes=scopes)


def test_a_directorys_key_is_for_scim_and_nothing_else(session: Session) -> None:
    """Only a service account has one."""
    service = accounts.ensure_service_account(session, "directory")
    row, secret = accounts.create_key(session, service.id, "push", scopes=[KeyScope.SCIM])
    session.flush()
    found = accounts.principal_of_key(session, secret)
    assert found is not None
    assert (row.scopes, found.scopes) == (["scim"], {KeyScope.SCIM})
    with pytest.raises(InvalidInput):
        accounts.create_key(session, service.id, "push", scopes=[KeyScope.SCIM, KeyScope.ADMIN])


@pytest.mark.parametrize("named", [None, "Cleo@Example.org"])
def test_only_an_address_that_the_invitation_names_is_vouched_for(
    session: Session, named: str | None
) -> None:
    """What somebody types about themself is believed by nobody."""
    token, _ = accounts.invite(session, {Role.EMPLOYEE}, created_by=None, email=named)
    session.flush()
    user = accounts.accept_invitation(
        session, token, name="Cleo", email="cleo@example.org ", password_hash="hash"
    )
    assert (user.email, user.email_vouched) == ("cleo@example.org", named is not None)


def test_an_invitation_for_one_address_makes_no_other(session: Session) -> None:
    """The refusal uses nothing up."""
    token, _ = accounts.invite(session, {Role.EMPLOYEE}, created_by=None, email="cleo@example.org")
    session.flush()
    with session.begin_nested(), pytest.raises(InvalidInput) as refused:
        accounts.accept_invitation(session, token, name="X", email="boss@example.org", password_hash="hash")
    assert refused.value.param == "email"


def test_an_invitation_is_for_an_address_or_for_none(session: Session) -> None:
    """What is no address is refused when the link is made."""
    with pytest.raises(InvalidInput):
        accounts.invite(session, {Role.EMPLOYEE}, created_by=None, email="nobody")
