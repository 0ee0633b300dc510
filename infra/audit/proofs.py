"""Proofs of the stored log: checkpoints, receipts with inclusion proofs, consistency."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from sqlalchemy import select

from infra.audit.checkpoint import read_checkpoint
from infra.audit.merkle import consistency_proof, inclusion_proof, leaf_hash
from infra.audit.reading import find
from infra.audit.stored_log import latest_note, stored_nodes
from infra.database import Database
from infra.database.tables import AuditCheckpoint
from infra.errors import InvalidInput


class LedgerProofs:
    """Proves what is in the log, and that it only ever grew."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def checkpoint(self) -> str | None:
        """Return the newest signed checkpoint, or None before the first."""
        with self._database.read() as session:
            return latest_note(session)

    def checkpoints(self, *, after_size: int = -1, limit: int = 100) -> list[str]:
        """Return signed checkpoints of more than `after_size` leaves, in ascending size."""
        later = select(AuditCheckpoint.note).where(AuditCheckpoint.size > after_size)
        with self._database.read() as session:
            return list(session.scalars(later.order_by(AuditCheckpoint.size).limit(limit)))

    def receipt(self, event_id: str) -> dict[str, Any]:
        """Return the proof that an event is on the record; raises NotFound.

        `id`, `leaf_hash` (hex) and `sealed` always; once it is sealed also `index`, `size`, `proof`
        (base64 hashes, leaf to root), `checkpoint`, and the same as one text, `tlog_proof`
        (https://c2sp.org/tlog-proof).
        """
        with self._database.read() as session:
            found = find(session, event_id)
            receipt = {"id": event_id, "leaf_hash": leaf_hash(found.raw).hex(), "sealed": False}
            note = latest_note(session)
            if found.index is None or note is None:
                return receipt
            size = read_checkpoint(note).size
            path = inclusion_proof(found.index, size, stored_nodes(session))
        proof = [b64encode(hashed).decode() for hashed in path]
        return receipt | {
            "sealed": True,
            "index": found.index,
            "size": size,
            "proof": proof,
            "checkpoint": note,
            "tlog_proof": _tlog_proof(found.index, proof, note),
        }

    def consistency(self, first: int, second: int | None = None) -> list[str]:
        """Return the proof (base64 hashes) that the log of `first` leaves begins that of `second`.

        `second` defaults to the newest checkpoint's size. Raises InvalidInput for sizes that never were.
        """
        with self._database.read() as session:
            note = latest_note(session)
            newest = read_checkpoint(note).size if note else 0
            last = newest if second is None else second
            if not 0 <= first <= last <= newest:
                raise InvalidInput("The log never had these sizes.", param="first")
            path = consistency_proof(first, last, stored_nodes(session))
        return [b64encode(hashed).decode() for hashed in path]


def _tlog_proof(index: int, proof: list[str], note: str) -> str:
    return "\n".join(["c2sp.org/tlog-proof@v1", f"index {index}", *proof, "", note])
