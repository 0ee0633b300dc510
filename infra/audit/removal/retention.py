"""Destroy contents and records whose days are over, by the rules, on the record, and never under a hold.

Contents go one by one; their records stay, and the check counts them as erased. Records go in whole segments
from the start of the log up to the minimum index (https://c2sp.org/tlog-tiles#pruning): leaves, look-ups,
contents and inner hashes below it, except the largest complete subtrees, from which every root and every
proof of what is left can still be made.

Both run in small transactions beside a working server. What is done is on the record before the first piece
is gone; after a crash the next run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType, Stage
from infra.audit.forwarding.forwarding import next_to_forward
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
from infra.audit.removal.holds import Standing, standing_holds, take_turns
from infra.audit.removal.removals import pruned_contents
from infra.audit.removal.retention_classes import RetentionClass, class_of
from infra.audit.stored_log import MINIMUM, SEGMENT, minimum_index
from infra.audit.witness.cosignature_store import cosigned_size
from infra.clock import now_ms
from infra.database.tables import (
    AuditContent,
    AuditLeaf,
    AuditLookup,
    AuditMark,
    AuditNode,
    AuditPassage,
    AuditSubject,
)

RECORDS: Final = "records"
"""The name, beside those of the classes, under which the days of the records themselves are set."""
DAY_MS: Final = 86_400_000
WINDOW: Final = 500
"""Contents that are looked at, and deleted, in one transaction; bounds how long it holds SQLite's writer."""
PRUNED_AT_ONCE: Final = 4 * SEGMENT
"""Records that are removed in one transaction."""
_CLOCK_SLACK_MS: Final = 1000
"""An event's id is made a moment before its time is read."""


@dataclass
class Pruned:
    """What one run removed."""

    contents: dict[str, int] = field(default_factory=dict)
    """By class, how many contents were destroyed."""
    records: int = 0
    minimum: int = 0
    """The first record that is left."""
    is_held: bool = False
    """Whether a legal hold kept records from being removed."""


@dataclass(frozen=True)
class Outside:
    """Who has to have seen records before they may go: the SIEM, and witnesses by name."""

    is_forwarded: bool = False
    witnesses: tuple[str, ...] = ()

    def seen(self, session: Session, upto: int) -> int:
        """Return up to which record everybody has seen the log, `upto` at most.

        A witness that last saw a size below the first record that is left could never be shown that the
        log grew from there.
        """
        seen = [cosigned_size(session, witness) for witness in self.witnesses]
        return min([upto, *seen, *([next_to_forward(session)] if self.is_forwarded else [])])


def prune(
    ledger: Ledger,
    days: Mapping[str, int],
    *,
    corr: str,
    at_ms: int | None = None,
    outside: Outside | None = None,
) -> Pruned:
    """Remove what is older than its class's number of days; 0 or nothing keeps a class for ever.

    `at_ms` is the moment that days are counted back from, by default now. Records that `outside` has
    not seen yet stay. Raises AuditUnavailable and the
    database's own errors; what was removed before stays removed, and is on the record.
    """
    now, done = now_ms() if at_ms is None else at_ms, Pruned()
    for kind in RetentionClass:
        if days.get(kind.value, 0) > 0:
            before = now - days[kind.value] * DAY_MS
            done.contents[kind.value] = prune_contents(ledger, kind, before, corr=corr)
    if days.get(RECORDS, 0) > 0:
        done.records, done.is_held = prune_records(
            ledger, now - days[RECORDS] * DAY_MS, corr=corr, outside=outside
        )
    with ledger.database.read() as session:
        done.minimum = minimum_index(session)
    return done


# --- contents -------------------------------------------------------------------------------------


def prune_contents(ledger: Ledger, kind: RetentionClass, before_ms: int, *, corr: str) -> int:
    """Destroy the contents of a class that were recorded before a time; returns how many.

    Contents under a legal hold stay, also when it is lifted while this runs: the next run takes them.
    """
    what, total, after = pruned_contents(kind, before_ms), 0, ""
    held_at_first: Standing | None = None
    while window := _sealed_contents(ledger, before_ms, after):
        after = window[-1].event_id
        due = [one for one in window if class_of(one.type) is kind and one.time < before_ms]
        if not due:
            continue
        with ledger.database.write() as session:
            take_turns(session)
            held = standing_holds(session)
            free = _without_held(session, due, held, held_at_first)
            if free and held_at_first is None:
                # The record stands at this place of the log: a hold that stood here covers it, any later not.
                held_at_first = held
                ledger.record_in(session, _event(EventType.CONTENT_PRUNED, Stage.START, corr, what, None))
            total += _delete_contents(session, free)
    if held_at_first is not None:
        ledger.record(_event(EventType.CONTENT_PRUNED, Stage.END, corr, what, f"{total} destroyed"))
    return total


@dataclass(frozen=True)
class _Content:
    event_id: str
    type: str
    sub: str
    time: int


def _sealed_contents(ledger: Ledger, before_ms: int, after: str) -> list[_Content]:
    """Return the next contents of sealed records that are old enough, in the order of their ids."""
    found = (
        select(AuditContent.event_id, AuditLookup.type, AuditLookup.sub, AuditLookup.time)
        .join(AuditLeaf, AuditLeaf.id == AuditContent.event_id)
        .join(AuditLookup, AuditLookup.index == AuditLeaf.index)
        .where(AuditContent.event_id > after, AuditContent.event_id < _first_id_at(before_ms))
        .order_by(AuditContent.event_id)
        .limit(WINDOW)
    )
    with ledger.database.read() as session:
        return [_Content(*row) for row in session.execute(found)]


def _first_id_at(time_ms: int) -> str:
    """Return what the ids (UUIDv7) of all events from before a time sort before."""
    digits = f"{max(time_ms, 0) + _CLOCK_SLACK_MS:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _without_held(
    session: Session, due: Sequence[_Content], held: Standing, held_at_first: Standing | None
) -> list[_Content]:
    if held.everybody or (held_at_first is not None and held_at_first.everybody):
        return []
    covered = held.principals | (held_at_first.principals if held_at_first else frozenset())
    theirs = select(AuditSubject.subject_id).where(AuditSubject.principal.in_(covered))
    subjects = set(session.scalars(theirs)) if covered else set()
    return [one for one in due if one.sub not in subjects]


def _delete_contents(session: Session, some: Sequence[_Content]) -> int:
    ids = [one.event_id for one in some]
    deleted = delete(AuditContent).where(AuditContent.event_id.in_(ids)).returning(AuditContent.event_id)
    return len(session.execute(deleted).all())


# --- records --------------------------------------------------------------------------------------


def prune_records(
    ledger: Ledger, before_ms: int, *, corr: str, outside: Outside | None = None
) -> tuple[int, bool]:
    """Remove whole segments of records from before a time; returns how many, and whether a hold forbade it.

    Any hold that stands forbids it: a segment holds everybody's records.
    """
    with ledger.database.read() as session:
        begin = first = minimum_index(session)
        target = _target(session, first, before_ms)
        if outside is not None:
            target = min(target, outside.seen(session, target) // SEGMENT * SEGMENT)
    while first < target:
        upto = min(first + PRUNED_AT_ONCE, target)
        with ledger.database.write() as session:
            take_turns(session)
            if standing_holds(session):
                return first - begin, True
            event = _event(EventType.AUDIT_PRUNED, Stage.SINGLE, corr, _LOG, str(upto))
            ledger.record_in(session, event)
            _remove_before(session, upto)
        first = upto
    return first - begin, False


def _target(session: Session, first: int, before_ms: int) -> int:
    """Return the minimum index to reach: before it all records are old, and at least one is left."""
    young = select(AuditLookup.index).where(AuditLookup.index >= first, AuditLookup.time >= before_ms)
    kept = session.scalar(young.order_by(AuditLookup.index).limit(1))
    newest = session.scalar(select(func.max(AuditLeaf.index))) or 0
    return (newest if kept is None else kept) // SEGMENT * SEGMENT


def _remove_before(session: Session, minimum: int) -> None:
    """Delete everything of the records before `minimum`, a multiple of SEGMENT, and move the mark there."""
    gone = select(AuditLeaf.id).where(AuditLeaf.index < minimum)
    session.execute(delete(AuditContent).where(AuditContent.event_id.in_(gone)))
    for table in (AuditPassage, AuditLookup, AuditLeaf):
        session.execute(delete(table).where(table.index < minimum))
    session.execute(delete(AuditNode).where(_inner_nodes(minimum)))
    session.merge(AuditMark(name=MINIMUM, index=minimum))


def _inner_nodes(minimum: int) -> ColumnElement[bool]:
    """Match the hashes of subtrees that end before `minimum`, but for the largest complete ones.

    Those are the left siblings on every path from a record that is left to the root (RFC 6962 §2.1.1).
    """
    rules = []
    for level in range(minimum.bit_length()):
        complete = minimum >> level
        # Of the largest complete subtrees there is one for each bit of the minimum: the last of its level.
        rules.append(and_(AuditNode.level == level, AuditNode.index < complete - (complete & 1)))
    return or_(*rules)


# --- on the record --------------------------------------------------------------------------------

_LOG: Final = Resource("record", "log")


def _event(kind: EventType, stage: Stage, corr: str, what: Resource, outcome: str | None) -> Event:
    return Event(kind, stage, corr, SYSTEM, res=what, outcome=outcome)
