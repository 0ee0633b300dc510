"""The rule of who may read what, as values."""

from __future__ import annotations

import pytest

from infra.access import EVERYONE, AccessScope, DocumentAccess, Principal, Role, may_read, scope_of

ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}), frozenset({"group:local:legal"}))


def access(**fields: object) -> DocumentAccess:
    """Return an access list that lets everybody in, but for what is changed."""
    plain: dict[str, object] = {"allow": frozenset({EVERYONE})}
    return DocumentAccess(**(plain | fields))  # type: ignore[arg-type]  # the test names the fields


@pytest.mark.parametrize(
    ("document", "allowed"),
    [
        (access(), True),
        (access(allow=frozenset({"user:ada"})), True),
        (access(allow=frozenset({"group:local:legal"})), True),
        (access(allow=frozenset({"user:ben"})), False),
        (access(allow=frozenset({"service:ada"})), False),
        (access(allow=frozenset()), False),
        (DocumentAccess(), False),
        (access(deny=frozenset({"user:ada"})), False),
        (access(deny=frozenset({"group:local:legal"})), False),
        (access(deny=frozenset({EVERYONE})), False),
        (access(deny=frozenset({"user:ben"})), True),
        (access(clearance=1), False),
        (access(compartments=frozenset({"board"})), False),
    ],
)
def test_the_rule(document: DocumentAccess, allowed: bool) -> None:
    """Allow is needed, deny wins, clearance and compartments bound; no list means nobody."""
    assert may_read(scope_of(ADA), document) is allowed


def test_clearance_and_compartments_open_what_they_name() -> None:
    """Enough of both lets in; one compartment short does not."""
    cleared = Principal("ada", "user", frozenset(), clearance=2, compartments=frozenset({"board", "audit"}))
    assert may_read(scope_of(cleared), access(clearance=2, compartments=frozenset({"board"})))
    assert not may_read(scope_of(cleared), access(clearance=3))
    assert not may_read(scope_of(cleared), access(compartments=frozenset({"board", "research"})))


@pytest.mark.parametrize("role", list(Role))
def test_no_role_widens_reading(role: Role) -> None:
    """A principal with a role reads what one without any reads."""
    plain, titled = Principal("ada", "user", frozenset()), Principal("ada", "user", frozenset({role}))
    assert scope_of(titled) == scope_of(plain)
    assert not may_read(scope_of(titled), access(allow=frozenset({"user:ben"})))


def test_a_scope_cannot_be_made_up() -> None:
    """Only a principal gives one."""
    with pytest.raises(TypeError):
        AccessScope(frozenset({EVERYONE}), 9, frozenset(), object())


def test_the_hash_names_the_whole_scope() -> None:
    """It changes with every part of the scope, and not with its order."""
    base = Principal("ada", "user", frozenset(), frozenset({"g:1", "g:2"}), 1, frozenset({"x"}))
    others = [
        Principal("ben", "user", frozenset(), frozenset({"g:1", "g:2"}), 1, frozenset({"x"})),
        Principal("ada", "user", frozenset(), frozenset({"g:1"}), 1, frozenset({"x"})),
        Principal("ada", "user", frozenset(), frozenset({"g:1", "g:2"}), 2, frozenset({"x"})),
        Principal("ada", "user", frozenset(), frozenset({"g:1", "g:2"}), 1, frozenset()),
    ]
    again = Principal("ada", "user", frozenset({Role.ADMIN}), frozenset({"g:2", "g:1"}), 1, frozenset({"x"}))
    hashes = {scope_of(person).principal_set_hash for person in [base, *others]}
    assert len(hashes) == 5
    assert scope_of(again).principal_set_hash == scope_of(base).principal_set_hash
