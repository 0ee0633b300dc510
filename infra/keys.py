"""The master key, the data keys it wraps, and the one way small contents are sealed.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce in front of the ciphertext. `context` is
authenticated with the content, so a sealed value moved to another row does not open.
"""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.errors import ConfigurationError

KEY_BYTES = 32
NONCE_BYTES = 12


class SealBroken(Exception):
    """A sealed value was changed, moved, or belongs to another key."""


def new_key() -> bytes:
    """Return 256 random bits."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, plaintext: bytes, *, context: str) -> bytes:
    """Encrypt `plaintext`; returns nonce (12 bytes) + ciphertext + tag (16 bytes)."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context.encode())


def unseal(key: bytes, sealed: bytes, *, context: str) -> bytes:
    """Decrypt what `seal` returned for the same key and context; raises SealBroken otherwise."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken("a sealed value does not open") from error


class MasterKey:
    """Wraps data keys. Losing its file loses every document and every recorded content."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ConfigurationError("The master key must be 32 bytes in base64.")
        self._secret = secret

    def wrap(self, data_key: bytes, *, context: str) -> bytes:
        """Encrypt a data key for storage beside what it protects."""
        return seal(self._secret, data_key, context=context)

    def unwrap(self, wrapped: bytes, *, context: str) -> bytes:
        """Recover a data key; raises SealBroken when the master key is another one."""
        return unseal(self._secret, wrapped, context=context)

    def derive(self, purpose: str) -> bytes:
        """Derive a 32-byte key for one purpose (HKDF-SHA256, RFC 5869)."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(self._secret)


def load_or_create_master_key(path: Path, *, create: bool) -> MasterKey:
    """Read the master key, or write a new one (mode 0600) when `create` and there is none.

    Raises ConfigurationError when it is missing and may not be created, or is no 32-byte key.
    """
    if not path.exists():
        if not create:
            raise ConfigurationError(
                f"The master key {path} is missing, but the data folder already holds data sealed with it.",
                hint="Restore the key file from its backup; without it nothing can be opened.",
            )
        _create_key_file(path)
    try:
        return MasterKey(base64.b64decode(path.read_bytes().strip(), validate=True))
    except ValueError as error:
        raise ConfigurationError(f"The master key {path} is not 32 bytes in base64.") from error


def _create_key_file(path: Path) -> None:
    write_once(path, base64.b64encode(new_key()) + b"\n")


def write_once(path: Path, content: bytes) -> None:
    """Write a key so that it is there whole or not at all (mode 0600); another process's key is kept."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()
