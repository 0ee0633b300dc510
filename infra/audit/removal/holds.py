"""Legal holds: while one stands, nothing under it is pruned or erased.

A hold covers one principal, or everybody. It is placed and lifted on the record (`hold.placed`, `hold.lifted`
with the hold's id, and the subject it covers as the version), so that the check of the record can tell a
content that was removed in spite of a hold from one that was removed by the rules. A hold stands until the
record says that it was lifted, whatever the table of holds says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from infra.audit.leaf import Resource
from infra.audit.removal.removals import recorded_holds
from infra.clock import new_id, now_ms
from infra.database.tables import AuditSubject, LegalHold
from infra.errors import Conflict, InvalidInput, NotFound

MAX_REASON_CHARS: Final = 500
RETENTION_LOCK: Final = 0x5354524F4E49
"""PostgreSQL advisory lock: a hold is placed before or after a removal, never in the middle of one."""


class LegalHoldStands(Conflict):
    """Something cannot be removed because a legal hold covers it."""

    code = "legal_hold"

    def __init__(self) -> None:
        super().__init__(
            "A legal hold stands: nothing that it covers may be removed.",
            hint="An auditor can say until when, and lift it.",
        )


@dataclass(frozen=True)
class Standing:
    """Whom the holds of one moment cover."""

    everybody: bool
    principals: frozenset[str]
    subjects: frozenset[str] = frozenset()
    """Subjects whom the record says are covered; their principals are among `principals` while known."""

    def __bool__(self) -> bool:
        """Whether any hold stands."""
        return self.everybody or bool(self.principals) or bool(self.subjects)

    def covers(self, principal_id: str) -> bool:
        """Tell whether nothing of this principal may be removed."""
        return self.everybody or principal_id in self.principals


def place_hold(session: Session, principal_id: str | None, reason: str) -> LegalHold:
    """Forbid removals of one principal's data, or of everybody's; raises InvalidInput without a reason."""
    wanted = checked_reason(reason)
    if wanted is None:
        raise InvalidInput("A hold needs a reason.", param="reason")
    take_turns(session)
    hold = LegalHold(id=new_id(), principal=principal_id, reason=wanted, created_at=now_ms(), lifted_at=None)
    session.add(hold)
    session.flush()
    return hold


def lift_hold(session: Session, hold_id: str) -> LegalHold:
    """End a hold; raises NotFound when there is none of this id that stands."""
    take_turns(session)
    hold = session.get(LegalHold, hold_id, populate_existing=True)
    if hold is None or hold.lifted_at is not None:
        raise NotFound("There is no such hold.")
    hold.lifted_at = now_ms()
    session.flush()
    return hold


def list_holds(session: Session) -> Sequence[LegalHold]:
    """List every hold, lifted ones included, the newest first."""
    return session.scalars(select(LegalHold).order_by(LegalHold.id.desc())).all()


def standing_holds(session: Session) -> Standing:
    """Return whom the holds cover that stand now, by their table or by the record: either is enough."""
    covered = set(session.scalars(select(LegalHold.principal).where(LegalHold.lifted_at.is_(None))))
    recorded = recorded_holds(session)
    subjects = frozenset(one for one in recorded if one is not None)
    if subjects:
        theirs = select(AuditSubject.principal).where(AuditSubject.subject_id.in_(subjects))
        covered.update(session.scalars(theirs))
    everybody = None in covered or None in recorded
    return Standing(everybody, frozenset(one for one in covered if one is not None), subjects)


def refuse_while_held(session: Session, principal_id: str) -> None:
    """Raise LegalHoldStands when a hold covers the principal; take turns first, so that it stays true."""
    if standing_holds(session).covers(principal_id):
        raise LegalHoldStands


def forget_holds(session: Session, principal_id: str) -> int:
    """Remove the lifted holds of one principal, reasons included; returns how many."""
    lifted = delete(LegalHold).where(LegalHold.principal == principal_id, LegalHold.lifted_at.is_not(None))
    return len(session.execute(lifted.returning(LegalHold.id)).all())


def take_turns(session: Session) -> None:
    """Let one transaction at a time place holds or remove what they cover. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": RETENTION_LOCK})


def hold_resource(hold_id: str, subject_id: str | None) -> Resource:
    """Return what a hold's events are about: its id, and as version the subject that it covers."""
    return Resource("hold", hold_id, subject_id)


def checked_reason(reason: str | None) -> str | None:
    """Return a reason on one line, None for a blank one; raises InvalidInput for a long one."""
    one_line = " ".join((reason or "").split())
    if len(one_line) > MAX_REASON_CHARS:
        raise InvalidInput(f"A reason has at most {MAX_REASON_CHARS} characters.", param="reason")
    return one_line or None
