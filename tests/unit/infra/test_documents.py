"""Documents in the database: versions, sharing, and passages that open only for their readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from infra import documents, sharing
from infra.access import EVERYONE, Principal, Role, scope_of
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.batches import in_batches
from infra.database.tables import Base, Chunk, Document, DocumentGrant, DocumentVersion, Job, User
from infra.errors import InvalidInput, NotFound
from infra.keys import MasterKey, SealBroken
from ingest import following, jobs

ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}))
BEN = Principal("ben", "user", frozenset({Role.ADMIN, Role.EMPLOYEE}))
KEY = MasterKey(b"\x17" * 32)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One open transaction; Ada and Ben have accounts."""
    database = Database(f"sqlite:///{tmp_path / 'documents.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as opened:
        for name in ("ada", "ben"):
            opened.add(User(id=name, kind="user", name=name, roles=[], compartments=[], created_at=now_ms()))
        yield opened
    database.close()


@pytest.fixture
def policy(session: Session) -> Document:
    """A document of Ada's with one passage."""
    document = documents.create_document(session, owner="user:ada", name="policy.md")
    add_version(session, document, "The gate closes at ten.")
    return document


def add_version(session: Session, document: Document, text: str) -> str:
    """Add a version with one passage and let it answer; returns the passage's id."""
    version_id, chunk_id = new_id(), new_id()
    key, wrapped = documents.new_version_key(KEY, version_id)
    documents.add_version(
        session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
    )
    document.version_id = version_id
    content = {"text": text, "title": "Policy", "heading": "", "place": {}, "lines": []}
    sealed = documents.seal_passage(key, chunk_id, content)
    session.add(
        Chunk(
            id=chunk_id,
            version_id=version_id,
            document_id=document.id,
            ordinal=0,
            sha256=documents.passage_hash(text),
            sealed=sealed,
        )
    )
    session.flush()
    return chunk_id


def opened(session: Session, who: Principal, chunk_id: str, *, current_only: bool = True) -> list[str]:
    """Open one passage as somebody; returns its text, or nothing."""
    found = documents.open_passages(session, scope_of(who), [chunk_id], KEY, current_only=current_only)
    return [passage.text for passage in found]


def test_a_new_document_is_its_owners_alone(session: Session, policy: Document) -> None:
    """Hidden from Ben, an administrator, as if it did not exist. Visible to Ada."""
    assert documents.list_documents(session, scope_of(ADA)) == [policy]
    assert documents.list_documents(session, scope_of(BEN)) == []
    for document_id in (policy.id, new_id()):
        with pytest.raises(NotFound, match=documents.NO_SUCH_FILE):
            documents.get_document(session, scope_of(BEN), document_id)


def test_sharing_counts_up_the_epoch_once(session: Session, policy: Document) -> None:
    """Every change of the list is a new epoch; the same share again is none."""
    assert sharing.share(session, policy, "user:ben")
    assert not sharing.share(session, policy, "user:ben")
    assert policy.acl_epoch == 1
    assert documents.get_document(session, scope_of(BEN), policy.id) is policy
    sharing.unshare(session, policy, "user:ben")
    session.flush()
    assert policy.acl_epoch == 2
    assert documents.list_documents(session, scope_of(BEN)) == []


def test_a_deny_wins_over_everyone(session: Session, policy: Document) -> None:
    """Hidden from the one who is denied. Visible to all others."""
    sharing.share(session, policy, EVERYONE)
    sharing.share(session, policy, "user:ben", effect="deny")
    session.flush()
    assert documents.list_documents(session, scope_of(BEN)) == []
    stranger = Principal("cleo", "user", frozenset())
    assert documents.list_documents(session, scope_of(stranger)) == [policy]


@pytest.mark.parametrize("principal", ["user:nobody", "group:local:none", "service:ada", "", "everyone"])
def test_one_shares_with_somebody_who_exists(session: Session, policy: Document, principal: str) -> None:
    """Anything else is refused, so that no share waits for whoever takes that name later."""
    with pytest.raises(InvalidInput):
        sharing.share(session, policy, principal)


def test_the_owner_cannot_be_locked_out(session: Session, policy: Document) -> None:
    """Their own line stays; a line that is not there cannot be removed."""
    with pytest.raises(InvalidInput):
        sharing.unshare(session, policy, "user:ada")
    with pytest.raises(NotFound):
        sharing.unshare(session, policy, "user:ben")


def test_only_the_owner_gets_an_own_document(session: Session, policy: Document) -> None:
    """A reader is told that there is no such file."""
    sharing.share(session, policy, "user:ben")
    session.flush()
    assert documents.get_own_document(session, scope_of(ADA), policy.id, "user:ada") is policy
    with pytest.raises(NotFound):
        documents.get_own_document(session, scope_of(BEN), policy.id, "user:ben")


def test_versions_are_numbered_and_only_the_current_one_answers(session: Session, policy: Document) -> None:
    """An old passage opens for its old citation, and for nothing else."""
    old = add_version(session, policy, "The gate closes at nine.")
    new = add_version(session, policy, "The gate closes at eight.")
    assert documents.latest_version(session, policy.id).number == 3
    assert opened(session, ADA, old) == []
    assert opened(session, ADA, old, current_only=False) == ["The gate closes at nine."]
    assert opened(session, ADA, new) == ["The gate closes at eight."]
    assert opened(session, BEN, old, current_only=False) == []


def test_a_passage_moved_to_another_row_does_not_open(session: Session, policy: Document) -> None:
    """The seal binds a passage to its id."""
    first = add_version(session, policy, "One.")
    second = add_version(session, policy, "Two.")
    rows = [session.get_one(Chunk, chunk_id) for chunk_id in (first, second)]
    rows[1].sealed = rows[0].sealed
    session.flush()
    with pytest.raises(SealBroken):
        opened(session, ADA, second)


def test_a_deleted_document_is_nobodys(session: Session, policy: Document) -> None:
    """From the mark on it is hidden, from its owner as well."""
    chunk = add_version(session, policy, "Gone.")
    policy.deleted_at = now_ms()
    session.flush()
    assert documents.list_documents(session, scope_of(ADA)) == []
    assert opened(session, ADA, chunk) == []
    assert documents.find_own_by_name(session, "user:ada", "policy.md") is None


def test_an_interrupted_deletion_can_be_repeated_by_its_owner(session: Session, policy: Document) -> None:
    """Marked and not yet gone: nobody finds it, and its owner may still delete it; nobody else may."""
    policy.deleted_at = 1
    session.flush()
    with pytest.raises(NotFound):
        documents.get_document(session, scope_of(ADA), policy.id)
    assert documents.get_own_to_delete(session, policy.id, "user:ada").id == policy.id
    with pytest.raises(NotFound):
        documents.get_own_to_delete(session, policy.id, "user:ben")


# --- very many ------------------------------------------------------------------------------------

MANY = 4_000
VARIABLES = 1_200


def test_more_documents_than_a_statement_takes_variables_are_listed(session: Session) -> None:
    """Lists, versions, jobs and access are complete all the same; the limit is lowered to make that cheap."""
    ids = [new_id() for _ in range(MANY)]
    rows = [
        {"id": id_, "owner": "user:ada", "name": "n", "inherits": False, "clearance": 0, "compartments": []}
        | {"acl_epoch": 0, "indexed_epoch": 0, "created_at": number}
        for number, id_ in enumerate(ids)
    ]
    session.execute(insert(Document), rows)
    session.execute(
        insert(DocumentGrant),
        [{"document_id": id_, "principal": "user:ada", "effect": "allow"} for id_ in ids],
    )
    connection = session.connection().connection.dbapi_connection
    assert isinstance(connection, sqlite3.Connection)
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, VARIABLES)
    newest = ids[-3:]
    for number, id_ in enumerate(newest):
        session.add(job_of(id_, created_at=number))
    session.flush()
    listed = [document.id for document in documents.list_documents(session, scope_of(ADA))]
    assert listed == ids[::-1]
    assert documents.list_documents(session, scope_of(BEN)) == []
    assert documents.access_of(session, ids).keys() == set(ids)
    assert documents.latest_versions(session, ids) == {}
    assert jobs.latest_jobs(session, ids).keys() == set(newest)
    found, _ = following.page_of_jobs(session, scope_of(ADA), following.Wanted())
    assert [job.document_id for job, _ in found] == newest[::-1]


def job_of(document_id: str, *, created_at: int) -> Job:
    """Return a job as it is queued."""
    return Job(
        id=new_id(),
        kind="ingest",
        document_id=document_id,
        state="queued",
        stage="queued",
        corr="corr",
        created_at=created_at,
        updated_at=created_at,
    )


def test_a_list_of_jobs_is_full_although_newer_ones_are_hidden(session: Session) -> None:
    """Hidden from Ben: many new jobs, by a compartment that SQL does not see. Visible: all the others."""
    for hidden in range(following.LISTED + 50):
        document = documents.create_document(session, owner="user:ada", name=f"{hidden}.md")
        sharing.share(session, document, "user:ben")
        document.compartments = ["board"] if hidden % 2 else []
        session.add(job_of(document.id, created_at=hidden))
    session.flush()
    shown, _ = following.page_of_jobs(session, scope_of(BEN), following.Wanted({"queued"}))
    assert len(shown) == (following.LISTED + 50) // 2
    assert all(document.compartments == [] for _, document in shown)


def test_pages_follow_each_other_without_gap_or_repetition(session: Session) -> None:
    """Whatever the page's size; hidden documents between take no place, also such as only `may_read` sees."""
    mine = []
    for number in range(12):
        document = documents.create_document(session, owner="user:ada", name=f"{number}.md")
        document.created_at = number // 2
        document.compartments = ["board"] if number % 3 == 0 else []
        mine.append(document)
    session.flush()
    wanted = [document.id for document in documents.list_documents(session, scope_of(ADA))]
    assert len(wanted) == 8
    for limit in (1, 3, 8, 20):
        found: list[str] = []
        more, after = True, None
        while more:
            page, more = documents.page_of_documents(session, scope_of(ADA), after=after, limit=limit)
            assert len(page) == limit or not more
            found += [document.id for document in page]
            after = found[-1]
        assert found == wanted


def test_a_page_does_not_begin_behind_somebody_elses_document(session: Session, policy: Document) -> None:
    """Hidden from Ben: where Ada's document would stand; it is like one that does not exist."""
    for after in (policy.id, new_id()):
        with pytest.raises(NotFound):
            documents.page_of_documents(session, scope_of(BEN), after=after, limit=5)
    assert documents.page_of_documents(session, scope_of(ADA), after=policy.id, limit=5) == ([], False)


# --- names ----------------------------------------------------------------------------------------


def test_a_name_in_use_is_numbered(session: Session, policy: Document) -> None:
    """As file managers do, before the ending; another owner's document of that name does not count."""
    documents.create_document(session, owner="user:ben", name="policy (2).md")
    second = documents.create_document(session, owner="user:ada", name="policy.md")
    documents.settle_name(session, second)
    third = documents.create_document(session, owner="user:ada", name="policy.md")
    documents.settle_name(session, third)
    assert [policy.name, second.name, third.name] == ["policy.md", "policy (2).md", "policy (3).md"]
    plain = documents.create_document(session, owner="user:ada", name="100%_a")
    documents.settle_name(session, plain)
    assert plain.name == "100%_a"


def test_the_newest_versions_come_at_once(session: Session, policy: Document) -> None:
    """One for each document, the one with the highest number."""
    add_version(session, policy, "Two.")
    latest = documents.latest_version(session, policy.id)
    assert isinstance(latest, DocumentVersion)
    assert documents.latest_versions(session, [policy.id, new_id()]) == {policy.id: latest}
    assert latest.number == 2


def test_batches_are_everything_in_order() -> None:
    """Nothing is left out at the seams."""
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(in_batches([])) == []
