"""What the record itself says was removed on purpose: subjects erased, contents and records pruned.

A content that is not there any more is explained by a record or it was taken away. Three kinds of record
explain it: `subject.erased` names the subject; `content.pruned` names the class and, as its version, the time
before which contents of that class were destroyed; `audit.pruned` names the first record that is left. A
`content.pruned` explains nothing about a subject whom a legal hold covered at that place of the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType
from infra.audit.leaf import Leaf, Resource
from infra.audit.records import readable
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
"""The place of a record that has none yet: after every sealed one."""


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
    lifted: int = WAITING + 1

    def covers(self, subject: str, place: int) -> bool:
        return self.placed < place < self.lifted and self.subject in (None, subject)


@dataclass
class Removals:
    """Everything that was removed on purpose, as the record has it."""

    erased: set[str] = field(default_factory=set)
    """Subject ids."""
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
        return any(hold.covers(leaf.actor.sub, place) for hold in self._holds.values())

    def note(self, place: int, leaf: Leaf) -> None:
        """Take in one record; records come in the order of the log."""
        if leaf.type == EventType.AUDIT_PRUNED:
            self.minimum = max(self.minimum, _number(leaf.outcome))
        elif leaf.res is None:
            return
        elif leaf.type == EventType.SUBJECT_ERASED:
            self.erased.add(leaf.res.id)
        elif leaf.type == EventType.CONTENT_PRUNED:
            self._pruned.setdefault(leaf.res.id, []).append(_Pruned(place, _number(leaf.res.ver)))
        elif leaf.type == EventType.HOLD_PLACED:
            self._holds[leaf.res.id] = _Hold(leaf.res.ver, placed=place)
        elif leaf.type == EventType.HOLD_LIFTED:
            self._holds.setdefault(leaf.res.id, _Hold(leaf.res.ver)).lifted = place


def recorded_removals(session: Session) -> Removals:
    """Read what was removed on purpose from the log and from what waits for its place in it."""
    removals = Removals()
    for place, raw in _telling(session):
        leaf = readable(raw)
        if leaf is not None and leaf.type in TELLING:
            removals.note(place, leaf)
    return removals


def pruned_contents(kind: RetentionClass, before_ms: int) -> Resource:
    """Return what a `content.pruned` is about: contents of a class from before a time (UTC ms)."""
    return Resource("contents", kind.value, str(before_ms))


def _telling(session: Session) -> Iterator[tuple[int, bytes]]:
    sealed = select(AuditLeaf.index, AuditLeaf.leaf).join(AuditLookup, AuditLookup.index == AuditLeaf.index)
    wanted = sealed.where(AuditLookup.type.in_([event.value for event in TELLING]))
    for index, leaf in session.execute(wanted.order_by(AuditLeaf.index)):
        yield index, leaf
    for leaf in session.scalars(select(AuditInbox.leaf).order_by(AuditInbox.id)):
        yield WAITING, leaf


def _number(text: str | None) -> int:
    """Return the number that a record states; a text that is none explains nothing."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 16 else 0
