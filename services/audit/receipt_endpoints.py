"""`/v1/answers/{id}/receipt`: the proof that an answer is on the record, and what it covers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from infra.access import Role
from infra.audit.event_types import EventType
from infra.audit.proofs.receipts import AnswerRecords
from infra.errors import NotFound
from services.deps import CurrentPerson, PartsDep
from services.on_record import RecordedRoute, reads

router = APIRouter(prefix="/v1", tags=["chat"], route_class=RecordedRoute)


@router.get("/answers/{answer_id}/receipt")
@reads(EventType.RECEIPT_READ, "answer", of="answer_id")
def get_receipt(answer_id: str, parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """Return the receipt of an answer to whoever asked and to auditors.

    It holds the answer's records, the proof that each is in the log, the signed checkpoint, and what they
    cover: identity, scope, passages, model and prompt digests. `strongroom audit verify-receipt` checks it.
    """
    subject = parts.ledger.identify(person.principal).sub
    # An answer that has just ended may still wait for its place in the log.
    parts.ledger.sealer.seal_all()
    with parts.database.read() as session:
        records = AnswerRecords(session, answer_id)
        if records.asker != subject and Role.AUDITOR not in person.roles:
            raise NotFound("There is no such answer.")
        return records.receipt(parts.ledger.verifier_key)
