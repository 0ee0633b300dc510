"""What a PATCH makes of a group and its members."""

from __future__ import annotations

import time
from typing import Any

import pytest
from scim2_models import SCIMException

from infra.errors import InvalidInput
from services.scim.memberships import MAX_UNUSUAL, read_patched_group
from services.scim.resources import MAX_LISTED, MAX_OPERATIONS, Group, check_lists

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BEFORE = frozenset({"a", "b"})


def patched(
    *operations: Any, members: frozenset[str] = BEFORE, field: str = "Operations"
) -> tuple[str, set[str]]:
    """Return the name and the members of a group called Team after a PATCH."""
    body = {"schemas": [PATCH], field: list(operations)}
    group, after = read_patched_group(body, Group(display_name="Team"), members)
    assert group.members is None
    return group.display_name or "", set(after)


def values(*ids: str) -> list[dict[str, str]]:
    return [{"value": user_id} for user_id in ids]


@pytest.mark.parametrize(
    ("operation", "after"),
    [
        ({"op": "add", "path": "members", "value": values("c", "a")}, {"a", "b", "c"}),
        ({"op": "Add", "path": "Members", "value": {"value": "c", "type": "User"}}, {"a", "b", "c"}),
        ({"op": "add", "value": {"members": values("c")}}, {"a", "b", "c"}),
        ({"op": "replace", "path": "members", "value": values("c")}, {"c"}),
        ({"op": "replace", "value": {"members": values("c")}}, {"c"}),
        ({"op": "replace", "path": "members", "value": []}, set()),
        ({"op": "remove", "path": "members"}, set()),
        ({"op": "Remove", "path": "members", "value": values("a", "z")}, {"b"}),
        ({"op": "remove", "path": 'members[value eq "a"]'}, {"b"}),
        ({"OP": "remove", "PATH": 'members[value eq "a"]'}, {"b"}),
        ({"op": "remove", "path": 'members[value eq "a" or value eq "b"]'}, set()),
        ({"op": "remove", "path": 'members[type eq "User"]'}, set()),
    ],
)
def test_members_come_and_go(operation: dict[str, Any], after: set[str]) -> None:
    """In all the ways that directories say it."""
    assert patched(operation) == ("Team", after)


def test_operations_count_in_their_order() -> None:
    """The usual, the unusual and those on other attributes."""
    assert patched(
        {"op": "add", "path": "members", "value": values("c")},
        {"op": "replace", "path": "displayName", "value": "One"},
        {"op": "remove", "path": 'members[value eq "a" or value eq "c"]'},
        {"op": "replace", "value": {"displayName": "Two", "members": values("d")}},
        {"op": "add", "path": "members", "value": values("e")},
        field="operations",
    ) == ("Two", {"d", "e"})


@pytest.mark.parametrize(
    "operation",
    [
        "add",
        {"op": "grow", "path": "members", "value": values("c")},
        {"op": "remove"},
        {"op": "add", "path": "members", "value": [{"value": {"x": 1}}]},
        {"op": "add", "path": "members", "value": [{"value": "g", "type": "Group"}]},
        {"op": "add", "path": "members", "value": [{"display": "without an id"}]},
        {"op": "add", "path": "nothing[", "value": "x"},
    ],
)
def test_what_is_no_operation_is_refused(operation: Any) -> None:
    """By its own check or the library's."""
    with pytest.raises((SCIMException, InvalidInput)):
        patched(operation)


def test_operations_are_limited() -> None:
    """One more than the limit is refused, and so are many that only the library can do."""
    add = {"op": "add", "path": "members", "value": values("c")}
    assert patched(*[add] * MAX_OPERATIONS)[1] == {"a", "b", "c"}
    with pytest.raises(InvalidInput):
        patched(*[add] * (MAX_OPERATIONS + 1))
    unusual = {"op": "remove", "path": 'members[type eq "Other"]'}
    with pytest.raises(InvalidInput):
        patched(*[unusual] * (MAX_UNUSUAL + 1))


def test_a_large_group_takes_many_operations_at_once() -> None:
    """Ten thousand members and a hundred operations are done in well under what one operation took."""
    many = frozenset(f"member-{number}" for number in range(10_000))
    operations = [
        {"op": "remove", "path": f'members[value eq "member-{number}"]'} for number in range(MAX_OPERATIONS)
    ]
    began = time.process_time()
    assert len(patched(*operations, members=many)[1]) == 9_900
    assert time.process_time() - began < 2


def test_values_about_one_person_are_limited() -> None:
    """Wherever they stand in the body."""
    emails = [{"value": f"{number}@example.org"} for number in range(MAX_LISTED - 1)]
    check_lists({"Operations": [{"op": "add", "path": "emails", "value": emails}]})
    with pytest.raises(InvalidInput):
        check_lists({"Operations": [{"op": "add", "path": "emails", "value": [*emails, emails[0]]}]})
