"""Two independent gates, the filter in the index and the re-check in the database: each holds alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from agents.retrieve import Retriever
from infra import documents
from infra.access import DocumentAccess, Principal, Role, scope_of
from infra.clock import new_id
from infra.database.tables import Chunk, Document, DocumentGrant
from infra.stores import Stores
from infra.vectors import Point, point_id

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))
BEN = Principal(user_id="ben", kind="user", roles=frozenset(Role))
SECRET = "The merger with Halden Foods is planned for October."
OPEN = "The canteen plans lunch with food from Halden."
QUESTION = "When is the merger with Halden Foods planned?"


@pytest.fixture
def secret(stores: Stores) -> str:
    """Ada's secret, and a file of Ben's that is less near to the question; returns the secret's id."""
    stored(stores, OPEN, BEN)
    return stored(stores, SECRET, ADA)


def stored(stores: Stores, text: str, owner: Principal) -> str:
    """Put a file of one passage into both stores."""
    version_id = new_id()
    key, wrapped = documents.new_version_key(stores.master_key, version_id)
    chunk_id = point_id(version_id, 0, "test")
    content: dict[str, Any] = {"text": text, "title": "", "heading": "", "place": {}, "lines": []}
    with stores.database.write() as session:
        document = documents.create_document(session, owner=owner.principal_id, name="a.md")
        version = documents.add_version(
            session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
        )
        version.state, document.version_id = "ready", version_id
        session.add(
            Chunk(
                id=chunk_id,
                version_id=version_id,
                document_id=document.id,
                ordinal=0,
                sha256=documents.passage_hash(text),
                sealed=documents.seal_passage(key, chunk_id, content),
            )
        )
        document_id = document.id
    access = DocumentAccess(allow=frozenset({owner.principal_id}))
    vector = stores.embedder.embed_passages([text])[0]
    stores.index.upsert([Point(chunk_id, vector, text, document_id, version_id, access)])
    return document_id


def hits(stores: Stores, who: Principal) -> list[str]:
    """Search the index alone; returns document ids."""
    vector = np.asarray(stores.embedder.embed_query(QUESTION), dtype=np.float32).tolist()
    return [hit.document_id for hit in stores.index.search(scope_of(who), vector, QUESTION, limit=50)]


def passages(stores: Stores, who: Principal) -> list[str]:
    """Search through both gates; returns texts."""
    retriever = Retriever(stores.database, stores.index, stores.embedder, stores.master_key)
    return [passage.text for passage in retriever.search(scope_of(who), QUESTION, limit=50).passages]


def test_the_filter_works_alone(stores: Stores, secret: str) -> None:
    """The database would allow everybody. Hidden from Ben, whatever his roles. Visible: his own."""
    with stores.database.write() as session:
        session.add(DocumentGrant(document_id=secret, principal=BEN.principal_id, effect="allow"))
    assert secret not in hits(stores, BEN)
    assert len(hits(stores, BEN)) == 1
    assert passages(stores, BEN) == [OPEN]
    assert hits(stores, ADA) == [secret]


@pytest.mark.parametrize("denied_by", ["no grant", "deny", "clearance", "compartment", "deleted"])
def test_the_re_check_works_alone(stores: Stores, secret: str, denied_by: str) -> None:
    """The index would allow Ben. Hidden by the database, for each reason. Visible: his own, in both."""
    both = frozenset({ADA.principal_id, BEN.principal_id})
    stores.index.set_access({secret: DocumentAccess(allow=both, epoch=99)})
    with stores.database.write() as session:
        if denied_by != "no grant":
            session.add(DocumentGrant(document_id=secret, principal=BEN.principal_id, effect="allow"))
        if denied_by == "deny":
            session.add(DocumentGrant(document_id=secret, principal=BEN.principal_id, effect="deny"))
        values: dict[str, dict[str, Any]] = {
            "clearance": {"clearance": 1},
            "compartment": {"compartments": ["board"]},
            "deleted": {"deleted_at": 1},
        }
        if denied_by in values:
            session.execute(update(Document).where(Document.id == secret).values(**values[denied_by]))
    assert secret in hits(stores, BEN)
    assert passages(stores, BEN) == [OPEN]


def test_both_gates_open_for_who_may_read(stores: Stores, secret: str) -> None:
    """The gates are no walls: with grant, clearance and compartment in both stores Ben reads it."""
    access = DocumentAccess(
        allow=frozenset({BEN.principal_id}), clearance=1, compartments=frozenset({"board"}), epoch=99
    )
    stores.index.set_access({secret: access})
    with stores.database.write() as session:
        session.add(DocumentGrant(document_id=secret, principal=BEN.principal_id, effect="allow"))
        session.execute(
            update(Document).where(Document.id == secret).values(clearance=1, compartments=["board"])
        )
    cleared = replace(BEN, clearance=1, compartments=frozenset({"board"}))
    assert set(passages(stores, cleared)) == {SECRET, OPEN}
    assert passages(stores, BEN) == [OPEN]


def test_a_replaced_version_is_not_found(stores: Stores, secret: str) -> None:
    """Hidden: passages of a version that is not the current one, although the index still has them."""
    with stores.database.write() as session:
        session.execute(update(Document).where(Document.id == secret).values(version_id=None))
    assert secret in hits(stores, ADA)
    assert passages(stores, ADA) == []
