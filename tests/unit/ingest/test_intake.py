"""What becomes of a file that comes in: new, a version, nothing new, or one more place of known bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from infra import documents, places
from infra.access import Principal, Role, scope_of
from infra.clock import new_id
from infra.database.tables import Document, DocumentGrant, DocumentVersion, Job
from infra.resemblance import similar_to
from infra.settings import Settings
from infra.stores import Stores
from ingest.intake import Arrival, Stored, Taken, enqueue, place_of, settle_places
from ingest.pipeline import Pipeline
from ingest.signature import signature_of
from ingest.worker import pipeline_of

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))
BOB = Principal(user_id="bob", kind="user", roles=frozenset({Role.EMPLOYEE}))
ONE = b"# Tides\n\nHigh water stands at noon."
TWO = b"# Tides\n\nHigh water stands at one o'clock."


@pytest.fixture
def take(stores: Stores) -> Callable[..., Taken]:
    """Take a file in, as every way in does; its job is left in the queue."""

    def taking(content: bytes, name: str, who: Principal = ADA, source: str = places.UPLOADED) -> Taken:
        version_id = new_id()
        key, wrapped = documents.new_version_key(stores.master_key, version_id)
        size, sha256 = stores.files.write(version_id, key, [content], 1_000_000)
        stored = Stored(version_id, sha256, size, wrapped)
        with stores.database.write() as session:
            arrival = Arrival(who.principal_id, name, stored, source=source)
            taken = place_of(session, scope_of(who), arrival)
            if taken.keeps_bytes:
                enqueue(session, taken.document, stored, corr="c")
        if not taken.keeps_bytes:
            stores.files.delete(version_id)
        return taken

    return taking


@pytest.fixture
def work(stores: Stores) -> Callable[[], None]:
    """Run every queued job."""
    pipeline: Pipeline = pipeline_of(stores, Settings())

    def run() -> None:
        with stores.database.read() as session:
            queued = select(Job.id).where(Job.state == "queued").order_by(Job.created_at, Job.id)
            waiting = session.scalars(queued).all()
        for job_id in waiting:
            pipeline.run(job_id)

    return run


def names(stores: Stores, document_id: str) -> list[tuple[str, str]]:
    """Return the places of a document as (source, name)."""
    with stores.database.read() as session:
        found = places.places_of(session, [document_id]).get(document_id, [])
    return sorted((place.source, place.name) for place in found)


def live(stores: Stores) -> dict[str, Document]:
    """Return all documents by name."""
    with stores.database.read() as session:
        return {document.name: document for document in documents.list_documents(session, scope_of(ADA))}


def test_the_same_bytes_under_the_same_name_are_nothing_new(take: Any, stores: Stores) -> None:
    """A second upload adds neither version nor job."""
    first, second = take(ONE, "tides.md"), take(ONE, "tides.md")
    assert (first.what, second.what) == ("new", "unchanged")
    assert first.document.id == second.document.id


def test_other_bytes_under_a_known_name_are_its_next_version(take: Any, stores: Stores) -> None:
    """The document stays, its version number grows."""
    first, second = take(ONE, "tides.md"), take(TWO, "tides.md")
    assert second.what == "version"
    assert second.document.id == first.document.id
    with stores.database.read() as session:
        assert documents.latest_version(session, first.document.id).number == 2


def test_known_bytes_under_a_new_name_are_one_more_place(take: Any, stores: Stores) -> None:
    """One copy is kept, and every place where it was found is remembered."""
    first = take(ONE, "tides.md")
    copies = [take(ONE, "copy.md"), take(ONE, "sea/tides.md", source="share")]
    assert [copy.what for copy in copies] == ["duplicate", "duplicate"]
    assert {copy.document.id for copy in copies} == {first.document.id}
    assert names(stores, first.document.id) == [
        ("share", "sea/tides.md"), ("upload", "copy.md"), ("upload", "tides.md"),
    ]  # fmt: skip
    assert take(ONE, "copy.md").what == "unchanged"


def test_another_persons_copy_is_a_document_of_its_own(take: Any) -> None:
    """Who may read it is its owner's to say, so that nothing is learnt from a common copy."""
    assert take(ONE, "tides.md").document.id != take(ONE, "tides.md", BOB).document.id


def test_a_copy_that_changes_leaves_the_common_document(take: Any, work: Any, stores: Stores) -> None:
    """New bytes under the copy's name make a document; the other one stays as it was."""
    first = take(ONE, "tides.md")
    take(ONE, "copy.md")
    changed = take(TWO, "copy.md")
    assert changed.what == "new"
    assert changed.document.id != first.document.id
    assert names(stores, first.document.id) == [("upload", "tides.md")]


def test_when_the_original_changes_its_copy_keeps_the_old_bytes(take: Any, work: Any, stores: Stores) -> None:
    """The copy gets a document with the earlier bytes and with the same access lists."""
    first = take(ONE, "tides.md")
    take(ONE, "copy.md")
    with stores.database.write() as session:
        session.add(DocumentGrant(document_id=first.document.id, principal=BOB.principal_id, effect="allow"))
    work()
    assert take(TWO, "tides.md").what == "version"
    work()
    work()
    found = live(stores)
    assert set(found) == {"tides.md", "copy.md"}
    copy = found["copy.md"]
    assert copy.id != first.document.id
    with stores.database.read() as session:
        version = documents.latest_version(session, copy.id)
        assert version.state == "ready"
        assert copy.id in {document.id for document in documents.list_documents(session, scope_of(BOB))}
        key = documents.version_key(stores.master_key, session.get_one(DocumentVersion, version.id))
    assert b"".join(stores.files.read(version.id, key)) == ONE
    assert settle_places(stores.database, stores.files, stores.ledger, stores.master_key) == 0


def test_a_document_takes_another_of_its_names_when_it_loses_one(take: Any, stores: Stores) -> None:
    """What was removed from a folder is still there under the name it has elsewhere."""
    document = take(ONE, "a.md", source="share").document
    take(ONE, "b.md", source="share")
    with stores.database.write() as session:
        assert places.forget(session, document.id, source="share", name="a.md")
    assert set(live(stores)) == {"b.md"}
    with stores.database.write() as session:
        assert not places.forget(session, document.id, source="share", name="b.md")


def test_nearly_the_same_texts_know_each_other(take: Any, work: Any, stores: Stores) -> None:
    """A few changed words leave two texts near-duplicates; another text of the same length is none."""
    words = [f"clause{number} says item{number % 7}" for number in range(120)]
    changed = [*words[:60], "and here one thing differs", *words[61:]]
    other = [f"berth{number} takes ship{number % 9}" for number in range(120)]
    ids = [
        take(" ".join(text).encode(), f"{n}.txt").document.id
        for n, text in enumerate([words, changed, other])
    ]
    work()
    with stores.database.read() as session:
        found = [similar_to(session, session.get_one(Document, document_id)) for document_id in ids]
    assert [[similar.document_id for similar in each] for each in found] == [[ids[1]], [ids[0]], []]
    assert 0.8 <= found[0][0].similarity < 1


def test_a_short_text_resembles_nothing() -> None:
    """Two notes below one letterhead are no duplicates."""
    assert signature_of(["Dear Sir or Madam, thank you for your letter."]) is None
