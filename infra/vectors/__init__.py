"""The vector index: hybrid search within a scope, in this process or on a Qdrant server.

A point carries a dense vector, a BM25 sparse vector and who may read it, never text. The index is
derived data: the database is the truth about access, and callers check every hit there again.
Each embedding model (`tag`) has an index of its own, so re-embedding never mixes two models.
"""

from infra.vectors.edge import EdgeIndex
from infra.vectors.index import (
    RRF_K,
    SCROLL_PAGE,
    Hit,
    IndexUnavailable,
    Point,
    VectorIndex,
    point_id,
)
from infra.vectors.server import ServerIndex, connect_server

__all__ = [
    "RRF_K",
    "SCROLL_PAGE",
    "EdgeIndex",
    "Hit",
    "IndexUnavailable",
    "Point",
    "ServerIndex",
    "VectorIndex",
    "connect_server",
    "point_id",
]
