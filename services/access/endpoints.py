"""`/v1/access/explain` and `/v1/choices`: for administrators, and on the record."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.choices import choice_name, choose, read_choice
from services.access.explanation import account_named, document_with, explanation
from services.deps import Admin, PartsDep, RequestId
from services.on_record import RecordedRoute, reads, writes

router = APIRouter(prefix="/v1", tags=["access"], route_class=RecordedRoute)


class ChoiceRequest(BaseModel):
    """What is chosen; null goes back to having chosen nothing."""

    value: str | None


@router.get("/access/explain")
@writes(EventType.ACCESS_EXPLAINED)
def explain_access(
    parts: PartsDep,
    person: Admin,
    corr: RequestId,
    user: Annotated[str, Query(min_length=1, max_length=320)],
    document: Annotated[str, Query(min_length=1, max_length=36)],
) -> dict[str, Any]:
    """Say which rules let an account read a file, or keep it from doing so.

    `user` is an account's id, its principal id or its e-mail address. The file's name and content are no
    part of the answer, because an administrator may not be one of its readers.
    """
    with parts.database.read() as session:
        found = explanation(session, account_named(session, user), document_with(session, document))
    actor = parts.ledger.identify(person.principal)
    what = Resource("file", found["document"]["id"])
    event = Event(EventType.ACCESS_EXPLAINED, Stage.SINGLE, corr, actor, res=what, outcome="ok")
    # About whom, and what was decided, is content: it is encrypted, and can be erased.
    about = {"account": found["user"]["principal"], "decision": found["decision"]}
    parts.ledger.record(event, json.dumps(about).encode())
    return found


@router.get("/choices/{name}")
@reads(EventType.CHOICES_READ, "choice", of="name")
def get_choice(name: str, parts: PartsDep, _admin: Admin) -> dict[str, Any]:
    """Return what was chosen, or null."""
    wanted = choice_name(name)
    with parts.database.read() as session:
        return _choice(wanted, read_choice(session, wanted))


@router.put("/choices/{name}")
@writes(EventType.CHOICE_CHANGED)
def set_choice(
    name: str, body: ChoiceRequest, parts: PartsDep, person: Admin, corr: RequestId
) -> dict[str, Any]:
    """Choose something for everybody, from the next request on.

    `no_answer_text` follows every answer that says that nothing was found. It is one plain text for all
    questions, so it tells nothing about files that the person who asks may not read.
    """
    wanted = choice_name(name)
    with parts.database.write() as session:
        chosen = choose(session, wanted, body.value)
        actor = parts.ledger.actor_for(session, person.principal)
        what = Resource("choice", wanted.value)
        event = Event(EventType.CHOICE_CHANGED, Stage.SINGLE, corr, actor, res=what, outcome="ok")
        parts.ledger.record_in(session, event, json.dumps({"value": chosen}, ensure_ascii=False).encode())
    return _choice(wanted, chosen)


def _choice(name: str, value: str | None) -> dict[str, Any]:
    return {"object": "choice", "name": name, "value": value}
