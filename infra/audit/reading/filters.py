"""Find records by who, what, on which document, when, how it ended, or in which request; page by page.

Pages are cut by the records' indices, which never change: whatever is added to the log meanwhile, a page that
was read once is the same when it is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, func, or_, select, union
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType
from infra.audit.reading.scan import Candidates, Range, newest_index, scan
from infra.audit.records import LoggedEvent, readable
from infra.database.tables import AuditLeaf, AuditLookup, AuditPassage, DocumentVersion

LAST_TIME: Final = 2**53 - 1
"""The largest time that a record can carry, in milliseconds since 1970."""


@dataclass(frozen=True)
class EventFilter:
    """What is looked for; None leaves a condition out. An empty filter finds unreadable records as well."""

    subject: str | None = None
    """Subject id, `system` or `anonymous`."""
    type: str | None = None
    """Name of one type, or the beginning of several, ending in a dot: `file.`."""
    without: tuple[str, ...] = ()
    """Types to leave out, each named in the same way."""
    document: str | None = None
    """Document id: records about it, with its passages, and of openings of its text."""
    since: int | None = None
    until: int | None = None
    """From the first to before the second, in milliseconds since 1970."""
    outcome: str | None = None
    corr: str | None = None


class Direction(StrEnum):
    """Which way to go from a place in the log."""

    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True)
class Place:
    """A place in the log: everything before (`older`) or after (`newer`) an index."""

    direction: Direction
    index: int


@dataclass(frozen=True)
class Page:
    """Records in the order that was asked for, and where to go on.

    A page can hold fewer records than asked for, even none, although there are more: then so many were
    looked at that the rest is left to the next page.
    """

    events: list[LoggedEvent]
    older: Place | None
    """None when nothing older is left."""
    newer: Place
    has_more: bool
    """Whether something may be left in the direction that was read."""


def find_page(
    session: Session, wanted: EventFilter, place: Place | None, *, limit: int, newest_first: bool
) -> Page:
    """Return at most `limit` (from 1) records that meet `wanted`, next to `place`.

    Without a place the page begins at the newest record, or at the oldest.
    """
    within = range_from(session, place, newest_first=newest_first)
    bounded = _within_time(session, wanted, within)
    found = scan(session, bounded, _candidates(session, wanted), _condition(wanted), limit=limit)
    events = read_leaves(session, found.indices)
    if within.descending is not newest_first:
        events.reverse()
    return paged(within, events, found.reached, is_complete=found.is_complete)


def range_from(session: Session, place: Place | None, *, newest_first: bool) -> Range:
    """Return the indices that lie in the direction of `place`, as far as the log goes now."""
    newest = newest_index(session)
    if place is None:
        return Range(0, newest, newest_first)
    if place.direction is Direction.OLDER:
        return Range(0, min(place.index - 1, newest), True)
    return Range(place.index + 1, newest, False)


def paged(within: Range, events: list[LoggedEvent], reached: int, *, is_complete: bool) -> Page:
    """Return a page of what was found in `within`, of which everything up to `reached` was looked at."""
    if within.descending:
        older = None if is_complete else Place(Direction.OLDER, reached)
        return Page(events, older, Place(Direction.NEWER, within.high), not is_complete)
    newer = max(within.low - 1, within.high) if is_complete else reached
    older = Place(Direction.OLDER, within.low) if within.low > 0 else None
    return Page(events, older, Place(Direction.NEWER, newer), not is_complete)


def read_leaves(session: Session, indices: Sequence[int]) -> list[LoggedEvent]:
    """Return the sealed records of these indices, in their order."""
    rows = session.scalars(select(AuditLeaf).where(AuditLeaf.index.in_(indices)))
    found = {row.index: LoggedEvent(row.id, row.index, readable(row.leaf), row.leaf) for row in rows}
    return [found[index] for index in indices if index in found]


def versions_of(session: Session, document_id: str) -> list[str]:
    """Return every version of a document that is known, also of one that was deleted."""
    known: CompoundSelect[str | None] = union(
        select(AuditPassage.ver).where(AuditPassage.doc == document_id),
        # Who asks for a version that never was leaves a record that names it; that does not make it one.
        select(AuditLookup.res_ver).where(
            AuditLookup.res_id == document_id,
            AuditLookup.res_ver.is_not(None),
            AuditLookup.type != EventType.AUDIT_READ.value,
        ),
        select(DocumentVersion.id).where(DocumentVersion.document_id == document_id),
    )
    return sorted(version for version in session.scalars(known) if version is not None)


# --- the statements -------------------------------------------------------------------------------


def _within_time(session: Session, wanted: EventFilter, within: Range) -> Range:
    """Narrow a range to the records of a time.

    Servers' clocks differ a little and may be set back, so that time does not quite follow the index. Asking
    for the first and the last index of a time leaves no record out.
    """
    if wanted.since is None and wanted.until is None:
        return within
    first, last = session.execute(
        select(func.min(AuditLookup.index), func.max(AuditLookup.index)).where(_in_time(wanted))
    ).one()
    if first is None:
        return Range(0, -1, within.descending)
    return Range(max(within.low, first), min(within.high, last), within.descending)


def _candidates(session: Session, wanted: EventFilter) -> Candidates:
    """Return the statement that uses the index which leaves the fewest candidates."""
    if wanted.corr is not None:
        return _by(AuditLeaf, AuditLeaf.corr == wanted.corr)
    if wanted.document is not None:
        return _of_document(wanted.document, versions_of(session, wanted.document))
    if wanted.subject is not None:
        return _by(AuditLookup, AuditLookup.sub == wanted.subject)
    if wanted.type is not None and not wanted.type.endswith("."):
        return _by(AuditLookup, AuditLookup.type == wanted.type)
    return _by(AuditLeaf)


def _by(table: type[AuditLeaf] | type[AuditLookup], *conditions: ColumnElement[bool]) -> Candidates:
    def candidates(left: Range, window: int) -> Select[int]:
        rows = select(table.index).where(left.limits(table.index), *conditions)
        return rows.order_by(left.order(table.index)).limit(window)

    return candidates


def _of_document(document_id: str, versions: Sequence[str]) -> Candidates:
    # What was opened is recorded by passage and version; those of deleted documents are found by the latter.
    return any_of(
        _by(AuditLookup, AuditLookup.res_id == document_id),
        _by(AuditLookup, AuditLookup.res_ver.in_(versions)),
        passages_of(document_id),
    )


def passages_of(document_id: str, version_id: str | None = None) -> Candidates:
    """Return the statement for records that name a document, or one version of it, among their passages."""

    def candidates(left: Range, window: int) -> Select[int]:
        rows = select(AuditPassage.index).where(AuditPassage.doc == document_id)
        if version_id is not None:
            rows = rows.where(AuditPassage.ver == version_id)
        # A record that names two versions has two rows.
        rows = rows.where(left.limits(AuditPassage.index)).group_by(AuditPassage.index)
        return rows.order_by(left.order(AuditPassage.index)).limit(window)

    return candidates


def any_of(*arms: Candidates) -> Candidates:
    """Return the statement for what any of several finds, each of which is limited by itself."""

    def candidates(left: Range, window: int) -> Select[int]:
        limited = [select(arm(left, window).subquery().c.index) for arm in arms]
        together = union(*limited).subquery()
        return select(together.c.index).order_by(left.order(together.c.index)).limit(window)

    return candidates


def _condition(wanted: EventFilter) -> ColumnElement[bool] | None:
    """Return what candidates are judged by; it repeats what they were found by, which costs nothing."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.subject is not None:
        conditions.append(AuditLookup.sub == wanted.subject)
    if wanted.type is not None:
        conditions.append(of_type(wanted.type))
    if wanted.without:
        # A record that cannot be read has no look-up row; it must not be left out.
        left_out = or_(*(of_type(name) for name in wanted.without))
        conditions.append(or_(AuditLookup.index.is_(None), ~left_out))
    if wanted.outcome is not None:
        conditions.append(AuditLookup.outcome == wanted.outcome)
    if wanted.since is not None or wanted.until is not None:
        conditions.append(_in_time(wanted))
    return and_(*conditions) if conditions else None


def of_type(name: str) -> ColumnElement[bool]:
    """Return the condition for a type, or for those that begin with `name` when it ends in a dot."""
    if name.endswith("."):
        return AuditLookup.type.startswith(name, autoescape=True)
    return AuditLookup.type == name


def _in_time(wanted: EventFilter) -> ColumnElement[bool]:
    since = 0 if wanted.since is None else wanted.since
    until = LAST_TIME if wanted.until is None else wanted.until
    return and_(AuditLookup.time >= since, AuditLookup.time < until)
