"""What witnesses have cosigned, as it is stored."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.clock import now_ms
from infra.database.tables import AuditCosignature


def cosigned_size(session: Session, witness: str) -> int:
    """Return the largest size that a witness has cosigned, 0 before the first."""
    largest = select(func.max(AuditCosignature.size)).where(AuditCosignature.witness == witness)
    return session.scalar(largest) or 0


def store_cosignature(session: Session, size: int, witness: str, line: str) -> None:
    """Keep a witness's signature line, newline included; the first for this size stays.

    The caller has verified it.
    """
    if session.get(AuditCosignature, (size, witness)) is None:
        session.add(AuditCosignature(size=size, witness=witness, line=line, created_at=now_ms()))
