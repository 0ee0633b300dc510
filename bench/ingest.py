"""Measure ingestion end to end against the bare embedder on the same texts, in one run.

    python -m bench.ingest

Uploads the development corpus to a running server and takes the time from the first upload to the last
job's end; embeds the same passages with the bare embedder before and after; then runs the stages one by one
in this process to show where the rest of the time goes. Skips, visibly, where the data is absent.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.quality import DATA
from infra.access import DocumentAccess
from infra.clock import new_id
from infra.documents import seal_passage
from infra.embeddings import Embedder
from infra.keys import new_key
from infra.vectors import EdgeIndex, Point, point_id
from ingest.chunk import Chunk, chunks_of
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from ingest.pipeline import BATCH
from tests.serving import Server, finished_job, upload


def main() -> int:
    """Run the measurement and print its figures."""
    files = sorted((DATA / "raw_docs").glob("*.pdf"))
    if not files:
        print("SKIPPED: the development data is absent")
        return 0
    embedder = Embedder(None)
    embedder.load()
    spent, chunks = _stages(files, embedder)
    texts = [chunk.embed_text for chunk in chunks]
    before = _bare(embedder, texts)
    whole, memory = _served(files, len(texts))
    after = _bare(embedder, texts)
    bare = (before + after) / 2
    print(f"{len(files)} files, {len(texts)} passages")
    print(f"bare embedder: {len(texts) / before:.1f} and {len(texts) / after:.1f} passages/s")
    print(f"end to end:    {len(texts) / whole:.1f} passages/s; ratio {bare / whole:.2f}")
    print(f"server's peak resident memory: {memory / 2**20:.0f} MiB")
    total = sum(spent.values())
    print("stages alone: " + ", ".join(f"{name} {took / total:.1%}" for name, took in spent.items()))
    return 0


def _bare(embedder: Embedder, texts: list[str]) -> float:
    started = time.monotonic()
    for first in range(0, len(texts), BATCH):
        embedder.embed_passages(texts[first : first + BATCH])
    return time.monotonic() - started


def _served(files: list[Path], passages: int) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            person = server.person("Bench")
            process = psutil.Process(server.process.pid if server.process else 0)
            started = time.monotonic()
            jobs = [upload(person.client, file.name, file.read_bytes())["x_job"]["id"] for file in files]
            peak, done = 0, 0
            for job in jobs:
                done += finished_job(person.client, job, within_s=900)["passages"]
                peak = max(peak, process.memory_info().rss)
            whole = time.monotonic() - started
        finally:
            server.stop()
    if done != passages:
        raise RuntimeError(f"the server made {done} passages, the stages {passages}")
    return whole, peak


def _stages(files: list[Path], embedder: Embedder) -> tuple[dict[str, float], list[Chunk]]:
    spent: dict[str, float] = defaultdict(float)
    made: list[Chunk] = []
    key, version = new_key(), new_id()

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        spent[name] += time.monotonic() - started

    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex(Path(folder), embedder.dimensions, embedder.tag)
        for file in files:
            with timed("parse in a child"):
                parsed = parse_in_child(iter([file.read_bytes()]), file.name, ParseLimits())
            with timed("chunk"):
                chunks = chunks_of(parsed, embedder.count_tokens, embedder.max_tokens, title=file.stem)
            for first in range(0, len(chunks), BATCH):
                batch = chunks[first : first + BATCH]
                with timed("embed"):
                    vectors = embedder.embed_passages([chunk.embed_text for chunk in batch])
                ids = [point_id(version, len(made) + first + n, "bench") for n in range(len(batch))]
                with timed("seal"):
                    for chunk_id, chunk in zip(ids, batch, strict=True):
                        seal_passage(key, chunk_id, chunk.content())
                with timed("index"):
                    index.upsert(
                        [
                            Point(chunk_id, vector, chunk.embed_text, version, version, DocumentAccess())
                            for chunk_id, vector, chunk in zip(ids, vectors, batch, strict=True)
                        ]
                    )
            made += chunks
        index.close()
    return spent, made


if __name__ == "__main__":
    sys.exit(main())
