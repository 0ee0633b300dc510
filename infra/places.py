"""Under which names a document's bytes were found, so that one copy serves them all.

A document has a place for every name: its own first, then those of exact duplicates of the same owner in
the same collection. Others' duplicates stay documents of their own, since others may read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from infra.clock import now_ms
from infra.database.batches import in_batches
from infra.database.tables import Document, DocumentPlace, DocumentVersion

UPLOADED: Final = "upload"
"""The source of what people upload; folders and buckets have names of their own."""


def remember(session: Session, document: Document, *, source: str, name: str, sha256: str) -> None:
    """Note that a document's bytes were found under a name, or that other bytes are there now."""
    place = session.get(DocumentPlace, (document.id, source, name))
    if place is None:
        place = DocumentPlace(document_id=document.id, source=source, name=name, found_at=now_ms())
        session.add(place)
    place.sha256 = sha256
    session.flush()


def forget(session: Session, document_id: str, *, source: str, name: str) -> bool:
    """Drop one name of a document; returns whether it has others left.

    A document that goes by the dropped name takes the oldest of the others.
    """
    session.execute(
        delete(DocumentPlace).where(
            DocumentPlace.document_id == document_id,
            DocumentPlace.source == source,
            DocumentPlace.name == name,
        )
    )
    left = places_of(session, [document_id]).get(document_id, [])
    document = session.get(Document, document_id)
    if left and document is not None and document.name not in {place.name for place in left}:
        document.name = left[0].name
    return bool(left)


def places_of(session: Session, document_ids: Iterable[str]) -> dict[str, list[DocumentPlace]]:
    """Return the places of each document, oldest first."""
    found: dict[str, list[DocumentPlace]] = {}
    for batch in in_batches(document_ids):
        wanted = select(DocumentPlace).where(DocumentPlace.document_id.in_(batch))
        ordered = wanted.order_by(DocumentPlace.found_at, DocumentPlace.source, DocumentPlace.name)
        for place in session.scalars(ordered):
            found.setdefault(place.document_id, []).append(place)
    return found


def find_own_by_place(
    session: Session, owner: str, *, source: str, name: str, collection_id: str | None
) -> Document | None:
    """Return the owner's live document that has this place in a collection, or outside of any."""
    at_place = select(DocumentPlace.document_id).where(
        DocumentPlace.source == source, DocumentPlace.name == name
    )
    return session.scalar(
        select(Document).where(
            Document.owner == owner,
            Document.collection_id == collection_id,
            Document.deleted_at.is_(None),
            Document.id.in_(at_place),
        )
    )


def find_own_twin(session: Session, owner: str, *, sha256: str, collection_id: str | None) -> Document | None:
    """Return the owner's live document whose newest version has these bytes and has not failed."""
    newest = (
        select(func.max(DocumentVersion.number))
        .where(DocumentVersion.document_id == Document.id)
        .correlate(Document)
        .scalar_subquery()
    )
    return session.scalar(
        select(Document)
        .join(DocumentVersion, DocumentVersion.document_id == Document.id)
        .where(
            DocumentVersion.sha256 == sha256,
            DocumentVersion.number == newest,
            DocumentVersion.state != "failed",
            Document.owner == owner,
            Document.collection_id == collection_id,
            Document.deleted_at.is_(None),
        )
        .order_by(Document.created_at, Document.id)
        .limit(1)
    )
