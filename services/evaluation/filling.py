"""Put a set's documents into the stores of a trial, as ingestion would.

They do not pass the parsing child, which is there for strangers' files: their text is taken apart as a plain
text file's is, and cut by the real chunker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from infra import documents
from infra.access import Principal
from infra.clock import new_id
from infra.database.tables import Chunk as ChunkRow
from infra.epoch import raise_epoch
from infra.stores import Stores
from infra.vectors import Point, point_id
from ingest.chunk import Chunk, chunks_of
from ingest.parse.blocks import Block, ParsedDocument, Place
from ingest.parse.texts.text import paragraphs_of
from services.evaluation.sets import SetDocument

AT_ONCE: Final = 256
"""Passages that are embedded in one call."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Filled:
    """What the stores hold now: our document ids with the set's, and all passages' vectors.

    `vectors` has shape (passages, dimensions).
    """

    names: dict[str, str]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class _Cut:
    """A document and its passages."""

    entry: SetDocument
    chunks: list[Chunk]


def store_documents(
    stores: Stores, owner: Principal, entries: Sequence[SetDocument], on_progress: OnProgress
) -> Filled:
    """Store documents that `owner` alone may read; `on_progress` hears how many of how many are in."""
    names: dict[str, str] = {}
    vectors = [np.empty((0, stores.embedder.dimensions), dtype=np.float32)]
    batch: list[_Cut] = []
    for done, entry in enumerate(entries, start=1):
        batch.append(_Cut(entry, _chunks(stores, entry)))
        if done == len(entries) or sum(len(cut.chunks) for cut in batch) >= AT_ONCE:
            vectors.append(_store(stores, owner, batch, names))
            batch = []
            on_progress(done, len(entries))
    with stores.database.write() as session:
        # What was remembered as readable does not have the new points.
        raise_epoch(session)
    return Filled(names, np.concatenate(vectors))


def _chunks(stores: Stores, entry: SetDocument) -> list[Chunk]:
    text = entry.text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    blocks = tuple(
        Block("paragraph", body, place=Place(first_line=first, last_line=last))
        for first, last, body in paragraphs_of(text)
    )
    parsed = ParsedDocument(title=entry.title.strip() or None, pages=None, blocks=blocks)
    return chunks_of(parsed, stores.embedder.count_tokens, stores.embedder.max_tokens)


def _store(
    stores: Stores, owner: Principal, batch: Sequence[_Cut], names: dict[str, str]
) -> NDArray[np.float32]:
    """Store some documents with their passages; returns the passages' vectors, and adds to `names`."""
    vectors = stores.embedder.embed_passages([chunk.embed_text for cut in batch for chunk in cut.chunks])
    points: list[Point] = []
    with stores.database.write() as session:
        for cut in batch:
            of_document = vectors[len(points) : len(points) + len(cut.chunks)]
            added = _rows(session, stores, owner, cut, of_document)
            names[added.document_id] = cut.entry.id
            points += added.points
    if points:
        stores.index.upsert(points)
    return vectors


@dataclass(frozen=True)
class _Added:
    document_id: str
    points: list[Point]


def _rows(
    session: Session, stores: Stores, owner: Principal, cut: _Cut, vectors: NDArray[np.float32]
) -> _Added:
    """Add one document, its version and its passages; returns the points to index."""
    version_id, text = new_id(), cut.entry.text.encode("utf-8", "replace")
    key, wrapped = documents.new_version_key(stores.master_key, version_id)
    name = cut.entry.title.strip() or cut.entry.id
    document = documents.create_document(session, owner=owner.principal_id, name=name)
    version = documents.add_version(
        session,
        document,
        version_id=version_id,
        sha256=hashlib.sha256(text).hexdigest(),
        size=len(text),
        wrapped_key=wrapped,
    )
    version.state, document.version_id = "ready", version_id
    ids = [point_id(version_id, n, "trial") for n in range(len(cut.chunks))]
    session.add_all(
        ChunkRow(
            id=chunk_id,
            version_id=version_id,
            document_id=document.id,
            ordinal=n,
            sha256=documents.passage_hash(chunk.text),
            sealed=documents.seal_passage(key, chunk_id, chunk.content()),
        )
        for n, (chunk_id, chunk) in enumerate(zip(ids, cut.chunks, strict=True))
    )
    access = documents.access_of(session, [document.id])[document.id]
    points = [
        Point(chunk_id, vector, chunk.embed_text, document.id, version_id, access)
        for chunk_id, vector, chunk in zip(ids, vectors, cut.chunks, strict=True)
    ]
    return _Added(document.id, points)
