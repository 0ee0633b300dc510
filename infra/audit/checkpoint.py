"""Signed tree heads in public formats: C2SP signed-note with Ed25519, and C2SP tlog-checkpoint.

https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint. Tools of the transparency-log world
read both, so nobody needs this program to check what it signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.audit.merkle import HASH_BYTES
from infra.errors import StrongroomError

ED25519: Final = b"\x01"
KEY_ID_BYTES: Final = 4
LARGEST_NOTE: Final = 64 * 1024
"""Bytes of a note that is looked at; sixteen cosignatures fit many times over."""


class NoteUnreadable(StrongroomError):
    """Text that is no signed note, no checkpoint, or no verifier key."""

    code = "note_unreadable"


class NoteUntrusted(StrongroomError):
    """A readable note without a signature by the expected key."""

    code = "note_untrusted"


class SignatureWrong(NoteUntrusted):
    """A signature that claims to be by the expected key, and is not over this text."""

    code = "signature_wrong"


@dataclass(frozen=True)
class VerifierKey:
    """A name and a public key: what an auditor keeps to check notes with."""

    name: str
    public_key: bytes
    """32 bytes (RFC 8032)."""

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x01 || public key)[:4]."""
        data = self.name.encode() + b"\n" + ED25519 + self.public_key
        return hashlib.sha256(data).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the verifier key string, `name+key id+base64(0x01 || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a verifier key string; raises NoteUnreadable when it is none, or no Ed25519 key."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        material = _from_base64(encoded)
        if not _is_key_name(name) or material[:1] != ED25519 or len(material) != 1 + HASH_BYTES:
            raise NoteUnreadable("This is not an Ed25519 verifier key (name+id+base64).")
        key = cls(name, material[1:])
        if key.key_id.hex() != key_id:
            raise NoteUnreadable("The verifier key's id does not belong to its name and key.")
        return key


class Signer:
    """A name and a private key that signs notes."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take a key name without spaces or `+`, and the 32-byte seed of RFC 8032."""
        if not _is_key_name(name):
            raise NoteUnreadable("A key name is not empty and has neither spaces nor `+`.")
        self._private_key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier_key = VerifierKey(name, self._private_key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """Return the signed note over `text`, which ends in a newline."""
        if not text.endswith("\n") or _CONTROL.search(text):
            raise NoteUnreadable("A note's text ends in a newline and has no other control character.")
        key = self.verifier_key
        signature = _base64(key.key_id + self._private_key.sign(text.encode()))
        return f"{text}\n— {key.name} {signature}\n"


def open_note(note: str, key: VerifierKey) -> str:
    """Return the text of a note that `key` signed.

    Signatures by other keys are ignored, as the format asks. Raises NoteUnreadable, NoteUntrusted, or
    SignatureWrong when one that claims to be by `key` does not verify.
    """
    text, signatures = _split_note(note)
    trusted = False
    for name, key_id, signature in signatures:
        if (name, key_id) != (key.name, key.key_id):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, text.encode())
        except (InvalidSignature, ValueError) as error:
            raise SignatureWrong("The signature does not belong to this text.") from error
        trusted = True
    if not trusted:
        raise NoteUntrusted(f"The note is not signed by the key of {key.name}.")
    return text


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: which log, how many leaves, and their root."""

    origin: str
    size: int
    root: bytes
    """32 bytes."""
    extensions: tuple[str, ...] = ()
    """Further lines that other logs may add; this one adds none."""

    @property
    def text(self) -> str:
        """The note text of C2SP tlog-checkpoint."""
        return "\n".join([self.origin, str(self.size), _base64(self.root), *self.extensions, ""])


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Return the checkpoint as a signed note. The caller answers for never signing two histories."""
    return signer.sign(checkpoint.text)


def read_checkpoint(note: str) -> Checkpoint:
    """Read a checkpoint WITHOUT checking who signed it; raises NoteUnreadable."""
    text, _ = _split_note(note)
    return _parse_checkpoint(text)


def verify_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint that `key` signed for the log of its own name.

    Raises NoteUnreadable, NoteUntrusted or SignatureWrong.
    """
    checkpoint = _parse_checkpoint(open_note(note, key))
    if checkpoint.origin != key.name:
        raise NoteUntrusted("The checkpoint is for another log than the key.")
    return checkpoint


# --- reading --------------------------------------------------------------------------------------

_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def _split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    if len(note) > LARGEST_NOTE or _CONTROL.search(note) or not note.endswith("\n") or not is_text(note):
        raise NoteUnreadable("This is not a signed note.")
    text, blank, block = note.rpartition("\n\n")
    if not blank or not text or not block:
        raise NoteUnreadable("The note has no text, or no signature.")
    # The text keeps its final newline; the second newline is the separating blank line.
    return text + "\n", [_signature(line) for line in block[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    material = _from_base64(encoded)
    if dash != "—" or not _is_key_name(name) or len(material) <= KEY_ID_BYTES:
        raise NoteUnreadable("A signature line is malformed.")
    return name, material[:KEY_ID_BYTES], material[KEY_ID_BYTES:]


def _parse_checkpoint(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
        raise NoteUnreadable("The note is not a checkpoint: origin, size and root are missing.")
    root = _from_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise NoteUnreadable("The checkpoint's root is not a SHA-256 hash.")
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:]))


def is_text(text: str) -> bool:
    """Tell whether `text` can be written as UTF-8: JSON and the command line can bring what cannot."""
    return not _SURROGATE.search(text)


def _is_key_name(name: str) -> bool:
    is_word = "+" not in name and not any(character.isspace() for character in name)
    return bool(name) and is_word and is_text(name)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteUnreadable("A value is not base64.") from error
    # Trailing bits that mean nothing would let one signature have several spellings.
    if _base64(data) != text:
        raise NoteUnreadable("A value is not in the one proper base64 spelling.")
    return data
