"""How the account endpoints write to the record."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from infra.access import Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from services.parts import Parts


def record_in(
    session: Session,
    parts: Parts,
    principal: Principal,
    corr: str,
    event_type: EventType,
    what: Resource,
    outcome: str = "ok",
    details: dict[str, Any] | None = None,
) -> None:
    """Record what `principal` did, in the transaction that does it.

    Whom `details` is about is content: it is encrypted, and erasable with the person who did it.
    """
    actor = parts.ledger.actor_for(session, principal)
    event = Event(event_type, Stage.SINGLE, corr, actor, res=what, outcome=outcome)
    parts.ledger.record_in(session, event, json.dumps(details).encode() if details else None)
