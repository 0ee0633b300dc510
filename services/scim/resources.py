"""What a directory may say about people and groups, and how this server describes itself (RFC 7643).

Only what is needed is taken: a telephone number or an address that a directory sends is dropped unread, and
so are `roles`, `entitlements` and passwords, which could otherwise give somebody rights.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import Field, ValidationError
from scim2_models import (
    URN,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    Context,
    Error,
    ETag,
    Filter,
    Meta,
    Mutability,
    Patch,
    PatchOp,
    Reference,
    Required,
    Resource,
    SCIMException,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)
from scim2_models import BaseModel as ScimModel

from infra.accounts.names import checked_name
from infra.accounts.people import checked_email
from infra.accounts.provisioning import PushedGroup, PushedPerson
from infra.database.tables import DirectoryRecord
from infra.database.tables import User as Account
from infra.errors import InvalidInput

MAX_RESULTS: Final = 200
"""Most resources on one page of a list."""
MAX_KEPT_BYTES: Final = 16 * 1024
"""Most bytes of JSON that are kept about one person or group."""
MAX_NAME_CHARS: Final = 200
MAX_OPERATIONS: Final = 100
"""Most operations of one PATCH."""
MAX_LISTED: Final = 300
"""Most entries of all lists in what is sent about one person: the library compares each with every other."""

TOLERANT: Final = ScimPolicy(
    # Directories send everything they have; what is not ours to keep must not stop the rest.
    unknown=ScimPolicy.Unknown.ignore,
    # The two ways in which Microsoft Entra ID departs from RFC 7644, section 3.5.2.
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
_UserAddress: TypeAlias = Reference["User"]
_GroupAddress: TypeAlias = Reference["Group"]
_OURS: Final = {"schemas", "id", "meta", "groups", "members"}

_Model = TypeVar("_Model", bound=ScimModel)
_Resource = TypeVar("_Resource", bound=Resource[Any])


# --- the shapes -----------------------------------------------------------------------------------


class Name(ComplexAttribute):
    """A person's name, in parts."""

    formatted: str | None = None
    family_name: str | None = None
    given_name: str | None = None


class Email(ComplexAttribute):
    """An e-mail address; the primary one, or else the first, becomes the account's."""

    value: str | None = None
    type: str | None = Field(None, examples=["work", "home", "other"])
    primary: bool | None = None


class Membership(ComplexAttribute):
    """A group that the person is in."""

    value: Annotated[str | None, Mutability.read_only, CaseExact.true] = None
    ref: Annotated[_GroupAddress | None, Mutability.read_only] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    display: Annotated[str | None, Mutability.read_only] = None


class User(Resource[Any]):
    """A person of this directory."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    name: Name | None = None
    display_name: str | None = None
    active: bool | None = None
    emails: list[Email] | None = None
    groups: Annotated[list[Membership] | None, Mutability.read_only] = None


class Member(ComplexAttribute):
    """A person in a group; a group in a group is not supported."""

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    ref: Annotated[_UserAddress | None, Mutability.immutable] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])


class Group(Resource[Any]):
    """A group of this directory."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Required.true, Uniqueness.server] = None
    members: list[Member] | None = None


SERVICE: Final = ScimProvider(
    models=[User, Group],
    policy=TOLERANT,
    config=ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MAX_RESULTS),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=False),
        etag=ETag(supported=False),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="API key",
                description="A service account's key that has the scope scim alone, as a bearer token.",
                primary=True,
            )
        ],
    ),
)
"""What this server publishes about itself (RFC 7644, section 4)."""


# --- reading what a directory sent ----------------------------------------------------------------


def read_new(model: type[_Resource], body: Mapping[str, Any]) -> _Resource:
    """Return the resource of a POST; raises SCIMException or InvalidInput."""
    return _read(model, body, Context.RESOURCE_CREATION_REQUEST)


def read_replacement(model: type[_Resource], body: Mapping[str, Any], known: _Resource) -> _Resource:
    """Return what a PUT makes of a `known` resource; raises SCIMException or InvalidInput."""
    wanted = _read(model, body, Context.RESOURCE_REPLACEMENT_REQUEST)
    wanted.replace(known)
    return wanted


def read_patched(model: type[_Resource], body: Mapping[str, Any], known: _Resource) -> _Resource:
    """Apply a PATCH to a `known` resource, all of it or nothing; raises SCIMException or InvalidInput."""
    check_operations(body)
    patch: PatchOp[Any] = _read(PatchOp.__class_getitem__(model), body, Context.RESOURCE_PATCH_REQUEST)
    patch.patch(known, scim_policy=TOLERANT)
    return known


def check_operations(body: Mapping[str, Any]) -> tuple[str | None, list[Any]]:
    """Return the operations of a PATCH and the field that holds them, None and none when no field does.

    Raises InvalidInput for more than MAX_OPERATIONS.
    """
    fields = [
        name for name, value in body.items() if name.lower() == "operations" and isinstance(value, list)
    ]
    if sum(len(body[name]) for name in fields) > MAX_OPERATIONS:
        raise InvalidInput(f"A PATCH has at most {MAX_OPERATIONS} operations.", param="Operations")
    return (fields[0], body[fields[0]]) if len(fields) == 1 else (None, [])


def check_lists(body: object) -> None:
    """Raise InvalidInput when the lists in what is sent about one person have over MAX_LISTED entries."""
    if _listed(body) > MAX_LISTED:
        raise InvalidInput(f"More than {MAX_LISTED} values about one person.")


def _listed(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_listed(inner) for inner in value.values())
    if isinstance(value, list):
        return len(value) + sum(_listed(inner) for inner in value)
    return 0


def _read(model: type[_Model], body: Mapping[str, Any], context: Context) -> _Model:
    _check_text(body)
    try:
        return model.model_validate(body, scim_ctx=context, scim_policy=TOLERANT)
    except ValidationError as error:
        raise SCIMException.from_error(Error.from_validation_errors(error)[0]) from error


def _check_text(value: object) -> None:
    """Raise InvalidInput for text that no database keeps: NUL, or half of a surrogate pair."""
    if isinstance(value, str) and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise InvalidInput("A text has characters that are no characters.")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_text(name)
            _check_text(inner)
    if isinstance(value, list):
        for inner in value:
            _check_text(inner)


# --- from their shapes to ours --------------------------------------------------------------------


def pushed_person(user: User, *, was_active: bool) -> PushedPerson:
    """Return what a SCIM user means here; raises InvalidInput for a bad name or e-mail address.

    Where nothing is said about `active`, it stays as it was: leaving it out of a PUT lets nobody back in.
    """
    active = was_active if user.active is None else user.active
    user_name = user.user_name or ""
    if not user_name.strip() or not user_name.isprintable():
        raise InvalidInput("A userName needs characters that can be read.", param="userName")
    return PushedPerson(
        user_name=user_name,
        external_id=_external_id(user),
        name=_shown_name(user) or user_name[:MAX_NAME_CHARS].strip(),
        email=_email(user),
        active=active,
        attributes={**_kept(user), "active": active},
    )


def pushed_group(group: Group) -> PushedGroup:
    """Return what a SCIM group means here, without its members; raises InvalidInput for a bad name."""
    name = checked_name(_readable(group.display_name or ""))
    return PushedGroup(name=name, external_id=_external_id(group), attributes=_kept(group))


def member_ids(group: Group) -> frozenset[str]:
    """Return the ids of a group's members; raises InvalidInput for one without, or a group in the group."""
    members = group.members or []
    if any(not member.value or (member.type or "User").casefold() != "user" for member in members):
        raise InvalidInput("Members are users, each with its id as value.", param="members")
    return frozenset(member.value for member in members if member.value)


def _kept(resource: Resource[Any]) -> dict[str, object]:
    kept = {name: value for name, value in resource.model_dump().items() if name not in _OURS}
    if len(json.dumps(kept).encode()) > MAX_KEPT_BYTES:
        raise InvalidInput(f"More than {MAX_KEPT_BYTES // 1024} KiB about one {type(resource).__name__}.")
    return kept


def _external_id(resource: Resource[Any]) -> str | None:
    external_id = resource.external_id
    if external_id is not None and not external_id.isprintable():
        raise InvalidInput("An externalId needs characters that can be read.", param="externalId")
    return external_id or None


def _shown_name(user: User) -> str:
    name = user.name or Name()
    parts = f"{name.given_name or ''} {name.family_name or ''}"
    candidates = (user.display_name, name.formatted, parts)
    found = (_readable(candidate or "")[:MAX_NAME_CHARS].strip() for candidate in candidates)
    return next((candidate for candidate in found if candidate), "")


def _readable(text: str) -> str:
    """Return a text without control and direction-changing characters, its spaces put in order."""
    return " ".join("".join(char if unicodedata.category(char)[0] != "C" else " " for char in text).split())


def _email(user: User) -> str | None:
    addresses = [email for email in user.emails or [] if email.value]
    chosen = next((email for email in addresses if email.primary), addresses[0] if addresses else None)
    if chosen is None or chosen.value is None:
        return None
    try:
        return checked_email(chosen.value)
    except InvalidInput as error:
        raise InvalidInput(error.message, param="emails") from error


# --- from our shapes to theirs --------------------------------------------------------------------


def known_user(record: DirectoryRecord) -> User:
    """Return a person as their directory described them, the starting point of a change."""
    return _known(User, record)


def known_group(record: DirectoryRecord, members: Sequence[str], base: str) -> Group:
    """Return a group as its directory described it, with its members' ids."""
    group = _known(Group, record)
    group.members = [
        Member(value=user_id, ref=_UserAddress(f"{base}/Users/{user_id}"), type="User") for user_id in members
    ] or None
    group.meta = _meta("Group", record, base)
    return group


def shown_user(record: DirectoryRecord, account: Account, groups: Mapping[str, str], base: str) -> User:
    """Return a person as they are now: with their groups (id to name), and closed if they are closed here."""
    user = _known(User, record)
    user.active = account.disabled_at is None
    user.groups = [
        Membership(value=group_id, ref=_GroupAddress(f"{base}/Groups/{group_id}"), display=name)
        for group_id, name in groups.items()
    ] or None
    user.meta = _meta("User", record, base)
    return user


def _known(model: type[_Resource], record: DirectoryRecord) -> _Resource:
    known = model.model_validate(record.attributes, scim_policy=TOLERANT)
    known.id, known.external_id = record.id, record.external_id
    return known


def _meta(resource_type: str, record: DirectoryRecord, base: str) -> Meta:
    return Meta(
        resource_type=resource_type,
        created=_time(record.created_at),
        last_modified=_time(record.changed_at),
        location=f"{base}/{resource_type}s/{record.id}",
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
