"""`/v1/feedback`: the person who asked says whether an answer was good."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType, Stage
from infra.audit.group_commit import fail_closed
from infra.audit.leaf import Event, Resource
from infra.clock import now_ms
from infra.database.tables import Feedback
from infra.errors import NotFound
from services.deps import CurrentPerson, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, writes
from services.parts import Parts

# The tag of the answers: whoever may ask by key may judge by key.
router = APIRouter(prefix="/v1", tags=["chat"], route_class=RecordedRoute)
LONGEST_COMMENT: Final = 2000
MOST_RECORDS: Final = 1000
"""Records of one answer that are looked through for its question."""


class Judgement(BaseModel):
    """What somebody thinks of an answer. A later one takes the place of an earlier one."""

    model_config = ConfigDict(extra="forbid")

    answer_id: Annotated[str, StringConstraints(min_length=1, max_length=36)]
    verdict: Literal["good", "bad"]
    comment: Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_COMMENT)] = ""


@router.post("/feedback")
@writes(EventType.FEEDBACK_GIVEN)
def give_feedback(body: Judgement, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Say whether an answer to one's own question was good; the comment is kept encrypted on the record."""
    _refuse_foreign_answer(parts, person, body.answer_id)
    with parts.database.write() as session:
        given = Feedback(
            answer_id=body.answer_id,
            principal=person.principal.principal_id,
            verdict=body.verdict,
            created_at=now_ms(),
        )
        session.merge(given)
        _record(session, parts, person, corr, body)
    return {
        "object": "feedback",
        "answer_id": given.answer_id,
        "verdict": given.verdict,
        "created_at": given.created_at,
    }


def _refuse_foreign_answer(parts: Parts, person: Person, answer_id: str) -> None:
    """Raise NotFound unless this person asked the question of that answer."""
    subject = parts.ledger.identify(person.principal).sub
    with fail_closed():
        # An answer that has just been given may still wait for its place in the log.
        parts.ledger.sealer.seal_all()
        found = parts.ledger.reader.events(corr=answer_id, limit=MOST_RECORDS)
    for event in found:
        leaf = event.leaf
        if leaf is not None and leaf.type == EventType.ANSWER_ASKED and leaf.actor.sub == subject:
            return
    raise NotFound("There is no such answer.", param="answer_id")


def _record(session: Session, parts: Parts, person: Person, corr: str, given: Judgement) -> None:
    actor, what = parts.ledger.actor_for(session, person.principal), Resource("answer", given.answer_id)
    event = Event(EventType.FEEDBACK_GIVEN, Stage.SINGLE, corr, actor, res=what, outcome=given.verdict)
    parts.ledger.record_in(session, event, given.comment.encode() if given.comment else None)
