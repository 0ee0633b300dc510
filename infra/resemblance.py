"""Which documents say nearly the same: MinHash signatures, and the bands by which they are found.

A. Broder, "On the resemblance and containment of documents", 1997; banding as in Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3. Computed in `ingest.signature`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from infra.database.batches import in_batches
from infra.database.tables import Document, DocumentVersion, VersionBand

PERMUTATIONS: Final = 128
BANDS: Final = 16
"""Sixteen bands of eight rows: a pair with 0.71 of its shingles in common shares one
with a chance of 0.66, a pair with 0.8 of 0.95, one with 0.9 always but for one in ten thousand."""
LEAST_SIMILAR: Final = 0.8
"""Share of shingles in common from which two documents count as nearly the same."""
MOST_COMPARED: Final = 500
_TYPE: Final = np.dtype("<u4")


@dataclass(frozen=True)
class Similar:
    """A document that says nearly the same; `similarity` is an estimate of the Jaccard index, 0 to 1."""

    document_id: str
    similarity: float


def keep_signature(session: Session, version: DocumentVersion, signature: bytes | None) -> None:
    """Replace a version's signature, PERMUTATIONS little-endian 32-bit numbers; None for too short a text."""
    session.execute(delete(VersionBand).where(VersionBand.version_id == version.id))
    version.signature = signature
    if signature is not None:
        session.add_all(
            VersionBand(version_id=version.id, band=band, hash=name)
            for band, name in enumerate(_bands(signature))
        )


def similar_to(session: Session, document: Document) -> list[Similar]:
    """Return the other live documents whose version in use is nearly the same, most similar first.

    They are anybody's: show each only to who may read it.
    """
    version = session.get(DocumentVersion, document.version_id) if document.version_id else None
    if version is None or version.signature is None:
        return []
    bands = select(VersionBand.band, VersionBand.hash).where(VersionBand.version_id == version.id)
    candidates: set[str] = set()
    for band, name in session.execute(bands).all():
        same = select(VersionBand.version_id).where(VersionBand.band == band, VersionBand.hash == name)
        candidates |= set(session.scalars(same.limit(MOST_COMPARED)))
    candidates.discard(version.id)
    own = np.frombuffer(version.signature, _TYPE)
    found = []
    for batch in in_batches(sorted(candidates)[:MOST_COMPARED]):
        in_use = (
            select(Document.id, DocumentVersion.signature)
            .join(DocumentVersion, DocumentVersion.id == Document.version_id)
            .where(
                DocumentVersion.id.in_(batch),
                DocumentVersion.signature.is_not(None),
                Document.deleted_at.is_(None),
                Document.id != document.id,
            )
        )
        for other_id, signature in session.execute(in_use):
            similarity = float(np.mean(own == np.frombuffer(signature or b"", _TYPE)))
            if similarity >= LEAST_SIMILAR:
                found.append(Similar(other_id, similarity))
    return sorted(found, key=lambda similar: (-similar.similarity, similar.document_id))


def _bands(signature: bytes) -> list[str]:
    size = len(signature) // BANDS
    return [
        hashlib.blake2b(signature[at * size : (at + 1) * size], digest_size=16).hexdigest()
        for at in range(BANDS)
    ]
