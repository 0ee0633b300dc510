"""People and groups of company directories: who is found, who never is, and who decides about which group."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from joining import join
from sqlalchemy.orm import Session

from infra import accounts
from infra.accounts import identities
from infra.clock import now_ms
from infra.database.tables import Group, User
from infra.directories.claims import DirectoryPerson
from infra.epoch import current_epoch
from infra.errors import InvalidInput, NotAuthenticated, NotFound


def of_corp(subject: str = "s-1", *, name: str = "Ada", email: str | None = None) -> DirectoryPerson:
    """Return what the directory `corp` says about somebody."""
    return DirectoryPerson("corp", subject, name, email, frozenset())


def test_the_first_sign_in_makes_an_employee_and_later_ones_find_them(session: Session) -> None:
    """By directory and subject; the name is today's."""
    first = accounts.sign_in_person(session, of_corp(email="Ada@Example.org"))
    assert (first.roles, first.clearance, first.compartments) == (["employee"], 0, [])
    assert (first.kind, first.email, first.password_hash) == ("user", "ada@example.org", None)
    later = accounts.sign_in_person(session, of_corp(name="Ada King", email="king@example.org"))
    assert (later.id, later.name, later.email) == (first.id, "Ada King", "king@example.org")
    assert accounts.user_of_identity(session, "corp", "s-1") is first
    assert accounts.identities_of(session) == {first.id: ["corp"]}


def test_an_address_leads_to_nobody(session: Session, ada: User) -> None:
    """Neither to a local account nor to another directory's; the second of the name gets no address."""
    ada.roles = ["admin"]
    theirs = accounts.sign_in_person(session, of_corp(email="ada@example.org"))
    assert (theirs.id != ada.id, theirs.email, theirs.roles) == (True, None, ["employee"])
    again = accounts.sign_in_person(session, of_corp(email="ADA@example.org"))
    assert (again.id, again.email, ada.email) == (theirs.id, None, "ada@example.org")


def test_the_same_subject_elsewhere_is_somebody_else(session: Session) -> None:
    """Two directories may number their people alike."""
    here = accounts.sign_in_person(session, of_corp())
    there = accounts.sign_in_person(session, DirectoryPerson("other", "s-1", "Ada", None, frozenset()))
    assert here.id != there.id
    assert accounts.user_of_identity(session, "third", "s-1") is None


def test_a_directorys_person_has_no_password_here(session: Session) -> None:
    """However it is spelt."""
    accounts.sign_in_person(session, of_corp(email="ada@example.org"))
    for password in ("", "a long enough password"):
        with pytest.raises(NotAuthenticated):
            accounts.sign_in(session, "ada@example.org", password)


def test_a_closed_account_stays_closed(session: Session) -> None:
    """Whatever the directory says; whoever pushes people still finds it."""
    user = accounts.sign_in_person(session, of_corp())
    user.disabled_at = now_ms()
    session.flush()
    with pytest.raises(NotAuthenticated):
        accounts.sign_in_person(session, of_corp())
    assert accounts.account_of_person(session, of_corp()) is user


def test_a_directory_replaces_its_own_groups_only(session: Session, ada: User) -> None:
    """A local group and another directory's stay; the epoch grows when something changed."""
    mine = accounts.create_group(session, "Choir")
    accounts.add_member(session, mine.id, ada.id)
    accounts.set_directory_groups(session, ada.id, "other", frozenset({"group:other:1"}))
    names = {"group:corp:1": "Legal"}
    before = current_epoch(session)
    wanted = frozenset({"group:corp:1", "group:corp:2"})
    assert accounts.set_directory_groups(session, ada.id, "corp", wanted, names)
    assert current_epoch(session) > before
    assert ids_of(session, ada) == {mine.id, "group:other:1", *wanted}
    before = current_epoch(session)
    assert not accounts.set_directory_groups(session, ada.id, "corp", wanted, names)
    assert current_epoch(session) == before
    assert accounts.set_directory_groups(session, ada.id, "corp", frozenset({"group:corp:2"}))
    assert ids_of(session, ada) == {mine.id, "group:other:1", "group:corp:2"}
    assert session.get_one(Group, "group:corp:1").directory == "corp"


@pytest.mark.parametrize(
    "foreign",
    ["group:local:1", "group:other:1", "group:corp", "group:corp:", "user:x", "group:corporate:1", ""],
)
def test_a_group_id_from_elsewhere_is_refused(session: Session, ada: User, foreign: str) -> None:
    """And nothing of that list is taken over."""
    with pytest.raises(InvalidInput):
        accounts.set_directory_groups(session, ada.id, "corp", frozenset({"group:corp:1", foreign}))
    assert ids_of(session, ada) == set()


def test_no_directory_is_called_local(session: Session, ada: User) -> None:
    """Local groups are the administrators'."""
    group = accounts.create_group(session, "Choir")
    with pytest.raises(InvalidInput):
        accounts.set_directory_groups(session, ada.id, "local", frozenset({group.id}))


def test_groups_are_called_what_the_directory_calls_them_now(session: Session, ada: User) -> None:
    """Two of one name are told apart by their ids, and a local group of the name does not matter."""
    accounts.create_group(session, "Legal")
    for number, name in (("1", "Legal"), ("2", "Legal"), ("1", "Law")):
        group_id = f"group:corp:{number}"
        accounts.set_directory_groups(session, ada.id, "corp", frozenset({group_id}), {group_id: name})
    names = {group.id: group.name for group in session.query(Group) if group.directory == "corp"}
    assert names == {"group:corp:1": "Law", "group:corp:2": "2"}


def test_nobody_unknown_has_groups(session: Session) -> None:
    """The person has to be there first."""
    with pytest.raises(NotFound):
        accounts.set_directory_groups(session, "unknown", "corp", frozenset({"group:corp:1"}))


def test_two_first_sign_ins_at_once_make_one_account(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds what the first has made, and leaves nothing behind."""
    first = accounts.account_of_person(session, of_corp())
    # The second one looked before the first one had written.
    monkeypatch.setattr(identities, "user_of_identity", late(identities.user_of_identity))
    assert accounts.account_of_person(session, of_corp()) is first
    assert session.query(User).count() == 1


def late(look_up: Callable[..., User | None]) -> Callable[..., User | None]:
    """Return a look-up that finds nothing the first time."""
    looks = iter([True])
    return lambda *arguments: None if next(looks, False) else look_up(*arguments)


def ids_of(session: Session, user: User) -> set[str]:
    """Return the ids of a person's groups."""
    return {group.id for group in accounts.groups_of(session, user.id)}


def test_a_local_account_keeps_its_address(session: Session) -> None:
    """A directory cannot take an address away from somebody who joined later either."""
    accounts.sign_in_person(session, of_corp(email="old@example.org"))
    join(session, "ada@example.org")
    assert accounts.sign_in_person(session, of_corp(email="ada@example.org")).email == "old@example.org"


def test_an_address_is_vouched_for_by_who_knows_it(session: Session) -> None:
    """A directory that vouches does so for good; a new address that nobody vouches for is a label again."""

    def said(email: str, *, vouched: bool) -> User:
        return accounts.sign_in_person(
            session, DirectoryPerson("corp", "s-1", "Ada", email, frozenset(), email_vouched=vouched)
        )

    assert said("ada@example.org", vouched=False).email_vouched is False
    assert said("ada@example.org", vouched=True).email_vouched is True
    assert said("Ada@example.org", vouched=False).email_vouched is True
    assert said("king@example.org", vouched=False).email_vouched is False
