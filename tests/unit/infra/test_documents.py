"""Documents in the database: versions, sharing, and passages that open only for their readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from infra import documents, sharing
from infra.access import EVERYONE, Principal, Role, scope_of
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import Base, Chunk, Document, User
from infra.errors import InvalidInput, NotFound
from infra.keys import MasterKey, SealBroken

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
