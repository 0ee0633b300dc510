"""Random tokens that stand for somebody: only their hashes are stored."""

from __future__ import annotations

import hashlib


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a 256-bit random token; enough, because such a token cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()
