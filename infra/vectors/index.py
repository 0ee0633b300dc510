"""What the rest of the program knows about the vector index, and what its two adapters share."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from infra.access import AccessScope, DocumentAccess
from infra.errors import ConfigurationError, StrongroomError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Dense = Sequence[float] | NDArray[np.float32]

DENSE: Final = "dense"
SPARSE: Final = "text"

# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", SIGIR 2009, use 60; Qdrant's default of 2 would
# let a single first rank outweigh agreement between the two searches.
RRF_K: Final = 60
CANDIDATES_PER_RESULT: Final = 4
FEWEST_CANDIDATES: Final = 64
SCROLL_PAGE: Final = 1000
FACET_LIMIT: Final = 1_000_000

KEYWORD_FIELDS: Final = ("document_id", "version_id", "allow", "within", "deny", "compartments")
INTEGER_FIELDS: Final = ("clearance", "epoch")

# Part of a collection's name: a change of vectors or payload fields needs a new collection.
LAYOUT: Final = "2"


class IndexUnavailable(StrongroomError):
    """The vector index did not do what it was asked; nothing is known about the outcome."""

    code = "index_unavailable"


@dataclass(frozen=True)
class Point:
    """One passage on its way into the index. `text` becomes the sparse vector and is not stored."""

    id: str
    dense: Dense
    text: str
    document_id: str
    version_id: str
    access: DocumentAccess


@dataclass(frozen=True)
class Hit:
    """One search result. `score` is the fused rank score, 0 < score <= 2 / RRF_K, higher is better."""

    id: str
    score: float
    document_id: str
    version_id: str


class VectorIndex(Protocol):
    """What the rest of the program knows about vectors. Writes are durable when they return.

    Every method raises IndexUnavailable when the engine or the server fails.
    """

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert points, or replace those with the same id."""

    def delete_document(self, document_id: str) -> None:
        """Remove every point of a document; nothing happens if there is none."""

    def delete_version(self, version_id: str) -> None:
        """Remove every point of one version; nothing happens if there is none."""

    def set_access(self, changes: Mapping[str, DocumentAccess]) -> None:
        """Replace who may read each of some documents, unless its points already carry a later epoch."""

    def search(
        self,
        scope: AccessScope,
        dense: Dense,
        text: str,
        limit: int,
        *,
        document_ids: Collection[str] | None = None,
    ) -> list[Hit]:
        """Return at most `limit` hits that `scope` may read, best first.

        `dense` has shape (dimensions,). `document_ids` narrows the search further; an empty collection
        finds nothing. Word statistics come from what the scope may read, so that not even the order of
        results depends on a hidden document.
        """

    def count(self, *, document_id: str | None = None, version_id: str | None = None) -> int:
        """Count points exactly: of a document, of a version, or all. For reconciling, not for people."""

    def point_ids(self, version_id: str) -> list[str]:
        """List the ids of one version's points, sorted."""

    def version_ids(self) -> set[str]:
        """Return every version that has points; for reconciling."""

    def snapshot(self, folder: Path) -> str:
        """Keep a consistent copy and return where: a path below `folder`, or a name on the server."""

    def healthy(self) -> bool:
        """Tell whether the index answers."""

    def close(self) -> None:
        """Release the index; later calls raise IndexUnavailable."""


def point_id(version_id: str, ordinal: int, pipeline_hash: str) -> str:
    """Return the UUIDv5 of passage number `ordinal` (from 0) of a version, for one pipeline.

    The version's own UUID is the namespace (RFC 9562, section 5.5). A retry gets the same id and
    overwrites. Raises ValueError when `version_id` is no UUID.
    """
    return str(uuid.uuid5(uuid.UUID(version_id), f"{ordinal}:{pipeline_hash}"))


def access_payload(access: DocumentAccess) -> dict[str, Any]:
    """Return the payload fields that say who may read a document's points."""
    return {
        "allow": sorted(access.allow),
        "within": sorted(access.allow if access.within is None else access.within),
        "deny": sorted(access.deny),
        "clearance": access.clearance,
        "compartments": sorted(access.compartments),
        "epoch": access.epoch,
    }


def payload_of(point: Point) -> dict[str, Any]:
    """Return everything a point carries beside its vectors; never text."""
    return {
        "document_id": point.document_id,
        "version_id": point.version_id,
        **access_payload(point.access),
    }


def hit_of(identifier: object, score: float, payload: Mapping[str, Any] | None) -> Hit:
    """Make a hit from what an engine returned; raises KeyError for a point that names no document."""
    fields = payload or {}
    return Hit(str(identifier), score, str(fields["document_id"]), str(fields["version_id"]))


def best_first(hits: Iterable[Hit], limit: int) -> list[Hit]:
    """Return the `limit` best hits by score, and those of equal score by id.

    Fusing ranks gives equal scores often (first and second here, second and first there), and an engine
    orders those as it likes: the same question could then be answered from other passages tomorrow. So the
    engines are asked for everything that was fused, and the cut is made here.
    """
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit]


def fused(limit: int) -> int:
    """Return how many results two searches that contribute `candidates(limit)` each can fuse to."""
    return 2 * candidates(limit)


def candidates(limit: int) -> int:
    """Return how many results each search contributes to the fusion."""
    return max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * limit)


def nothing_asked(limit: int, document_ids: Collection[str] | None) -> bool:
    """Tell whether a search can find nothing, so that no engine gets to interpret an empty list."""
    return limit <= 0 or (document_ids is not None and not document_ids)


def check_tag(tag: str) -> str:
    """Return `tag` if it is a plain word that can name a folder or a collection, else ConfigurationError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", tag):
        raise ConfigurationError("An index tag is 1 to 64 of a-z, 0-9, '-' and '_'.")
    return tag


def check_dimensions(dense: Dense, dimensions: int) -> list[float]:
    """Return a vector of shape (dimensions,) as plain floats; ConfigurationError for any other size."""
    if len(dense) != dimensions:
        raise ConfigurationError(
            f"The index holds vectors of {dimensions} dimensions, but the embedder gave {len(dense)}.",
            hint="Use the embedding model that the index was made with, or rebuild the index.",
        )
    return [float(component) for component in dense]
