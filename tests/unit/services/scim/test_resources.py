"""What is read out of a directory's resources, and what is left there."""

from __future__ import annotations

from typing import Any

import pytest
from scim2_models import SCIMException

from infra.errors import InvalidInput
from services.scim.resources import (
    SERVICE,
    Group,
    User,
    member_ids,
    pushed_group,
    pushed_person,
    read_new,
    read_patched,
    read_replacement,
)


def user(**fields: Any) -> User:
    return read_new(User, {"userName": "ada", **fields})


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"displayName": "Ada L.", "name": {"formatted": "Ms Ada"}}, "Ada L."),
        ({"name": {"formatted": "Ms Ada", "givenName": "Ada"}}, "Ms Ada"),
        ({"name": {"givenName": "Ada", "familyName": "Lovelace"}}, "Ada Lovelace"),
        ({"displayName": "  "}, "ada"),
        ({"displayName": "Ada\u202eevil\n"}, "Ada evil"),
        ({"displayName": "x" * 500}, "x" * 200),
        ({}, "ada"),
    ],
)
def test_the_best_name_is_shown(fields: dict[str, Any], name: str) -> None:
    """The display name before the formatted one before the parts before the user name, fit to be shown."""
    assert pushed_person(user(**fields), was_active=True).name == name


@pytest.mark.parametrize(
    ("emails", "address"),
    [
        ([{"value": "a@b.c"}, {"value": "P@corp.local", "primary": True}], "p@corp.local"),
        ([{"value": "First@b.c"}, {"value": "d@e.f"}], "first@b.c"),
        ([{"type": "work"}], None),
        ([], None),
    ],
)
def test_the_primary_address_is_the_accounts(emails: list[dict[str, Any]], address: str | None) -> None:
    """Or else the first one; it is stored as local accounts' are."""
    assert pushed_person(user(emails=emails), was_active=True).email == address


@pytest.mark.parametrize("was_active", [True, False])
def test_state_unsaid_is_state_unchanged(was_active: bool) -> None:
    """Only an explicit `active` opens or closes."""
    assert pushed_person(user(), was_active=was_active).active is was_active
    assert pushed_person(user(active=not was_active), was_active=was_active).active is not was_active


def test_what_is_not_needed_is_not_kept() -> None:
    """Telephone numbers, addresses, passwords, roles and schemas unknown here are dropped."""
    extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    body = {
        "phoneNumbers": [{"value": "1"}],
        "password": "secret",
        "roles": [{"value": "admin"}],
        "id": "chosen",
        "meta": {"created": "2020-01-01T00:00:00Z"},
        "groups": [{"value": "admins"}],
        extension: {"department": "x"},
    }
    assert pushed_person(user(**body), was_active=True).attributes == {"userName": "ada", "active": True}


def test_a_replacement_drops_what_it_does_not_name() -> None:
    """A PUT is the whole of it."""
    known = user(displayName="Ada", externalId="a")
    pushed = pushed_person(read_replacement(User, {"userName": "ada"}, known), was_active=True)
    assert (pushed.external_id, pushed.name) == (None, "ada")


def test_one_bad_operation_undoes_the_good_ones() -> None:
    """A PATCH is done whole or not at all."""
    known = user(displayName="Before")
    operations = [
        {"op": "replace", "path": "displayName", "value": "After"},
        {"op": "replace", "path": 'emails[type eq "x"].primary', "value": "perhaps"},
    ]
    with pytest.raises(SCIMException):
        read_patched(User, {"Operations": operations}, known)
    assert known.display_name == "Before"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize("where", ["value", "key", "inside"])
def test_text_that_no_database_keeps_is_refused(text: str, where: str) -> None:
    """Wherever it stands, even in what would be dropped."""
    body = {"value": {"title": text}, "key": {text: 1}, "inside": {"x": [{"y": text}]}}[where]
    with pytest.raises(InvalidInput):
        user(**body)


def test_a_group_keeps_no_members_in_its_attributes() -> None:
    """Members stand in one place, the memberships."""
    group = read_new(Group, {"displayName": " Legal  team ", "members": [{"value": "a"}, {"value": "b"}]})
    assert pushed_group(group).attributes == {"displayName": " Legal  team "}
    assert pushed_group(group).name == "Legal team"
    assert member_ids(group) == {"a", "b"}


@pytest.mark.parametrize("member", [{"type": "User"}, {"value": "a", "type": "Group"}, {"value": ""}])
def test_a_member_is_a_user_with_an_id(member: dict[str, Any]) -> None:
    """Anything else is refused rather than skipped."""
    with pytest.raises(InvalidInput):
        member_ids(read_new(Group, {"displayName": "Legal", "members": [member]}))


def test_the_published_schema_promises_only_what_is_kept() -> None:
    """A directory that reads the schemas learns that nothing else arrives."""
    names = {schema.name: {a.name for a in schema.attributes or []} for schema in SERVICE.schemas}
    assert names["User"] == {"userName", "name", "displayName", "active", "emails", "groups"}
    assert names["Group"] == {"displayName", "members"}
