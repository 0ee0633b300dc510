"""`POST /v1/audit/export`: a part of the record as a bundle that can be checked without this server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from infra.audit.bundles.export import ExportPlan, bundle_files, plan_export
from infra.audit.bundles.export_range import LONGEST_BOUND
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from services.audit.export_archive import END_OF_ARCHIVE, member
from services.audit.query import refuse_unknown_query
from services.deps import Auditor, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, writes
from services.parts import Parts

router = APIRouter(
    prefix="/v1/audit",
    tags=["audit"],
    route_class=RecordedRoute,
    dependencies=[Depends(refuse_unknown_query)],
)
_Bound = Annotated[str | None, Field(min_length=1, max_length=LONGEST_BOUND)]


class ExportRequest(BaseModel):
    """Which part; both are inclusive, and absent means the log's own begin or end."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: _Bound = Field(
        None, alias="from", description="A day (RFC 3339, UTC), a moment, or a record's number."
    )
    stop: _Bound = Field(None, alias="to", description="Likewise; a day counts to its end.")


class BundleResponse(StreamingResponse):
    """A tar archive that is written while it is sent, and what must be closed afterwards, come what may."""

    media_type = "application/x-tar"

    def __init__(self, pieces: Iterator[bytes], name: str, held: ExitStack) -> None:
        """Send `pieces` as a download called `name`, then close `held`."""
        super().__init__(pieces, headers={"content-disposition": f'attachment; filename="{name}"'})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the archive (ASGI 3)."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._held.close)


@router.post(
    "/export",
    status_code=200,
    # Named without a type of its own: refusals are JSON, and would be described as archives otherwise.
    response_class=Response,
    responses={200: {"content": {"application/x-tar": {}}, "description": "The bundle, as a tar archive."}},
)
@writes(EventType.AUDIT_EXPORTED)
def export_record(body: ExportRequest, parts: PartsDep, person: Auditor, corr: RequestId) -> BundleResponse:
    """Export a part of the record: unpack the archive, and check it with `strongroom audit verify FOLDER`.

    That it was exported is recorded before anything leaves. One export at a time for each auditor.
    """
    with ExitStack() as opened:
        opened.enter_context(parts.exports.held_by(person.principal.principal_id))
        session = opened.enter_context(parts.database.read())
        plan = plan_export(session, body.start, body.stop)
        _record(parts, person, corr, plan)
        folder = opened.enter_context(TemporaryDirectory(prefix="export-", dir=parts.settings.data_dir))
        root = f"strongroom-record-{plan.cut.first}-{plan.cut.end - 1}"
        files = bundle_files(session, plan, parts.ledger.signer, Path(folder))
        return BundleResponse(_archive(files, Path(folder), root), f"{root}.tar", opened.pop_all())


def _archive(files: Iterator[str], folder: Path, root: str) -> Iterator[bytes]:
    """Yield the archive; each file goes as soon as it is sent, so the disk never holds the whole bundle."""
    for name in files:
        yield from member(f"{root}/{name}", folder / name)
        (folder / name).unlink()
    yield END_OF_ARCHIVE


def _record(parts: Parts, person: Person, corr: str, plan: ExportPlan) -> None:
    what = Resource("record", f"{plan.cut.first}-{plan.cut.end - 1}")
    actor = parts.ledger.identify(person.principal)
    parts.ledger.record(Event(EventType.AUDIT_EXPORTED, Stage.SINGLE, corr, actor, res=what, outcome="ok"))
