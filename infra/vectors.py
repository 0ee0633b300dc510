"""The vector index: hybrid search within a scope, in this process or on a Qdrant server.

A point carries a dense vector, a BM25 sparse vector and who may read it, never text. The index is
derived data: the database is the truth about access, and callers check every hit there again.
Each embedding model (`tag`) has an index of its own, so re-embedding never mixes two models.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from infra.access import AccessScope, DocumentAccess
from infra.errors import ConfigurationError, Conflict, StrongroomError
from infra.network import check_private_url

if TYPE_CHECKING:
    import numpy as np
    import qdrant_edge
    from numpy.typing import NDArray
    from qdrant_client import QdrantClient, models

    Dense = Sequence[float] | NDArray[np.float32]

Result = TypeVar("Result")

DENSE: Final = "dense"
SPARSE: Final = "text"

# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", SIGIR 2009, use 60; Qdrant's default of 2 would
# let a single first rank outweigh agreement between the two searches.
RRF_K: Final = 60
CANDIDATES_PER_RESULT: Final = 4
FEWEST_CANDIDATES: Final = 64
SCROLL_PAGE: Final = 1000
FACET_LIMIT: Final = 1_000_000

KEYWORD_FIELDS: Final = ("document_id", "version_id", "allow", "within", "deny", "compartments")
INTEGER_FIELDS: Final = ("clearance", "epoch")

# Part of a collection's name: a change of vectors or payload fields needs a new collection.
LAYOUT: Final = "2"


class IndexUnavailable(StrongroomError):
    """The vector index did not do what it was asked; nothing is known about the outcome."""

    code = "index_unavailable"


@dataclass(frozen=True)
class Point:
    """One passage on its way into the index. `text` becomes the sparse vector and is not stored."""

    id: str
    dense: Dense
    text: str
    document_id: str
    version_id: str
    access: DocumentAccess


@dataclass(frozen=True)
class Hit:
    """One search result. `score` is the fused rank score, 0 < score <= 2 / RRF_K, higher is better."""

    id: str
    score: float
    document_id: str
    version_id: str


class VectorIndex(Protocol):
    """What the rest of the program knows about vectors. Writes are durable when they return.

    Every method raises IndexUnavailable when the engine or the server fails.
    """

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert points, or replace those with the same id."""

    def delete_document(self, document_id: str) -> None:
        """Remove every point of a document; nothing happens if there is none."""

    def delete_version(self, version_id: str) -> None:
        """Remove every point of one version; nothing happens if there is none."""

    def set_access(self, changes: Mapping[str, DocumentAccess]) -> None:
        """Replace who may read each of some documents, unless its points already carry a later epoch."""

    def search(
        self,
        scope: AccessScope,
        dense: Dense,
        text: str,
        limit: int,
        *,
        document_ids: Collection[str] | None = None,
    ) -> list[Hit]:
        """Return at most `limit` hits that `scope` may read, best first.

        `dense` has shape (dimensions,). `document_ids` narrows the search further; an empty collection
        finds nothing. Word statistics come from what the scope may read, so that not even the order of
        results depends on a hidden document.
        """

    def count(self, *, document_id: str | None = None, version_id: str | None = None) -> int:
        """Count points exactly: of a document, of a version, or all. For reconciling, not for people."""

    def point_ids(self, version_id: str) -> list[str]:
        """List the ids of one version's points, sorted."""

    def version_ids(self) -> set[str]:
        """Return every version that has points; for reconciling."""

    def snapshot(self, folder: Path) -> str:
        """Keep a consistent copy and return where: a path below `folder`, or a name on the server."""

    def healthy(self) -> bool:
        """Tell whether the index answers."""

    def close(self) -> None:
        """Release the index; later calls raise IndexUnavailable."""


def point_id(version_id: str, ordinal: int, pipeline_hash: str) -> str:
    """Return the UUIDv5 of passage number `ordinal` (from 0) of a version, for one pipeline.

    The version's own UUID is the namespace (RFC 9562, section 5.5). A retry gets the same id and
    overwrites. Raises ValueError when `version_id` is no UUID.
    """
    return str(uuid.uuid5(uuid.UUID(version_id), f"{ordinal}:{pipeline_hash}"))


# --- the filter, once, for both engines -----------------------------------------------------------


@dataclass(frozen=True)
class HasAny:
    """The list `field` shares a value with `values`; never true for an empty one."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class HasOther:
    """The list `field` has a value that is not in `values`, which must not be empty."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class HasNone:
    """The list `field` is empty or missing."""

    field: str


@dataclass(frozen=True)
class AtMost:
    """The integer `field` exists and does not exceed `value`."""

    field: str
    value: int


Condition = HasAny | HasOther | HasNone | AtMost


@dataclass(frozen=True)
class Conditions:
    """All of `must` and none of `must_not`."""

    must: tuple[Condition, ...]
    must_not: tuple[Condition, ...] = ()


def scope_conditions(scope: AccessScope, document_ids: Collection[str] | None = None) -> Conditions:
    """Write `infra.access.may_read` as conditions on the payload, optionally within some documents."""
    must: list[Condition] = [
        HasAny("allow", tuple(sorted(scope.principals))),
        HasAny("within", tuple(sorted(scope.principals))),
        AtMost("clearance", scope.clearance),
    ]
    must_not: list[Condition] = [HasAny("deny", tuple(sorted(scope.principals)))]
    if scope.compartments:
        must_not.append(HasOther("compartments", tuple(sorted(scope.compartments))))
    else:
        # "Other than none of them" is a corner that engines may read either way; "has none" is not.
        must.append(HasNone("compartments"))
    if document_ids is not None:
        must.append(HasAny("document_id", tuple(sorted(document_ids))))
    return Conditions(tuple(must), tuple(must_not))


def _having(field: str, value: str) -> Conditions:
    return Conditions((HasAny(field, (value,)),))


def _not_later(document_id: str, epoch: int) -> Conditions:
    """Select a document's points with this epoch or an earlier one: two changes may arrive swapped."""
    return Conditions((HasAny("document_id", (document_id,)), AtMost("epoch", epoch)))


def _counted(document_id: str | None, version_id: str | None) -> Conditions:
    wanted = {"document_id": document_id, "version_id": version_id}
    return Conditions(tuple(HasAny(field, (value,)) for field, value in wanted.items() if value is not None))


def _access_payload(access: DocumentAccess) -> dict[str, Any]:
    return {
        "allow": sorted(access.allow),
        "within": sorted(access.allow if access.within is None else access.within),
        "deny": sorted(access.deny),
        "clearance": access.clearance,
        "compartments": sorted(access.compartments),
        "epoch": access.epoch,
    }


def _payload(point: Point) -> dict[str, Any]:
    return {
        "document_id": point.document_id,
        "version_id": point.version_id,
        **_access_payload(point.access),
    }


def _hit(identifier: object, score: float, payload: Mapping[str, Any] | None) -> Hit:
    fields = payload or {}
    return Hit(str(identifier), score, str(fields["document_id"]), str(fields["version_id"]))


def _candidates(limit: int) -> int:
    """Return how many results each search contributes to the fusion."""
    return max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * limit)


def _nothing_asked(limit: int, document_ids: Collection[str] | None) -> bool:
    return limit <= 0 or (document_ids is not None and not document_ids)


def _check_tag(tag: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", tag):
        raise ConfigurationError("An index tag is 1 to 64 of a-z, 0-9, '-' and '_'.")
    return tag


def _check_dimensions(dense: Dense, dimensions: int) -> list[float]:
    if len(dense) != dimensions:
        raise ConfigurationError(
            f"The index holds vectors of {dimensions} dimensions, but the embedder gave {len(dense)}.",
            hint="Use the embedding model that the index was made with, or rebuild the index.",
        )
    return [float(component) for component in dense]


# --- Qdrant's engine in this process --------------------------------------------------------------


class EdgeIndex:
    """The index in a folder, kept by Qdrant's own engine (`qdrant-edge-py`); one process at a time.

    Reads run side by side; writes take turns, so that a snapshot never copies half of one. Every write is
    flushed before it returns (about 15 ms), so that it survives a power failure too.
    """

    def __init__(self, path: Path, dimensions: int, tag: str) -> None:
        import qdrant_edge

        self._engine = qdrant_edge
        self._dimensions = dimensions
        self._folder = path / _check_tag(f"{tag}-{LAYOUT}")
        self._words = qdrant_edge.Bm25()
        self._writing = threading.Lock()
        self._shard = _open_shard(self._folder, dimensions)

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert points, or replace those with the same id."""
        if points:
            self._write(self._engine.UpdateOperation.upsert_points([self._to_engine(p) for p in points]))

    def delete_document(self, document_id: str) -> None:
        """Remove every point of a document."""
        self._delete(_having("document_id", document_id))

    def delete_version(self, version_id: str) -> None:
        """Remove every point of one version."""
        self._delete(_having("version_id", version_id))

    def set_access(self, changes: Mapping[str, DocumentAccess]) -> None:
        """Replace who may read each of some documents, unless its points already carry a later epoch."""
        self._write(
            *(
                self._engine.UpdateOperation.set_payload_by_filter(
                    _edge_filter(_not_later(document_id, access.epoch)), _access_payload(access)
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
        vector = _check_dimensions(dense, self._dimensions)
        if _nothing_asked(limit, document_ids):
            return []
        allowed = _edge_filter(scope_conditions(scope, document_ids))
        request = self._engine.QueryRequest(
            limit=limit,
            query=_fused_by_rank(),
            prefetches=self._searches(vector, text, _candidates(limit), allowed),
            filter=allowed,
            with_payload=["document_id", "version_id"],
        )
        found = self._ask(lambda: self._shard.query(request))
        return [_hit(point.id, point.score, point.payload) for point in found]

    def count(self, *, document_id: str | None = None, version_id: str | None = None) -> int:
        """Count points exactly: of a document, of a version, or all."""
        chosen = _edge_filter(_counted(document_id, version_id))
        return self._ask(lambda: self._shard.count(self._engine.CountRequest(exact=True, filter=chosen)))

    def point_ids(self, version_id: str) -> list[str]:
        """List the ids of one version's points, sorted."""
        chosen = _edge_filter(_having("version_id", version_id))
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

    def _to_engine(self, point: Point) -> qdrant_edge.Point:
        vector: dict[str, list[float] | qdrant_edge.SparseVector | list[list[float]]] = {
            DENSE: _check_dimensions(point.dense, self._dimensions),
            SPARSE: self._words.embed_document(point.text),
        }
        return self._engine.Point(point.id, vector, _payload(point))

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

    def _delete(self, chosen: Conditions) -> None:
        self._write(self._engine.UpdateOperation.delete_points_by_filter(_edge_filter(chosen)))

    def _write(self, *operations: qdrant_edge.UpdateOperation) -> None:
        with self._writing:
            for operation in operations:
                self._ask(partial(self._shard.update, operation))
            self._ask(self._shard.flush)

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


def _fused_by_rank() -> qdrant_edge.Fusion:
    from qdrant_edge import Fusion

    # At run time the nested class is a subclass; its stub does not say so.
    return cast("qdrant_edge.Fusion", Fusion.Rrf(RRF_K))


def _edge_filter(conditions: Conditions) -> qdrant_edge.Filter:
    from qdrant_edge import Filter

    return Filter(
        must=[_edge_condition(condition) for condition in conditions.must],
        must_not=[_edge_condition(condition) for condition in conditions.must_not],
    )


def _edge_condition(condition: Condition) -> qdrant_edge.FieldCondition | qdrant_edge.IsEmptyCondition:
    from qdrant_edge import FieldCondition, IsEmptyCondition, MatchAny, MatchExcept, RangeFloat

    match condition:
        case HasAny(field, values):
            return FieldCondition(field, match=MatchAny(list(values)))
        case HasOther(field, values):
            return FieldCondition(field, match=MatchExcept(list(values)))
        case HasNone(field):
            return IsEmptyCondition(field)
        case AtMost(field, value):
            return FieldCondition(field, range=RangeFloat(lte=value))


# --- a Qdrant server ------------------------------------------------------------------------------


def connect_server(
    url: str, api_key: str | None, allowed_hosts: Collection[str], *, timeout_s: int = 10
) -> QdrantClient:
    """Return a client for a Qdrant server at a private address; nothing is sent yet.

    Raises AddressRefused when `url` is neither private nor names one of `allowed_hosts`. Proxies from the
    environment and redirects are ignored: both could carry passages' vectors out of the building.
    """
    from qdrant_client import QdrantClient

    check_private_url(url, allowed_hosts)
    return QdrantClient(
        url=url,
        api_key=api_key,
        timeout=timeout_s,
        check_compatibility=False,
        trust_env=False,
        follow_redirects=False,
    )


class ServerIndex:
    """The index on a Qdrant server, reached through an alias named after the embedding model's tag.

    Safe for threads with a client from `connect_server`.
    """

    def __init__(self, client: QdrantClient, dimensions: int, tag: str) -> None:
        import qdrant_edge
        from qdrant_client import models

        self._client = client
        self._models = models
        self._dimensions = dimensions
        # The same tokenizer as in-process, so that both profiles give the same results, and because
        # the client's own BM25 fetches its stop words from a public hub.
        self._words = qdrant_edge.Bm25()
        self._alias = f"passages_{_check_tag(f'{tag}-{LAYOUT}')}"
        with _server_errors():
            self._prepare()

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert points, or replace those with the same id."""
        if not points:
            return
        structs = [self._to_server(point) for point in points]
        with _server_errors():
            self._client.upsert(self._alias, structs, wait=True, ordering=self._models.WriteOrdering.STRONG)

    def delete_document(self, document_id: str) -> None:
        """Remove every point of a document."""
        self._delete(_having("document_id", document_id))

    def delete_version(self, version_id: str) -> None:
        """Remove every point of one version."""
        self._delete(_having("version_id", version_id))

    def set_access(self, changes: Mapping[str, DocumentAccess]) -> None:
        """Replace who may read each of some documents, unless its points already carry a later epoch."""
        models = self._models
        operations: list[Any] = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload=_access_payload(access),
                    filter=_server_filter(_not_later(document_id, access.epoch)),
                )
            )
            for document_id, access in changes.items()
        ]
        if operations:
            with _server_errors():
                self._client.batch_update_points(
                    self._alias, operations, wait=True, ordering=models.WriteOrdering.STRONG
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
        vector = _check_dimensions(dense, self._dimensions)
        if _nothing_asked(limit, document_ids):
            return []
        allowed = _server_filter(scope_conditions(scope, document_ids))
        with _server_errors():
            found = self._client.query_points(
                self._alias,
                query=self._models.RrfQuery(rrf=self._models.Rrf(k=RRF_K)),
                prefetch=self._searches(vector, text, _candidates(limit), allowed),
                query_filter=allowed,
                limit=limit,
                with_payload=["document_id", "version_id"],
            )
        return [_hit(point.id, point.score, point.payload) for point in found.points]

    def count(self, *, document_id: str | None = None, version_id: str | None = None) -> int:
        """Count points exactly: of a document, of a version, or all."""
        chosen = _server_filter(_counted(document_id, version_id))
        with _server_errors():
            return self._client.count(self._alias, count_filter=chosen, exact=True).count

    def point_ids(self, version_id: str) -> list[str]:
        """List the ids of one version's points, sorted."""
        with _server_errors():
            return sorted(self._scroll(_server_filter(_having("version_id", version_id))))

    def version_ids(self) -> set[str]:
        """Return every version that has points."""
        with _server_errors():
            found = self._client.facet(self._alias, key="version_id", limit=FACET_LIMIT, exact=True)
        return {str(hit.value) for hit in found.hits if hit.count}

    def snapshot(self, folder: Path) -> str:
        """Have the server keep a snapshot and return its name there; `folder` is not used."""
        with _server_errors():
            collection = self._collection()
            made = self._client.create_snapshot(collection, wait=True) if collection else None
        if made is None:
            raise IndexUnavailable("The vector index made no snapshot.")
        return made.name

    def healthy(self) -> bool:
        """Tell whether the server has our collection."""
        try:
            with _server_errors():
                self._client.get_collection(self._alias)
        except IndexUnavailable:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _prepare(self) -> None:
        """Make collection, payload indexes and alias where missing; several replicas may do so at once.

        The alias comes last, and points are reached through it only, so no point is ever older than an
        index. An alias that exists is left alone: re-embedding may have moved it.
        """
        if self._collection() is None:
            collection = f"{self._alias}_a"
            self._create_collection(collection)
            self._create_payload_indexes(collection)
            create = self._models.CreateAlias(collection_name=collection, alias_name=self._alias)
            self._client.update_collection_aliases([self._models.CreateAliasOperation(create_alias=create)])
        self._check_collection()

    def _collection(self) -> str | None:
        aliases = self._client.get_aliases().aliases
        return next((a.collection_name for a in aliases if a.alias_name == self._alias), None)

    def _create_collection(self, name: str) -> None:
        from qdrant_client.http.exceptions import UnexpectedResponse

        models = self._models
        if self._client.collection_exists(name):
            return
        try:
            self._client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(size=self._dimensions, distance=models.Distance.COSINE)
                },
                sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except UnexpectedResponse as error:
            # Another replica was faster.
            if error.status_code != 409:
                raise

    def _create_payload_indexes(self, collection: str) -> None:
        for fields, schema in (
            (KEYWORD_FIELDS, self._models.PayloadSchemaType.KEYWORD),
            (INTEGER_FIELDS, self._models.PayloadSchemaType.INTEGER),
        ):
            for field in fields:
                self._client.create_payload_index(collection, field, field_schema=schema, wait=True)

    def _check_collection(self) -> None:
        vectors = self._client.get_collection(self._alias).config.params.vectors
        dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
        if dense is None or dense.size != self._dimensions:
            raise ConfigurationError(
                f"The collection {self._alias} was made for another embedding model.",
                hint="Use that model, or delete the collection: it is rebuilt from the documents.",
            )

    def _to_server(self, point: Point) -> models.PointStruct:
        return self._models.PointStruct(
            id=point.id,
            vector={
                DENSE: _check_dimensions(point.dense, self._dimensions),
                SPARSE: self._sparse(self._words.embed_document(point.text)),
            },
            payload=_payload(point),
        )

    def _sparse(self, vector: qdrant_edge.SparseVector) -> models.SparseVector:
        return self._models.SparseVector(indices=vector.indices, values=vector.values)

    def _searches(
        self, dense: list[float], text: str, limit: int, allowed: models.Filter
    ) -> list[models.Prefetch]:
        models = self._models
        meaning = models.Prefetch(query=dense, using=DENSE, filter=allowed, limit=limit)
        words = self._words.embed_query(text)
        if not words.indices:
            return [meaning]
        by_words = models.Prefetch(
            query=self._sparse(words),
            using=SPARSE,
            filter=allowed,
            limit=limit,
            params=models.SearchParams(idf=models.IdfCorpusParams(corpus=allowed)),
        )
        return [meaning, by_words]

    def _scroll(self, chosen: models.Filter) -> Iterator[str]:
        offset = None
        while True:
            records, offset = self._client.scroll(
                self._alias, scroll_filter=chosen, limit=SCROLL_PAGE, offset=offset, with_payload=False
            )
            yield from (str(record.id) for record in records)
            if offset is None:
                return

    def _delete(self, chosen: Conditions) -> None:
        selector = self._models.FilterSelector(filter=_server_filter(chosen))
        with _server_errors():
            self._client.delete(self._alias, selector, wait=True, ordering=self._models.WriteOrdering.STRONG)


@contextmanager
def _server_errors() -> Iterator[None]:
    """Turn the client's failures into ours; what the server said stays in the cause."""
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except (ApiException, QdrantException) as error:
        raise IndexUnavailable("The vector index did not answer as expected.") from error


def _server_filter(conditions: Conditions) -> models.Filter:
    from qdrant_client import models

    return models.Filter(
        must=[_server_condition(condition) for condition in conditions.must],
        must_not=[_server_condition(condition) for condition in conditions.must_not],
    )


def _server_condition(condition: Condition) -> models.FieldCondition | models.IsEmptyCondition:
    from qdrant_client import models

    match condition:
        case HasAny(field, values):
            return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
        case HasOther(field, values):
            return models.FieldCondition(key=field, match=models.MatchExcept(**{"except": list(values)}))
        case HasNone(field):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
        case AtMost(field, value):
            return models.FieldCondition(key=field, range=models.Range(lte=value))
