"""The pipeline over real stores: one job end to end, repeated, overtaken, cancelled, failing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from infra import documents
from infra.access import Principal, Role, scope_of
from infra.clock import new_id, now_ms
from infra.database.tables import Chunk, Document, DocumentVersion, Job
from infra.errors import ReaderKilled
from infra.settings import Settings
from infra.stores import Stores
from infra.vectors import IndexUnavailable
from ingest import jobs, progress
from ingest.index import mend, missing_points, reconcile, remove_document
from ingest.parse.reading import read_document
from ingest.pipeline import Pipeline
from ingest.worker import pipeline_of
from tests.made_documents import markdown_of

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))
TEXT = markdown_of("Harbour", ["The pilot boat leaves at six.", "# Crane", "The crane lifts forty tonnes."])


@pytest.fixture
def pipeline(stores: Stores) -> Pipeline:
    """Bind the pipeline to the stores, as a worker does."""
    return pipeline_of(stores, Settings())


@pytest.fixture
def submitted(stores: Stores) -> Callable[..., str]:
    """Store a file, a new version of it when it has a document already, and return its job's id."""

    def submit(content: bytes = TEXT, name: str = "harbour.md") -> str:
        version_id = new_id()
        key, wrapped = documents.new_version_key(stores.master_key, version_id)
        writer = stores.files.open_writer(version_id, key, 10_000_000)
        writer.write(content)
        size, sha256 = writer.commit()
        with stores.database.write() as session:
            document = documents.find_own_by_name(session, ADA.principal_id, name)
            if document is None:
                document = documents.create_document(session, owner=ADA.principal_id, name=name)
            documents.add_version(
                session, document, version_id=version_id, sha256=sha256, size=size, wrapped_key=wrapped
            )
            return jobs.submit(session, document_id=document.id, version_id=version_id, corr="c").id

    return submit


def job_of(stores: Stores, job_id: str) -> Job:
    """Read a job."""
    with stores.database.read() as session:
        return session.get_one(Job, job_id)


def found(stores: Stores, question: str) -> list[str]:
    """Search as Ada; returns the texts of the passages."""
    vector = stores.embedder.embed_query(question)
    hits = stores.index.search(scope_of(ADA), vector, question, limit=10)
    with stores.database.read() as session:
        opened = documents.open_passages(session, scope_of(ADA), [h.id for h in hits], stores.master_key)
    return [passage.text for passage in opened]


def rows_and_points(stores: Stores, version_id: str | None) -> tuple[list[str], list[str]]:
    """Return the ids of a version's passages, in the database and in the index."""
    assert version_id is not None
    with stores.database.read() as session:
        rows = sorted(session.scalars(select(Chunk.id).where(Chunk.version_id == version_id)))
    return rows, stores.index.point_ids(version_id)


def answering_versions(stores: Stores) -> set[str]:
    """Return the versions of which the index still has points."""
    return {version for version in stores.index.version_ids() if stores.index.count(version_id=version)}


def test_a_file_becomes_passages_that_answer(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """Rows and points are the same set, and a search finds the text."""
    job_id = submitted()
    pipeline.run(job_id)
    job = job_of(stores, job_id)
    rows, points = rows_and_points(stores, job.version_id)
    assert (job.state, job.stage, job.passages) == ("succeeded", "done", len(rows))
    assert rows == points
    assert rows
    assert any("pilot boat" in text for text in found(stores, "When does the pilot boat leave?"))
    assert missing_points(stores.database, stores.index) == []


def test_running_an_ended_job_again_does_nothing(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """A wake-up that comes twice changes nothing."""
    job_id = submitted()
    pipeline.run(job_id)
    before = rows_and_points(stores, job_of(stores, job_id).version_id)
    pipeline.run(job_id)
    assert rows_and_points(stores, job_of(stores, job_id).version_id) == before
    assert job_of(stores, job_id).attempt == 1


def test_a_second_attempt_overwrites_the_first(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that broke off after writing leaves nothing behind when the next one is through."""
    job_id = submitted()
    write = stores.index.upsert

    def once(points: Sequence[Any]) -> None:
        write(points)
        monkeypatch.setattr(stores.index, "upsert", write)
        raise OSError("the disk is full")

    monkeypatch.setattr(stores.index, "upsert", once)
    pipeline.run(job_id)
    assert job_of(stores, job_id).state == "queued"
    pipeline.run(job_id)
    job = job_of(stores, job_id)
    rows, points = rows_and_points(stores, job.version_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert rows == points
    assert stores.index.count() == len(rows) == job.passages


def test_the_third_failure_quarantines(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three failures the job stays with a reason, and nothing of it is left in either store."""
    job_id = submitted()

    def never(points: Sequence[Any]) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(stores.index, "upsert", never)
    states = []
    for _ in range(jobs.MAX_ATTEMPTS):
        pipeline.run(job_id)
        states.append(job_of(stores, job_id).state)
    assert states == ["queued", "queued", "quarantined"]
    assert job_of(stores, job_id).reason_code == "failed_repeatedly"
    assert rows_and_points(stores, job_of(stores, job_id).version_id) == ([], [])


def test_an_unreadable_file_fails_at_once_with_its_reason(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """Trying again would not help: one attempt, and the parser's reason."""
    job_id = submitted(b"%PDF-1.7\nthis is no document", "broken.pdf")
    pipeline.run(job_id)
    job = job_of(stores, job_id)
    assert (job.state, job.attempt, job.reason_code) == ("failed", 1, "damaged")
    with stores.database.read() as session:
        assert session.get_one(DocumentVersion, job.version_id).state == "failed"


def test_a_new_version_replaces_the_old_one(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """Until the new one is ready the old one answers; then its points are gone."""
    first = submitted()
    pipeline.run(first)
    second = submitted(TEXT.replace(b"six", b"nine"))
    assert any("six" in text for text in found(stores, "When does the pilot boat leave?"))
    pipeline.run(second)
    texts = " ".join(found(stores, "When does the pilot boat leave?"))
    assert "nine" in texts
    assert "six" not in texts
    assert answering_versions(stores) == {job_of(stores, second).version_id}


def test_an_older_version_never_replaces_a_newer_one(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """Jobs may finish out of order, after a failure or a retry; the newest content keeps answering."""
    older, newer = submitted(), submitted(TEXT.replace(b"six", b"nine"))
    pipeline.run(newer)
    pipeline.run(older)
    late = job_of(stores, older)
    assert (late.state, late.reason_code) == ("cancelled", "superseded")
    texts = " ".join(found(stores, "When does the pilot boat leave?"))
    assert "nine" in texts
    assert "six" not in texts
    assert answering_versions(stores) == {job_of(stores, newer).version_id}


def test_a_cancelled_job_leaves_nothing(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled in the middle of embedding, it ends as such, without rows or points."""
    job_id = submitted()
    embed = stores.embedder.embed_passages

    def cancel_then_embed(texts: Sequence[str], *how: Any) -> Any:
        with stores.database.write() as session:
            jobs.cancel(session, session.get_one(Job, job_id))
        return embed(texts, *how)

    monkeypatch.setattr(stores.embedder, "embed_passages", cancel_then_embed)
    pipeline.run(job_id)
    assert job_of(stores, job_id).state == "cancelled"
    assert rows_and_points(stores, job_of(stores, job_id).version_id) == ([], [])


def test_cancelling_is_noticed_while_a_text_is_cut(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is embedded any more; a book's worth of text would take longer than a person waits."""
    job_id = submitted()
    count = stores.embedder.count_tokens

    def cancel_then_count(text: str) -> int:
        with stores.database.write() as session:
            if not session.get_one(Job, job_id).cancel_requested:
                jobs.cancel(session, session.get_one(Job, job_id))
        return count(text)

    def never(*_: object) -> None:
        raise AssertionError("it was embedded")

    monkeypatch.setattr(progress, "LOOKED_EVERY_S", 0.0)
    monkeypatch.setattr(stores.embedder, "count_tokens", cancel_then_count)
    monkeypatch.setattr(stores.embedder, "embed_passages", never)
    pipeline.run(job_id)
    assert job_of(stores, job_id).state == "cancelled"
    assert rows_and_points(stores, job_of(stores, job_id).version_id) == ([], [])


def test_a_worker_that_lost_its_lease_changes_nothing(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it slept another worker finished the job; what that one stored stays exactly as it is."""
    job_id = submitted()
    count = stores.embedder.count_tokens
    overtaken = False

    def sleep_once(text: str) -> int:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            with stores.database.write() as session:
                session.get_one(Job, job_id).lease_until = now_ms() - 1
            pipeline.run(job_id)
        return count(text)

    monkeypatch.setattr(stores.embedder, "count_tokens", sleep_once)
    pipeline.run(job_id)
    job = job_of(stores, job_id)
    rows, points = rows_and_points(stores, job.version_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert rows == points
    assert len(rows) == job.passages


def test_a_file_deleted_while_it_is_read_leaves_no_points(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker notices, and what it had written is removed."""
    job_id = submitted()
    document_id = job_of(stores, job_id).document_id
    embed = stores.embedder.embed_passages

    def delete_then_embed(texts: Sequence[str], *how: Any) -> Any:
        with stores.database.write() as session:
            session.get_one(Document, document_id).deleted_at = now_ms()
        remove_document(stores.database, stores.index, stores.files, document_id)
        return embed(texts, *how)

    monkeypatch.setattr(stores.embedder, "embed_passages", delete_then_embed)
    pipeline.run(job_id)
    assert stores.index.count() == 0


def test_mending_finishes_what_a_crash_left(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """A marked deletion is carried out, and nothing else is touched."""
    kept, doomed = submitted(), submitted(TEXT, "doomed.md")
    pipeline.run(kept)
    pipeline.run(doomed)
    with stores.database.write() as session:
        session.get_one(Document, job_of(stores, doomed).document_id).deleted_at = now_ms()
    mend(stores.database, stores.index, stores.files)
    assert answering_versions(stores) == {job_of(stores, kept).version_id}
    with stores.database.read() as session:
        assert session.scalars(select(Document.name)).all() == ["harbour.md"]


def test_reconciling_drops_strays_and_queues_what_is_missing(
    stores: Stores, pipeline: Pipeline, submitted: Callable[..., str]
) -> None:
    """Points of no version go; a version that answers and lost its points is ingested again."""
    job_id = submitted()
    pipeline.run(job_id)
    version_id = job_of(stores, job_id).version_id
    assert version_id is not None
    points = stores.index.count(version_id=version_id)
    stores.index.delete_version(version_id)
    reconcile(stores.database, stores.index)
    with stores.database.read() as session:
        again = session.scalars(select(Job).where(Job.state == "queued")).one()
    assert again.version_id == version_id
    pipeline.run(again.id)
    assert stores.index.count(version_id=version_id) == points > 0
    with stores.database.write() as session:
        session.get_one(Document, again.document_id).version_id = None
        session.get_one(DocumentVersion, version_id).state = "failed"
    reconcile(stores.database, stores.index)
    assert stores.index.count() == 0


def test_a_reader_that_is_killed_is_not_the_files_fault(
    stores: Stores, submitted: Callable[..., str], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills when memory is short: the job is tried again, and a good file ends well."""
    job_id, reads = submitted(), []

    def read(*arguments: Any, **more: Any) -> Any:
        reads.append(arguments)
        if len(reads) < jobs.MAX_ATTEMPTS:
            raise ReaderKilled("too_complex", "This document needs more memory than is allowed.")
        return read_document(*arguments, **more)

    monkeypatch.setattr("ingest.pipeline.read_document", read)
    states = []
    for _ in range(jobs.MAX_ATTEMPTS):
        pipeline.run(job_id)
        states.append(job_of(stores, job_id).state)
    assert states == ["queued", "queued", "succeeded"]


def test_a_reader_that_is_killed_each_time_ends_with_the_reason(
    stores: Stores, submitted: Callable[..., str], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that always takes too much memory is given up, and says why."""
    job_id = submitted()

    def read(*_: Any, **__: Any) -> Any:
        raise ReaderKilled("too_complex", "This document needs more memory than is allowed.")

    monkeypatch.setattr("ingest.pipeline.read_document", read)
    for _ in range(jobs.MAX_ATTEMPTS):
        pipeline.run(job_id)
    ended = job_of(stores, job_id)
    assert (ended.state, ended.reason_code) == ("failed", "too_complex")


def test_a_job_waits_for_an_index_that_is_away(
    stores: Stores, submitted: Callable[..., str], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is wrong with the file: no attempt is counted, and it goes on when the index is back."""
    job_id = submitted()

    def away(*_: Any) -> None:
        raise IndexUnavailable("The vector index did not answer as expected.")

    with monkeypatch.context() as patched:
        patched.setattr(stores.index, "upsert", away)
        for _ in range(jobs.MAX_ATTEMPTS + 1):
            pipeline.run(job_id)
    waiting = job_of(stores, job_id)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert (waiting.lease_until or 0) > now_ms()
    with stores.database.write() as session:
        session.get_one(Job, job_id).lease_until = now_ms() - 1
    pipeline.run(job_id)
    assert job_of(stores, job_id).state == "succeeded"
