"""What the record itself says was removed on purpose: subjects erased, contents and records pruned.

A content that is not there any more is explained by a record or it was taken away. Three kinds of record
explain it: `subject.erased` names the subject; `content.pruned` names the class and, as its version, the time
before which contents of that class were destroyed; `audit.pruned` names the first record that is left. None
explains what a legal hold covered at that place of the log: an `audit.pruned` nothing under any hold, the
others nothing of a subject who was covered. An erasure that is only repeated explains nothing either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType
from infra.audit.leaf import Leaf, Resource
from infra.audit.records import InboxSeal, readable
from infra.audit.removal.retention_classes import RetentionClass, class_of
from infra.database.tables import AuditInbox, AuditLeaf, AuditLookup

TELLING: Final = (
    EventType.SUBJECT_ERASED,
    EventType.CONTENT_PRUNED,
    EventType.AUDIT_PRUNED,
    EventType.HOLD_PLACED,
    EventType.HOLD_LIFTED,
)
"""The types of record that explain a removal, or forbid one."""
WAITING: Final = 2**53
"""The place of the first record that has none yet: after every sealed one."""
_NEVER: Final = 2**62
REPEATED: Final = "was erased before"
"""Outcome of a `subject.erased` for somebody whose erasure is on the record already."""


@dataclass(frozen=True)
class _Pruned:
    """Contents from before a time (UTC ms) that the record at `place` says are destroyed."""

    place: int
    before: int


@dataclass
class _Hold:
    """A hold and the places of the log between which it stood; no subject means everybody."""

    subject: str | None
    placed: int = -1
    lifted: int = _NEVER

    def stands(self, place: int) -> bool:
        return self.placed < place < self.lifted

    def covers(self, subject: str, place: int) -> bool:
        return self.stands(place) and self.subject in (None, subject)


@dataclass
class Removals:
    """Everything that was removed on purpose, as the record has it."""

    erased: set[str] = field(default_factory=set)
    """Subject ids, without those whom a hold covered."""
    minimum: int = 0
    """The first record that pruning may have left."""
    _pruned: dict[str, list[_Pruned]] = field(default_factory=dict)
    _holds: dict[str, _Hold] = field(default_factory=dict)

    def explain(self, leaf: Leaf) -> bool:
        """Tell whether the content of `leaf` was erased or pruned by the rules."""
        return leaf.actor.sub in self.erased or self._was_pruned(leaf)

    def _was_pruned(self, leaf: Leaf) -> bool:
        # The newest reaches furthest, so that the first look is nearly always the last.
        for pruned in reversed(self._pruned.get(class_of(leaf.type).value, ())):
            if leaf.time < pruned.before and not self._was_held(leaf, pruned.place):
                return True
        return False

    def _was_held(self, leaf: Leaf, place: int) -> bool:
        return self._is_held(leaf.actor.sub, place)

    def _is_held(self, subject: str, place: int) -> bool:
        return any(hold.covers(subject, place) for hold in self._holds.values())

    def held_in_the_end(self) -> set[str | None]:
        """Return the subjects of the holds that were placed and not lifted; None stands for everybody."""
        return {hold.subject for hold in self._holds.values() if hold.stands(_NEVER - 1)}

    def note(self, place: int, leaf: Leaf) -> None:
        """Take in one record; records come in the order of the log."""
        if leaf.type == EventType.AUDIT_PRUNED:
            if not any(hold.stands(place) for hold in self._holds.values()):
                self.minimum = max(self.minimum, _number(leaf.outcome))
        elif leaf.res is None:
            return
        elif leaf.type == EventType.SUBJECT_ERASED:
            if leaf.outcome != REPEATED and not self._is_held(leaf.res.id, place):
                self.erased.add(leaf.res.id)
        elif leaf.type == EventType.CONTENT_PRUNED:
            self._pruned.setdefault(leaf.res.id, []).append(_Pruned(place, _number(leaf.res.ver)))
        elif leaf.type == EventType.HOLD_PLACED:
            self._holds[leaf.res.id] = _Hold(leaf.res.ver, placed=place)
        elif leaf.type == EventType.HOLD_LIFTED:
            self._holds.setdefault(leaf.res.id, _Hold(leaf.res.ver)).lifted = place


def recorded_removals(session: Session) -> Removals:
    """Read what was removed on purpose from the log and from what waits, as it stands there.

    This is for telling a reader why a content is gone. A verdict needs `proven_removals`.
    """
    removals = Removals()
    _note_sealed(session, removals)
    _note_waiting(session, removals, None)
    return removals


def proven_removals(session: Session, inbox: InboxSeal | None) -> Removals:
    """Read what was removed on purpose from the log and from what waits for its place in it.

    Of what waits only that counts which `inbox` says a server wrote; without it, nothing.
    """
    removals = Removals()
    _note_sealed(session, removals)
    if inbox is not None:
        _note_waiting(session, removals, inbox)
    return removals


def recorded_holds(session: Session) -> set[str | None]:
    """Return the subjects whom a hold covers by what is sealed or waits; None stands for everybody.

    What waits counts as it stands there: a row that no server wrote is never sealed, and the check, to which
    it says nothing, finds what was removed on its word.
    """
    return recorded_removals(session).held_in_the_end()


def pruned_contents(kind: RetentionClass, before_ms: int) -> Resource:
    """Return what a `content.pruned` is about: contents of a class from before a time (UTC ms)."""
    return Resource("contents", kind.value, str(before_ms))


def _note_sealed(session: Session, removals: Removals) -> None:
    sealed = select(AuditLeaf.index, AuditLeaf.leaf).join(AuditLookup, AuditLookup.index == AuditLeaf.index)
    wanted = sealed.where(AuditLookup.type.in_([event.value for event in TELLING]))
    rows = session.execute(wanted.order_by(AuditLeaf.index))
    _note_all(removals, ((place, leaf) for place, leaf in rows))


def _note_waiting(session: Session, removals: Removals, inbox: InboxSeal | None) -> None:
    rows = session.execute(select(AuditInbox.id, AuditInbox.leaf, AuditInbox.mac).order_by(AuditInbox.id))
    taken = (row.leaf for row in rows if inbox is None or inbox.is_authentic(row.id, row.leaf, row.mac))
    _note_all(removals, enumerate(taken, WAITING))


def _note_all(removals: Removals, placed: Iterable[tuple[int, bytes]]) -> None:
    for place, raw in placed:
        leaf = readable(raw)
        if leaf is not None and leaf.type in TELLING:
            removals.note(place, leaf)


def _number(text: str | None) -> int:
    """Return the number that a record states; a text that is none explains nothing."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 16 else 0
