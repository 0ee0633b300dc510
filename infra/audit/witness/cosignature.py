"""What a witness says about a checkpoint: C2SP tlog-cosignature with Ed25519, `cosignature/v1`.

https://c2sp.org/tlog-cosignature. A cosignature states that at its time this was the largest tree of the log
that the witness had seen, and that it grew from what the witness had seen before. It is a signature line
of the checkpoint's note, under a key of its own kind, so neither can be passed off as the other.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.audit.checkpoint import (
    KEY_ID_BYTES,
    NoteUnreadable,
    NoteUntrusted,
    SignatureWrong,
    read_checkpoint,
)

COSIGNATURE: Final = b"\x04"
"""The signature type of timestamped Ed25519 cosignatures."""
PUBLIC_KEY_BYTES: Final = 32
TIME_BYTES: Final = 8
COSIGNATURE_BYTES: Final = TIME_BYTES + 64
LATEST_TIME: Final = 2**63 - 1
_NAME: Final = re.compile(r"[^\s+\ud800-\udfff]{1,255}")


@dataclass(frozen=True)
class WitnessKey:
    """A witness's name and public key, as an auditor keeps it."""

    name: str
    public_key: bytes
    """32 bytes (RFC 8032)."""

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x04 || public key)[:4]."""
        data = self.name.encode() + b"\n" + COSIGNATURE + self.public_key
        return hashlib.sha256(data).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the verifier key string, `name+key id+base64(0x04 || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(COSIGNATURE + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read a verifier key string; raises NoteUnreadable when it is none, or not a witness's."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        material = from_base64(encoded)
        is_witness = material[:1] == COSIGNATURE and len(material) == 1 + PUBLIC_KEY_BYTES
        if not _NAME.fullmatch(name) or not is_witness:
            raise NoteUnreadable("This is not a witness's key (name+id+base64, type 4).")
        key = cls(name, material[1:])
        if key.key_id.hex() != key_id:
            raise NoteUnreadable("The witness key's id does not belong to its name and key.")
        return key


class Cosigner:
    """A witness's name and private key."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take a key name without spaces or `+`, and the 32-byte seed of RFC 8032."""
        if not _NAME.fullmatch(name):
            raise NoteUnreadable("A witness's name is not empty and has neither spaces nor `+`.")
        self._private_key = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = WitnessKey(name, self._private_key.public_key().public_bytes_raw())

    def cosign(self, note: str, *, at_s: int) -> str:
        """Return the signature line, newline included, over the checkpoint in `note`, as of `at_s`.

        `at_s` is in seconds since 1970. The caller answers for never signing two histories. Raises
        NoteUnreadable for a note that is no checkpoint.
        """
        message = _message(read_checkpoint(note).text, at_s)
        signature = at_s.to_bytes(TIME_BYTES, "big") + self._private_key.sign(message)
        return f"— {self.key.name} {_base64(self.key.key_id + signature)}\n"


def verify_cosignature(note: str, witness_key: WitnessKey | str) -> int:
    """Return when `witness_key` cosigned the checkpoint in `note`, in seconds since 1970.

    `witness_key` is a key or its verifier key string. Of several cosignatures by it the latest counts;
    signatures by other keys are ignored. Raises NoteUnreadable for a note or a key in no known format,
    NoteUntrusted when this witness has not cosigned, and SignatureWrong when a line that claims to be its
    cosignature is not over this checkpoint.
    """
    key = WitnessKey.parse(witness_key) if isinstance(witness_key, str) else witness_key
    text = read_checkpoint(note).text
    times = [_verified_time(text, signature, key) for signature in _signatures(note, text, key)]
    if not times:
        raise NoteUntrusted(f"The checkpoint is not cosigned by the witness {key.name}.")
    return max(times)


def cosignature_lines(note: str, witness_key: WitnessKey) -> list[str]:
    """Return the lines of `note` under the name and key id of `witness_key`, unchecked, newlines included."""
    text = read_checkpoint(note).text
    return [line for line in _lines(note, text) if _is_by(line, witness_key)]


def _signatures(note: str, text: str, key: WitnessKey) -> list[bytes]:
    return [_signature_of(line)[KEY_ID_BYTES:] for line in _lines(note, text) if _is_by(line, key)]


def _lines(note: str, text: str) -> list[str]:
    # `read_checkpoint` has judged the form of the whole note: after its text comes a blank line, and then
    # nothing but signature lines of three words. A checkpoint has one spelling, so its length is known.
    return [f"{line}\n" for line in note[len(text) + 1 : -1].split("\n")]


def _is_by(line: str, key: WitnessKey) -> bool:
    _, name, _ = line.split(" ")
    return name == key.name and _signature_of(line)[:KEY_ID_BYTES] == key.key_id


def _signature_of(line: str) -> bytes:
    return from_base64(line.rstrip("\n").rpartition(" ")[2])


def _verified_time(text: str, signature: bytes, key: WitnessKey) -> int:
    if len(signature) != COSIGNATURE_BYTES:
        raise SignatureWrong("A cosignature has a wrong length.")
    at_s = int.from_bytes(signature[:TIME_BYTES], "big")
    if at_s > LATEST_TIME:
        raise SignatureWrong("A cosignature has an impossible time.")
    try:
        public_key = Ed25519PublicKey.from_public_bytes(key.public_key)
        public_key.verify(signature[TIME_BYTES:], _message(text, at_s))
    except (InvalidSignature, ValueError) as error:
        raise SignatureWrong("The cosignature does not belong to this checkpoint.") from error
    return at_s


def _message(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """Decode strict base64; raises NoteUnreadable for anything but its one proper spelling."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteUnreadable("A value is not base64.") from error
    # One key has one spelling, as with signatures.
    if _base64(data) != text:
        raise NoteUnreadable("A value is not in the one proper base64 spelling.")
    return data
