"""Take a resumable upload's parts as they arrive, and make a file of them when it is whole (tus 1.0.0).

https://tus.io/protocols/resumable-upload. A request's bytes go straight into encrypted storage. They count
from each PART_BYTES on, and at the request's end, also when the connection broke: the next request goes on
from there.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from infra import documents
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.clock import new_id
from infra.collections import get_collection_to_fill
from infra.database.tables import PartialUpload
from infra.errors import ChecksumMismatch, InvalidInput, TooLarge, TooSlow, UnreadableFile
from infra.files import FileWriter
from ingest import resumable as uploads
from ingest.batches import asked_place
from ingest.intake import Stored, What
from services.documents.service import Change, refuse_at_the_door, register_stored
from services.documents.upload import HEAD_BYTES, MAX_FIELDS_BYTES, Upload, clean_filename

PART_BYTES: Final = 64 * 1024 * 1024
"""A long request counts in steps of so many bytes: no more is lost when the server is killed."""
CHECKSUMS: Final = ("sha1", "sha256")
"""The protocol demands the first; choose the second."""
_LISTED_FIELDS: Final = ("share",)


@dataclass(frozen=True)
class Arrived:
    """How far an upload is after a request: bytes, and what it became, once it is whole."""

    received: int
    document_id: str | None = None
    what: What | None = None


@dataclass(frozen=True)
class Checksum:
    """What a request's bytes must hash to. A request that has one counts as a whole or not at all."""

    algorithm: str
    digest: bytes


# --- begin, look, give up -------------------------------------------------------------------------


def begin(change: Change, length: int, metadata: str) -> PartialUpload:
    """Begin an upload of `length` bytes; raises what its file would be refused for, as far as that shows."""
    parts = change.parts
    limit = parts.settings.upload_max_bytes
    if length > limit:
        raise TooLarge(f"The file is larger than {limit} bytes.")
    received = described_by(metadata)
    with parts.database.write() as session:
        asked_place(session, change.principal_id, received.fields)
        for collection_id in received.fields.get("collection", []):
            get_collection_to_fill(session, change.scope, collection_id, change.person.principal)
        upload = uploads.begin(
            session, parts.master_key, owner=change.principal_id, length=length, metadata=metadata
        )
        _record(session, change, EventType.UPLOAD_BEGUN, upload.id)
        return upload


def look(change: Change, upload_id: str) -> tuple[PartialUpload, str]:
    """Return an upload of one's own, and its metadata as it was sent."""
    with change.parts.database.read() as session:
        upload = uploads.get_own(session, upload_id, change.principal_id)
    return upload, uploads.contents_of(change.parts.master_key, upload).metadata


def drop(change: Change, upload_id: str) -> None:
    """Give an upload up, with everything that had arrived. What has become a file stays one."""
    with change.parts.database.write() as session:
        upload = uploads.get_own(session, upload_id, change.principal_id)
        uploads.remove_parts(change.parts.files, upload)
        session.delete(upload)
        _record(session, change, EventType.UPLOAD_DROPPED, upload.id)


def described_by(metadata: str) -> Upload:
    """Read `Upload-Metadata`: the name and fields of a multipart upload; `share` has one principal a line.

    Raises InvalidInput for anything but comma-separated pairs of a key and base64 of UTF-8 text, or without
    a `filename`.
    """
    if len(metadata) > MAX_FIELDS_BYTES:
        raise InvalidInput("The metadata are too long.", param="Upload-Metadata")
    given: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in metadata.split(","))):
        key, _, encoded = pair.partition(" ")
        try:
            given[key] = base64.b64decode(encoded, validate=True).decode()
        except ValueError as error:
            raise InvalidInput(
                "The metadata are not in base64.", hint="key base64, key base64, …", param="Upload-Metadata"
            ) from error
    if any("\0" in value for value in given.values()):
        raise InvalidInput("The metadata hold a zero character.", param="Upload-Metadata")
    name = given.pop("filename", "") or given.pop("name", "")
    if not name:
        raise InvalidInput("The metadata lack the file’s name.", param="Upload-Metadata")
    fields = {
        key: value.splitlines() if key in _LISTED_FIELDS else [value] for key, value in given.items() if value
    }
    return Upload(filename=clean_filename(name), fields=fields)


def checksum_of(header: str | None) -> Checksum | None:
    """Read `Upload-Checksum`; raises InvalidInput for an unknown algorithm or what is no base64."""
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidInput("The checksum is not in base64.", param="Upload-Checksum") from error
    if algorithm not in CHECKSUMS:
        raise InvalidInput(f"Checksums are {' or '.join(CHECKSUMS)}.", param="Upload-Checksum")
    return Checksum(algorithm, digest)


# --- a part ---------------------------------------------------------------------------------------


async def receive_part(
    change: Change,
    upload_id: str,
    *,
    offset: int,
    length: int | None,
    checksum: Checksum | None,
    stream: AsyncIterator[bytes],
) -> Arrived:
    """Take the bytes from `offset` on; `length` is how many the client announces, if it does.

    Raises Conflict for another offset than the end of what is there, TooLarge for more bytes than the upload
    has, ChecksumMismatch, and what the file is refused for when it is whole.
    """
    upload, _ = await anyio.to_thread.run_sync(look, change, upload_id)
    if upload.received != offset or upload.document_id is not None:
        raise uploads.misplaced(upload)
    if length is not None and offset + length > upload.length:
        raise _too_long(upload)
    receiver = _Receiver(change, upload, checksum)
    try:
        async for piece in stream:
            if piece:
                await anyio.to_thread.run_sync(receiver.take, piece)
    except (ClientDisconnect, TooSlow):
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(receiver.break_off)
        raise
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(receiver.abort)
        raise
    return await anyio.to_thread.run_sync(receiver.end)


class _Receiver:
    """Writes one request's bytes as parts; its methods block, and serve one thread at a time."""

    def __init__(self, change: Change, upload: PartialUpload, checksum: Checksum | None) -> None:
        self._change = change
        self._upload = upload
        self._key = uploads.key_of(change.parts.master_key, upload)
        self._checksum = checksum
        self._digest = hashlib.new(checksum.algorithm if checksum else "sha256", usedforsecurity=False)
        self._received = upload.received
        self._writer: FileWriter | None = None
        self._number = 0
        self._written = 0

    def take(self, piece: bytes) -> None:
        """Store the next bytes; raises TooLarge for more than the upload has, or StorageFull."""
        if self._received + self._written + len(piece) > self._upload.length:
            raise _too_long(self._upload)
        if self._writer is None:
            self._writer = self._open()
        self._writer.write(piece)
        self._written += len(piece)
        if self._checksum is not None:
            self._digest.update(piece)
        elif self._written >= PART_BYTES and not self._is_whole:
            self._keep(self._writer)

    def end(self) -> Arrived:
        """Let what arrived count, and make a file of an upload that is whole."""
        if self._checksum is not None and self._digest.digest() != self._checksum.digest:
            self.abort()
            raise ChecksumMismatch("The bytes do not match their checksum.", hint="Send them again.")
        if self._writer is None:
            with self._change.parts.database.write() as session:
                _record(session, self._change, EventType.UPLOAD_CONTINUED, self._upload.id)
            return Arrived(self._received)
        if self._is_whole:
            return self._finish(self._writer)
        self._keep(self._writer)
        return Arrived(self._received)

    def break_off(self) -> None:
        """Let what had arrived count, after the connection broke; the client asks where to go on."""
        if self._writer is None:
            return
        if self._checksum is not None or self._is_whole:
            self.abort()
        else:
            self._keep(self._writer)

    def abort(self) -> None:
        """Forget what does not count yet."""
        if self._writer is not None:
            self._writer.abort()
            self._change.parts.files.delete(uploads.part_id(self._upload.id, self._number))
            self._writer = None

    @property
    def _is_whole(self) -> bool:
        return self._received + self._written == self._upload.length

    def _open(self) -> FileWriter:
        parts = self._change.parts
        with parts.database.write() as session:
            self._number = uploads.number_part(session, self._upload.id)
        file_id = uploads.part_id(self._upload.id, self._number)
        return parts.files.open_writer(file_id, self._key, self._upload.length - self._received)

    def _keep(self, writer: FileWriter) -> None:
        try:
            writer.commit()
            with self._change.parts.database.write() as session:
                self._count(session)
                _record(session, self._change, EventType.UPLOAD_CONTINUED, self._upload.id)
        except BaseException:
            self.abort()
            raise
        self._received += self._written
        self._writer, self._written = None, 0

    def _count(self, session: Session) -> PartialUpload:
        return uploads.keep_part(
            session,
            self._change.parts.master_key,
            self._upload.id,
            number=self._number,
            offset=self._received,
            size=self._written,
        )

    def _finish(self, writer: FileWriter) -> Arrived:
        """Store the whole as a version's file, and register it together with its last part.

        Before that transaction the last part does not count, so that a crash leaves something to go on with.
        """
        try:
            writer.commit()
            with self._change.parts.database.read() as session:
                upload = uploads.get_own(session, self._upload.id, self._change.principal_id)
            contents = uploads.contents_of(self._change.parts.master_key, upload)
            received, stored = self._whole(contents.metadata, (*contents.parts, self._number))

            def settle(session: Session, document_id: str) -> None:
                self._count(session).document_id = document_id

            document_id, what = register_stored(self._change, received, stored, settle)
        except UnreadableFile:
            # Nothing that could still arrive would make it readable.
            drop(self._change, self._upload.id)
            raise
        except BaseException:
            self.abort()
            raise
        with self._change.parts.database.read() as session:
            uploads.remove_parts(self._change.parts.files, session.get_one(PartialUpload, self._upload.id))
        return Arrived(self._upload.length, document_id, what)

    def _whole(self, metadata: str, numbers: Sequence[int]) -> tuple[Upload, Stored]:
        """Encrypt the parts anew as one file under a version's own key; raises UnreadableFile."""
        parts, received = self._change.parts, described_by(metadata)
        version_id = new_id()
        key, wrapped = documents.new_version_key(parts.master_key, version_id)

        def pieces() -> Iterator[bytes]:
            for piece in uploads.read_parts(parts.files, self._upload.id, self._key, numbers):
                if len(received.head) < HEAD_BYTES:
                    received.head += piece[: HEAD_BYTES - len(received.head)]
                yield piece

        size, sha256 = parts.files.write(version_id, key, pieces(), self._upload.length)
        try:
            refuse_at_the_door(received)
        except UnreadableFile:
            parts.files.delete(version_id)
            raise
        return received, Stored(version_id, sha256, size, wrapped)


def _too_long(upload: PartialUpload) -> TooLarge:
    return TooLarge(f"This upload has {upload.length} bytes, and these go beyond.", param="Content-Length")


def _record(session: Session, change: Change, event: EventType, upload_id: str) -> None:
    change.record(session, event, Resource("upload", upload_id), epoch=0)
