"""SIGKILL during ingestion at seeded points: after a restart every document is complete exactly once."""

from __future__ import annotations

import io
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from infra.database.tables import Chunk, Document
from infra.documents import passage_hash
from infra.embeddings import Embedder
from infra.stores import open_database
from infra.vectors import EdgeIndex
from ingest.chunk import chunks_of
from ingest.parse import parse
from ingest.parse.detect import detect
from ingest.parse.limits import ParseLimits
from tests.made_documents import docx_of, markdown_of, pdf_of
from tests.preloaded import PreloadedServer
from tests.serving import Person, ask, finished_job, upload

SEEDS = range(5)
STAGES = ("queued", "parse", "chunk", "embed", "index", "done")
WORDS = (
    "copper lantern orchard granite willow harbour saddle meadow thimble walnut barley pewter "
    "anchor bramble cinder dapple ember fennel gable heather ivory juniper kettle linden"
).split()
# No word of these stands in the prose, so that a question about one finds its three files.
TOPICS = (
    "telescope violin glacier parachute submarine trumpet volcano microscope bicycle cathedral "
    "helicopter penguin typewriter waterfall accordion compass locomotive satellite tapestry windmill"
).split()


@dataclass
class Site:
    """A server on one data folder that lives through all kills, and what it must hold in the end."""

    server: PreloadedServer
    person: Person
    expected: dict[str, Counter[str]] = field(default_factory=dict)
    """The passage hashes of each file, by name, as an undisturbed run makes them."""

    def restart(self) -> None:
        """Start the server again; the person's client follows to its new address."""
        self.server.start()
        self.person.client.base_url = httpx2.URL(self.server.url)


@pytest.fixture(scope="module")
def site(make_server: Callable[..., PreloadedServer]) -> Iterator[Site]:
    """Start a server with one person on it."""
    server = make_server()
    server.start()
    yield Site(server, server.person("Ada"))
    server.kill()


@pytest.fixture(scope="module")
def tokenizer() -> Embedder:
    """The embedder's tokenizer, which the chunker counts with; the model itself is never loaded."""
    return Embedder(None)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_document_is_complete_exactly_once(seed: int, site: Site, tokenizer: Embedder) -> None:
    """Whatever is cut off, each file ends with one job, one set of passages, and answers."""
    rng = random.Random(seed)
    if site.server.pid is None:
        site.restart()
    batch, facts = files_of(seed, rng)
    site.expected |= {name: undisturbed(tokenizer, name, content) for name, content in batch.items()}

    accepted = upload_and_kill(site, batch, rng)
    site.restart()
    # What was never acknowledged is sent again, as a person would; what was stays as it is.
    for name in batch.keys() - accepted:
        upload(site.person.client, name, batch[name])
    files = {entry["filename"]: entry for entry in site.person.client.get("/v1/files").json()["data"]}
    for name in batch:
        job = finished_job(site.person.client, files[name]["x_job"]["id"])
        assert (job["state"], job["passages"]) == ("succeeded", site.expected[name].total()), job
        assert facts[name] in quoted(site.person.client, name, facts[name])

    site.server.kill()
    assert_exactly_once(site)


def files_of(seed: int, rng: random.Random) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return a long PDF, a DOCX, and a Markdown file that replaces the last seed's, and one fact of each."""

    def prose(sentences: int) -> list[str]:
        return [f"The {' '.join(rng.choices(WORDS, k=9))} was noted by the clerk." for _ in range(sentences)]

    manual, notes, policy = f"manual-{seed}.pdf", f"notes-{seed}.docx", "policy.md"
    facts = {
        name: f"The {part} of the {TOPICS[seed]} lies in room {rng.randrange(1000, 9999)}."
        for name, part in ((manual, "key"), (notes, "lid"), (policy, "strap"))
    }
    # Each fact stands on a page of its own or in a short file, so that a question can find it among sixty.
    files = {
        manual: pdf_of([[facts[manual]], *(prose(12) for _ in range(36))]),
        notes: docx_of("Places", [facts[notes], *prose(2)]),
        policy: markdown_of("Places", [facts[policy], *prose(2)]),
    }
    return files, facts


def undisturbed(tokenizer: Embedder, name: str, content: bytes) -> Counter[str]:
    """Return the passage hashes that parsing and chunking without any interruption give."""
    file = io.BytesIO(content)
    parsed = parse(detect(file, name), file, ParseLimits())
    chunks = chunks_of(parsed, tokenizer.count_tokens, tokenizer.max_tokens, title=Path(name).stem)
    return Counter(passage_hash(chunk.text) for chunk in chunks)


# --- the kill -------------------------------------------------------------------------------------


def upload_and_kill(site: Site, batch: dict[str, bytes], rng: random.Random) -> set[str]:
    """Upload, and kill at the point that `rng` chooses; returns the names that were acknowledged."""
    kind = rng.choice(("during an upload", "after an upload", "at a stage", "at a stage", "after a while"))
    names = rng.sample(sorted(batch), k=len(batch))
    if kind == "during an upload":
        return upload_until_cut(site, batch, names, rng)
    last = rng.randrange(1, len(names) + 1) if kind == "after an upload" else len(names)
    entries = [upload(site.person.client, name, batch[name]) for name in names[:last]]
    if kind == "at a stage":
        await_stage(site, rng.choice(entries)["x_job"]["id"], STAGES.index(rng.choice(STAGES)), rng)
    elif kind == "after a while":
        time.sleep(rng.uniform(0.0, 3.0))
    site.server.kill()
    return {entry["filename"] for entry in entries}


def upload_until_cut(site: Site, batch: dict[str, bytes], names: list[str], rng: random.Random) -> set[str]:
    """Kill while the body of one upload is half sent; nothing promised that file anything."""
    cut = rng.randrange(len(names))
    for name in names[:cut]:
        upload(site.person.client, name, batch[name])
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{names[cut]}"\r\n\r\n'.encode()
    body = head + batch[names[cut]] + b"\r\n--b--\r\n"

    here = rng.randrange(len(head) + 1, len(body))

    def cut_off() -> Iterator[bytes]:
        yield body[:here]
        time.sleep(0.1)
        site.server.kill()
        yield body[here:]

    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(body))}
    with pytest.raises(httpx2.HTTPError):
        site.person.client.post("/v1/files", content=cut_off(), headers=headers)
    return set(names[:cut])


def await_stage(site: Site, job_id: str, stage: int, rng: random.Random) -> None:
    """Wait until the job has come to a stage, and for the embedding a seeded part of the way through it.

    The row is read past the server, every millisecond, so that the kill lands close to the change.
    """
    share = rng.random()
    database = sqlite3.connect(f"file:{site.server.data_dir / 'strongroom.sqlite3'}?mode=ro", uri=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            row = database.execute("SELECT stage, done, total FROM jobs WHERE id = ?", [job_id]).fetchone()
            at = STAGES.index(row[0])
            is_far_enough = STAGES[at] != "embed" or row[1] >= share * (row[2] or 0)
            if at > stage or (at == stage and is_far_enough):
                return
            time.sleep(0.001)
    finally:
        database.close()
    raise TimeoutError(f"job {job_id} did not come to {STAGES[stage]}")


# --- what must be so afterwards -------------------------------------------------------------------


def quoted(client: httpx2.Client, name: str, fact: str) -> str:
    """Ask for a fact that stands in one file, and return all passages of that file that are cited."""
    found = ask(client, fact.replace("The ", "In which room lies the ").partition(" lies in ")[0] + "?")
    assert found["x_answer"]["status"] == "answered", found["x_answer"]
    cited = [citation["id"] for citation in found["x_citations"] if citation["file"]["name"] == name]
    sources = [client.get(f"/v1/sources/{citation}").json()["text"] for citation in cited]
    return " ".join(" ".join(sources).split())


def assert_exactly_once(site: Site) -> None:
    """Compare rows, points and originals with what undisturbed runs make; the server is down."""
    settings = site.server.settings()
    database, _ = open_database(settings)
    tokenizer = Embedder(None)
    index = EdgeIndex(settings.data_dir / "index", tokenizer.dimensions, tokenizer.tag)
    try:
        with database.read() as session:
            documents = session.scalars(select(Document)).all()
            rows = {
                document.name: session.execute(
                    select(Chunk.id, Chunk.sha256).where(Chunk.version_id == document.version_id)
                ).all()
                for document in documents
            }
        in_use = {document.name: str(document.version_id) for document in documents}
        assert sorted(document.name for document in documents) == sorted(site.expected)
        for name, wanted in site.expected.items():
            assert Counter(row.sha256 for row in rows[name]) == wanted, name
            assert index.point_ids(in_use[name]) == sorted(row.id for row in rows[name]), name
        assert index.version_ids() == set(in_use.values()), "stray points"
        assert index.count() == sum(wanted.total() for wanted in site.expected.values())
    finally:
        index.close()
        database.close()
