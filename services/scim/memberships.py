"""What a PATCH does to a group's members, reckoned with sets.

The library compares every member with every member for each operation; a directory's group has thousands,
and one PATCH could hold up everybody. So the usual operations on members are done here, in the order in
which they stand, and only the unusual ones by the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from infra.errors import InvalidInput
from services.scim.resources import (
    TOLERANT,
    Group,
    Member,
    check_operations,
    member_ids,
    read_patched,
)

MAX_UNUSUAL: Final = 5
"""Most operations of one PATCH that choose members in another way than by their ids."""
_ONE_MEMBER: Final = re.compile(r'members\[\s*value\s+eq\s+"([^"\\]*)"\s*\]', re.IGNORECASE)
_Operation = Mapping[str, Any]


def read_patched_group(
    body: Mapping[str, Any], known: Group, members: frozenset[str]
) -> tuple[Group, frozenset[str]]:
    """Apply a PATCH to a group (`known`, without its members) and to the ids of its members.

    Raises SCIMException or InvalidInput; what was passed in is then worth nothing.
    """
    field, operations = check_operations(body)
    if field is None:
        return read_patched(Group, body, known), members
    pending: list[Any] = []
    unusual = 0
    for operation in operations:
        changed = _changed(operation, members)
        if changed is not None:
            members = changed
            continue
        pending.append(operation)
        if _names_members(operation):
            unusual += 1
            _check_unusual(unusual)
            known, members = _applied({**body, field: pending}, known, members)
            pending = []
    # What is left says nothing of members; the body is read in any case, and refused where it is none.
    unchanged = {"op": "replace", "path": "displayName", "value": known.display_name}
    return read_patched(Group, {**body, field: pending or [unchanged]}, known), members


def _changed(operation: object, members: frozenset[str]) -> frozenset[str] | None:
    """Return the members after an operation, or None when it is not a usual one on nothing but members."""
    said = _fields(operation)
    if said is None:
        return None
    verb, path = str(said["op"]).lower(), said.get("path")
    if verb == "remove":
        return _removed(said, members)
    if verb not in {"add", "replace"}:
        return None
    value = said.get("value") if _is_members(path) else _only_members(path, said.get("value"))
    named = _ids(value)
    if named is None:
        return None
    return members | named if verb == "add" else named


def _removed(said: _Operation, members: frozenset[str]) -> frozenset[str] | None:
    path = said.get("path")
    if _is_members(path):
        if said.get("value") is None:
            return frozenset()
        named = _ids(said["value"])
        return None if named is None else members - named
    one = _ONE_MEMBER.fullmatch(path) if isinstance(path, str) else None
    return members - {one[1]} if one is not None and one[1] in members else None


def _fields(operation: object) -> dict[str, Any] | None:
    """Return an operation by its fields in lower case; case is nothing there (RFC 7643, section 2.1)."""
    if not isinstance(operation, Mapping):
        return None
    said = {str(name).lower(): value for name, value in operation.items()}
    return said if len(said) == len(operation) and {"op"} <= set(said) <= {"op", "path", "value"} else None


def _is_members(path: object) -> bool:
    return isinstance(path, str) and path.lower() == "members"


def _only_members(path: object, value: object) -> object:
    """Return the members of a value without a path that says nothing else, or None."""
    if path is None and isinstance(value, Mapping) and [str(name).lower() for name in value] == ["members"]:
        [members] = value.values()
        return members
    return None


def _ids(value: object) -> frozenset[str] | None:
    """Return the ids of a list of members, or None where it is none; what is no member is refused."""
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, list):
        return None
    try:
        entries = [Member.model_validate(entry, scim_policy=TOLERANT) for entry in listed]
    except ValidationError:
        return None
    return member_ids(Group(members=entries))


def _names_members(operation: object) -> bool:
    return "members" in json.dumps(operation, ensure_ascii=False).lower()


def _check_unusual(unusual: int) -> None:
    if unusual > MAX_UNUSUAL:
        raise InvalidInput(
            f"More than {MAX_UNUSUAL} operations choose members by something else than their ids.",
            param="members",
        )


def _applied(body: Mapping[str, Any], known: Group, members: Iterable[str]) -> tuple[Group, frozenset[str]]:
    known.members = [Member(value=user_id, type="User") for user_id in sorted(members)] or None
    changed = read_patched(Group, body, known)
    named = member_ids(changed)
    changed.members = None
    return changed, named
