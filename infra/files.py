"""Originals at rest: one encrypted file each, written in a stream and never half.

The format is libsodium's secretstream over XChaCha20-Poly1305
(https://doc.libsodium.org/secret-key_cryptography/secretstream): the 24-byte header, then pieces of
1 MiB plaintext, each 17 bytes longer when sealed. The last piece carries the final tag, so a truncated
file is found, and the file's id is authenticated with every piece, so a file put in another's place
does not open.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from infra.errors import InvalidInput, NotFound, StrongroomError, TooLarge
from infra.keys import SealBroken

PIECE_BYTES: Final = 1024 * 1024
SEALED_PIECE_BYTES: Final = PIECE_BYTES + sodium.crypto_secretstream_xchacha20poly1305_ABYTES
HEADER_BYTES: Final = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES
MORE: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
FINAL: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL

# No space, over the quota, over the file size limit: the disk takes no more, whoever decided it.
FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StorageFull(StrongroomError):
    """The disk takes no more bytes; nothing of the file was kept."""

    code = "storage_full"


class StoredFile(NamedTuple):
    """What was stored: plaintext size in bytes and its SHA-256 as 64 hex digits."""

    size: int
    sha256: str


class FileStore:
    """A folder of encrypted files, each named by a UUID and opened by a 32-byte key of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._partial = root / "partial"
        # In two steps, because a mode is not given to the parents that `mkdir` makes on the way.
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._partial.mkdir(exist_ok=True, mode=0o700)

    def write(self, file_id: str, key: bytes, chunks: Iterable[bytes], max_bytes: int) -> StoredFile:
        """Encrypt `chunks` into a new file and return its plaintext size and digest.

        The file appears under its id whole and durable, or not at all; one that was there is replaced.
        Raises TooLarge as soon as more than `max_bytes` arrived, StorageFull when the disk is, and
        InvalidInput for an id that is no UUID.
        """
        with self.open_writer(file_id, key, max_bytes) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit()

    def open_writer(self, file_id: str, key: bytes, max_bytes: int) -> FileWriter:
        """Return a writer to feed by hand, e.g. from an asynchronous upload through worker threads."""
        final = self._path(file_id)
        partial = self._partial / f"{final.name}.{secrets.token_hex(8)}"
        return FileWriter(partial, final, key, max_bytes)

    def read(self, file_id: str, key: bytes) -> Iterator[bytes]:
        """Yield the plaintext in pieces of at most 1 MiB.

        Every piece is authentic when it is yielded; that none is missing is known only at the end.
        Raises NotFound at once, and SealBroken where a piece was changed, is missing or has another key.
        """
        path = self._path(file_id)
        if not path.is_file():
            raise NotFound("There is no such file.")
        return _opened_pieces(path, key)

    def delete(self, file_id: str) -> bool:
        """Remove a file durably; returns whether there was one."""
        path = self._path(file_id)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        _sync_folder(path.parent)
        return True

    def exists(self, file_id: str) -> bool:
        """Tell whether a complete file is stored under this id."""
        return self._path(file_id).is_file()

    def size_on_disk(self, file_id: str) -> int:
        """Return the encrypted size in bytes; raises NotFound."""
        try:
            return self._path(file_id).stat().st_size
        except FileNotFoundError as error:
            raise NotFound("There is no such file.") from error

    def sweep_partial(self, *, older_than_s: float = 0.0) -> int:
        """Remove what interrupted writes left behind; returns how many.

        Call it at start. Where several servers share the folder, `older_than_s` seconds without a write
        keep it from taking away what another one is still writing.
        """
        latest = time.time() - older_than_s
        leftovers = [path for path in self._partial.iterdir() if path.stat().st_mtime <= latest]
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def _path(self, file_id: str) -> Path:
        name = _checked_id(file_id)
        # The end of a UUID is random in every version, its start is a clock in version 7.
        return self._root / name[-2:] / name


class FileWriter:
    """Encrypts one file as its bytes arrive. Use it in a `with` block: leaving without a commit aborts.

    Its methods block on the disk, and one writer serves one thread at a time.
    """

    def __init__(self, partial: Path, final: Path, key: bytes, max_bytes: int) -> None:
        self._partial = partial
        self._final = final
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._size = 0
        self._buffer = bytearray()
        self._context = final.name.encode()
        self._state = sodium.crypto_secretstream_xchacha20poly1305_state()
        header = sodium.crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        # A bare descriptor: a buffered file would try to write its rest once more when it is given up.
        self._descriptor: int | None = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._put(header)

    def write(self, data: bytes) -> None:
        """Take the next bytes; raises TooLarge or StorageFull after removing what was written."""
        self._open_descriptor()
        self._size += len(data)
        if self._size > self._max_bytes:
            self.abort()
            raise TooLarge(f"The file is larger than {self._max_bytes} bytes.")
        self._digest.update(data)
        self._buffer += data
        # The last piece stays here until the commit, because it alone carries the final tag.
        while len(self._buffer) > PIECE_BYTES:
            self._seal(bytes(self._buffer[:PIECE_BYTES]), MORE)
            del self._buffer[:PIECE_BYTES]

    def commit(self) -> StoredFile:
        """Make the file durable under its id and return its plaintext size and digest."""
        descriptor = self._open_descriptor()
        self._seal(bytes(self._buffer), FINAL)
        with self._aborted_on_failure():
            os.fsync(descriptor)
            _make_folder(self._final.parent)
            self._partial.replace(self._final)
            _sync_folder(self._final.parent)
        self._close()
        return StoredFile(self._size, self._digest.hexdigest())

    def abort(self) -> None:
        """Remove what was written; nothing happens after a commit or a second time."""
        if self._descriptor is not None:
            self._close()
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort unless committed."""
        self.abort()

    def _seal(self, piece: bytes, tag: int) -> None:
        self._put(
            sodium.crypto_secretstream_xchacha20poly1305_push(self._state, piece, ad=self._context, tag=tag)
        )

    def _put(self, sealed: bytes) -> None:
        descriptor = self._open_descriptor()
        rest = memoryview(sealed)
        with self._aborted_on_failure():
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    @contextmanager
    def _aborted_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            if error.errno in FULL_DISK:
                raise StorageFull("There is no room left to store the file.") from error
            raise

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("this file was committed or aborted")
        return self._descriptor

    def _close(self) -> None:
        os.close(self._open_descriptor())
        self._descriptor = None


def _opened_pieces(path: Path, key: bytes) -> Iterator[bytes]:
    context = path.name.encode()
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    with path.open("rb") as file:
        try:
            sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, file.read(HEADER_BYTES), key)
            tag = MORE
            while tag != FINAL:
                piece, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(
                    state, file.read(SEALED_PIECE_BYTES), ad=context
                )
                yield piece
        except CryptoError as error:
            raise SealBroken("a stored file does not open") from error
        if file.read(1):
            raise SealBroken("a stored file goes on after its end")


def _checked_id(file_id: str) -> str:
    """Return the id in its one spelling; anything but a UUID could name another path."""
    try:
        name = str(uuid.UUID(file_id))
    except ValueError as error:
        raise InvalidInput("A file id is a UUID.") from error
    if name != file_id:
        raise InvalidInput("A file id is a UUID in lower case with hyphens.")
    return name


def _make_folder(folder: Path) -> None:
    """Make a folder of the store, durably."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True, mode=0o700)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the latest changes of names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
