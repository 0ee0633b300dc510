"""Make the receipt of an answer from the stored log."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.leaf import Leaf
from infra.audit.proofs.receipt import is_end, is_part, write_receipt
from infra.audit.proofs.stored import prove_inclusion
from infra.audit.records import readable
from infra.audit.stored_log import latest_note
from infra.audit.witness.cosigned import cosigned
from infra.database.tables import AuditLeaf
from infra.errors import NotFound


class AnswerRecords:
    """The sealed records of one answer."""

    def __init__(self, session: Session, answer_id: str) -> None:
        """Find them; raises NotFound for an answer that never ended, or whose records were pruned."""
        self._session = session
        self._answer_id = answer_id
        rows = select(AuditLeaf.index, AuditLeaf.leaf).where(AuditLeaf.corr == answer_id)
        self._found: list[tuple[int, bytes, Leaf]] = []
        for index, raw in session.execute(rows.order_by(AuditLeaf.index)):
            leaf = readable(raw)
            if leaf is not None and is_part(leaf, answer_id):
                self._found.append((index, bytes(raw), leaf))
        if not any(is_end(leaf) for _, _, leaf in self._found):
            raise NotFound("There is no such answer.")

    @property
    def asker(self) -> str:
        """The subject id of whoever asked."""
        return self._found[0][2].actor.sub

    def receipt(self, verifier_key: str) -> dict[str, Any]:
        """Return the receipt against the newest checkpoint; raises NotFound before there is one."""
        note = latest_note(self._session)
        if note is None:
            raise NotFound("There is no such answer.")
        head = cosigned(self._session, note)
        records = [(raw, prove_inclusion(self._session, index, head)) for index, raw, _ in self._found]
        return write_receipt(self._answer_id, records, verifier_key)
