"""`/v1/conversations` in the shapes of the OpenAI Conversations API, with what we add under `x_…`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from infra.audit.event_types import EventType
from services.conversations import service
from services.conversations.schemas import NewConversation
from services.conversations.shapes import conversation_object, item_object, markdown_of, number_of
from services.deps import CurrentPerson, PartsDep, RequestId, Scope
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/conversations", tags=["conversations"], route_class=RecordedRoute)


@router.post("", status_code=201)
@writes(EventType.CONVERSATION_KEPT)
def create_conversation(
    body: NewConversation, parts: PartsDep, person: CurrentPerson, corr: RequestId
) -> dict[str, Any]:
    """Keep a new conversation; `x_conversation` in a chat completion continues it."""
    return conversation_object(service.create(parts, person, corr, body.wanted_title()))


@router.get("")
@reads(EventType.CONVERSATIONS_READ, "conversations")
def list_conversations(
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    after: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """List one's own conversations and those shared with one, newest first."""
    found, has_more = service.list_visible(parts, person, scope, after=after, limit=limit)
    return _list([conversation_object(view) for view in found], has_more)


@router.get("/{conversation_id}")
@reads(EventType.CONVERSATIONS_READ, "conversation", of="conversation_id")
def get_conversation(
    conversation_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope
) -> dict[str, Any]:
    """Describe one conversation."""
    return conversation_object(service.describe(parts, person, scope, conversation_id))


@router.delete("/{conversation_id}")
@writes(EventType.CONVERSATION_DELETED)
def delete_conversation(
    conversation_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Delete one's own conversation."""
    service.delete(parts, person, scope, corr, conversation_id)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@router.get("/{conversation_id}/items")
@writes(EventType.CONVERSATION_OPENED)
def list_items(
    conversation_id: str,
    request: Request,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """List what was said, on the record; answers that cite what one may not read now are withheld."""
    opened = service.open_turns(
        parts,
        person,
        scope,
        corr,
        conversation_id,
        after=number_of(after) if after is not None else None,
        limit=limit,
        newest_first=order == "desc",
    )
    base_url = _base_url(parts, request)
    items = [item_object(conversation_id, entry, base_url=base_url) for entry in opened.turns]
    return _list(items, opened.has_more)


@router.get(
    "/{conversation_id}/export",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {}}}},
)
@writes(EventType.CONVERSATION_OPENED)
def export_conversation(
    conversation_id: str,
    request: Request,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
    format: Literal["markdown"] = "markdown",  # noqa: A002 - the name of the query parameter
) -> Response:
    """Download a conversation as Markdown, on the record, with the same answers withheld."""
    opened = service.open_turns(parts, person, scope, corr, conversation_id)
    text = markdown_of(opened.view, opened.turns, base_url=_base_url(parts, request))
    headers = {"Content-Disposition": 'attachment; filename="conversation.md"'}
    return Response(text, media_type="text/markdown", headers=headers)


@router.put("/{conversation_id}/shares/{principal:path}", status_code=204)
@writes(EventType.CONVERSATION_SHARED)
def share_conversation(
    conversation_id: str,
    principal: str,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> None:
    """Let a person or a group look at one's own conversation; it shares no document."""
    service.set_share(parts, person, scope, corr, conversation_id, principal, shared=True)


@router.delete("/{conversation_id}/shares/{principal:path}", status_code=204)
@writes(EventType.CONVERSATION_UNSHARED)
def unshare_conversation(
    conversation_id: str,
    principal: str,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> None:
    """Stop sharing one's own conversation with a person or a group."""
    service.set_share(parts, person, scope, corr, conversation_id, principal, shared=False)


def _base_url(parts: Parts, request: Request) -> str:
    return parts.settings.public_url or str(request.base_url)


def _list(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
