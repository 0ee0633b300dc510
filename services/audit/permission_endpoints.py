"""`/v1/audit/content-permissions`: with `break_glass`, two auditors open contents, not one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from infra.audit.content import ContentBroken
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.audit.reading import permissions
from infra.audit.reading.permissions import PermissionState, state_of
from infra.clock import new_id, now_ms
from infra.database.tables import ContentPermission
from infra.errors import InvalidInput, NotFound
from infra.sharing import labels_of
from services.accounts.signing_in import signed_in_person
from services.audit.query import refuse_unknown_query
from services.deps import Auditor, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(
    prefix="/v1/audit/content-permissions",
    tags=["audit"],
    route_class=RecordedRoute,
    dependencies=[Depends(refuse_unknown_query)],
)


class PermissionRequest(BaseModel):
    """Why contents have to be read; whoever approves it reads this."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=1000)


def _signed_in_auditor(person: Auditor) -> Person:
    """Return the auditor who signed in: a key could approve for whoever holds it."""
    return signed_in_person(person)


@router.post("", status_code=201)
@writes(EventType.CONTENT_REQUESTED)
def request_permission(
    body: PermissionRequest, parts: PartsDep, person: Auditor, corr: RequestId
) -> dict[str, Any]:
    """Ask a second auditor for permission to read contents. Nobody can approve it after a day."""
    reason = body.reason.strip()
    if not reason:
        raise InvalidInput("Say why the contents have to be read.", param="reason")
    permission_id, principal = new_id(), person.principal
    with parts.database.write() as session:
        actor = parts.ledger.actor_for(session, principal)
        what = Resource("content_permission", permission_id)
        event = Event(EventType.CONTENT_REQUESTED, Stage.SINGLE, corr, actor, res=what, outcome="ok")
        recorded = parts.ledger.record_in(session, event, reason.encode())
        made = permissions.request_permission(
            session, permission_id, requester=principal.principal_id, event_id=recorded.id, now=now_ms()
        )
        labels = _labels(session, [made])
    return _object(made, person, labels, reason)


@router.get("")
@reads(EventType.AUDIT_READ, "record", at="content-permissions")
def list_permissions(parts: PartsDep, person: Auditor) -> dict[str, Any]:
    """List the newest requests with their reasons, and say until when one may read contents oneself.

    `needed` says whether contents take a permission here (`break_glass`); `until` is null without one.
    """
    now = now_ms()
    with parts.database.read() as session:
        found = permissions.list_permissions(session)
        labels = _labels(session, found)
        own = permissions.standing_permission(session, person.principal.principal_id, now)
    return {
        "object": "list",
        "data": [_object(each, person, labels, _reason(parts, each)) for each in found],
        "needed": parts.settings.break_glass,
        "minutes": parts.settings.break_glass_minutes,
        "until": own.expires_at if own else None,
    }


@router.post("/{permission_id}/approve")
@writes(EventType.CONTENT_APPROVED)
def approve_permission(
    permission_id: str,
    parts: PartsDep,
    person: Annotated[Person, Depends(_signed_in_auditor)],
    corr: RequestId,
) -> dict[str, Any]:
    """Let another auditor read contents for a while; one's own request and a key are refused."""
    principal = person.principal
    with parts.database.write() as session:
        approved = permissions.approve(
            session,
            permission_id,
            approver=principal.principal_id,
            minutes=parts.settings.break_glass_minutes,
            now=now_ms(),
        )
        actor = parts.ledger.actor_for(session, principal)
        what = Resource("content_permission", permission_id)
        outcome = f"until {approved.expires_at}"
        event = Event(EventType.CONTENT_APPROVED, Stage.SINGLE, corr, actor, res=what, outcome=outcome)
        parts.ledger.record_in(session, event)
        labels = _labels(session, [approved])
    return _object(approved, person, labels, _reason(parts, approved))


def _labels(session: Session, found: Iterable[ContentPermission]) -> dict[str, str]:
    return labels_of(session, {name for each in found for name in (each.requester, each.approver) if name})


def _reason(parts: Parts, permission: ContentPermission) -> str | None:
    """Return why somebody asked; None once that was erased with them.

    The reason is meant for the other auditors: it takes no permission, or nobody could ever approve one.
    """
    try:
        return parts.ledger.reader.read_content(permission.event_id).decode()
    except (NotFound, ContentBroken):
        return None


def _object(
    permission: ContentPermission, person: Person, labels: dict[str, str], reason: str | None
) -> dict[str, Any]:
    now, me = now_ms(), person.principal.principal_id
    state = state_of(permission, now)
    return {
        "id": permission.id,
        "object": "audit.content_permission",
        "state": state.value,
        "requester": {"label": labels[permission.requester], "me": permission.requester == me},
        "reason": reason,
        "created_at": permission.created_at,
        "approver": {"label": labels[permission.approver]} if permission.approver else None,
        "expires_at": permission.expires_at,
        "may_approve": state is PermissionState.WAITING and permission.requester != me,
    }
