"""`/v1/access/import`: the access lists of a file share, applied to one's own files."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from infra.audit.event_types import EventType
from services.deps import CurrentPerson, PartsDep, RequestId
from services.documents.access_import import Import, Row, RowOutcome
from services.documents.service import Change
from services.on_record import RecordedRoute, writes

# Everybody may do this for their own files, so a key needs what writing files needs.
router = APIRouter(prefix="/v1/access", tags=["files"], route_class=RecordedRoute)

MAX_ROWS: Final = 10_000


class ManifestRow(BaseModel):
    """One file and who may read it; a field of another name is refused, because it may be a denial.

    Values are checked row by row, so that one that is out of range fails alone.
    """

    model_config = ConfigDict(extra="forbid")

    path: str
    collection: str | None = None
    allow: list[str] = []
    deny: list[str] = []
    clearance: int = 0
    compartments: list[str] = []

    def row(self) -> Row:
        """Return it as the import knows it."""
        return Row(self.path, self.collection, self.allow, self.deny, self.clearance, self.compartments)


class Manifest(BaseModel):
    """Rows to apply. `everyone`: Windows' groups of everybody are meant; `dry_run`: nothing is kept."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[ManifestRow], Field(max_length=MAX_ROWS)]
    everyone: bool = False
    dry_run: bool = False


@router.post("/import")
@writes(EventType.ACCESS_IMPORTED)
def import_access(body: Manifest, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> dict[str, Any]:
    """Apply each row to one's own file of that name; a row that fails leaves its file as it was."""
    run = Import(Change(parts, person, corr), everyone=body.everyone, dry_run=body.dry_run)
    outcomes = run.apply([row.row() for row in body.rows])
    totals = {
        name: sum(outcome.outcome == name for outcome in outcomes)
        for name in ("applied", "unchanged", "failed")
    }
    return {
        "object": "access.import",
        "dry_run": body.dry_run,
        "totals": totals,
        "rows": [_row_object(outcome) for outcome in outcomes],
    }


def _row_object(outcome: RowOutcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "row": outcome.number,
        "path": outcome.path,
        "outcome": outcome.outcome,
        "file_id": outcome.file_id,
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "param": error.param,
        }
        if error is not None
        else None,
    }
