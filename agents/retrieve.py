"""Find passages within a scope: hybrid search in the index, then the re-check in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.access import AccessScope
from infra.database import Database
from infra.documents import Passage, open_passages
from infra.embeddings import Embedder
from infra.keys import MasterKey
from infra.vectors import VectorIndex

CANDIDATES = 30
"""How many hits are asked of the index for one search."""


@dataclass(frozen=True)
class Found:
    """Readable passages, best first, and the question's embedding, shape (dimensions,), normalised."""

    passages: list[Passage]
    question_vector: NDArray[np.float32]


@dataclass(frozen=True)
class Retriever:
    """Searches as one person, never as the system."""

    database: Database
    index: VectorIndex
    embedder: Embedder
    master_key: MasterKey

    def search(self, scope: AccessScope, question: str, *, limit: int) -> Found:
        """Return at most `limit` passages that `scope` may read now, fused by rank (RRF), best first."""
        vector = np.asarray(self.embedder.embed_query(question), dtype=np.float32)
        hits = self.index.search(scope, vector.tolist(), question, limit=max(limit, CANDIDATES))
        with self.database.read() as session:
            passages = open_passages(session, scope, [hit.id for hit in hits], self.master_key)
        return Found(passages=_one_a_page(passages)[:limit], question_vector=vector)

    def may_still_read(self, scope: AccessScope, passage_ids: Sequence[str]) -> bool:
        """Say whether every one of these passages may be read at this moment."""
        with self.database.read() as session:
            found = open_passages(session, scope, passage_ids, self.master_key)
        return len(found) == len(set(passage_ids))


def _one_a_page(passages: list[Passage]) -> list[Passage]:
    """Keep the best passage of each page, so that five citations are five places to look at."""
    seen: set[tuple[str, object]] = set()
    kept = []
    for passage in passages:
        page = passage.place.get("page")
        place = (passage.version_id, page if page is not None else passage.id)
        if place not in seen:
            seen.add(place)
            kept.append(passage)
    return kept
