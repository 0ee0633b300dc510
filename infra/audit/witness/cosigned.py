"""Checkpoints together with what witnesses said about them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.checkpoint import read_checkpoint
from infra.database.tables import AuditCheckpoint, AuditCosignature

COSIGNED_WITHIN_MS: Final = 60_000
"""How much older than the newest a checkpoint may be, and be preferred because witnesses cosigned it."""


def cosigned(session: Session, note: str) -> str:
    """Return the checkpoint in `note` with the stored cosignature lines under it."""
    size = read_checkpoint(note).size
    stored = select(AuditCosignature.line).where(AuditCosignature.size == size)
    lines = session.scalars(stored.order_by(AuditCosignature.witness)).all()
    return note + "".join(f"{line.rstrip()}\n" for line in lines)


def cosigned_head(session: Session) -> str | None:
    """Return the newest checkpoint, or a cosigned one that is hardly older; None before the first.

    Witnesses need a moment, and under load there is a newer checkpoint before they have answered.
    """
    rows = select(AuditCheckpoint.note, AuditCheckpoint.created_at).order_by(AuditCheckpoint.size.desc())
    newest = session.execute(rows.limit(1)).first()
    if newest is None:
        return None
    has_lines = select(AuditCosignature.size).where(AuditCosignature.size == AuditCheckpoint.size).exists()
    recent = AuditCheckpoint.created_at >= newest.created_at - COSIGNED_WITHIN_MS
    preferred = session.execute(rows.where(has_lines, recent).limit(1)).first()
    return cosigned(session, str((preferred or newest).note))
