"""The time and the ids that carry it."""

from __future__ import annotations

import time

import uuid_utils


def now_ms() -> int:
    """Return UTC milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): unique, and ordered by the time it was made."""
    return str(uuid_utils.uuid7())
