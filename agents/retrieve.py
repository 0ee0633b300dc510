"""Find passages within a scope: hybrid search in the index, then the re-check in the database."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infra.access import AccessScope
from infra.collections import documents_in
from infra.database import Database
from infra.documents import Passage, open_passages
from infra.embeddings import Embedder
from infra.epoch import current_epoch
from infra.keys import MasterKey
from infra.vectors import VectorIndex

CANDIDATES = 30
"""How many hits are asked of the index for one search."""
REMEMBERED = 512
"""How many searches are remembered."""


@dataclass(frozen=True)
class SearchKey:
    """What a remembered search depends on: two scopes never share one, nor do the times around a change."""

    principal_set_hash: str
    epoch: int
    question: str
    limit: int
    collection_id: str | None


class SearchMemory:
    """The passage ids of recent searches, least recently used forgotten first; safe for threads.

    Ids only: whatever is remembered is opened through the re-check in the database, every time.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._found: OrderedDict[SearchKey, tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: SearchKey) -> tuple[str, ...] | None:
        """Return what an equal search found, best first, or None."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, key: SearchKey, passage_ids: Sequence[str]) -> None:
        """Remember what a search found."""
        with self._lock:
            self._found[key] = tuple(passage_ids)
            while len(self._found) > self._size:
                self._found.popitem(last=False)


@dataclass(frozen=True)
class Found:
    """Readable passages, best first, and the question's embedding, shape (dimensions,), normalised.

    `epoch` is the access epoch that was read before the search.
    """

    passages: list[Passage]
    question_vector: NDArray[np.float32]
    epoch: int


@dataclass(frozen=True)
class Retriever:
    """Searches as one person, never as the system."""

    database: Database
    index: VectorIndex
    embedder: Embedder
    master_key: MasterKey
    memory: SearchMemory = field(default_factory=SearchMemory)

    def search(
        self, scope: AccessScope, question: str, *, limit: int, collection_id: str | None = None
    ) -> Found:
        """Return at most `limit` passages that `scope` may read now, fused by rank (RRF), best first.

        Raises NotFound for a collection that is not there or not theirs.
        """
        vector = np.asarray(self.embedder.embed_query(question), dtype=np.float32)
        with self.database.read() as session:
            # Read before the search: what is found may be newer than this epoch says, never older.
            epoch = current_epoch(session)
            inside = None
            if collection_id is not None:
                inside = [document.id for document in documents_in(session, scope, collection_id)]
        key = SearchKey(scope.principal_set_hash, epoch, question, max(limit, CANDIDATES), collection_id)
        passages = self._remembered(scope, key)
        if passages is None:
            hits = self.index.search(scope, vector.tolist(), question, limit=key.limit, document_ids=inside)
            ids = [hit.id for hit in hits]
            self.memory.put(key, ids)
            passages = self._opened(scope, ids)
        return Found(passages=_one_a_page(passages)[:limit], question_vector=vector, epoch=epoch)

    def _remembered(self, scope: AccessScope, key: SearchKey) -> list[Passage] | None:
        """Open what an equal search found; None if there was none, or not all of it is there any more.

        A document that was deleted since must leave no hole, which others would fill in a new search.
        """
        ids = self.memory.get(key)
        if ids is None:
            return None
        passages = self._opened(scope, ids)
        return passages if len(passages) == len(ids) else None

    def _opened(self, scope: AccessScope, passage_ids: Sequence[str]) -> list[Passage]:
        """Open what may be read now of what the index or the memory says."""
        with self.database.read() as session:
            return open_passages(session, scope, passage_ids, self.master_key)

    def may_still_read(self, scope: AccessScope, passage_ids: Sequence[str]) -> bool:
        """Say whether every one of these passages may be read at this moment."""
        with self.database.read() as session:
            found = open_passages(session, scope, passage_ids, self.master_key)
        return len(found) == len(set(passage_ids))

    def readable_of(self, scope: AccessScope, passage_ids: Sequence[str]) -> set[str]:
        """Return which of these passages may be read at this moment, also those of replaced versions."""
        with self.database.read() as session:
            found = open_passages(session, scope, passage_ids, self.master_key, current_only=False)
        return {passage.id for passage in found}


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
