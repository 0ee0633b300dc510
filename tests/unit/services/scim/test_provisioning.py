"""What a directory's people and groups become in the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Role
from infra.accounts import provisioning
from infra.accounts.provisioning import PushedGroup, PushedPerson
from infra.clock import now_ms
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import (
    ApiKey,
    Document,
    DocumentGrant,
    Group,
    GroupMember,
    Identity,
    Invitation,
    User,
    WebSession,
)
from infra.directories.claims import DirectoryPerson
from infra.epoch import current_epoch
from infra.errors import Conflict, InvalidInput, NotFound
from services.scim.filters import condition

HERE = "directory"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a migrated database."""
    opened = Database(f"sqlite:///{tmp_path / 'scim.sqlite3'}")
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """Yield one open transaction."""
    with database.write() as opened:
        yield opened


def person(name: str, *, external_id: str | None = None, active: bool = True) -> PushedPerson:
    attributes: dict[str, object] = {"userName": name, "active": active}
    return PushedPerson(name, external_id, name, f"{name}@example.org", active, attributes)


def group(name: str, external_id: str | None = None) -> PushedGroup:
    return PushedGroup(name, external_id, {"displayName": name})


# --- people ---------------------------------------------------------------------------------------


def test_closing_ends_everything_at_once(session: Session) -> None:
    """Sessions, keys and open invitations of somebody who left end with the account, and stay ended."""
    record = provisioning.add_person(session, HERE, person("ada"))
    accounts.open_session(session, record.id, hours=1)
    _, key = accounts.create_key(session, record.id, "laptop")
    accounts.invite(session, {Role.EMPLOYEE}, created_by=record.id)
    session.flush()
    assert provisioning.change_person(session, record, person("ada", active=False)) == ["disabled"]
    assert session.scalars(select(WebSession).where(WebSession.user_id == record.id)).all() == []
    assert session.scalars(select(ApiKey.revoked_at)).one() is not None
    assert session.scalars(select(Invitation.expires_at)).one() == 0
    assert provisioning.change_person(session, record, person("ada")) == ["enabled"]
    assert accounts.principal_of_key(session, key) is None


def test_pushing_the_same_again_changes_nothing(session: Session) -> None:
    """A directory that repeats itself leaves no trace."""
    record = provisioning.add_person(session, HERE, person("ada"))
    before = record.changed_at
    assert provisioning.change_person(session, record, person("ada")) == []
    assert record.changed_at == before


def test_a_close_by_an_administrator_outlasts_the_directorys(session: Session) -> None:
    """Closed there, reopened and closed again here: the directory's next reopening does not count."""
    record = provisioning.add_person(session, HERE, person("ada", active=False))
    user = session.get_one(User, record.id)
    accounts.set_disabled(session, user, disabled=False)
    accounts.set_disabled(session, user, disabled=True)
    user.disabled_at = now_ms() + 1  # later than the directory's, whatever the clock's grain
    assert provisioning.change_person(session, record, person("ada")) == ["attributes"]
    assert user.disabled_at is not None


def test_closing_somebody_closed_there_makes_it_our_decision(session: Session) -> None:
    """An administrator closes an account that the directory holds closed: it does not reopen it then."""
    record = provisioning.add_person(session, HERE, person("ada"))
    root = provisioning.add_person(session, HERE, person("root"))
    provisioning.change_person(session, record, person("ada", active=False))
    by = accounts.principal_of_session(session, accounts.open_session(session, root.id, hours=1))
    assert by is not None
    closed = accounts.change_account(session, record.id, accounts.AccountChange(disabled=True), by=by)
    assert closed.fields == {"disabled": ("by its directory", True)}
    session.refresh(record)
    assert provisioning.change_person(session, record, person("ada")) == ["attributes"]
    assert session.get_one(User, record.id).disabled_at is not None


@pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR])
def test_administrators_and_auditors_do_not_exist_for_a_directory(session: Session, role: Role) -> None:
    """Neither to be found, nor listed, nor put into a group, nor taken out of one."""
    ada = provisioning.add_person(session, HERE, person("ada"))
    ben = provisioning.add_person(session, HERE, person("ben"))
    denied = provisioning.add_group(session, HERE, group("Denied"))
    provisioning.set_members(session, denied, frozenset({ada.id, ben.id}))
    session.get_one(User, ada.id).roles = [role, Role.EMPLOYEE]
    session.flush()
    with pytest.raises(NotFound):
        provisioning.get_record(session, HERE, "user", ada.id)
    total, found = provisioning.find_records(session, HERE, "user", None, skip=0, limit=9)
    assert (total, [record.id for record in found]) == (1, [ben.id])
    allowed = provisioning.add_group(session, HERE, group("Allowed"))
    with pytest.raises(InvalidInput):
        provisioning.set_members(session, allowed, frozenset({ada.id}))
    provisioning.set_members(session, denied, frozenset())
    assert accounts.members_of(session, f"group:{HERE}:{denied.id}") == [ada.id]


def test_a_privileged_account_is_not_taken_up(session: Session) -> None:
    """An administrator who signed in with the directory is nobody whom a key of it can claim."""
    early = accounts.sign_in_person(session, DirectoryPerson(HERE, "root-1", "Root", None, frozenset()))
    early.roles = [Role.ADMIN]
    session.flush()
    with pytest.raises(Conflict):
        provisioning.add_person(session, HERE, person("mine", external_id="root-1"))


def test_an_address_that_a_directory_pushes_is_vouched_for(session: Session) -> None:
    """Until it takes it back."""
    record = provisioning.add_person(session, HERE, person("ada"))
    user = session.get_one(User, record.id)
    assert user.email_vouched is True
    provisioning.remove_person(session, record)
    assert (user.email, user.email_vouched) == (None, False)


def test_a_new_subject_replaces_the_old_one(session: Session) -> None:
    """After a change of externalId the old subject names nobody."""
    record = provisioning.add_person(session, HERE, person("ada", external_id="old"))
    provisioning.change_person(session, record, person("ada", external_id="new"))
    assert session.get(Identity, (HERE, "old")) is None
    assert session.get_one(Identity, (HERE, "new")).user_id == record.id


def test_a_subject_of_somebody_else_cannot_be_taken(session: Session) -> None:
    """Taking another's externalId would be signing in as them."""
    provisioning.add_person(session, HERE, person("ada", external_id="a"))
    ben = provisioning.add_person(session, HERE, person("ben", external_id="b"))
    with pytest.raises(Conflict):
        provisioning.change_person(session, ben, person("ben", external_id="a"))


def test_removing_takes_out_of_every_group(session: Session) -> None:
    """Memberships end, those in local groups included, and cached results end with them."""
    record = provisioning.add_person(session, HERE, person("ada"))
    accounts.add_member(session, accounts.create_group(session, "Local").id, record.id)
    before = current_epoch(session)
    provisioning.remove_person(session, record)
    assert session.scalars(select(GroupMember)).all() == []
    assert current_epoch(session) > before
    with pytest.raises(NotFound):
        provisioning.get_record(session, HERE, "user", record.id)


def test_another_directory_does_not_see_it(session: Session) -> None:
    """The same id under another directory's name is nothing."""
    record = provisioning.add_person(session, HERE, person("ada"))
    with pytest.raises(NotFound):
        provisioning.get_record(session, "elsewhere", "user", record.id)
    assert provisioning.find_records(session, "elsewhere", "user", None, skip=0, limit=9) == (0, [])


# --- groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("external_id", "is_taken_up"),
    [("7c9e6679-7425", True), ("team.one", True), ("a/b", False), ("..", False), ("xbulkIdx", False)],
)
def test_an_external_id_becomes_the_id_where_it_can(
    session: Session, external_id: str, is_taken_up: bool
) -> None:
    """What cannot stand in an address gets an id of ours."""
    record = provisioning.add_group(session, HERE, group("Legal", external_id))
    assert (record.id == external_id) is is_taken_up
    assert record.external_id == external_id
    assert session.get(Group, f"group:{HERE}:{record.id}") is not None


def test_a_group_that_a_sign_in_named_is_taken_up(session: Session) -> None:
    """Its members by sign-in stay: the directory decides about those whom it pushed."""
    early = accounts.create_service_account(session, "early", [Role.EMPLOYEE])
    accounts.set_directory_groups(session, early.id, HERE, frozenset({f"group:{HERE}:legal"}))
    pushed = provisioning.add_person(session, HERE, person("ada"))
    record = provisioning.add_group(session, HERE, group("Legal", "legal"))
    provisioning.set_members(session, record, frozenset({pushed.id}))
    provisioning.set_members(session, record, frozenset())
    assert accounts.members_of(session, f"group:{HERE}:legal") == [early.id]
    assert session.get_one(Group, f"group:{HERE}:legal").name == "Legal"


def test_members_change_by_the_difference(session: Session) -> None:
    """Only who comes and who goes is said and raises the epoch; a repetition does neither."""
    ids = [provisioning.add_person(session, HERE, person(name)).id for name in ("ada", "ben", "cid")]
    record = provisioning.add_group(session, HERE, group("Legal"))
    provisioning.set_members(session, record, frozenset(ids[:2]))
    before = current_epoch(session)
    change = provisioning.set_members(session, record, frozenset(ids[1:]))
    assert (change.added, change.removed) == ({ids[2]}, {ids[0]})
    assert current_epoch(session) == before + 1
    change = provisioning.set_members(session, record, frozenset(ids[1:]))
    assert (change.added, change.removed) == (frozenset(), frozenset())
    assert current_epoch(session) == before + 1


def test_somebody_who_was_removed_is_no_member(session: Session) -> None:
    """An account that was closed for good cannot be put into a group."""
    gone = provisioning.add_person(session, HERE, person("ada"))
    provisioning.remove_person(session, gone)
    record = provisioning.add_group(session, HERE, group("Legal"))
    with pytest.raises(InvalidInput):
        provisioning.set_members(session, record, frozenset({gone.id}))


def test_more_members_than_one_statement_takes(session: Session) -> None:
    """Lists are taken in parts."""
    ids = frozenset(provisioning.add_person(session, HERE, person(f"p{n}")).id for n in range(1100))
    record = provisioning.add_group(session, HERE, group("All"))
    assert provisioning.set_members(session, record, ids).added == ids
    assert set(provisioning.members_pushed(session, HERE, [record.id])[record.id]) == ids
    assert provisioning.set_members(session, record, frozenset()).removed == ids


def test_removing_a_group_removes_its_lines(session: Session) -> None:
    """Allow and deny lines that name it go, and the documents' epochs rise."""
    record = provisioning.add_group(session, HERE, group("Legal", "legal"))
    session.add(Document(id="d", owner="user:o", name="a.md", created_at=1, acl_epoch=3))
    session.flush()
    for effect in ("allow", "deny"):
        session.add(DocumentGrant(document_id="d", principal=f"group:{HERE}:legal", effect=effect))
    session.flush()
    provisioning.remove_group(session, record)
    assert session.scalars(select(DocumentGrant)).all() == []
    assert session.scalars(select(Document.acl_epoch)).one() == 4
    assert session.get(Group, f"group:{HERE}:legal") is None
    provisioning.add_group(session, HERE, group("Legal", "legal"))


def test_a_name_can_be_had_once(session: Session) -> None:
    """Two groups of a name would be told apart by nobody; the case makes no difference."""
    provisioning.add_group(session, HERE, group("Legal"))
    with pytest.raises(Conflict):
        provisioning.add_group(session, HERE, group("LEGAL"))


# --- filters --------------------------------------------------------------------------------------


def test_a_filter_is_a_condition_of_its_directory(session: Session) -> None:
    """Members are looked for in the directory's own group of that id."""
    ada = provisioning.add_person(session, HERE, person("ada")).id
    record = provisioning.add_group(session, HERE, group("Legal", "legal"))
    provisioning.set_members(session, record, frozenset({ada}))
    wanted = condition("group", HERE, f'members eq "{ada}" and displayName ne "other"')
    total, [found] = provisioning.find_records(session, HERE, "group", wanted, skip=0, limit=9)
    assert (total, found.id) == (1, "legal")
    elsewhere = condition("group", "elsewhere", f'members eq "{ada}"')
    assert provisioning.find_records(session, HERE, "group", elsewhere, skip=0, limit=9) == (0, [])


def test_letters_count_and_not_how_they_are_written(session: Session) -> None:
    """Accents in one sign or two, and capitals beyond ASCII, are the same user name."""
    made = provisioning.add_person(session, HERE, person("JOSÉ"))
    wanted = condition("user", HERE, 'userName eq "jose\u0301"')
    assert provisioning.find_records(session, HERE, "user", wanted, skip=0, limit=9) == (1, [made])
