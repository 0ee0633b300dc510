"""Encrypted originals: whole or absent, private, and never opened when changed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from infra.errors import InvalidInput, NotFound, TooLarge
from infra.files import HEADER_BYTES, PIECE_BYTES, SEALED_PIECE_BYTES, FileStore, StoredFile
from infra.keys import SealBroken, new_key

ROOT = Path(__file__).parents[3]
LIMIT = 16 * PIECE_BYTES
SIZES = (0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Open an empty store."""
    return FileStore(tmp_path / "files")


def new_id() -> str:
    return str(uuid.uuid4())


def stored(tmp_path: Path) -> list[Path]:
    """List every file below the store's folder, partial ones included."""
    return [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


def damaged_reading(store: FileStore, tmp_path: Path, damage: slice, replacement: bytes) -> None:
    """Store two pieces, change the sealed bytes, and read them all."""
    key, file_id = new_key(), new_id()
    store.write(file_id, key, [os.urandom(PIECE_BYTES + 100)], LIMIT)
    (path,) = stored(tmp_path)
    sealed = bytearray(path.read_bytes())
    sealed[damage] = replacement
    path.write_bytes(sealed)
    list(store.read(file_id, key))


# --- writing and reading --------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(store: FileStore, size: int) -> None:
    """The plaintext comes back byte for byte around every piece boundary, with its size and digest."""
    content, key, file_id = os.urandom(size), new_key(), new_id()
    written = store.write(file_id, key, [content], LIMIT)
    assert b"".join(store.read(file_id, key)) == content
    assert written == StoredFile(size, hashlib.sha256(content).hexdigest())


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(chunks=st.lists(st.binary(max_size=70), max_size=12))
def test_chunking_does_not_matter(store: FileStore, chunks: list[bytes]) -> None:
    """However the bytes arrive, empty chunks included, the file is their concatenation."""
    key, file_id = new_key(), new_id()
    store.write(file_id, key, chunks, LIMIT)
    assert b"".join(store.read(file_id, key)) == b"".join(chunks)


def test_reading_streams(store: FileStore) -> None:
    """No piece exceeds 1 MiB, whatever the size of the chunks written."""
    key, file_id = new_key(), new_id()
    store.write(file_id, key, [bytes(3 * PIECE_BYTES)], LIMIT)
    assert [len(piece) for piece in store.read(file_id, key)] == [PIECE_BYTES] * 3


def test_the_file_is_a_plain_secretstream(store: FileStore, tmp_path: Path) -> None:
    """libsodium alone opens the file, with the documented header, pieces, tags and authenticated id."""
    content, key, file_id = os.urandom(PIECE_BYTES + 9), new_key(), new_id()
    store.write(file_id, key, [content], LIMIT)
    (path,) = stored(tmp_path)
    sealed = path.read_bytes()
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, sealed[:24], key)
    split = 24 + 1024 * 1024 + 17
    opened = [
        sodium.crypto_secretstream_xchacha20poly1305_pull(state, piece, ad=file_id.encode())
        for piece in (sealed[24:split], sealed[split:])
    ]
    assert b"".join(piece for piece, _ in opened) == content
    assert [tag for _, tag in opened] == [0, 3]


def test_nothing_readable_is_on_the_disk(store: FileStore, tmp_path: Path) -> None:
    """Neither the content nor a folder that others may enter is left on the disk."""
    store.write(new_id(), new_key(), [b"zanzibar" * 100], LIMIT)
    (path,) = stored(tmp_path)
    assert b"zanzibar" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    for folder in (path.parent, tmp_path / "files", tmp_path / "files" / "partial"):
        assert folder.stat().st_mode & 0o077 == 0


def test_writing_again_replaces(store: FileStore) -> None:
    """A retried upload under the same id leaves one file, the new one."""
    key, file_id = new_key(), new_id()
    store.write(file_id, key, [b"old"], LIMIT)
    store.write(file_id, key, [b"new"], LIMIT)
    assert b"".join(store.read(file_id, key)) == b"new"


def test_a_writer_is_fed_by_hand(store: FileStore) -> None:
    """Bytes written one call at a time are stored by the commit, and not before it."""
    key, file_id = new_key(), new_id()
    with store.open_writer(file_id, key, LIMIT) as writer:
        writer.write(b"one ")
        writer.write(b"two")
        assert not store.exists(file_id)
        assert writer.commit() == StoredFile(7, hashlib.sha256(b"one two").hexdigest())
    assert b"".join(store.read(file_id, key)) == b"one two"


def test_a_finished_writer_takes_no_more(store: FileStore) -> None:
    """Writing or committing after a commit is a mistake and says so."""
    writer = store.open_writer(new_id(), new_key(), LIMIT)
    writer.commit()
    with pytest.raises(ValueError, match="committed or aborted"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="committed or aborted"):
        writer.commit()


# --- what is refused ------------------------------------------------------------------------------


def test_too_large_stops_at_once(store: FileStore, tmp_path: Path) -> None:
    """The chunk that passes the limit is the last one taken, and nothing remains."""
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield bytes(PIECE_BYTES)

    with pytest.raises(TooLarge):
        store.write(new_id(), new_key(), endless(), 4 * PIECE_BYTES)
    assert len(taken) == 5
    assert stored(tmp_path) == []


def test_exactly_the_limit_is_allowed(store: FileStore) -> None:
    """The limit itself is not too large; one byte more is."""
    assert store.write(new_id(), new_key(), [bytes(10)], 10).size == 10
    with pytest.raises(TooLarge):
        store.write(new_id(), new_key(), [bytes(11)], 10)


def test_an_upload_that_breaks_off_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    """When the source fails half-way its error passes through and the partial file is gone."""

    def broken() -> Iterator[bytes]:
        yield bytes(2 * PIECE_BYTES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.write(new_id(), new_key(), broken(), LIMIT)
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    "file_id",
    ["", "..", "../../etc/passwd", "a" * 36, "{%s}", "urn:uuid:%s", " %s", "%s\n", "UPPER"],
)
def test_an_id_that_is_no_plain_uuid_is_refused(store: FileStore, file_id: str) -> None:
    """Only the canonical spelling of a UUID names a file, for every operation."""
    plain = "abcdef00-0000-4000-8000-000000000000"
    tried = plain.upper() if file_id == "UPPER" else file_id.replace("%s", plain)
    for operation in (store.exists, store.delete, store.size_on_disk):
        with pytest.raises(InvalidInput):
            operation(tried)
    with pytest.raises(InvalidInput):
        store.read(tried, new_key())
    with pytest.raises(InvalidInput):
        store.write(tried, new_key(), [b""], LIMIT)


FILL = """
import resource, sys
from pathlib import Path
from infra.files import FileStore, StorageFull

resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
store = FileStore(Path(sys.argv[1]))
try:
    store.write("abcdef00-0000-4000-8000-000000000000", bytes(32), [bytes(1 << 20)] * 8, 1 << 30)
except StorageFull as error:
    print(error.code)
"""


def test_a_disk_that_takes_no_more_is_a_typed_error(tmp_path: Path) -> None:
    """At the operating system's limit (EFBIG here) the error is StorageFull and nothing remains."""
    result = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "files")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "storage_full"
    assert stored(tmp_path) == []


# --- what was changed does not open ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "replacement"),
    [
        pytest.param(slice(0, 1), b"\x00\x00", id="longer header"),
        pytest.param(slice(30, 40), b"0123456789", id="first piece"),
        pytest.param(slice(-1, None), b"", id="last byte missing"),
        pytest.param(slice(HEADER_BYTES + SEALED_PIECE_BYTES, None), b"", id="last piece missing"),
        pytest.param(slice(HEADER_BYTES, HEADER_BYTES + SEALED_PIECE_BYTES), b"", id="first piece missing"),
        pytest.param(slice(HEADER_BYTES, None), b"", id="only the header"),
        pytest.param(slice(3, None), b"", id="half a header"),
        pytest.param(slice(0, None), b"", id="empty"),
    ],
)
def test_a_changed_file_does_not_open(
    store: FileStore, tmp_path: Path, damage: slice, replacement: bytes
) -> None:
    """Any change, and any missing part, is found."""
    with pytest.raises(SealBroken):
        damaged_reading(store, tmp_path, damage, replacement)


def test_an_unchanged_file_opens(store: FileStore, tmp_path: Path) -> None:
    """The damage above is what makes the reading fail: without it, the same steps succeed."""
    damaged_reading(store, tmp_path, slice(0, 0), b"")


def test_bytes_after_the_end_do_not_pass(store: FileStore, tmp_path: Path) -> None:
    """A full last piece with something appended is found, too."""
    key, file_id = new_key(), new_id()
    store.write(file_id, key, [bytes(PIECE_BYTES)], LIMIT)
    (path,) = stored(tmp_path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SealBroken):
        list(store.read(file_id, key))


def test_another_key_does_not_open(store: FileStore) -> None:
    """A file opens with its own key only."""
    file_id = new_id()
    store.write(file_id, new_key(), [b"secret"], LIMIT)
    with pytest.raises(SealBroken):
        list(store.read(file_id, new_key()))


def test_a_file_in_another_place_does_not_open(store: FileStore, tmp_path: Path) -> None:
    """The id is authenticated: a file put under another id of the same key fails."""
    key, first, second = new_key(), new_id(), new_id()
    store.write(first, key, [b"first"], LIMIT)
    (source,) = stored(tmp_path)
    store.write(second, key, [b"second"], LIMIT)
    (target,) = [path for path in stored(tmp_path) if path != source]
    target.write_bytes(source.read_bytes())
    with pytest.raises(SealBroken):
        list(store.read(second, key))
    assert b"".join(store.read(first, key)) == b"first"


# --- absence and removal --------------------------------------------------------------------------


def test_an_absent_file_is_not_found(store: FileStore) -> None:
    """Reading and sizing an unknown id raise NotFound at the call, before any iteration."""
    assert not store.exists(new_id())
    with pytest.raises(NotFound):
        store.read(new_id(), new_key())
    with pytest.raises(NotFound):
        store.size_on_disk(new_id())


def test_deletion_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    """A deleted file is gone from the disk; deleting again says there was none."""
    kept, gone, key = new_id(), new_id(), new_key()
    store.write(kept, key, [b"kept"], LIMIT)
    store.write(gone, key, [b"gone"], LIMIT)
    assert store.delete(gone) is True
    assert store.delete(gone) is False
    assert not store.exists(gone)
    assert [path.name for path in stored(tmp_path)] == [kept]


def test_size_on_disk_counts_the_sealing(store: FileStore) -> None:
    """The stored size is header and 17 bytes a piece more than the plaintext."""
    file_id = new_id()
    store.write(file_id, new_key(), [bytes(PIECE_BYTES + 1)], LIMIT)
    assert store.size_on_disk(file_id) == 24 + (PIECE_BYTES + 17) + (1 + 17)


WRITE_FOREVER = """
import sys
from pathlib import Path
from infra.files import FileStore

writer = FileStore(Path(sys.argv[1])).open_writer("abcdef00-0000-4000-8000-000000000000", bytes(32), 1 << 40)
writer.write(bytes(3 << 20))
print("writing", flush=True)
while True:
    writer.write(b"x")
"""


def test_a_killed_upload_leaves_no_file_and_is_swept(tmp_path: Path) -> None:
    """After `kill -9` the id does not exist, the leftover does, and the sweep removes it alone."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(tmp_path / "files")], cwd=ROOT, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    store, kept = FileStore(tmp_path / "files"), new_id()
    store.write(kept, new_key(), [b"kept"], LIMIT)
    assert not store.exists("abcdef00-0000-4000-8000-000000000000")
    assert len(stored(tmp_path)) == 2
    assert store.sweep_partial() == 1
    assert [path.name for path in stored(tmp_path)] == [kept]


def test_the_sweep_spares_recent_writes_when_asked(store: FileStore, tmp_path: Path) -> None:
    """On a shared folder another server's running upload is left alone, an old leftover is not."""
    running = store.open_writer(new_id(), new_key(), LIMIT)
    (partial,) = stored(tmp_path)
    old = partial.with_name("left-by-a-crash")
    old.write_bytes(b"sealed")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert store.sweep_partial(older_than_s=3600) == 1
    assert stored(tmp_path) == [partial]
    assert running.commit().size == 0
