"""What stands in the index: put a version's passages there, remove a document, follow its access list.

The index is derived data: whatever it says is checked against the database, and it can be rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import delete, func, select

from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Chunk, Document, DocumentVersion
from infra.documents import access_of, count_passages
from infra.epoch import raise_epoch
from infra.errors import Conflict
from infra.files import FileStore
from infra.logs import get_logger
from infra.vectors import VectorIndex
from ingest.jobs import submit

_log = get_logger()
AT_ONCE: Final = 500
"""How many access lists one request copies into the index before it answers."""


@dataclass(frozen=True)
class Removed:
    """What a deletion took away, counted in every store."""

    points: int
    passages: int
    versions: int
    files: int

    def as_dict(self) -> dict[str, int]:
        """Return the counts by store."""
        return asdict(self)


def remove_document(database: Database, index: VectorIndex, files: FileStore, document_id: str) -> Removed:
    """Remove every trace of a document that is marked as deleted; safe to repeat after a crash.

    Rows go last, so that an interrupted removal is found again by `mend`. Raises Conflict
    when points are still found afterwards.
    """
    with database.read() as session:
        versions = session.scalars(
            select(DocumentVersion.id).where(DocumentVersion.document_id == document_id)
        ).all()
        passages = count_passages(session, document_id)
    points = index.count(document_id=document_id)
    index.delete_document(document_id)
    removed_files = sum(files.delete(version_id) for version_id in versions)
    if index.count(document_id=document_id):
        raise Conflict("Some passages could not be removed yet.", hint="Delete the file again.")
    with database.write() as session:
        session.execute(delete(Document).where(Document.id == document_id))
        raise_epoch(session)
    return Removed(points=points, passages=passages, versions=len(versions), files=removed_files)


def refresh_access(database: Database, index: VectorIndex, document_ids: Sequence[str]) -> None:
    """Bring the index's copies of access lists up to date; the re-check protects the time between."""
    with database.read() as session:
        access = access_of(session, document_ids)
    if not access:
        return
    index.set_access(access)
    with database.write() as session:
        for document in session.scalars(select(Document).where(Document.id.in_(access))):
            document.indexed_epoch = max(document.indexed_epoch, access[document.id].epoch)
        # A search between the change and this moment may have been cached without what it opened.
        raise_epoch(session)


def refresh_lagging(database: Database, index: VectorIndex, *, at_most: int = AT_ONCE) -> None:
    """Bring the index up to date with changed access lists, the rest of which `mend` does later."""
    with database.read() as session:
        lagging = session.scalars(
            select(Document.id).where(Document.indexed_epoch < Document.acl_epoch).limit(at_most)
        ).all()
    refresh_access(database, index, lagging)


def mend(database: Database, index: VectorIndex, files: FileStore) -> None:
    """Finish what was interrupted: deletions, and access lists that the index lags behind."""
    with database.read() as session:
        doomed = session.scalars(select(Document.id).where(Document.deleted_at.is_not(None))).all()
        lagging = session.scalars(
            select(Document.id).where(Document.indexed_epoch < Document.acl_epoch)
        ).all()
    for document_id in doomed:
        remove_document(database, index, files, document_id)
    for first in range(0, len(lagging), AT_ONCE):
        refresh_access(database, index, lagging[first : first + AT_ONCE])


def reconcile(database: Database, index: VectorIndex) -> None:
    """Make index and database agree, before any worker runs: drop strays, queue what is missing."""
    drop_stray_points(database, index)
    for version_id in missing_points(database, index):
        with database.write() as session:
            version = session.get_one(DocumentVersion, version_id)
            submit(session, document_id=version.document_id, version_id=version_id, corr=new_id())
        _log.warning("index.rebuilding", version=version_id)


def missing_points(database: Database, index: VectorIndex) -> list[str]:
    """Return the versions in use whose passages are not all in the index, e.g. after its folder was lost."""
    with database.read() as session:
        counts = session.execute(
            select(Chunk.version_id, func.count())
            .join(Document, Document.version_id == Chunk.version_id)
            .group_by(Chunk.version_id)
        ).all()
    return [version_id for version_id, wanted in counts if index.count(version_id=version_id) != wanted]


def drop_stray_points(database: Database, index: VectorIndex) -> None:
    # The index first: what a worker stores from now on is not looked at, so that it is no stray either.
    indexed = index.version_ids()
    with database.read() as session:
        in_use = set(session.scalars(select(Document.version_id).where(Document.version_id.is_not(None))))
        unfinished = set(
            session.scalars(select(DocumentVersion.id).where(DocumentVersion.state == "pending"))
        )
    stray: Iterable[str] = indexed - in_use - unfinished
    for version_id in stray:
        index.delete_version(version_id)
        _log.info("index.stray_points_removed", version=version_id)
