"""`/healthz` (the process answers) and `/readyz` (it may answer people)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from services.deps import PartsDep
from services.outposts import Outposts
from services.pulse import Pulse

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"description": "Not yet, or no longer: the same, with what is missing."}}
)
def readyz(request: Request, parts: PartsDep, response: Response) -> dict[str, Any]:
    """Say whether record, index and model are there; without a model, quotes still work."""
    # Asked for by a thread of its own: a database that hangs must not hang this answer.
    pulse: Pulse = request.app.state.pulse
    ledger, index = pulse.is_beating, parts.index.healthy()
    if not (ledger and index):
        response.status_code = 503
    state = parts.model.status().state
    outposts: Outposts = request.app.state.outposts
    # A witness or a SIEM that is away holds up nobody, so it is told here and does not make this 503.
    return {"ready": ledger and index, "ledger": ledger, "index": index, "model": state, **outposts.summary()}
