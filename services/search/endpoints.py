"""`/v1/search`, the OpenAI vector store search, and `/v1/suggestions`."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query

from infra.access import AccessScope
from infra.audit.event_types import EventType
from infra.documents import Passage
from infra.titles import Suggestion, suggest
from services.deps import CurrentPerson, PartsDep, RequestId, Scope
from services.documents.places import place_label
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts
from services.search.schemas import SearchRequest, VectorStoreSearchRequest
from services.search.service import search

router = APIRouter(prefix="/v1", tags=["search"], route_class=RecordedRoute)
LONGEST_TYPED = 200


@router.post("/search")
@writes(EventType.SEARCH_PERFORMED)
def search_passages(
    body: SearchRequest, parts: PartsDep, person: CurrentPerson, scope: Scope, corr: RequestId
) -> dict[str, Any]:
    """Find passages in the files that one may read, or in one collection; best first, without scores."""
    passages = search(
        parts,
        person.principal,
        scope,
        corr,
        [body.query],
        limit=body.limit,
        collection_id=body.collection,
    )
    data = [result_object(passage, rank) for rank, passage in enumerate(passages, start=1)]
    return {"object": "list", "data": data}


@router.post("/vector_stores/{collection_id}/search")
@writes(EventType.SEARCH_PERFORMED)
def search_collection(
    collection_id: str,
    body: VectorStoreSearchRequest,
    parts: PartsDep,
    person: CurrentPerson,
    scope: Scope,
    corr: RequestId,
) -> dict[str, Any]:
    """Search one collection, in the shapes of the OpenAI vector stores.

    `score` is 1 / rank: clients of this interface need a number, and a rank tells nothing about documents
    that one may not read.
    """
    queries = body.queries()
    passages = search(
        parts,
        person.principal,
        scope,
        corr,
        queries,
        limit=body.max_num_results,
        collection_id=collection_id,
    )
    return {
        "object": "vector_store.search_results.page",
        "search_query": queries,
        "data": [_as_openai(passage, rank) for rank, passage in enumerate(passages, start=1)],
        "has_more": False,
        "next_page": None,
    }


@router.get("/suggestions")
@reads(EventType.SUGGESTIONS_READ, "suggestions")
async def list_suggestions(
    parts: PartsDep,
    _person: CurrentPerson,
    scope: Scope,
    q: Annotated[str, Query(max_length=LONGEST_TYPED)] = "",
) -> dict[str, Any]:
    """Suggest at most 8 titles of readable files with words that begin with `q`; without it, the newest."""
    found = await anyio.to_thread.run_sync(_suggested, parts, scope, q, limiter=parts.suggesters)
    data = [
        {"object": "suggestion", "text": each.text, "file": {"id": each.document_id, "name": each.name}}
        for each in found
    ]
    return {"object": "list", "data": data}


def _suggested(parts: Parts, scope: AccessScope, typed: str) -> list[Suggestion]:
    with parts.database.read() as session:
        return suggest(session, scope, typed)


def result_object(passage: Passage, rank: int) -> dict[str, Any]:
    """Return a passage that was found; `rank` counts from 1. `id` is its citation id."""
    return {
        "object": "search.result",
        "id": passage.id,
        "rank": rank,
        "file": {"id": passage.document_id, "name": passage.document_name},
        "version": {"id": passage.version_id, "number": passage.version_number},
        "chunk_hash": passage.sha256,
        "page": passage.place.get("page"),
        "place": place_label(passage),
        "heading": passage.heading or None,
        "text": passage.text,
        "url": f"/sources/{passage.id}",
    }


def _as_openai(passage: Passage, rank: int) -> dict[str, Any]:
    return {
        "file_id": passage.document_id,
        "filename": passage.document_name,
        "score": 1 / rank,
        "attributes": {},
        "content": [{"type": "text", "text": passage.text}],
        "x_citation": {
            "id": passage.id,
            "place": place_label(passage),
            "url": f"/sources/{passage.id}",
        },
    }
