"""A small server with the REST calls of Qdrant that we use, over Qdrant's own in-process engine.

    python -m tests.qdrant_server FOLDER PORT

No package carries a Qdrant server. This one lets several processes and a real HTTP client share an index in
tests; where STRONGROOM_TEST_QDRANT_URL names a real server, that one is used instead. Requests are read and
answers are written as the models that `qdrant-client` generates from Qdrant's published OpenAPI document, so
a field that Qdrant does not know is refused and an answer that it would not give cannot be sent.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import qdrant_edge as engine
import uvicorn
from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client.http import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ROOT: Final = Path(__file__).parents[1]
VERSION: Final = "1.20.0"
_PAYLOAD_TYPES: Final = {
    models.PayloadSchemaType.KEYWORD: engine.PayloadSchemaType.Keyword,
    models.PayloadSchemaType.INTEGER: engine.PayloadSchemaType.Integer,
}


class Refused(Exception):
    """An answer other than 200: its status and Qdrant's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def qdrant_server(folder: Path, port: int = 0) -> Iterator[QdrantProcess]:
    """Start the server in a process of its own; yields its handle, and ends it."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    server = QdrantProcess(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class QdrantProcess:
    """The running server: its address, and the means to kill and restart it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [sys.executable, "-m", "tests.qdrant_server", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx2.get(f"{self.url}/healthz", timeout=1, trust_env=False).raise_for_status()
            except httpx2.HTTPError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Take it away without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


# --- storage --------------------------------------------------------------------------------------


class Store:
    """The collections of one folder; each is a folder of the engine beside its configuration."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._lock = threading.RLock()
        self._shards: dict[str, engine.EdgeShard] = {}
        self._aliases_file = root / "aliases.json"
        for kept in sorted(root.glob("*/config.json")):
            name = kept.parent.name
            self._shards[name] = engine.EdgeShard.load(str(kept.parent / "shard"), _config(self.config(name)))

    @property
    def aliases(self) -> dict[str, str]:
        """The collection of each alias."""
        return json.loads(self._aliases_file.read_text()) if self._aliases_file.exists() else {}

    @property
    def collections(self) -> list[str]:
        """The names of all collections."""
        return sorted(self._shards)

    def real_name(self, name: str) -> str:
        """Return the collection that a name or an alias stands for."""
        real = self.aliases.get(name, name)
        if real not in self._shards:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return real

    def shard(self, name: str) -> engine.EdgeShard:
        """Return a collection's engine, by name or alias."""
        return self._shards[self.real_name(name)]

    def config(self, name: str) -> models.CreateCollection:
        """Return what a collection was made with."""
        return models.CreateCollection.model_validate_json((self._root / name / "config.json").read_text())

    def create(self, name: str, wanted: models.CreateCollection) -> None:
        """Make a collection."""
        with self._lock:
            if name in self._shards:
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            folder = self._root / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._shards[name] = engine.EdgeShard.create(str(folder / "shard"), _config(wanted))
            self._shards[name].flush()
            (folder / "config.json").write_text(wanted.model_dump_json(exclude_none=True))

    def drop(self, name: str) -> bool:
        """Remove a collection and its aliases; returns whether there was one."""
        with self._lock:
            shard = self._shards.pop(name, None)
            if shard is None:
                return False
            shard.close()
            shutil.rmtree(self._root / name)
            self._keep_aliases({alias: real for alias, real in self.aliases.items() if real != name})
            return True

    def change_aliases(self, change: models.ChangeAliasesOperation) -> None:
        """Make and remove aliases, all of them or none."""
        with self._lock:
            aliases = self.aliases
            for action in change.actions:
                if isinstance(action, models.CreateAliasOperation):
                    real = self.real_name(action.create_alias.collection_name)
                    aliases[action.create_alias.alias_name] = real
                elif isinstance(action, models.DeleteAliasOperation):
                    aliases.pop(action.delete_alias.alias_name, None)
                else:
                    raise Refused(501, "Not implemented: renaming an alias")
            self._keep_aliases(aliases)

    def update(self, name: str, *operations: engine.UpdateOperation) -> None:
        """Write durably, one request at a time."""
        with self._lock:
            shard = self.shard(name)
            for operation in operations:
                shard.update(operation)
            shard.flush()

    def _keep_aliases(self, aliases: dict[str, str]) -> None:
        partial = self._aliases_file.with_suffix(".partial")
        partial.write_text(json.dumps(aliases))
        partial.replace(self._aliases_file)


def _config(wanted: models.CreateCollection) -> engine.EdgeConfig:
    vectors = wanted.vectors if isinstance(wanted.vectors, dict) else {}
    sparse = wanted.sparse_vectors or {}
    return engine.EdgeConfig(
        vectors={
            name: engine.EdgeVectorParams(size=params.size, distance=engine.Distance.Cosine)
            for name, params in vectors.items()
        },
        sparse_vectors={name: engine.EdgeSparseVectorParams(modifier=engine.Modifier.Idf) for name in sparse},
        wal_enabled=True,
    )


# --- from the interface's models to the engine's --------------------------------------------------


def _filter(wanted: models.Filter | None) -> engine.Filter:
    if wanted is None:
        return engine.Filter()
    if wanted.should or wanted.min_should:
        raise Refused(501, "Not implemented: should")
    return engine.Filter(
        must=[_condition(condition) for condition in _listed(wanted.must)],
        must_not=[_condition(condition) for condition in _listed(wanted.must_not)],
    )


def _listed(conditions: Any) -> list[Any]:
    if conditions is None:
        return []
    return conditions if isinstance(conditions, list) else [conditions]


def _condition(condition: Any) -> Any:
    match condition:
        case models.FieldCondition(match=models.MatchAny() as wanted):
            return engine.FieldCondition(
                condition.key, match=engine.MatchAny([str(value) for value in wanted.any])
            )
        case models.FieldCondition(match=models.MatchExcept() as wanted):
            return engine.FieldCondition(
                condition.key, match=engine.MatchExcept([str(v) for v in wanted.except_])
            )
        case models.FieldCondition(range=models.Range() as wanted):
            return engine.FieldCondition(
                condition.key,
                range=engine.RangeFloat(gt=wanted.gt, gte=wanted.gte, lt=wanted.lt, lte=wanted.lte),
            )
        case models.IsEmptyCondition():
            return engine.IsEmptyCondition(condition.is_empty.key)
        case models.Filter():
            return _filter(condition)
        case _:
            raise Refused(501, f"Not implemented: {type(condition).__name__}")


def _vector(vector: Any) -> Any:
    if isinstance(vector, models.SparseVector):
        return engine.SparseVector(indices=vector.indices, values=vector.values)
    return vector


def _point(point: models.PointStruct) -> engine.Point:
    if not isinstance(point.vector, dict):
        raise Refused(400, "Wrong input: Not existing vector name error: ")
    vectors = {name: _vector(vector) for name, vector in point.vector.items()}
    return engine.Point(str(point.id), vectors, point.payload or {})


def _prefetch(wanted: models.Prefetch) -> engine.Prefetch:
    params = None
    if wanted.params is not None and isinstance(wanted.params.idf, models.IdfCorpusParams):
        params = engine.SearchParams(idf=engine.IdfParams(corpus=_filter(wanted.params.idf.corpus)))
    return engine.Prefetch(
        limit=wanted.limit or 10,
        query=engine.Query.Nearest(_vector(wanted.query), using=wanted.using),
        filter=_filter(wanted.filter),
        params=params,
    )


def _operation(wanted: Any) -> engine.UpdateOperation:
    if isinstance(wanted, models.SetPayloadOperation) and wanted.set_payload.filter is not None:
        chosen = _filter(wanted.set_payload.filter)
        return engine.UpdateOperation.set_payload_by_filter(chosen, wanted.set_payload.payload)
    raise Refused(501, f"Not implemented: {type(wanted).__name__}")


# --- the calls ------------------------------------------------------------------------------------


class Calls:
    """One method a call; each takes the request and returns what stands under `result`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_aliases(self, _: Request, __: bytes) -> models.CollectionsAliasesResponse:
        """GET /aliases."""
        described = [
            models.AliasDescription(alias_name=alias, collection_name=real)
            for alias, real in sorted(self._store.aliases.items())
        ]
        return models.CollectionsAliasesResponse(aliases=described)

    def change_aliases(self, _: Request, body: bytes) -> bool:
        """POST /collections/aliases."""
        self._store.change_aliases(_read(models.ChangeAliasesOperation, body))
        return True

    def list_collections(self, _: Request, __: bytes) -> models.CollectionsResponse:
        """GET /collections."""
        described = [models.CollectionDescription(name=name) for name in self._store.collections]
        return models.CollectionsResponse(collections=described)

    def collection_exists(self, request: Request, _: bytes) -> models.CollectionExistence:
        """GET /collections/{name}/exists."""
        name = request.path_params["name"]
        return models.CollectionExistence(exists=name in {*self._store.collections, *self._store.aliases})

    def get_collection(self, request: Request, _: bytes) -> models.CollectionInfo:
        """GET /collections/{name}."""
        name = self._store.real_name(request.path_params["name"])
        made = self._store.config(name)
        points = self._store.shard(name).count(engine.CountRequest(exact=True))
        params = models.CollectionParams(vectors=made.vectors, sparse_vectors=made.sparse_vectors)
        return models.CollectionInfo(
            status=models.CollectionStatus.GREEN,
            optimizer_status=models.OptimizersStatusOneOf.OK,
            points_count=points,
            segments_count=1,
            payload_schema={},
            config=models.CollectionConfig(
                params=params,
                hnsw_config=models.HnswConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
                optimizer_config=models.OptimizersConfig(
                    deleted_threshold=0.2,
                    vacuum_min_vector_number=1000,
                    default_segment_number=0,
                    flush_interval_sec=5,
                ),
            ),
        )

    def create_collection(self, request: Request, body: bytes) -> bool:
        """PUT /collections/{name}."""
        self._store.create(request.path_params["name"], _read(models.CreateCollection, body))
        return True

    def delete_collection(self, request: Request, _: bytes) -> bool:
        """DELETE /collections/{name}."""
        return self._store.drop(request.path_params["name"])

    def create_field_index(self, request: Request, body: bytes) -> models.UpdateResult:
        """PUT /collections/{name}/index."""
        wanted = _read(models.CreateFieldIndex, body)
        schema = wanted.field_schema
        if not isinstance(schema, models.PayloadSchemaType) or schema not in _PAYLOAD_TYPES:
            raise Refused(501, "Not implemented: this field schema")
        made = engine.UpdateOperation.create_field_index(wanted.field_name, _PAYLOAD_TYPES[schema])
        return self._updated(request, made)

    def upsert(self, request: Request, body: bytes) -> models.UpdateResult:
        """PUT /collections/{name}/points."""
        points = _read(models.PointsList, body).points
        return self._updated(request, engine.UpdateOperation.upsert_points([_point(p) for p in points]))

    def delete_points(self, request: Request, body: bytes) -> models.UpdateResult:
        """POST /collections/{name}/points/delete."""
        chosen = _filter(_read(models.FilterSelector, body).filter)
        return self._updated(request, engine.UpdateOperation.delete_points_by_filter(chosen))

    def batch_update(self, request: Request, body: bytes) -> list[models.UpdateResult]:
        """POST /collections/{name}/points/batch."""
        operations = [_operation(wanted) for wanted in _read(models.UpdateOperations, body).operations]
        return [self._updated(request, *operations)] * len(operations)

    def query(self, request: Request, body: bytes) -> models.QueryResponse:
        """POST /collections/{name}/points/query."""
        wanted = _read(models.QueryRequest, body)
        if not isinstance(wanted.query, models.RrfQuery) or wanted.query.rrf.k is None:
            raise Refused(501, "Not implemented: this query")
        prefetches = [_prefetch(prefetch) for prefetch in _listed(wanted.prefetch)]
        found = self._store.shard(request.path_params["name"]).query(
            engine.QueryRequest(
                limit=wanted.limit or 10,
                query=cast(engine.Fusion, engine.Fusion.Rrf(wanted.query.rrf.k)),
                prefetches=prefetches,
                filter=_filter(wanted.filter),
                with_payload=wanted.with_payload,
            )
        )
        points = [
            models.ScoredPoint(id=str(p.id), version=p.version, score=p.score, payload=p.payload)
            for p in found
        ]
        return models.QueryResponse(points=points)

    def count(self, request: Request, body: bytes) -> models.CountResult:
        """POST /collections/{name}/points/count."""
        wanted = _read(models.CountRequest, body)
        chosen = engine.CountRequest(exact=bool(wanted.exact), filter=_filter(wanted.filter))
        return models.CountResult(count=self._store.shard(request.path_params["name"]).count(chosen))

    def scroll(self, request: Request, body: bytes) -> models.ScrollResult:
        """POST /collections/{name}/points/scroll."""
        wanted = _read(models.ScrollRequest, body)
        records, following = self._store.shard(request.path_params["name"]).scroll(
            engine.ScrollRequest(
                offset=None if wanted.offset is None else str(wanted.offset),
                limit=wanted.limit or 10,
                filter=_filter(wanted.filter),
                with_payload=bool(wanted.with_payload),
            )
        )
        found = [models.Record(id=str(record.id), payload=record.payload) for record in records]
        return models.ScrollResult(
            points=found, next_page_offset=None if following is None else str(following)
        )

    def facet(self, request: Request, body: bytes) -> models.FacetResponse:
        """POST /collections/{name}/facet."""
        wanted = _read(models.FacetRequest, body)
        found = self._store.shard(request.path_params["name"]).facet(
            engine.FacetRequest(
                key=wanted.key,
                limit=wanted.limit or 10,
                exact=bool(wanted.exact),
                filter=_filter(wanted.filter),
            )
        )
        hits = [models.FacetValueHit(value=hit.value, count=hit.count) for hit in found.hits if hit.count]
        return models.FacetResponse(hits=hits)

    def _updated(self, request: Request, *operations: engine.UpdateOperation) -> models.UpdateResult:
        self._store.update(request.path_params["name"], *operations)
        return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _read(kind: Any, body: bytes) -> Any:
    try:
        return TypeAdapter(kind).validate_json(body)
    except ValidationError as error:
        raise Refused(400, f"Format error in JSON body: {error.error_count()} errors") from error


_Call = Callable[[Request, bytes], Any]


def _answering(call: _Call) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = await request.body()
        started = time.monotonic()
        try:
            result = call(request, body)
        except Refused as refused:
            words = {"status": {"error": str(refused)}, "time": 0.0}
            return JSONResponse(words, status_code=refused.status)
        except Exception as error:
            return JSONResponse({"status": {"error": str(error)}, "time": 0.0}, status_code=500)
        shown: Any = result
        if isinstance(result, BaseModel):
            shown = result.model_dump(mode="json", exclude_none=True)
        elif isinstance(result, list):
            shown = [one.model_dump(mode="json", exclude_none=True) for one in result]
        return JSONResponse({"result": shown, "status": "ok", "time": time.monotonic() - started})

    return answer


def make_app(folder: Path) -> Starlette:
    """Return the application over one folder."""
    calls = Calls(Store(folder))

    async def healthy(_: Request) -> Response:
        return JSONResponse({"title": "qdrant - vector search engine", "version": VERSION})

    table: list[tuple[str, str, _Call]] = [
        ("GET", "/aliases", calls.list_aliases),
        ("POST", "/collections/aliases", calls.change_aliases),
        ("GET", "/collections", calls.list_collections),
        ("GET", "/collections/{name}/exists", calls.collection_exists),
        ("GET", "/collections/{name}", calls.get_collection),
        ("PUT", "/collections/{name}", calls.create_collection),
        ("DELETE", "/collections/{name}", calls.delete_collection),
        ("PUT", "/collections/{name}/index", calls.create_field_index),
        ("PUT", "/collections/{name}/points", calls.upsert),
        ("POST", "/collections/{name}/points/delete", calls.delete_points),
        ("POST", "/collections/{name}/points/batch", calls.batch_update),
        ("POST", "/collections/{name}/points/query", calls.query),
        ("POST", "/collections/{name}/points/count", calls.count),
        ("POST", "/collections/{name}/points/scroll", calls.scroll),
        ("POST", "/collections/{name}/facet", calls.facet),
    ]
    routes = [Route(path, _answering(call), methods=[method]) for method, path, call in table]
    return Starlette(routes=[Route("/", healthy), Route("/healthz", healthy), *routes])


def main() -> None:
    """Serve the folder and port that the command names, on the loopback."""
    folder, port = sys.argv[1:]
    uvicorn.run(make_app(Path(folder)), host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main()
