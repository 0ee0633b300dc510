"""Uploads that come in parts and may be resumed: what has arrived so far, encrypted, until it is whole.

Each part is a file of the store under a UUID of its own, derived from the upload's id and a number that is
given out once, so that two requests never write the same file. What counts is the row: the parts that it
names, in order, are the first `received` bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import PartialUpload
from infra.errors import Conflict, Expired, NotFound
from infra.files import FileStore
from infra.keys import MasterKey, new_key, seal, unseal

EXPIRES_MS: Final = 24 * 3600 * 1000
"""How long an upload waits for its next part, in milliseconds."""
MAX_OPEN: Final = 100
"""Uploads that one account may have under way."""
MAX_PARTS: Final = 10_000
NO_SUCH_UPLOAD: Final = "There is no such upload."


@dataclass(frozen=True)
class Contents:
    """What a row seals: the client's metadata as they came, and the numbers of its parts, in order."""

    metadata: str
    parts: tuple[int, ...] = ()


def begin(
    session: Session, master_key: MasterKey, *, owner: str, length: int, metadata: str
) -> PartialUpload:
    """Add an upload of `length` bytes, of which none is there; raises Conflict for too many under way."""
    now = now_ms()
    under_way = select(func.count()).where(
        PartialUpload.owner == owner, PartialUpload.document_id.is_(None), PartialUpload.expires_at > now
    )
    if (session.scalar(under_way) or 0) >= MAX_OPEN:
        raise Conflict(
            f"You have {MAX_OPEN} unfinished uploads.", hint="Finish some of them, or delete them."
        )
    upload_id, key = new_id(), new_key()
    upload = PartialUpload(
        id=upload_id,
        owner=owner,
        length=length,
        received=0,
        parts=0,
        wrapped_key=master_key.wrap(key, context=f"upload:{upload_id}"),
        sealed=_sealed(upload_id, key, Contents(metadata)),
        created_at=now,
        expires_at=now + EXPIRES_MS,
    )
    session.add(upload)
    session.flush()
    return upload


def get_own(session: Session, upload_id: str, owner: str) -> PartialUpload:
    """Return an upload of this owner; raises NotFound otherwise, Expired when it waited for too long."""
    upload = session.get(PartialUpload, upload_id)
    if upload is None or upload.owner != owner:
        raise NotFound(NO_SUCH_UPLOAD)
    if upload.expires_at <= now_ms():
        raise Expired("This upload has expired.", hint="Begin it again.")
    return upload


def key_of(master_key: MasterKey, upload: PartialUpload) -> bytes:
    """Open the key of an upload's parts."""
    return master_key.unwrap(upload.wrapped_key, context=f"upload:{upload.id}")


def contents_of(master_key: MasterKey, upload: PartialUpload) -> Contents:
    """Open what the row seals."""
    opened = unseal(key_of(master_key, upload), upload.sealed, context=f"upload contents:{upload.id}")
    fields = json.loads(opened)
    return Contents(fields["metadata"], tuple(fields["parts"]))


def part_id(upload_id: str, number: int) -> str:
    """Return the id under which a part lies in the file store."""
    return str(uuid5(UUID(upload_id), str(number)))


def number_part(session: Session, upload_id: str) -> int:
    """Give out the number of a part that is to be written; raises NotFound, or Conflict for too many."""
    upload = _locked(session, upload_id)
    if upload.parts >= MAX_PARTS:
        raise Conflict(f"An upload has at most {MAX_PARTS} parts.", hint="Begin again with larger parts.")
    upload.parts += 1
    return upload.parts - 1


def keep_part(
    session: Session, master_key: MasterKey, upload_id: str, *, number: int, offset: int, size: int
) -> PartialUpload:
    """Let a stored part of `size` bytes at `offset` count; raises Conflict when another stands there."""
    upload = _locked(session, upload_id)
    if upload.received != offset or upload.document_id is not None:
        raise misplaced(upload)
    contents = contents_of(master_key, upload)
    kept = Contents(contents.metadata, (*contents.parts, number))
    upload.sealed = _sealed(upload.id, key_of(master_key, upload), kept)
    upload.received += size
    upload.expires_at = now_ms() + EXPIRES_MS
    return upload


def misplaced(upload: PartialUpload) -> Conflict:
    """Return the error for a part that does not begin where the last one ended."""
    return Conflict(f"The next byte of this upload is number {upload.received}.", param="Upload-Offset")


def read_parts(files: FileStore, upload_id: str, key: bytes, numbers: Sequence[int]) -> Iterator[bytes]:
    """Yield the plaintext of parts in order, in pieces of at most 1 MiB."""
    for number in numbers:
        yield from files.read(part_id(upload_id, number), key)


def remove_parts(files: FileStore, upload: PartialUpload) -> None:
    """Remove every file that was ever begun for an upload; safe to repeat."""
    for number in range(upload.parts):
        files.delete(part_id(upload.id, number))


def sweep_expired(database: Database, files: FileStore, ledger: Ledger) -> int:
    """Remove uploads that waited for too long, and what is left of finished ones; returns how many."""
    with database.read() as session:
        old = session.scalars(select(PartialUpload.id).where(PartialUpload.expires_at <= now_ms())).all()
    return sum(_remove_expired(database, files, ledger, upload_id) for upload_id in old)


def _remove_expired(database: Database, files: FileStore, ledger: Ledger, upload_id: str) -> bool:
    with database.write() as session:
        # Another worker's sweep, or a last part, may hold it.
        held = select(PartialUpload).where(PartialUpload.id == upload_id).with_for_update(skip_locked=True)
        upload = session.scalar(held)
        if upload is None or upload.expires_at > now_ms():
            return False
        remove_parts(files, upload)
        if upload.document_id is None:
            what = Resource("upload", upload.id)
            event = Event(
                EventType.UPLOAD_DROPPED, Stage.SINGLE, new_id(), SYSTEM, res=what, outcome="expired"
            )
            ledger.record_in(session, event)
        session.delete(upload)
        return True


def _locked(session: Session, upload_id: str) -> PartialUpload:
    upload = session.get(PartialUpload, upload_id, with_for_update=True)
    if upload is None:
        raise NotFound(NO_SUCH_UPLOAD)
    return upload


def _sealed(upload_id: str, key: bytes, contents: Contents) -> bytes:
    plain = json.dumps({"metadata": contents.metadata, "parts": contents.parts}, ensure_ascii=False)
    return seal(key, plain.encode(), context=f"upload contents:{upload_id}")
