"""What administrators change about accounts and groups, and what they cannot."""

from __future__ import annotations

import pytest
from joining import join, principal_of
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Role
from infra.accounts import AccountChange
from infra.database.tables import (
    Collection,
    CollectionGrant,
    Conversation,
    ConversationShare,
    Document,
    DocumentGrant,
    Group,
    User,
)
from infra.epoch import current_epoch
from infra.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, NotPermitted


@pytest.fixture
def root(session: Session) -> User:
    """An administrator."""
    return join(session, "root@example.org", Role.ADMIN, Role.EMPLOYEE)


def test_a_change_says_what_was_different_and_raises_the_epoch(
    session: Session, root: User, ada: User
) -> None:
    """What stays the same is not mentioned."""
    before = current_epoch(session)
    wanted = AccountChange(
        roles=frozenset({Role.EMPLOYEE}), clearance=2, compartments=frozenset({"Merger", "Board"})
    )
    changed = accounts.change_account(session, ada.id, wanted, by=principal_of(root))
    assert changed.fields == {"clearance": (0, 2), "compartments": ([], ["Board", "Merger"])}
    assert (ada.clearance, ada.compartments) == (2, ["Board", "Merger"])
    assert current_epoch(session) > before


def test_a_closed_account_is_out_at_once(session: Session, root: User, ada: User) -> None:
    """Its sessions end for good, its keys stop, and so do links that it made; only keys come back."""
    token = accounts.open_session(session, ada.id, hours=1)
    _, secret = accounts.create_key(session, ada.id, "laptop")
    link, _ = accounts.invite(session, {Role.ADMIN}, created_by=ada.id)
    session.flush()
    changed = accounts.change_account(session, ada.id, AccountChange(disabled=True), by=principal_of(root))
    assert changed.fields == {"disabled": (False, True)}
    assert accounts.principal_of_session(session, token) is None
    assert accounts.principal_of_key(session, secret) is None
    with pytest.raises(NotAuthenticated):
        accounts.check_invitation(session, link)
    accounts.change_account(session, ada.id, AccountChange(disabled=False), by=principal_of(root))
    assert accounts.principal_of_session(session, token) is None
    assert accounts.principal_of_key(session, secret) is not None


@pytest.mark.parametrize(
    "wanted",
    [
        AccountChange(roles=frozenset({Role.ADMIN})),
        AccountChange(clearance=1),
        AccountChange(compartments=frozenset({"Board"})),
        AccountChange(disabled=True),
        AccountChange(),
    ],
)
def test_nobody_changes_their_own_access(session: Session, root: User, wanted: AccountChange) -> None:
    """Not even to have less of it: whoever is asked for a password could otherwise be asked to do so."""
    join(session, "other@example.org", Role.ADMIN)
    with pytest.raises(NotPermitted, match="Somebody else"):
        accounts.change_account(session, root.id, wanted, by=principal_of(root))


@pytest.mark.parametrize(
    "wanted",
    [
        AccountChange(roles=frozenset()),
        AccountChange(roles=frozenset({Role.ADMIN, Role.AUDITOR})),
        AccountChange(clearance=101),
        AccountChange(clearance=-1),
        AccountChange(compartments=frozenset({""})),
        AccountChange(compartments=frozenset({"x" * 61})),
    ],
)
def test_impossible_values_are_refused(
    session: Session, root: User, ada: User, wanted: AccountChange
) -> None:
    """Each with the name of what is wrong."""
    with pytest.raises(InvalidInput) as refused:
        accounts.change_account(session, ada.id, wanted, by=principal_of(root))
    assert refused.value.param in {"roles", "clearance", "compartments"}


@pytest.mark.parametrize(
    "wanted", [AccountChange(disabled=True), AccountChange(roles=frozenset({Role.EMPLOYEE}))]
)
def test_the_last_administrator_stays_one(
    session: Session, root: User, ada: User, wanted: AccountChange
) -> None:
    """A closed administrator does not count; with a second one who works, the first can go."""
    gone = join(session, "gone@example.org", Role.ADMIN)
    accounts.set_disabled(session, gone, disabled=True)
    with session.begin_nested(), pytest.raises(Conflict) as refused:
        accounts.change_account(session, root.id, wanted, by=principal_of(ada))
    assert refused.value.hint is not None
    session.refresh(root)
    root.roles, root.disabled_at = [Role.ADMIN], None
    join(session, "second@example.org", Role.ADMIN)
    assert accounts.change_account(session, root.id, wanted, by=principal_of(ada)).fields


def test_links_of_a_former_administrator_are_worth_nothing(session: Session, root: User, ada: User) -> None:
    """Otherwise they could make themselves an administrator's account again."""
    join(session, "second@example.org", Role.ADMIN)
    link, _ = accounts.invite(session, {Role.ADMIN}, created_by=root.id)
    session.flush()
    accounts.change_account(
        session, root.id, AccountChange(roles=frozenset({Role.EMPLOYEE})), by=principal_of(ada)
    )
    with pytest.raises(NotAuthenticated):
        accounts.check_invitation(session, link)


def test_an_unknown_account_is_not_found(session: Session, root: User) -> None:
    """Whatever shall be changed."""
    with pytest.raises(NotFound):
        accounts.change_account(session, "unknown", AccountChange(clearance=1), by=principal_of(root))


# --- services -------------------------------------------------------------------------------------


def test_a_service_has_a_name_of_its_own_and_no_power(session: Session, root: User) -> None:
    """It can be an employee or a curator, from the start and later."""
    made = accounts.create_service_account(session, " Nightly  report ", [Role.CURATOR])
    assert (made.kind, made.name, made.roles) == ("service", "Nightly report", ["curator"])
    with pytest.raises(Conflict):
        accounts.create_service_account(session, "Nightly report", [Role.EMPLOYEE])
    for role in (Role.ADMIN, Role.AUDITOR):
        with pytest.raises(InvalidInput):
            accounts.create_service_account(session, "Other", [role])
        with pytest.raises(InvalidInput):
            wanted = AccountChange(roles=frozenset({role}))
            accounts.change_account(session, made.id, wanted, by=principal_of(root))


def test_a_person_is_no_service(session: Session, ada: User) -> None:
    """Administrators make keys for programs, never for people."""
    for wrong in (ada.id, "unknown"):
        with pytest.raises(NotFound):
            accounts.get_service_account(session, wrong)


# --- groups ---------------------------------------------------------------------------------------


def test_a_directorys_group_is_changed_by_the_directory_only(session: Session, ada: User) -> None:
    """Joining, leaving and removal are refused alike."""
    session.add(Group(id="group:corp:42", directory="corp", name="Legal", created_at=1))
    session.flush()
    with pytest.raises(Conflict):
        accounts.add_member(session, "group:corp:42", ada.id)
    with pytest.raises(Conflict):
        accounts.remove_member(session, "group:corp:42", ada.id)
    with pytest.raises(Conflict):
        accounts.delete_local_group(session, "group:corp:42")


@pytest.mark.parametrize(
    "group_id", ["group:local:unknown", "group:corp:42", "group:local:everyone", "user:x"]
)
def test_an_unknown_group_has_no_members(session: Session, ada: User, group_id: str) -> None:
    """Whatever its name looks like; the built-in group of everybody cannot be joined or removed either."""
    with pytest.raises(NotFound):
        accounts.add_member(session, group_id, ada.id)
    with pytest.raises(NotFound):
        accounts.delete_local_group(session, group_id)


def test_only_accounts_are_members(session: Session, ada: User) -> None:
    """A principal's id, of a group or of another provider, is no account."""
    group = accounts.create_group(session, "Legal")
    for wrong in (f"user:{ada.id}", "group:corp:42", "oidc:corp:ada", ""):
        with pytest.raises(NotFound):
            accounts.add_member(session, group.id, wrong)


def test_with_a_group_goes_every_line_that_names_it(session: Session, ada: User) -> None:
    """Documents it was named for get a new epoch, also through their collection; others keep theirs."""
    group = accounts.create_group(session, "Legal")
    accounts.add_member(session, group.id, ada.id)
    session.add(Collection(id="c", name="C", owner="user:x", created_at=1))
    session.flush()
    for name, collection in (("shared", None), ("inside", "c"), ("other", None)):
        session.add(
            Document(id=name, owner="user:x", name=name, collection_id=collection, created_at=1, acl_epoch=5)
        )
    session.add(
        Conversation(id="v", owner="user:x", wrapped_key=b"", sealed_title=b"", created_at=1, updated_at=1)
    )
    session.flush()
    session.add_all(
        [
            DocumentGrant(document_id="shared", principal=group.id, effect="allow"),
            DocumentGrant(document_id="other", principal="user:x", effect="allow"),
            CollectionGrant(collection_id="c", principal=group.id, effect="deny"),
            ConversationShare(conversation_id="v", principal=group.id),
        ]
    )
    session.flush()
    before = current_epoch(session)
    accounts.delete_local_group(session, group.id)
    session.expire_all()
    epochs = {document.id: document.acl_epoch for document in session.query(Document)}
    assert epochs == {"shared": 6, "inside": 6, "other": 5}
    assert [line.principal for line in session.query(DocumentGrant)] == ["user:x"]
    assert (session.query(CollectionGrant).all(), session.query(ConversationShare).all()) == ([], [])
    assert accounts.groups_of(session, ada.id) == []
    assert current_epoch(session) > before


def test_the_last_administrator_is_not_closed_by_anything(session: Session, root: User) -> None:
    """Whoever closes accounts, a directory among them, meets the same rule."""
    with session.begin_nested(), pytest.raises(Conflict):
        accounts.set_disabled(session, root, disabled=True)
    session.refresh(root)
    join(session, "second@example.org", Role.ADMIN)
    accounts.set_disabled(session, root, disabled=True)
    assert root.disabled_at is not None
