"""`/v1/holds`: auditors forbid that anything of a person, or of anybody, is pruned or erased."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.content import known_subject, subject_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.removal.holds import MAX_REASON_CHARS, hold_resource, lift_hold, list_holds, place_hold
from infra.database.tables import LegalHold, User
from infra.errors import NotFound
from infra.sharing import labels_of
from services.deps import Auditor, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/holds", tags=["audit"], route_class=RecordedRoute)


class HoldRequest(BaseModel):
    """Whose data must not go, nobody's in particular for everybody's, and why."""

    model_config = ConfigDict(extra="forbid")

    user: str | None = Field(None, min_length=1, max_length=36)
    reason: str = Field(min_length=1, max_length=MAX_REASON_CHARS)


@router.post("", status_code=201)
@writes(EventType.HOLD_PLACED)
def place(body: HoldRequest, parts: PartsDep, person: Auditor, corr: RequestId) -> dict[str, Any]:
    """Place a hold: from now on nothing under it is pruned or erased."""
    with parts.database.write() as session:
        principal_id = _principal_of(session, body.user) if body.user is not None else None
        hold = place_hold(session, principal_id, body.reason)
        # The record names whom a hold covers by a subject id, so everybody who is held has one.
        subject = subject_of(session, principal_id, parts.master_key) if principal_id else None
        _record(session, parts, person, corr, EventType.HOLD_PLACED, hold, subject)
        return _hold_object(session, hold)


@router.get("")
@reads(EventType.AUDIT_READ, "record", at="holds")
def list_all(parts: PartsDep, _person: Auditor) -> dict[str, Any]:
    """List holds, lifted ones included, the newest first."""
    with parts.database.read() as session:
        return {"object": "list", "data": [_hold_object(session, hold) for hold in list_holds(session)]}


@router.delete("/{hold_id}")
@writes(EventType.HOLD_LIFTED)
def lift(
    hold_id: Annotated[str, Path(max_length=36)], parts: PartsDep, person: Auditor, corr: RequestId
) -> dict[str, Any]:
    """Lift a hold: what it alone kept may be pruned and erased again."""
    with parts.database.write() as session:
        hold = lift_hold(session, hold_id)
        subject = known_subject(session, hold.principal) if hold.principal else None
        _record(session, parts, person, corr, EventType.HOLD_LIFTED, hold, subject)
        return _hold_object(session, hold)


def _principal_of(session: Session, user_id: str) -> str:
    user = session.scalar(select(User).where(User.id == user_id))
    if user is None:
        raise NotFound("There is no such person.", param="user")
    return f"{user.kind}:{user.id}"


def _record(
    session: Session,
    parts: Parts,
    person: Person,
    corr: str,
    kind: EventType,
    hold: LegalHold,
    subject: str | None,
) -> None:
    actor = parts.ledger.actor_for(session, person.principal)
    event = Event(kind, Stage.SINGLE, corr, actor, res=hold_resource(hold.id, subject), outcome="ok")
    parts.ledger.record_in(session, event)


def _hold_object(session: Session, hold: LegalHold) -> dict[str, Any]:
    covered = hold.principal
    return {
        "object": "hold",
        "id": hold.id,
        "user": covered.partition(":")[2] if covered else None,
        "label": labels_of(session, [covered])[covered] if covered else None,
        "reason": hold.reason,
        "created_at": hold.created_at,
        "lifted_at": hold.lifted_at,
    }
