"""A witness: it remembers the last checkpoint of each log, and cosigns only what grew from that.

C2SP tlog-witness (https://c2sp.org/tlog-witness). It runs on another machine, under another user, and knows
nothing of the server's database or settings: a log that was rolled back or rewritten cannot show it a
consistency proof, and its refusal, together with the checkpoint it kept, is the evidence.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    VerifierKey,
    read_checkpoint,
    verify_checkpoint,
)
from infra.audit.merkle import EMPTY_ROOT, verify_consistency
from infra.audit.proofs.tlog_proof import ConsistencyProof
from infra.audit.witness.cosignature import COSIGNATURE, Cosigner, from_base64
from infra.errors import ConfigurationError, Conflict
from infra.logs import get_logger

LARGEST_REQUEST: Final = 96 * 1024
"""Bytes: 63 lines of a proof and the largest note fit."""
MOST_EVIDENCE: Final = 100
"""Refused histories that are kept; a log that goes on lying must not fill the disk."""
KEY_FILE: Final = "witness.key"
STATE_FILE: Final = "checkpoints.json"
LOCK_FILE: Final = "lock"
EVIDENCE_FOLDER: Final = "evidence"
SEED_BYTES: Final = 32


class Refusal(Exception):
    """A request that is not cosigned, and the answer that says why."""

    def __init__(self, status: HTTPStatus, text: str, *, media_type: str = "text/plain") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.media_type = media_type


class Witness:
    """Cosigns checkpoints of the logs it is told to watch; it never signs two histories of one log."""

    def __init__(
        self,
        folder: WitnessFolder,
        logs: Iterable[VerifierKey],
        *,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """Watch `logs` with what `folder` remembers.

        Several keys of one log may be given, e.g. an old and a new one. Raises ConfigurationError when the
        folder is not readable, or remembers a checkpoint that none of the log's keys signed.
        """
        self._folder = folder
        self._cosigner = folder.cosigner()
        self._now_s = now_s
        self._keys: dict[str, list[VerifierKey]] = {}
        for key in logs:
            self._keys.setdefault(key.name, []).append(key)
        # Compared, stored and signed in one piece: two requests at once could otherwise both be the next.
        self._deciding = threading.Lock()
        self._notes = folder.read_notes()
        for origin, note in self._notes.items():
            if origin in self._keys:
                self._check_remembered(origin, note)

    def add_checkpoint(self, body: bytes) -> str:
        """Return the cosignature line for a request `old size, proof, blank line, checkpoint`.

        What is cosigned was stored durably before. Raises Refusal with the status that the protocol asks
        for: 400 malformed, 403 not signed by the log, 404 another log, 409 another size than the last one
        seen, 422 not a continuation.
        """
        proof, checkpoint = self._read(body)
        with self._deciding:
            self._judge(proof, checkpoint, body)
            if proof.first != checkpoint.size or checkpoint.origin not in self._notes:
                self._remember(checkpoint.origin, proof.note)
            # Still in turn: a cosignature says that nothing larger was seen by its time.
            line = self._cosigner.cosign(proof.note, at_s=self._now_s())
        get_logger().info("witness.cosigned", log=checkpoint.origin, size=checkpoint.size)
        return line

    def _read(self, body: bytes) -> tuple[ConsistencyProof, Checkpoint]:
        """Return what was asked, from a log that is watched and signed by it."""
        try:
            proof = ConsistencyProof.parse(_decoded(body))
            checkpoint = read_checkpoint(proof.note)
        except NoteUnreadable as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, error.message) from error
        keys = self._keys.get(checkpoint.origin)
        if keys is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "This log is not watched here.")
        if not _is_signed(proof.note, keys):
            raise Refusal(HTTPStatus.FORBIDDEN, "The checkpoint is not signed by a key of its log.")
        if proof.first > checkpoint.size:
            raise Refusal(HTTPStatus.BAD_REQUEST, "The old size is larger than the checkpoint.")
        return proof, checkpoint

    def _judge(self, proof: ConsistencyProof, checkpoint: Checkpoint, body: bytes) -> None:
        last = self._last(checkpoint.origin)
        if proof.first != last.size:
            raise _other_size(last)
        if checkpoint.size == last.size and checkpoint.root != last.root:
            self._keep_evidence(checkpoint, body)
            raise _other_size(last)
        if proof.path and last.size in (0, checkpoint.size):
            # The proof of nothing new is empty. Anybody can add lines to it; the log has said nothing wrong.
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "The proof belongs to no such checkpoint.")
        if not verify_consistency(last.size, checkpoint.size, proof.path, last.root, checkpoint.root):
            self._keep_evidence(checkpoint, body)
            text = f"This is not a continuation of the log of {last.size} records that was seen before."
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, text)

    def _last(self, origin: str) -> Checkpoint:
        note = self._notes.get(origin)
        return read_checkpoint(note) if note else Checkpoint(origin, 0, EMPTY_ROOT)

    def _remember(self, origin: str, note: str) -> None:
        notes = self._notes | {origin: note}
        self._folder.write_notes(notes)
        # Only what is on the disk counts as seen.
        self._notes = notes

    def _keep_evidence(self, checkpoint: Checkpoint, body: bytes) -> None:
        """Keep a history that the log signed and that is not the one it showed before."""
        get_logger().error("witness.two_histories", log=checkpoint.origin, size=checkpoint.size)
        self._folder.keep_evidence(checkpoint, body)

    def _check_remembered(self, origin: str, note: str) -> None:
        if not _is_signed(note, self._keys[origin]):
            raise ConfigurationError(
                "The last checkpoint seen of a log is not signed by the keys that were given for it.",
                hint="Give the key that the log had then as well, with another --log.",
            )


def _decoded(body: bytes) -> str:
    if len(body) > LARGEST_REQUEST:
        raise NoteUnreadable("The request is too large.")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise NoteUnreadable("The request is not UTF-8.") from error


def _is_signed(note: str, keys: list[VerifierKey]) -> bool:
    for key in keys:
        with contextlib.suppress(NoteUntrusted, NoteUnreadable):
            verify_checkpoint(note, key)
            return True
    return False


def _other_size(last: Checkpoint) -> Refusal:
    return Refusal(HTTPStatus.CONFLICT, f"{last.size}\n", media_type="text/x.tlog.size")


# --- what it keeps --------------------------------------------------------------------------------


@dataclass(frozen=True)
class WitnessFolder:
    """A witness's private key, the last checkpoint of each log, and the histories it refused."""

    path: Path

    @classmethod
    def create(cls, path: Path, name: str) -> WitnessFolder:
        """Make a new witness called `name`; raises Conflict when there is one already.

        Raises NoteUnreadable for a name that a signature line cannot carry.
        """
        folder = cls(path)
        seed = os.urandom(SEED_BYTES)
        key = Cosigner(name, seed).key
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A key whose memory is lost must not go on signing, so both are made together, the memory first.
        folder._create(STATE_FILE, "{}\n")
        secret = b64encode(COSIGNATURE + seed).decode()
        folder._create(KEY_FILE, f"PRIVATE+KEY+{key.name}+{key.key_id.hex()}+{secret}\n")
        return folder

    def cosigner(self) -> Cosigner:
        """Return the witness's key; raises ConfigurationError."""
        try:
            text = (self.path / KEY_FILE).read_text().strip()
            name, key_id, secret = text.removeprefix("PRIVATE+KEY+").split("+", 2)
            material = from_base64(secret)
            cosigner = Cosigner(name, material[1:])
        except (OSError, ValueError, NoteUnreadable) as error:
            raise ConfigurationError(
                f"There is no witness in {self.path}.", hint="Make one with `strongroom witness init`."
            ) from error
        if material[:1] != COSIGNATURE or cosigner.key.key_id.hex() != key_id:
            raise ConfigurationError(f"The key in {self.path / KEY_FILE} is damaged.")
        return cosigner

    def read_notes(self) -> dict[str, str]:
        """Return the last checkpoint seen of each log, by origin; raises ConfigurationError."""
        try:
            return _notes((self.path / STATE_FILE).read_text())
        except (OSError, ValueError, NoteUnreadable) as error:
            raise ConfigurationError(
                f"{self.path / STATE_FILE} is missing or damaged: what this witness has seen is not known.",
                hint="Restore it. If it is lost, retire this witness and make a new one with another name: "
                "signing on without it could confirm a second history.",
            ) from error

    def write_notes(self, notes: dict[str, str]) -> None:
        """Replace what was seen, durably: it is on the disk, whole, when this returns."""
        self._replace(STATE_FILE, json.dumps(notes, ensure_ascii=False, indent=1) + "\n")

    def keep_evidence(self, checkpoint: Checkpoint, body: bytes) -> None:
        """Keep a refused request, one for each checkpoint and at most MOST_EVIDENCE of them.

        The file is named after the SHA-256 of the checkpoint's text. That is what the log signed; the rest of
        the request anybody can vary.
        """
        folder = self.path / EVIDENCE_FOLDER
        folder.mkdir(exist_ok=True, mode=0o700)
        file = folder / f"{hashlib.sha256(checkpoint.text.encode()).hexdigest()}.txt"
        if not file.exists() and len(list(folder.iterdir())) < MOST_EVIDENCE:
            file.write_bytes(body)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this process; raises Conflict while another one has it."""
        with (self.path / LOCK_FILE).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(f"Another witness is running on {self.path}.") from error
            yield

    def _create(self, name: str, text: str) -> None:
        try:
            descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise Conflict(f"There is a witness in {self.path} already.") from error
        _write_durably(descriptor, text)
        _sync_folder(self.path)

    def _replace(self, name: str, text: str) -> None:
        partial = self.path / f"{name}.new"
        _write_durably(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), text)
        partial.replace(self.path / name)
        _sync_folder(self.path)


def _notes(text: str) -> dict[str, str]:
    """Read a checkpoint for each log; raises ValueError or NoteUnreadable for anything else."""
    notes = json.loads(text)
    if not isinstance(notes, dict):
        raise ValueError("not an object")  # noqa: TRY004 - bad data in a file, not a mistake of ours
    for origin, note in notes.items():
        if not isinstance(note, str) or read_checkpoint(note).origin != origin:
            raise ValueError("not a checkpoint of its log")
    return notes


def _write_durably(descriptor: int, text: str) -> None:
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    # The new name is durable only when its folder is (fsync(2)).
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
