"""Records as they are written and as they are found again."""

from __future__ import annotations

from dataclasses import dataclass

from infra.audit.leaf import Leaf, LeafInvalid, LeafTooLarge, canonical, parse
from infra.audit.merkle import leaf_hash
from infra.clock import new_id, now_ms
from infra.errors import StrongroomError


class LedgerDamaged(StrongroomError):
    """The stored log contradicts its own last checkpoint; nothing more is signed on top of it."""

    code = "ledger_damaged"


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
