"""Collections: who finds them, who fills them, and what remains when one is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from access_people import ADA, BEN, CLEO, DAN, TEAM, cleared, opened, readers
from sqlalchemy.orm import Session

from infra import collections, documents, sharing
from infra.access import Principal, scope_of
from infra.clock import new_id
from infra.database.tables import Collection, Document
from infra.errors import InvalidInput, NotFound


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One open transaction; Ada, Ben, Cleo and Dan have accounts, and Ben is in the team."""
    with opened(tmp_path) as session:
        yield session


@pytest.fixture
def shelf(session: Session) -> Collection:
    """A collection of Ada's."""
    return collections.create_collection(session, owner=ADA.principal_id, name=" Shelf ")


def test_a_new_collection_is_its_owners_alone(session: Session, shelf: Collection) -> None:
    """Hidden from Cleo, an administrator and curator, as if it did not exist. Visible to Ada."""
    assert collections.list_collections(session, scope_of(ADA)) == [shelf]
    assert shelf.name == "Shelf"
    assert collections.list_collections(session, scope_of(CLEO)) == []
    for collection_id in (shelf.id, new_id()):
        with pytest.raises(NotFound, match=collections.NO_SUCH_COLLECTION):
            collections.get_collection(session, scope_of(CLEO), collection_id)
        with pytest.raises(NotFound, match=collections.NO_SUCH_COLLECTION):
            collections.documents_in(session, scope_of(CLEO), collection_id)


def test_a_label_hides_a_shared_collection(session: Session, shelf: Collection) -> None:
    """Hidden from Ben and Ada, who lack the label. Visible to Dan, who has it."""
    sharing.share_collection(session, shelf, TEAM)
    sharing.share_collection(session, shelf, DAN.principal_id)
    sharing.label_collection(session, shelf, clearance=1, compartments=frozenset({"board"}))
    assert [who.user_id for who in (ADA, BEN, DAN) if sees(session, shelf, who)] == ["dan"]
    assert sees(session, shelf, cleared(BEN, 1, "board"))
    assert not sees(session, shelf, cleared(BEN, 1))


def test_a_denial_hides_a_shared_collection(session: Session, shelf: Collection) -> None:
    """Hidden from Ben, whose team may read it. Visible to Cleo."""
    for principal in (TEAM, CLEO.principal_id):
        sharing.share_collection(session, shelf, principal)
    sharing.share_collection(session, shelf, BEN.principal_id, effect="deny")
    assert [who.user_id for who in (BEN, CLEO) if sees(session, shelf, who)] == ["cleo"]


def test_owner_and_curators_fill_it_and_its_owner_manages_it(session: Session, shelf: Collection) -> None:
    """A reader without that role is told that there is no such collection."""
    for principal in (TEAM, CLEO.principal_id):
        sharing.share_collection(session, shelf, principal)
    for who, may in ((ADA, True), (CLEO, True), (BEN, False), (DAN, False)):
        assert permitted(collections.get_collection_to_fill, session, scope_of(who), shelf.id, who) is may
    for who in (BEN, CLEO, DAN):
        scope = scope_of(who)
        assert not permitted(collections.get_own_collection, session, scope, shelf.id, who.principal_id)
    assert permitted(collections.get_own_collection, session, scope_of(ADA), shelf.id, ADA.principal_id)


def test_the_list_of_its_documents_is_each_readers_own(session: Session, shelf: Collection) -> None:
    """Hidden from Ben: the document that denies him. Visible to him: the other one; to Ada both."""
    sharing.share_collection(session, shelf, TEAM)
    plain, secret = put(session, shelf, "plain.md"), put(session, shelf, "secret.md")
    sharing.share(session, secret, TEAM, effect="deny")
    session.flush()
    assert set(collections.documents_in(session, scope_of(ADA), shelf.id)) == {plain, secret}
    assert collections.documents_in(session, scope_of(BEN), shelf.id) == [plain]


def test_a_removed_collection_leaves_its_documents_to_their_owners(
    session: Session, shelf: Collection
) -> None:
    """Hidden from Ben, and Cleo's from Ada: what stood there. Visible to its owner: each document."""
    for principal in (TEAM, CLEO.principal_id):
        sharing.share_collection(session, shelf, principal)
    adas, cleos = put(session, shelf, "a.md"), put(session, shelf, "c.md", owner=CLEO.principal_id)
    assert readers(session, cleos) == {"ada", "ben", "cleo"}
    assert set(collections.delete_collection(session, shelf)) == {adas.id, cleos.id}
    assert readers(session, adas) == {"ada"}
    assert readers(session, cleos) == {"cleo"}
    assert not sees(session, shelf, ADA)


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\x00b", "a\nb", "a\u202eb"])
def test_a_name_is_one_printable_line(name: str) -> None:
    """Anything else is a typed error; the reading direction cannot be turned around either."""
    with pytest.raises(InvalidInput):
        collections.checked_name(name)


def put(session: Session, shelf: Collection, name: str, *, owner: str = ADA.principal_id) -> Document:
    """Make a document and put it into a collection."""
    document = documents.create_document(session, owner=owner, name=name)
    sharing.put_into(session, document, shelf)
    session.flush()
    return document


def sees(session: Session, collection: Collection, who: Principal) -> bool:
    """Say whether somebody finds a collection, in the list and by its id alike."""
    session.flush()
    scope = scope_of(who)
    listed = collection.id in {found.id for found in collections.list_collections(session, scope)}
    assert permitted(collections.get_collection, session, scope, collection.id) is listed
    return listed


def permitted(get: Callable[..., Collection], *arguments: object) -> bool:
    """Say whether a function returns something, instead of saying that there is no such thing."""
    try:
        get(*arguments)
    except NotFound:
        return False
    return True
