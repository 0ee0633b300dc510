"""How a stored file becomes passages: the ordered stages of one job.

parse (in a child) -> chunk -> embed and index in batches -> switch over. Nothing answers from a version
before the last step, which is one transaction; every step may be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from infra.access import DocumentAccess
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Authz, Event, Resource
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.database.tables import Chunk as ChunkRow
from infra.database.tables import Document, DocumentVersion, Job
from infra.documents import (
    Hidden,
    access_of,
    keep_hidden,
    passage_hash,
    remove_passages,
    seal_passage,
    version_key,
)
from infra.embeddings import Embedder
from infra.epoch import raise_epoch
from infra.errors import ReaderKilled, StrongroomError, UnreadableFile
from infra.files import FileStore
from infra.keys import MasterKey, SealBroken
from infra.logs import get_logger
from infra.resemblance import keep_signature
from infra.vectors import IndexUnavailable, Point, VectorIndex, point_id
from ingest import jobs
from ingest.chunk import Chunk, chunks_of
from ingest.index import refresh_access
from ingest.intake import settle_places
from ingest.jobs import Cancelled, Claim, LostLease
from ingest.parse.blocks import ParsedDocument
from ingest.parse.confined.sandbox import ParsingCancelled
from ingest.parse.limits import ParseLimits
from ingest.parse.reading import read_document
from ingest.progress import Progress
from ingest.signature import signature_of

# Part of every point id: passages made by another chunker never overwrite these.
CHUNKER: Final = "structure-2"
AT_ONCE: Final = 256
"""Passages embedded before they are stored: of so many, those of like length make batches without padding."""
UNREAD_KEPT: Final = 500
"""How many members of a file are listed that could not be read."""
HIDDEN_KEPT: Final = 1000
HIDDEN_CHARS: Final = 2000
"""How many hidden texts of a version are kept, and how much of each: enough for a curator to judge by."""

# What a second attempt may not meet again; anything else is a defect and fails the task loudly.
_MAY_PASS = (StrongroomError, SealBroken, SQLAlchemyError, OSError, RuntimeError, ValueError, MemoryError)

_log = get_logger()


class Superseded(Exception):
    """A newer version of the document was ready first; this one must not replace it."""


@dataclass(frozen=True)
class Pipeline:
    """The collaborators of ingestion; `run` takes one job through all stages."""

    database: Database
    files: FileStore
    index: VectorIndex
    embedder: Embedder
    ledger: Ledger
    master_key: MasterKey
    limits: ParseLimits
    with_hidden_text: bool = False
    """The operator allows answers to use what a reader of the file would not see."""

    def run(self, job_id: str) -> None:
        """Work on one job until it is in a final state, or somebody else has it."""
        with self.database.write() as session:
            held = jobs.claim(session, job_id)
        if held is None:
            return
        try:
            self._ingest(held)
        except LostLease:
            self._forget_unless_current(held)
        except Superseded:
            reason = ("superseded", "A newer version of this file answers already.", None)
            self._end(held, "cancelled", outcome="superseded", reason=reason)
        except (Cancelled, ParsingCancelled):
            self._end(held, "cancelled", outcome="cancelled")
        except ReaderKilled as error:
            if held.attempt < jobs.MAX_ATTEMPTS:
                self._try_again_later(held)
            else:
                self._end(held, "failed", outcome=error.code, reason=(error.code, error.message, error.hint))
        except IndexUnavailable as error:
            _log.warning("ingest.waits_for_index", job=held.job_id, error=type(error).__name__)
            self._wait(held)
        except UnreadableFile as error:
            self._end(held, "failed", outcome=error.code, reason=(error.code, error.message, error.hint))
        except _MAY_PASS as error:
            _log.error(
                "ingest.attempt_failed",
                job=held.job_id,
                attempt=held.attempt,
                error=type(error).__name__,
                exc_info=error,
            )
            self._try_again_later(held)

    def _ingest(self, held: Claim) -> None:
        with self.database.read() as session:
            version = session.get(DocumentVersion, held.version_id)
            document = session.get(Document, held.document_id)
        if version is None or document is None or document.deleted_at is not None:
            raise LostLease
        key = version_key(self.master_key, version)
        progress = Progress(self.database, held)
        parsed = self._parse(held, document.name, key, progress)
        chunks = self._chunk(parsed, document.name, progress)
        indexed_epoch = self._embed_and_index(held, chunks, key, progress)
        self._switch_over(held, parsed, key, len(chunks), indexed_epoch)

    def _parse(self, held: Claim, name: str, key: bytes, progress: Progress) -> ParsedDocument:
        progress.begin("parse")
        return read_document(
            lambda: self.files.read(held.version_id, key),
            name,
            limits=self.limits,
            on_progress=progress.at,
            cancelled=progress.is_cancelled,
        )

    def _chunk(self, parsed: ParsedDocument, name: str, progress: Progress) -> list[Chunk]:
        progress.begin("chunk")

        def count_tokens(text: str) -> int:
            # Cutting does this all the time; cutting a book takes longer than a person, or a lease, waits.
            if progress.is_cancelled():
                raise Cancelled
            return self.embedder.count_tokens(text)

        chunks = chunks_of(
            parsed,
            count_tokens,
            self.embedder.max_tokens,
            title=PurePath(name).stem,
            with_hidden=self.with_hidden_text,
        )
        if not chunks and any(block.hidden for block in parsed.blocks):
            raise UnreadableFile(
                "no_text",
                "All the text of this file is hidden from its readers.",
                hint="Open it in the program that made it, and look for white or tiny text.",
            )
        if not chunks:
            raise UnreadableFile(
                "no_text",
                "There is no text in this file.",
                hint="Check that the upload was the right file; handwriting and pictures cannot be read.",
            )
        return chunks

    def _embed_and_index(self, held: Claim, chunks: Sequence[Chunk], key: bytes, progress: Progress) -> int:
        """Store the passages; returns the oldest epoch of the access lists that went into the index."""
        pipeline_hash = hashlib.sha256(f"{CHUNKER}:{self.embedder.tag}".encode()).hexdigest()[:16]
        # In one transaction with the fence: a worker that lost its lease must not remove what the next one
        # has already stored.
        progress.begin(
            "embed", len(chunks), also=lambda session: remove_passages(session, version_id=held.version_id)
        )
        if self.index.count(version_id=held.version_id):
            self.index.delete_version(held.version_id)
        epochs = []
        for first in range(0, len(chunks), AT_ONCE):
            batch = chunks[first : first + AT_ONCE]
            progress.after(first)
            vectors = self.embedder.embed_passages([chunk.embed_text for chunk in batch], progress.at)
            ids = [point_id(held.version_id, first + n, pipeline_hash) for n in range(len(batch))]
            access = self._store_rows(held, first, ids, batch, key)
            epochs.append(access.epoch)
            self.index.upsert(
                [
                    Point(
                        id=chunk_id,
                        dense=vector,
                        text=chunk.embed_text,
                        document_id=held.document_id,
                        version_id=held.version_id,
                        access=access,
                    )
                    for chunk_id, vector, chunk in zip(ids, vectors, batch, strict=True)
                ]
            )
        progress.begin("index", len(chunks))
        return min(epochs)

    def _store_rows(
        self, held: Claim, first: int, ids: Sequence[str], batch: Sequence[Chunk], key: bytes
    ) -> DocumentAccess:
        rows = [
            ChunkRow(
                id=chunk_id,
                version_id=held.version_id,
                document_id=held.document_id,
                ordinal=first + n,
                sha256=passage_hash(chunk.text),
                sealed=seal_passage(key, chunk_id, chunk.content()),
            )
            for n, (chunk_id, chunk) in enumerate(zip(ids, batch, strict=True))
        ]
        with self.database.write() as session:
            # Whoever lost the lease stores nothing, nor does anybody for a file that is being deleted.
            jobs.renew(session, held)
            if jobs.is_cancelled(session, held):
                raise Cancelled
            session.add_all(rows)
            access = access_of(session, [held.document_id])
        return access.get(held.document_id, DocumentAccess())

    def _switch_over(
        self, held: Claim, parsed: ParsedDocument, key: bytes, passages: int, indexed_epoch: int
    ) -> None:
        """Let the new version answer and the old one stop, in one transaction with the job's end."""
        signature = signature_of(block.text for block in parsed.blocks if block.hidden is None)
        with self.database.write() as session:
            document = session.get(Document, held.document_id, with_for_update=True)
            version = session.get(DocumentVersion, held.version_id)
            if document is None or version is None or document.deleted_at is not None:
                raise LostLease
            if _is_superseded(session, document, version):
                raise Superseded
            replaced = document.version_id if document.version_id != version.id else None
            version.state, version.pages = "ready", parsed.pages
            version.title, version.media_type = (parsed.title or None), parsed.media_type
            hidden = _hidden_texts(parsed)
            version.hidden_texts = len(hidden)
            version.unread = [[name, code] for name, code in parsed.unread[:UNREAD_KEPT]]
            keep_hidden(session, version.id, key, hidden[:HIDDEN_KEPT])
            keep_signature(session, version, signature)
            document.version_id = version.id
            # A share while points were still being written may have missed some of them.
            document.indexed_epoch = indexed_epoch
            lagging = document.indexed_epoch < document.acl_epoch
            # What was cached as readable does not have this document's new points.
            raise_epoch(session)
            jobs.finish(session, held, "succeeded", passages=passages)
            self._record(session, held, outcome="ok")
        if replaced is not None:
            self.index.delete_version(replaced)
            settle_places(self.database, self.files, self.ledger, self.master_key, held.document_id)
        if lagging:
            refresh_access(self.database, self.index, [held.document_id])

    def _end(
        self, held: Claim, state: str, *, outcome: str, reason: tuple[str, str, str | None] | None = None
    ) -> None:
        try:
            with self.database.write() as session:
                jobs.finish(session, held, state, reason=reason)
                version = session.get(DocumentVersion, held.version_id)
                document = session.get(Document, held.document_id)
                if version is not None:
                    version.state = "failed"
                # A version that answers already keeps its passages, whatever became of a second run.
                if document is None or document.version_id != held.version_id:
                    remove_passages(session, version_id=held.version_id)
                self._record(session, held, outcome=outcome)
        except LostLease:
            pass
        self._forget_unless_current(held)

    def _try_again_later(self, held: Claim) -> None:
        if held.attempt >= jobs.MAX_ATTEMPTS:
            reason = (
                "failed_repeatedly",
                f"Processing failed {held.attempt} times.",
                "The server's log has the job's id. Retry when the cause is mended.",
            )
            self._end(held, "quarantined", outcome="quarantined", reason=reason)
            return
        try:
            with self.database.write() as session:
                jobs.release(session, held)
        except LostLease:
            self._forget_unless_current(held)

    def _wait(self, held: Claim) -> None:
        """Leave the job for when the house is in order again; nothing was wrong with the file."""
        try:
            with self.database.write() as session:
                jobs.postpone(session, held)
        except LostLease:
            pass

    def _forget_unless_current(self, held: Claim) -> None:
        """Remove this version's points unless it answers, or another worker is at it."""
        with self.database.read() as session:
            document = session.get(Document, held.document_id)
            job = session.get(Job, held.job_id)
        current = document is not None and document.version_id == held.version_id
        if not current and (job is None or job.state in jobs.FINAL_STATES):
            self.index.delete_version(held.version_id)

    def _record(self, session: Session, held: Claim, *, outcome: str) -> None:
        self.ledger.record_in(
            session,
            Event(
                type=EventType.FILE_PARSED,
                stage=Stage.SINGLE,
                corr=held.corr,
                actor=SYSTEM,
                res=Resource(type="file", id=held.document_id, ver=held.version_id),
                authz=Authz(decision="allow", policy="system", epoch=0),
                outcome=outcome,
            ),
        )


def _hidden_texts(parsed: ParsedDocument) -> list[Hidden]:
    return [
        Hidden(block.hidden, block.text[:HIDDEN_CHARS], block.place.as_dict())
        for block in parsed.blocks
        if block.hidden is not None and block.text.strip()
    ]


def _is_superseded(session: Session, document: Document, version: DocumentVersion) -> bool:
    current = session.get(DocumentVersion, document.version_id) if document.version_id else None
    return current is not None and current.number > version.number
