"""The index on a Qdrant server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.access import AccessScope, DocumentAccess
from infra.errors import ConfigurationError
from infra.network import check_private_url
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

if TYPE_CHECKING:
    import qdrant_edge
    from qdrant_client import QdrantClient, models

    from infra.vectors.index import Dense


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
        self._alias = f"passages_{check_tag(f'{tag}-{LAYOUT}')}"
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
        self._delete(conditions.having("document_id", document_id))

    def delete_version(self, version_id: str) -> None:
        """Remove every point of one version."""
        self._delete(conditions.having("version_id", version_id))

    def set_access(self, changes: Mapping[str, DocumentAccess]) -> None:
        """Replace who may read each of some documents, unless its points already carry a later epoch."""
        models = self._models
        operations: list[Any] = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload=access_payload(access),
                    filter=_server_filter(conditions.not_later(document_id, access.epoch)),
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
        vector = check_dimensions(dense, self._dimensions)
        if nothing_asked(limit, document_ids):
            return []
        allowed = _server_filter(conditions.scope_conditions(scope, document_ids))
        with _server_errors():
            found = self._client.query_points(
                self._alias,
                query=self._models.RrfQuery(rrf=self._models.Rrf(k=RRF_K)),
                prefetch=self._searches(vector, text, candidates(limit), allowed),
                query_filter=allowed,
                limit=fused(limit),
                with_payload=["document_id", "version_id"],
            )
        hits = (hit_of(point.id, point.score, point.payload) for point in found.points)
        return best_first(hits, limit)

    def count(self, *, document_id: str | None = None, version_id: str | None = None) -> int:
        """Count points exactly: of a document, of a version, or all."""
        chosen = _server_filter(conditions.counted(document_id, version_id))
        with _server_errors():
            return self._client.count(self._alias, count_filter=chosen, exact=True).count

    def point_ids(self, version_id: str) -> list[str]:
        """List the ids of one version's points, sorted."""
        with _server_errors():
            return sorted(self._scroll(_server_filter(conditions.having("version_id", version_id))))

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
                DENSE: check_dimensions(point.dense, self._dimensions),
                SPARSE: self._sparse(self._words.embed_document(point.text)),
            },
            payload=payload_of(point),
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

    def _delete(self, chosen: conditions.Conditions) -> None:
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


def _server_filter(chosen: conditions.Conditions) -> models.Filter:
    from qdrant_client import models

    return models.Filter(
        must=[_server_condition(condition) for condition in chosen.must],
        must_not=[_server_condition(condition) for condition in chosen.must_not],
    )


def _server_condition(condition: conditions.Condition) -> models.FieldCondition | models.IsEmptyCondition:
    from qdrant_client import models

    match condition:
        case conditions.HasAny(field, values):
            return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
        case conditions.HasOther(field, values):
            return models.FieldCondition(key=field, match=models.MatchExcept(**{"except": list(values)}))
        case conditions.HasNone(field):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
        case conditions.AtMost(field, value):
            return models.FieldCondition(key=field, range=models.Range(lte=value))
