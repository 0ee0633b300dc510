"""`/v1/sources`: the place a citation points to, with access checked again."""

from __future__ import annotations

from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Query, Response

from agents.evidence import boxes_of
from infra.access import AccessScope
from infra.audit.event_types import EventType
from infra.database.tables import DocumentVersion
from infra.documents import Passage, open_passages, version_key
from infra.errors import NotFound, Throttled
from ingest.parse.confined.sandbox import render_page_in_child
from ingest.parse.detect import JPEG, PDF, PNG, TIFF, WEBP
from services.deps import CurrentPerson, PartsDep, Person, RequestId, Scope
from services.documents.places import place_label
from services.documents.service import record_opened
from services.on_record import RecordedRoute, writes
from services.parts import Parts

router = APIRouter(prefix="/v1/sources", tags=["sources"], route_class=RecordedRoute)
MAX_WAITING: Final = 16
IMAGE_SCALE: Final = 1.6
"""Pixels per point of a page image: 115 dots per inch, readable and below 300 KB for a text page."""
PAGE_NAMES: Final = {
    PDF: "source.pdf",
    PNG: "source.png",
    JPEG: "source.jpg",
    TIFF: "source.tif",
    WEBP: "source.webp",
}
"""The formats whose pages can be shown, and what the renderer calls a file of each."""


@router.get("/{citation_id}")
@writes(EventType.SOURCE_OPENED)
def get_source(
    citation_id: str,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Return the cited passage; `start` and `end` mark the quote within it (characters)."""
    passage = _passage(parts, scope, citation_id)
    record_opened(parts, person, corr, "source", passage.id, passage.version_id)
    span = (min(start, len(passage.text)), min(max(start, end), len(passage.text)))
    page = passage.place.get("page")
    image = {"url": f"/v1/sources/{passage.id}/page.png", "scale": IMAGE_SCALE}
    return {
        "id": passage.id,
        "object": "source",
        "file": {"id": passage.document_id, "name": passage.document_name},
        "version": {"id": passage.version_id, "number": passage.version_number},
        "chunk_hash": passage.sha256,
        "page": page,
        "place": place_label(passage),
        "heading": passage.heading or None,
        "text": passage.text,
        "quote": passage.text[span[0] : span[1]],
        "span": list(span),
        "boxes": boxes_of(passage, span),
        "page_image": image if _has_page_image(passage) else None,
        "media_type": passage.media_type,
    }


@router.get(
    "/{citation_id}/page.png", response_class=Response, responses={200: {"content": {"image/png": {}}}}
)
@writes(EventType.SOURCE_OPENED)
async def get_page_image(
    citation_id: str, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> Response:
    """Return the cited page of a PDF or an image as a picture, drawn in a child under the parser's limits.

    A few are drawn at a time; the others wait outside the threads that answer everybody else.
    """
    if parts.renderers.statistics().tasks_waiting >= MAX_WAITING:
        raise Throttled("Many page images are being drawn just now.", hint="Try again in a moment.")
    image = await anyio.to_thread.run_sync(
        _draw, parts, person, scope, corr, citation_id, limiter=parts.renderers
    )
    return Response(image, media_type="image/png", headers={"Cache-Control": "no-store"})


def _draw(parts: Parts, person: Person, scope: AccessScope, corr: str, citation_id: str) -> bytes:
    passage = _passage(parts, scope, citation_id)
    if not _has_page_image(passage):
        raise NotFound("This source has no page image.")
    with parts.database.read() as session:
        version = session.get_one(DocumentVersion, passage.version_id)
    record_opened(parts, person, corr, "page", passage.id, passage.version_id)
    stored = parts.files.read(version.id, version_key(parts.master_key, version))
    return render_page_in_child(
        stored,
        page=passage.place["page"],
        scale=IMAGE_SCALE,
        limits=parts.parse_limits,
        name=PAGE_NAMES[passage.media_type],
    )


def _has_page_image(passage: Passage) -> bool:
    """Say whether the passage stands on a page of the file itself, not of one within it."""
    place = passage.place
    return passage.media_type in PAGE_NAMES and place.get("page") is not None and not place.get("within")


def _passage(parts: Parts, scope: AccessScope, citation_id: str) -> Passage:
    with parts.database.read() as session:
        found = open_passages(session, scope, [citation_id], parts.master_key, current_only=False)
    if not found:
        raise NotFound("There is no such source.")
    return found[0]
