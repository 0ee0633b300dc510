"""Proofs of the stored log: checkpoints, inclusion, consistency."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.checkpoint import read_checkpoint
from infra.audit.merkle import consistency_proof, inclusion_proof, leaf_hash
from infra.audit.proofs.tlog_proof import ConsistencyProof, InclusionProof
from infra.audit.reading.reader import find
from infra.audit.stored_log import latest_note, stored_nodes
from infra.audit.witness.cosigned import cosigned
from infra.database import Database
from infra.database.tables import AuditCheckpoint
from infra.errors import InvalidInput


class LedgerProofs:
    """Proves what is in the log, and that it only ever grew."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def checkpoint(self) -> str | None:
        """Return the newest signed checkpoint with its cosignatures, or None before the first."""
        with self._database.read() as session:
            note = latest_note(session)
            return cosigned(session, note) if note else None

    def checkpoints(self, *, after_size: int = -1, limit: int = 100) -> list[str]:
        """Return cosigned checkpoints of more than `after_size` leaves, in ascending size."""
        later = select(AuditCheckpoint.note).where(AuditCheckpoint.size > after_size)
        with self._database.read() as session:
            notes = session.scalars(later.order_by(AuditCheckpoint.size).limit(limit)).all()
            return [cosigned(session, note) for note in notes]

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
            proof = prove_inclusion(session, found.index, cosigned(session, note))
        return receipt | {
            "sealed": True,
            "index": proof.index,
            "size": read_checkpoint(note).size,
            "proof": [b64encode(hashed).decode() for hashed in proof.path],
            "checkpoint": proof.note,
            "tlog_proof": proof.text,
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

    def between(self, first: int, second: int | None = None) -> tuple[str, ConsistencyProof]:
        """Return the checkpoint of `first` leaves, and the proof that it begins that of `second`.

        `second` defaults to the newest checkpoint. Raises InvalidInput for sizes that were never signed, and
        RecordsPruned when what the proof needs was pruned.
        """
        with self._database.read() as session:
            older = _signed_at(session, first, "first")
            newest = latest_note(session) or older
            newer = newest if second is None else _signed_at(session, second, "second")
            size = read_checkpoint(newer).size
            if size < first:
                raise InvalidInput("The log never shrank: the first size is the larger one.", param="first")
            path = consistency_proof(first, size, stored_nodes(session))
            return cosigned(session, older), ConsistencyProof(first, tuple(path), cosigned(session, newer))


def prove_inclusion(session: Session, index: int, note: str) -> InclusionProof:
    """Return the proof that the record at `index` is in the tree of the checkpoint in `note`."""
    path = inclusion_proof(index, read_checkpoint(note).size, stored_nodes(session))
    return InclusionProof(index, tuple(path), note)


def _signed_at(session: Session, size: int, param: str) -> str:
    note = session.scalar(select(AuditCheckpoint.note).where(AuditCheckpoint.size == size))
    if note is None:
        raise InvalidInput(f"No checkpoint of {size} records was signed.", param=param)
    return note
