"""The access rule as conditions on a point's payload: written once, for both engines."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from infra.access import AccessScope


@dataclass(frozen=True)
class HasAny:
    """The list `field` shares a value with `values`; never true for an empty one."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class HasOther:
    """The list `field` has a value that is not in `values`, which must not be empty."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class HasNone:
    """The list `field` is empty or missing."""

    field: str


@dataclass(frozen=True)
class AtMost:
    """The integer `field` exists and does not exceed `value`."""

    field: str
    value: int


Condition = HasAny | HasOther | HasNone | AtMost


@dataclass(frozen=True)
class Conditions:
    """All of `must` and none of `must_not`."""

    must: tuple[Condition, ...]
    must_not: tuple[Condition, ...] = ()


def scope_conditions(scope: AccessScope, document_ids: Collection[str] | None = None) -> Conditions:
    """Write `infra.access.may_read` as conditions on the payload, optionally within some documents."""
    must: list[Condition] = [
        HasAny("allow", tuple(sorted(scope.principals))),
        HasAny("within", tuple(sorted(scope.principals))),
        AtMost("clearance", scope.clearance),
    ]
    must_not: list[Condition] = [HasAny("deny", tuple(sorted(scope.principals)))]
    if scope.compartments:
        must_not.append(HasOther("compartments", tuple(sorted(scope.compartments))))
    else:
        # "Other than none of them" is a corner that engines may read either way; "has none" is not.
        must.append(HasNone("compartments"))
    if document_ids is not None:
        must.append(HasAny("document_id", tuple(sorted(document_ids))))
    return Conditions(tuple(must), tuple(must_not))


def having(field: str, value: str) -> Conditions:
    """Select the points whose `field` holds `value`."""
    return Conditions((HasAny(field, (value,)),))


def not_later(document_id: str, epoch: int) -> Conditions:
    """Select a document's points with this epoch or an earlier one: two changes may arrive swapped."""
    return Conditions((HasAny("document_id", (document_id,)), AtMost("epoch", epoch)))


def counted(document_id: str | None, version_id: str | None) -> Conditions:
    """Select the points of a document, of a version, or all; for reconciling, never for people."""
    wanted = {"document_id": document_id, "version_id": version_id}
    return Conditions(tuple(HasAny(field, (value,)) for field, value in wanted.items() if value is not None))
