"""The SCIM 2.0 endpoints (RFC 7644, section 3.2): users, groups, and what this server can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import ValidationError
from scim2_models import (
    Context,
    Error,
    ListResponse,
    Meta,
    NotImplementedException,
    Resource,
    ResourceType,
    ResponseParameters,
    Schema,
    SCIMException,
    ServiceProviderConfig,
)
from starlette.exceptions import HTTPException
from starlette.routing import Match

from infra.audit.event_types import EventType
from infra.errors import NotFound
from services.on_record import reads, writes
from services.scim import groups, people
from services.scim.answers import DOCUMENTED, ScimResponse, ScimRoute
from services.scim.caller import PREFIX, Caller, Directory
from services.scim.resources import MAX_RESULTS, SERVICE, Group, User

router = APIRouter(
    prefix=PREFIX,
    tags=["scim"],
    route_class=ScimRoute,
    default_response_class=ScimResponse,
    responses=DOCUMENTED,
)
_LARGEST: Final = 2**31 - 1
_NOT_HERE: Final = {"Me", "Bulk", ".search"}

Content = Annotated[dict[str, Any], Body()]


def _choice(model: type[Resource[Any]]) -> Callable[..., ResponseParameters[Any]]:
    """Return a dependency that reads which attributes an answer shall have (RFC 7644, section 3.9)."""
    # Called rather than written as an index, which would be read as a type that is known beforehand.
    of_model: Any = ResponseParameters.__class_getitem__(model)

    def read(
        attributes: Annotated[str | None, Query(max_length=2000)] = None,
        excluded: Annotated[str | None, Query(alias="excludedAttributes", max_length=2000)] = None,
    ) -> ResponseParameters[Any]:
        asked = {"attributes": attributes or None, "excludedAttributes": excluded or None}
        try:
            chosen: ResponseParameters[Any] = of_model.model_validate(asked)
        except ValidationError as error:
            raise SCIMException.from_error(Error.from_validation_errors(error)[0]) from error
        return chosen

    return read


class Page:
    """Which part of a list is wanted: `startIndex` from 1, and at most MAX_RESULTS resources."""

    def __init__(
        self,
        matching: Annotated[str | None, Query(alias="filter")] = None,
        start_index: Annotated[int, Query(alias="startIndex")] = 1,
        count: Annotated[int, Query()] = MAX_RESULTS,
    ) -> None:
        self.matching = matching
        # Out of range means the nearest that is in it (RFC 7644, section 3.4.2.4).
        self.skip = min(max(start_index, 1), _LARGEST) - 1
        self.limit = min(max(count, 0), MAX_RESULTS)


UserChoice = Annotated[ResponseParameters[Any], Depends(_choice(User))]
GroupChoice = Annotated[ResponseParameters[Any], Depends(_choice(Group))]
PageDep = Annotated[Page, Depends()]


# --- users ----------------------------------------------------------------------------------------


@router.get("/Users")
@reads(EventType.DIRECTORY_READ, "accounts")
def list_users(caller: Caller, page: PageDep, chosen: UserChoice) -> Response:
    """List this directory's people that match a filter."""
    found = people.list_users(caller, page.matching, skip=page.skip, limit=page.limit)
    return _list(found, chosen)


@router.post("/Users", status_code=201)
@writes(EventType.ACCOUNT_CREATED)
def create_user(caller: Caller, body: Content, chosen: UserChoice) -> Response:
    """Add somebody who joined; an account that their sign-in made before is taken up."""
    return _created(chosen, people.create_user(caller, body))


@router.get("/Users/{user_id}")
@reads(EventType.DIRECTORY_READ, "account", of="user_id")
def get_user(user_id: str, caller: Caller, chosen: UserChoice) -> Response:
    """Return one person."""
    return _one(people.get_user(caller, _known_id(user_id)), chosen, Context.RESOURCE_QUERY_RESPONSE)


@router.put("/Users/{user_id}")
@writes(EventType.DIRECTORY_CHANGED, EventType.ACCOUNT_DISABLED)
def replace_user(user_id: str, caller: Caller, body: Content, chosen: UserChoice) -> Response:
    """Set everything that the directory says about somebody."""
    changed = people.replace_user(caller, _known_id(user_id), body)
    return _one(changed, chosen, Context.RESOURCE_REPLACEMENT_RESPONSE)


@router.patch("/Users/{user_id}")
@writes(EventType.DIRECTORY_CHANGED, EventType.ACCOUNT_DISABLED)
def patch_user(user_id: str, caller: Caller, body: Content, chosen: UserChoice) -> Response:
    """Change some of it; with `active` false, sessions and keys end at once."""
    changed = people.patch_user(caller, _known_id(user_id), body)
    return _one(changed, chosen, Context.RESOURCE_PATCH_RESPONSE)


@router.delete("/Users/{user_id}", status_code=204)
@writes(EventType.ACCOUNT_DISABLED)
def delete_user(user_id: str, caller: Caller) -> Response:
    """Close the account of somebody who left, for good."""
    people.delete_user(caller, _known_id(user_id))
    return Response(status_code=204)


# --- groups ---------------------------------------------------------------------------------------


@router.get("/Groups")
@reads(EventType.DIRECTORY_READ, "groups")
def list_groups(caller: Caller, page: PageDep, chosen: GroupChoice) -> Response:
    """List this directory's groups that match a filter."""
    found = groups.list_groups(
        caller, page.matching, skip=page.skip, limit=page.limit, with_members=_with_members(chosen)
    )
    return _list(found, chosen)


@router.post("/Groups", status_code=201)
@writes(EventType.GROUP_CREATED)
def create_group(caller: Caller, body: Content, chosen: GroupChoice) -> Response:
    """Add a group and its members."""
    return _created(chosen, groups.create_group(caller, body))


@router.get("/Groups/{group_id}")
@reads(EventType.DIRECTORY_READ, "group", of="group_id")
def get_group(group_id: str, caller: Caller, chosen: GroupChoice) -> Response:
    """Return one group."""
    found = groups.get_group(caller, _known_id(group_id))
    return _one(found, chosen, Context.RESOURCE_QUERY_RESPONSE)


@router.put("/Groups/{group_id}")
@writes(EventType.DIRECTORY_CHANGED, EventType.GROUP_CHANGED)
def replace_group(group_id: str, caller: Caller, body: Content, chosen: GroupChoice) -> Response:
    """Set a group's name and members."""
    changed = groups.replace_group(caller, _known_id(group_id), body)
    return _one(changed, chosen, Context.RESOURCE_REPLACEMENT_RESPONSE)


@router.patch("/Groups/{group_id}")
@writes(EventType.DIRECTORY_CHANGED, EventType.GROUP_CHANGED)
def patch_group(group_id: str, caller: Caller, body: Content, chosen: GroupChoice) -> Response:
    """Rename a group, or change who is in it; that bites at their next request."""
    changed = groups.patch_group(caller, _known_id(group_id), body)
    return _one(changed, chosen, Context.RESOURCE_PATCH_RESPONSE)


@router.delete("/Groups/{group_id}", status_code=204)
@writes(EventType.GROUP_DELETED)
def delete_group(group_id: str, caller: Caller) -> Response:
    """Remove a group and everything that was shared with it."""
    groups.delete_group(caller, _known_id(group_id))
    return Response(status_code=204)


# --- what this server can do ----------------------------------------------------------------------


@router.get("/ServiceProviderConfig")
@reads(EventType.DIRECTORY_READ, "service", at="configuration")
def service_provider_config(caller: Caller) -> Response:
    """Say which optional parts of the protocol are supported."""
    location = f"{caller.base}/ServiceProviderConfig"
    meta = Meta(resource_type="ServiceProviderConfig", location=location)
    found = (SERVICE.config or ServiceProviderConfig()).model_copy(update={"meta": meta})
    return _one(found, None, Context.RESOURCE_QUERY_RESPONSE)


@router.get("/ResourceTypes")
@reads(EventType.DIRECTORY_READ, "resource_types")
def list_resource_types(caller: Caller) -> Response:
    """List the kinds of resources."""
    found = [_located(caller, kind) for kind in SERVICE.resource_types]
    return _list(ListResponse[ResourceType](**_whole(found)), None)


@router.get("/ResourceTypes/{type_id}")
@reads(EventType.DIRECTORY_READ, "resource_type", of="type_id")
def get_resource_type(type_id: str, caller: Caller) -> Response:
    """Return one kind of resource."""
    return _discovered(caller, [kind for kind in SERVICE.resource_types if kind.id == type_id])


@router.get("/Schemas")
@reads(EventType.DIRECTORY_READ, "schemas")
def list_schemas(caller: Caller) -> Response:
    """List the schemas of the resources."""
    found = [_located(caller, schema) for schema in SERVICE.schemas]
    return _list(ListResponse[Schema](**_whole(found)), None)


@router.get("/Schemas/{schema_id}")
@reads(EventType.DIRECTORY_READ, "schema", of="schema_id")
def get_schema(schema_id: str, caller: Caller) -> Response:
    """Return one schema."""
    return _discovered(caller, [schema for schema in SERVICE.schemas if schema.id == schema_id])


@router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
def nothing_here(path: str, request: Request, caller: Caller) -> Response:
    """Refuse every other address in SCIM's own error shape."""
    if any(route.matches(request.scope)[0] is Match.PARTIAL for route in router.routes):
        raise HTTPException(405, "This address does not support that method.")
    if path.rpartition("/")[2] in _NOT_HERE:
        raise NotImplementedException(detail="This server does not support that operation.")
    raise NotFound("There is nothing at this address.")


# --- answers --------------------------------------------------------------------------------------


def _one(found: Resource[Any], chosen: ResponseParameters[Any] | None, context: Context) -> Response:
    return ScimResponse(found.model_dump(scim_ctx=context, response_parameters=chosen))


def _created(chosen: ResponseParameters[Any], made: Resource[Any]) -> Response:
    body = made.model_dump(scim_ctx=Context.RESOURCE_CREATION_RESPONSE, response_parameters=chosen)
    location = made.meta.location if made.meta else None
    return ScimResponse(body, 201, {"Location": location} if location else None)


def _list(found: ListResponse[Any], chosen: ResponseParameters[Any] | None) -> Response:
    body = found.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=chosen)
    return ScimResponse(body)


def _with_members(chosen: ResponseParameters[Any]) -> bool:
    return "members" not in {str(path).lower() for path in chosen.excluded_attributes or []}


def _whole(found: list[Any]) -> dict[str, Any]:
    return {
        "total_results": len(found),
        "start_index": 1,
        "items_per_page": len(found),
        "resources": found,
    }


def _discovered(caller: Directory, found: list[Any]) -> Response:
    if not found:
        raise NotFound("There is nothing at this address.")
    return _one(_located(caller, found[0]), None, Context.RESOURCE_QUERY_RESPONSE)


def _located(caller: Directory, found: Any) -> Any:
    kind = type(found).__name__
    meta = Meta(resource_type=kind, location=f"{caller.base}/{kind}s/{found.id}")
    return found.model_copy(update={"meta": meta})


def _known_id(given: str) -> str:
    if not given.isprintable():
        # A database may refuse such text with an error of its own; nothing has such an id.
        raise NotFound("There is no such resource.")
    return given
