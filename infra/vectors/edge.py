"""The index in a folder, kept by Qdrant's own engine in this process."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from infra.access import AccessScope, DocumentAccess
from infra.errors import ConfigurationError, Conflict
from infra.vectors import conditions
from infra.vectors.index import (
    DENSE,
    FACET_LIMIT,
    INTEGER_FIELDS,
    KEYWORD_FIELDS,
    LAYOUT,
    RRF_K,
    SCROLL_PAGE,
    SPARSE,
    Hit,
    IndexUnavailable,
    Point,
    access_payload,
    best_first,
    candidates,
    check_dimensions,
    check_tag,
    fused,
    hit_of,
    nothing_asked,
    payload_of,
)
from infra.vectors.readable import ReadableDocuments

if TYPE_CHECKING:
    import qdrant_edge

    from infra.vectors.index import Dense

Result = TypeVar("Result")


class EdgeIndex:
    """The index in a folder, kept by Qdrant's own engine (`qdrant-edge-py`); one process at a time.

    Reads run side by side; writes take turns, so that a snapshot never copies half of one. Every write is
    flushed before it returns (about 15 ms), so that it survives a power failure too.
    """

    def __init__(self, path: Path, dimensions: int, tag: str) -> None:
        import qdrant_edge

        self._engine = qdrant_edge
        self._dimensions = dimensions
        self._folder = path / check_tag(f"{tag}-{LAYOUT}")
        self._words = qdrant_edge.Bm25()
        self._writing = threading.Lock()
        self._readable = ReadableDocuments(self._documents_meeting)
        self._shard = _open_shard(self._folder, dimensions)

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert points, or replace those with the same id."""
        if points:
            self._write(self._engine.UpdateOperation.upsert_points([self._to_engine(p) for p in points]))

    def delete_document(self, document_id: str) -> None:
        """Remove every point of a document."""
        self._delete(conditions.having("document_id", document_id))

    def delete_version(self, version_id: str) -> None:
        """Remove every point of one version."""
        self._delete(conditions.having("version_id", version_id))

    def set_access(self, changes: Mapping[str, DocumentAccess]) -> None:
        """Replace who may read each of some documents, unless its points already carry a later epoch."""
        self._write(
            *(
                self._engine.UpdateOperation.set_payload_by_filter(
                    _edge_filter(conditions.not_later(document_id, access.epoch)), access_payload(access)
                )
                for document_id, access in changes.items()
            )
        )

    def search(
        self,
        scope: AccessScope,
        dense: Dense,
        text: str,
        limit: int,
        *,
        document_ids: Collection[str] | None = None,
    ) -> list[Hit]:
        """Return at most `limit` hits that `scope` may read, best first."""
        vector = check_dimensions(dense, self._dimensions)
        if nothing_asked(limit, document_ids):
            return []
        wanted = conditions.scope_conditions(scope)
        inside = self._readable.meeting(wanted)
        if document_ids is not None:
            inside &= frozenset(document_ids)
        if not inside:
            return []
        request = self._engine.QueryRequest(
            limit=fused(limit),
            query=fused_by_rank(),
            prefetches=self._searches(vector, text, candidates(limit), _edge_filter(_inside(inside))),
            with_payload=["document_id", "version_id"],
        )
        found = [hit_of(p.id, p.score, p.payload) for p in self._ask(lambda: self._shard.query(request))]
        allowed = self._meeting(wanted, [hit.id for hit in found])
        return best_first((hit for hit in found if hit.id in allowed), limit)

    def count(self, *, document_id: str | None = None, version_id: str | None = None) -> int:
        """Count points exactly: of a document, of a version, or all."""
        chosen = _edge_filter(conditions.counted(document_id, version_id))
        return self._ask(lambda: self._shard.count(self._engine.CountRequest(exact=True, filter=chosen)))

    def point_ids(self, version_id: str) -> list[str]:
        """List the ids of one version's points, sorted."""
        chosen = _edge_filter(conditions.having("version_id", version_id))
        return sorted(self._ask(lambda: list(self._scroll(chosen))))

    def version_ids(self) -> set[str]:
        """Return every version that has points."""
        request = self._engine.FacetRequest(key="version_id", limit=FACET_LIMIT, exact=True)
        # The engine goes on listing values whose points are gone, with a count of zero.
        return {str(hit.value) for hit in self._ask(lambda: self._shard.facet(request)).hits if hit.count}

    def snapshot(self, folder: Path) -> str:
        """Copy the index to a new folder below `folder`, while writers wait, and return its path."""
        target = folder / self._folder.name
        partial = folder / f"{self._folder.name}.partial"
        if target.exists():
            raise Conflict("The snapshot folder already holds a copy of this index.")
        shutil.rmtree(partial, ignore_errors=True)
        with self._writing:
            self._ask(self._shard.flush)
            shutil.copytree(self._folder, partial)
        partial.rename(target)
        return str(target)

    def healthy(self) -> bool:
        """Tell whether the engine answers."""
        try:
            self._ask(self._shard.info)
        except IndexUnavailable:
            return False
        return True

    def close(self) -> None:
        """Flush, and let another process open the folder."""
        with self._writing:
            self._ask(self._shard.close)
            self._readable.forget()

    def _to_engine(self, point: Point) -> qdrant_edge.Point:
        vector: dict[str, list[float] | qdrant_edge.SparseVector | list[list[float]]] = {
            DENSE: check_dimensions(point.dense, self._dimensions),
            SPARSE: self._words.embed_document(point.text),
        }
        return self._engine.Point(point.id, vector, payload_of(point))

    def _searches(
        self, dense: list[float], text: str, limit: int, allowed: qdrant_edge.Filter
    ) -> list[qdrant_edge.Prefetch]:
        engine = self._engine
        meaning = engine.Prefetch(limit=limit, query=engine.Query.Nearest(dense, using=DENSE), filter=allowed)
        words = self._words.embed_query(text)
        if not words.indices:
            return [meaning]
        by_words = engine.Prefetch(
            limit=limit,
            query=engine.Query.Nearest(words, using=SPARSE),
            filter=allowed,
            params=engine.SearchParams(idf=engine.IdfParams(corpus=allowed)),
        )
        return [meaning, by_words]

    def _documents_meeting(self, wanted: conditions.Conditions) -> frozenset[str]:
        # Exact counts take seven times as long, and only the values matter; a value whose points are gone
        # may be among them, and finds nothing.
        request = self._engine.FacetRequest(
            key="document_id", limit=FACET_LIMIT, exact=False, filter=_edge_filter(wanted)
        )
        return frozenset(str(hit.value) for hit in self._ask(lambda: self._shard.facet(request)).hits)

    def _meeting(self, wanted: conditions.Conditions, ids: Sequence[str]) -> set[str]:
        """Return those of some points that meet `wanted` at this moment."""
        if not ids:
            return set()
        of_these = self._engine.HasIdCondition(set(ids))
        chosen = self._engine.Filter(must=[of_these, _edge_filter(wanted)])
        request = self._engine.ScrollRequest(limit=len(ids), filter=chosen, with_payload=False)
        records, _ = self._ask(lambda: self._shard.scroll(request))
        return {str(record.id) for record in records}

    def _scroll(self, chosen: qdrant_edge.Filter) -> Iterator[str]:
        offset = None
        while True:
            records, offset = self._shard.scroll(
                self._engine.ScrollRequest(
                    offset=offset, limit=SCROLL_PAGE, filter=chosen, with_payload=False
                )
            )
            yield from (str(record.id) for record in records)
            if offset is None:
                return

    def _delete(self, chosen: conditions.Conditions) -> None:
        self._write(self._engine.UpdateOperation.delete_points_by_filter(_edge_filter(chosen)))

    def _write(self, *operations: qdrant_edge.UpdateOperation) -> None:
        with self._writing:
            try:
                for operation in operations:
                    self._ask(partial(self._shard.update, operation))
                self._ask(self._shard.flush)
            finally:
                self._readable.forget()

    def _ask(self, call: Callable[[], Result]) -> Result:
        # The engine raises plain Exception for everything, so there is nothing narrower to catch.
        try:
            return call()
        except Exception as error:
            raise IndexUnavailable("The vector index failed.") from error


def _open_shard(folder: Path, dimensions: int) -> qdrant_edge.EdgeShard:
    from qdrant_edge import EdgeShard

    if not folder.exists():
        _create_shard(folder, dimensions)
    try:
        # Passing the configuration makes the engine compare it with what the folder holds.
        return EdgeShard.load(str(folder), _edge_config(dimensions))
    except Exception as error:
        raise _unopened(folder, error) from error


def _create_shard(folder: Path, dimensions: int) -> None:
    """Make an empty index with its payload indexes beside its place, then move it there.

    A kill half-way leaves only the side folder, which the next start replaces.
    """
    from qdrant_edge import EdgeShard, PayloadSchemaType, UpdateOperation

    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shard = EdgeShard.create(str(unfinished), _edge_config(dimensions))
    except Exception as error:
        raise _unopened(folder, error) from error
    for fields, schema in (
        (KEYWORD_FIELDS, PayloadSchemaType.Keyword),
        (INTEGER_FIELDS, PayloadSchemaType.Integer),
    ):
        for field in fields:
            shard.update(UpdateOperation.create_field_index(field, schema))
    shard.flush()
    shard.close()
    unfinished.rename(folder)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unopened(folder: Path, error: Exception) -> ConfigurationError:
    reason = str(error)
    # The engine says `WouldBlock` when the write-ahead log's file lock is taken.
    if "WouldBlock" in reason:
        return ConfigurationError(
            f"The vector index {folder} is open in another process.",
            hint="Stop the other Strongroom on this data folder, or give this one a folder of its own.",
        )
    if "incompatible" in reason.lower():
        return ConfigurationError(
            f"The vector index {folder} was made for another embedding model.",
            hint="Use that model, or delete the index folder: it is rebuilt from the documents.",
        )
    return ConfigurationError(
        f"The vector index {folder} cannot be opened: {reason}",
        hint="The index is derived data: delete its folder and it is rebuilt from the documents.",
    )


def _edge_config(dimensions: int) -> qdrant_edge.EdgeConfig:
    from qdrant_edge import Distance, EdgeConfig, EdgeSparseVectorParams, EdgeVectorParams, Modifier

    return EdgeConfig(
        vectors={DENSE: EdgeVectorParams(size=dimensions, distance=Distance.Cosine)},
        sparse_vectors={SPARSE: EdgeSparseVectorParams(modifier=Modifier.Idf)},
        wal_enabled=True,
    )


def fused_by_rank() -> qdrant_edge.Fusion:
    """Return the engine's reciprocal rank fusion with our constant."""
    from qdrant_edge import Fusion

    # At run time the nested class is a subclass; its stub does not say so.
    return cast("qdrant_edge.Fusion", Fusion.Rrf(RRF_K))


def _inside(document_ids: Collection[str]) -> conditions.Conditions:
    return conditions.Conditions((conditions.HasAny("document_id", tuple(document_ids)),))


def _edge_filter(chosen: conditions.Conditions) -> qdrant_edge.Filter:
    from qdrant_edge import Filter

    return Filter(
        must=[_edge_condition(condition) for condition in chosen.must],
        must_not=[_edge_condition(condition) for condition in chosen.must_not],
    )


def _edge_condition(
    condition: conditions.Condition,
) -> qdrant_edge.FieldCondition | qdrant_edge.IsEmptyCondition:
    from qdrant_edge import FieldCondition, IsEmptyCondition, MatchAny, MatchExcept, RangeFloat

    match condition:
        case conditions.HasAny(field, values):
            return FieldCondition(field, match=MatchAny(list(values)))
        case conditions.HasOther(field, values):
            return FieldCondition(field, match=MatchExcept(list(values)))
        case conditions.HasNone(field):
            return IsEmptyCondition(field)
        case conditions.AtMost(field, value):
            return FieldCondition(field, range=RangeFloat(lte=value))
