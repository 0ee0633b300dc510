"""Records as they are written and as they are found again."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from infra.audit.leaf import Leaf, LeafInvalid, LeafTooLarge, canonical, parse
from infra.audit.merkle import leaf_hash
from infra.clock import new_id, now_ms
from infra.errors import StrongroomError
from infra.keys import MasterKey


class LedgerDamaged(StrongroomError):
    """The stored log contradicts its own last checkpoint; nothing more is signed on top of it."""

    code = "ledger_damaged"


class InboxSeal:
    """Tells what servers of this log put into the inbox from what others wrote into its table.

    Nothing signs a record before it has its place. Without this, whoever can write to the database could have
    records of their own signed.
    """

    def __init__(self, master_key: MasterKey) -> None:
        self._key = master_key.derive("audit inbox key")

    def mac(self, event_id: str, leaf: bytes) -> bytes:
        """Return what is stored beside a waiting record: HMAC-SHA-256 over its id and bytes, 32 bytes."""
        # No id holds a zero byte, and a leaf begins with a brace: no other pair gives the same message.
        return hmac.digest(self._key, event_id.encode() + b"\0" + leaf, "sha256")

    def is_authentic(self, event_id: str, leaf: object, mac: object) -> bool:
        """Tell whether a row of the inbox is as a server wrote it."""
        # SQLite lets anybody store text where bytes belong.
        if not isinstance(leaf, bytes) or not isinstance(mac, bytes):
            return False
        return hmac.compare_digest(self.mac(event_id, leaf), mac)


@dataclass(frozen=True)
class RecordedEvent:
    """A record that was written: its id, its bytes, and their leaf hash (32 bytes)."""

    id: str
    time: int
    leaf: bytes
    leaf_hash: bytes


@dataclass(frozen=True)
class LoggedEvent:
    """A record as it is stored. `index` is None while it waits for its place; `leaf`, if unreadable."""

    id: str
    index: int | None
    leaf: Leaf | None
    raw: bytes


@dataclass(frozen=True)
class Stamp:
    """When the caller spoke, and the id made at that moment."""

    id: str
    time: int

    @classmethod
    def now(cls) -> Stamp:
        """Return this moment."""
        return cls(new_id(), now_ms())


def recorded(leaf: Leaf) -> RecordedEvent:
    """Return a leaf as it is written. Raises LeafInvalid or LeafTooLarge."""
    data = canonical(leaf)
    return RecordedEvent(leaf.id, leaf.time, data, leaf_hash(data))


def readable(raw: bytes) -> Leaf | None:
    """Return the leaf that bytes spell, or None for bytes in no format known here."""
    try:
        return parse(raw)
    except (LeafInvalid, LeafTooLarge):
        return None
