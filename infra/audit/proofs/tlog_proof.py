"""Proofs as text in public formats, written and checked without a database.

Inclusion is a C2SP tlog-proof (https://c2sp.org/tlog-proof). Consistency is what a witness is asked with
(https://c2sp.org/tlog-witness, add-checkpoint): the old size, the proof, the newer checkpoint.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    VerifierKey,
    verify_checkpoint,
)
from infra.audit.merkle import HASH_BYTES, leaf_hash, verify_consistency, verify_inclusion
from infra.errors import StrongroomError

HEADER: Final = "c2sp.org/tlog-proof@v1"
LONGEST_PATH: Final = 63
"""Hashes that no proof exceeds: tree sizes stay below 2**63."""
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class ProofWrong(StrongroomError):
    """A readable proof that does not prove what it is shown for."""

    code = "proof_wrong"


@dataclass(frozen=True)
class InclusionProof:
    """That the record at `index` is in the tree of a signed checkpoint."""

    index: int
    path: tuple[bytes, ...]
    """Hashes from the leaf's sibling up (RFC 6962 §2.1.1), 32 bytes each."""
    note: str
    """The checkpoint, with its signatures."""

    @property
    def text(self) -> str:
        """The tlog-proof."""
        return "\n".join([HEADER, f"index {self.index}", *map(_base64, self.path), "", self.note])

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        """Read a tlog-proof; raises NoteUnreadable. `extra` is skipped, since nothing vouches for it."""
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != HEADER:
            raise NoteUnreadable("This is not a tlog-proof.")
        if lines and lines[0].startswith("extra "):
            _from_base64(lines.pop(0).removeprefix("extra "))
        return cls(_number(lines, "index"), _path(lines), note)

    def verify(self, leaf: bytes, key: VerifierKey) -> Checkpoint:
        """Return the checkpoint that `key` signed and `leaf` is proved to be in.

        Raises ProofWrong, NoteUnreadable, NoteUntrusted or SignatureWrong.
        """
        checkpoint = verify_checkpoint(self.note, key)
        if not verify_inclusion(leaf_hash(leaf), self.index, checkpoint.size, self.path, checkpoint.root):
            raise ProofWrong(f"The proof does not lead from record {self.index} to the signed root.")
        return checkpoint


@dataclass(frozen=True)
class ConsistencyProof:
    """That the log of `first` records is the beginning of that of a signed checkpoint."""

    first: int
    path: tuple[bytes, ...]
    """Hashes in the order of RFC 6962 §2.1.2, 32 bytes each."""
    note: str
    """The newer checkpoint, with its signatures."""

    @property
    def text(self) -> str:
        """The request body of a tlog-witness."""
        return "\n".join([f"old {self.first}", *map(_base64, self.path), "", self.note])

    @classmethod
    def parse(cls, text: str) -> ConsistencyProof:
        """Read a consistency proof; raises NoteUnreadable."""
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank:
            raise NoteUnreadable("This is not a consistency proof.")
        return cls(_number(lines, "old"), _path(lines), note)

    def verify(self, older: Checkpoint, key: VerifierKey) -> Checkpoint:
        """Return the newer checkpoint, which `key` signed and whose log is proved to begin with `older`.

        Raises ProofWrong, NoteUnreadable, NoteUntrusted or SignatureWrong.
        """
        newer = verify_checkpoint(self.note, key)
        proved = verify_consistency(self.first, newer.size, self.path, older.root, newer.root)
        if older.size != self.first or not proved:
            raise ProofWrong(f"The log of {newer.size} records is not proved to begin with {older.size}.")
        return newer


def write_hashes(hashes: Iterable[bytes]) -> str:
    """Return hashes in base64, one a line."""
    return "".join(f"{_base64(hashed)}\n" for hashed in hashes)


def read_hashes(text: str) -> tuple[bytes, ...]:
    """Read hashes in base64, one a line; raises NoteUnreadable for anything else."""
    if not text.endswith("\n"):
        raise NoteUnreadable("The last hash has no end.")
    return _path(text[:-1].split("\n"))


def _number(lines: list[str], name: str) -> int:
    word, _, digits = (lines.pop(0) if lines else "").partition(" ")
    if word != name or not _NUMBER.fullmatch(digits):
        raise NoteUnreadable(f"The line `{name}` of a proof is missing or malformed.")
    return int(digits)


def _path(lines: list[str]) -> tuple[bytes, ...]:
    path = tuple(map(_from_base64, lines))
    if len(path) > LONGEST_PATH or any(len(hashed) != HASH_BYTES for hashed in path):
        raise NoteUnreadable("A line of a proof is not a SHA-256 hash.")
    return path


def _base64(hashed: bytes) -> str:
    return b64encode(hashed).decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteUnreadable("A line of a proof is not base64.") from error
    # One proof has one spelling, as with signatures.
    if _base64(data) != text:
        raise NoteUnreadable("A line of a proof is not in the one proper base64 spelling.")
    return data
