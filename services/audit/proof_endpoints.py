"""`/v1/audit/checkpoints` and `/v1/audit/consistency`: that the log only ever grew, for anybody's tools."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from infra.audit.checkpoint import read_checkpoint
from infra.audit.event_types import EventType
from services.audit.query import refuse_unknown_query
from services.deps import Auditor, PartsDep
from services.on_record import RecordedRoute, reads

LARGEST_SIZE = 2**53 - 1
router = APIRouter(
    prefix="/v1/audit",
    tags=["audit"],
    route_class=RecordedRoute,
    dependencies=[Depends(refuse_unknown_query)],
)


@router.get("/checkpoints")
@reads(EventType.AUDIT_READ, "checkpoints")
def list_checkpoints(
    parts: PartsDep,
    _person: Auditor,
    after: Annotated[int, Query(ge=-1, le=LARGEST_SIZE, description="Only larger ones than this size.")] = -1,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """List signed checkpoints with their cosignatures, the smallest first; `next` is the next `after`."""
    notes = parts.ledger.proofs.checkpoints(after_size=after, limit=limit)
    listed = [_checkpoint(note) for note in notes]
    return {
        "object": "list",
        "data": listed,
        "next": listed[-1]["size"] if len(listed) == limit else None,
        "verifier_key": parts.ledger.verifier_key,
    }


@router.get("/consistency")
@reads(EventType.AUDIT_READ, "consistency")
def prove_consistency(
    parts: PartsDep,
    _person: Auditor,
    first: Annotated[int, Query(ge=0, le=LARGEST_SIZE, description="Size of the older checkpoint.")],
    second: Annotated[
        int | None, Query(ge=0, le=LARGEST_SIZE, description="Size of the newer one; default: the newest.")
    ] = None,
) -> dict[str, Any]:
    """Prove that the log of one checkpoint is the beginning of that of another.

    `text` is the whole proof as C2SP tlog-witness has it: old size, hashes, newer checkpoint.
    """
    older, proof = parts.ledger.proofs.between(first, second)
    return {
        "first": _checkpoint(older),
        "second": _checkpoint(proof.note),
        "proof": [b64encode(hashed).decode() for hashed in proof.path],
        "text": proof.text,
        "verifier_key": parts.ledger.verifier_key,
    }


def _checkpoint(note: str) -> dict[str, Any]:
    checkpoint = read_checkpoint(note)
    return {"size": checkpoint.size, "root": checkpoint.root.hex(), "note": note}
