"""Measure ingestion end to end against the bare embedder on the same texts, in one run.

    python -m bench.ingest [--workers]

Uploads the development corpus to a running server and takes the time from the first upload to the last
job's end; a first small document is not counted, which makes the process import what it imports once. The
bare embedder, the same as the server's, embeds the same passages in one call before and after. Then the
stages run one by one in this process to show where the rest of the time goes. `--workers` does the same with
two Celery workers (PostgreSQL, Valkey, an index server) against two embedders side by side. Skips, visibly,
where the data is absent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2
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
from ingest.pipeline import AT_ONCE
from tests.faults.ingestion_site import started_site
from tests.serving import FINAL_STATES, Server, finished_job, upload

POLL_S: Final = 0.5
WARM_UP: Final = b"The pilot boat leaves the inner harbour at six in the morning. " * 20


def main() -> int:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", action="store_true", help="two workers against two embedders")
    with_workers = parser.parse_args().workers
    files = sorted((DATA / "raw_docs").glob("*.pdf"))
    if not files:
        print("SKIPPED: the development data is absent")
        return 0
    embedders = [Embedder(None, apart=True) for _ in range(2 if with_workers else 1)]
    spent, chunks = _stages(files, embedders[0])
    texts = [chunk.embed_text for chunk in chunks]
    before = _bare(embedders, texts)
    serve = _two_workers if with_workers else _one_server
    with serve() as (client, memory):
        whole, peak = _served(client, memory, files, len(texts))
    after = _bare(embedders, texts)
    bare = (before + after) / 2
    print(f"{len(files)} files, {len(texts)} passages")
    print(f"bare: {len(texts) / before:.1f} and {len(texts) / after:.1f} passages/s")
    print(f"end to end: {len(texts) / whole:.1f} passages/s; ratio {bare / whole:.2f}")
    print(f"peak resident memory with all children: {peak / 2**20:.0f} MiB")
    total = sum(spent.values())
    print("stages alone: " + ", ".join(f"{name} {took / total:.1%}" for name, took in spent.items()))
    return 0


def _bare(embedders: list[Embedder], texts: list[str]) -> float:
    """Return the seconds that the embedders, warm, take for the texts among them, and end their processes."""
    shares = [texts[first :: len(embedders)] for first in range(len(embedders))]
    for embedder in embedders:
        embedder.embed_passages(texts[:32])
    with ThreadPoolExecutor(len(embedders)) as pool:
        started = time.monotonic()
        list(pool.map(lambda pair: pair[0].embed_passages(pair[1]), zip(embedders, shares, strict=True)))
        took = time.monotonic() - started
    for embedder in embedders:
        embedder.close()
    return took


@contextmanager
def _one_server() -> Iterator[tuple[httpx2.Client, Callable[[], int]]]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            pid = server.process.pid if server.process else 0
            yield server.person("Bench").client, lambda: _memory([pid])
        finally:
            server.stop()


@contextmanager
def _two_workers() -> Iterator[tuple[httpx2.Client, Callable[[], int]]]:
    with tempfile.TemporaryDirectory() as folder, started_site(Path(folder), workers=2) as site:
        yield site.person.client, lambda: _memory([worker.pid or 0 for worker in site.workers])


def _memory(processes: list[int]) -> int:
    """Return the resident bytes of some processes and all below them."""
    total = 0
    for number in processes:
        try:
            first = psutil.Process(number)
            total += sum(process.memory_info().rss for process in (first, *first.children(recursive=True)))
        except psutil.NoSuchProcess:
            continue  # A parsing child that has just ended.
    return total


def _served(
    client: httpx2.Client, memory: Callable[[], int], files: list[Path], passages: int
) -> tuple[float, int]:
    for n in range(2):  # One for each worker, as likely as not.
        finished_job(client, upload(client, f"warm-{n}.txt", WARM_UP + bytes([65 + n]))["x_job"]["id"])
    started = time.monotonic()
    jobs = [upload(client, file.name, file.read_bytes())["x_job"]["id"] for file in files]
    peak, done = 0, 0
    for job in jobs:
        while (found := client.get(f"/v1/jobs/{job}").json())["state"] not in FINAL_STATES:
            peak = max(peak, memory())
            time.sleep(POLL_S)
        done += found["passages"]
    whole = time.monotonic() - started
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
            for first in range(0, len(chunks), AT_ONCE):
                batch = chunks[first : first + AT_ONCE]
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
