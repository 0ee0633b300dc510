"""`/healthz` (the process answers) and `/readyz` (it may answer people)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from services.deps import PartsDep

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"description": "Not yet, or no longer: the same, with what is missing."}}
)
def readyz(parts: PartsDep, response: Response) -> dict[str, Any]:
    """Say whether record, index and model are there; without a model, quotes still work."""
    ledger, index = parts.ledger.healthy(), parts.index.healthy()
    if not (ledger and index):
        response.status_code = 503
    state = parts.model.status().state
    return {"ready": ledger and index, "ledger": ledger, "index": index, "model": state}
