"""Search as one person, on the record before anything that was found leaves."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from agents.record import as_recorded
from infra.access import POLICY, AccessScope, Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Authz, Event, Resource
from infra.documents import Passage
from services.parts import Parts

MAX_RESULTS: Final = 50
"""Most passages of one search; the record of so many still fits into one leaf (16 KiB)."""
_RRF_K: Final = 60


def search(
    parts: Parts,
    principal: Principal,
    scope: AccessScope,
    corr: str,
    queries: Sequence[str],
    *,
    limit: int,
    collection_id: str | None = None,
) -> list[Passage]:
    """Return at most `limit` (1 to 50) passages that `scope` may read, best first, after recording them.

    Several queries are searched one by one and fused. Raises NotFound for a collection that is not there or
    not theirs, and AuditUnavailable when the record cannot be written.
    """
    found = [
        parts.retriever.search(scope, query, limit=limit, collection_id=collection_id) for query in queries
    ]
    passages = _fused([each.passages for each in found])[:limit]
    event = Event(
        EventType.SEARCH_PERFORMED,
        Stage.SINGLE,
        corr,
        parts.ledger.identify(principal),
        res=Resource("collection", collection_id) if collection_id else Resource("search", corr),
        authz=Authz("allow", POLICY, min(each.epoch for each in found)),
        outcome="ok",
        ret=as_recorded(passages),
    )
    parts.ledger.record(event, json.dumps({"queries": list(queries)}, ensure_ascii=False).encode())
    return passages


def _fused(lists: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Fuse by rank (Cormack, Clarke and Büttcher, SIGIR 2009); one list stays as it is."""
    passages = {passage.id: passage for found in lists for passage in found}
    score: dict[str, float] = defaultdict(float)
    for found in lists:
        for rank, passage in enumerate(found, start=1):
            score[passage.id] += 1 / (_RRF_K + rank)
    return sorted(passages.values(), key=lambda passage: -score[passage.id])
