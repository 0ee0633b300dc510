"""How far a document reached: every answer, search and opening that its passages went into, and whose.

So did whoever opened a kept conversation in which such an answer was shown to them, their own included.

An answer is counted by the record of its passages, which is written before any of them leaves. Such records
say what could be seen, whether or not it was looked at: after a leak the larger number is the safe one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, select, union
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType
from infra.audit.reading.filters import (
    Page,
    Place,
    any_of,
    paged,
    passages_of,
    range_from,
    read_leaves,
    versions_of,
)
from infra.audit.reading.scan import Candidates, Range, scan
from infra.audit.records import LoggedEvent
from infra.database.batches import in_batches
from infra.database.tables import AuditLeaf, AuditLookup, AuditPassage, Document
from infra.errors import NotFound


@dataclass(frozen=True)
class Target:
    """A document, or one version of it."""

    document_id: str
    version_id: str | None
    versions: list[str]
    """Every version of the document that is known."""
    is_deleted: bool

    @property
    def asked_versions(self) -> list[str]:
        """The versions whose openings count."""
        return self.versions if self.version_id is None else [self.version_id]


@dataclass(frozen=True)
class ReachedPerson:
    """One subject that a document reached, how often, and when first and last (ms since 1970)."""

    subject: str
    counts: dict[str, int]
    first: int
    last: int


def target_of(session: Session, document_id: str, version_id: str | None) -> Target:
    """Return what is asked about; raises NotFound for what neither exists nor ever stood on the record."""
    versions = versions_of(session, document_id)
    document = session.get(Document, document_id)
    if (document is None and not versions) or (version_id is not None and version_id not in versions):
        raise NotFound("The record knows no such document, or no such version of it.")
    is_deleted = document is None or document.deleted_at is not None
    return Target(document_id, version_id, versions, is_deleted)


def reach_page(
    session: Session, target: Target, place: Place | None, *, limit: int, newest_first: bool
) -> Page:
    """Return at most `limit` records in which the document reached somebody, next to `place`."""
    within = range_from(session, place, newest_first=newest_first)
    found = scan(session, within, _candidates(target), _reaches(), limit=limit)
    events = read_leaves(session, found.indices)
    if within.descending is not newest_first:
        events.reverse()
    return paged(within, events, found.reached, is_complete=found.is_complete)


def people_reached(session: Session, target: Target, *, after: str | None, limit: int) -> list[ReachedPerson]:
    """Return at most `limit` subjects that the document reached, by their ids, from behind `after`.

    The work grows with the document's reach, not with the log.
    """
    touched = _touched(target)
    times = func.min(AuditLookup.time), func.max(AuditLookup.time)
    per_person = (
        select(AuditLookup.sub, *times, *_counts())
        .where(AuditLookup.index.in_(select(touched.c.index)), _reaches())
        .group_by(AuditLookup.sub)
        .order_by(AuditLookup.sub)
        .limit(limit)
    )
    if after is not None:
        per_person = per_person.where(AuditLookup.sub > after)
    rows: list[tuple[Any, ...]] = [tuple(row) for row in session.execute(per_person)]
    return [ReachedPerson(row[0], _named_counts(row[3:]), row[1], row[2]) for row in rows]


def reach_counts(session: Session, target: Target) -> dict[str, int]:
    """Return how many answers, searches, openings, conversations and other records there are.

    Also, as `people`, of how many subjects. A conversation counts each time that somebody opens it.
    """
    touched = _touched(target)
    row = session.execute(
        select(func.count(AuditLookup.sub.distinct()), *_counts()).where(
            AuditLookup.index.in_(select(touched.c.index)), _reaches()
        )
    ).one()
    return {"people": row[0], **_named_counts(row[1:])}


def cited_chunks(session: Session, events: Sequence[LoggedEvent]) -> Mapping[str, frozenset[str]]:
    """Return which passages each of the answers among `events` cites, by the answer's id.

    An answer that has not ended, or was interrupted, is not among them.
    """
    asked = {event.leaf.corr for event in events if event.leaf is not None}
    own = session.scalars(select(AuditLeaf.index).where(AuditLeaf.corr.in_(asked))).all()
    finished = [
        event for batch in in_batches(own) for event in read_leaves(session, _ends_of(session, batch))
    ]
    return {
        event.leaf.corr: frozenset(passage.chunk for passage in event.leaf.ret if passage.cited == 1)
        for event in finished
        if event.leaf is not None and all(passage.cited >= 0 for passage in event.leaf.ret)
    }


def _ends_of(session: Session, indices: Sequence[int]) -> Sequence[int]:
    # By number: as a join this would begin with every answer that ever ended.
    is_end = AuditLookup.type == EventType.ANSWER_FINISHED.value
    return session.scalars(select(AuditLookup.index).where(AuditLookup.index.in_(indices), is_end)).all()


# --- the statements -------------------------------------------------------------------------------


def _candidates(target: Target) -> Candidates:
    return any_of(passages_of(target.document_id, target.version_id), _opened(target.asked_versions))


def _opened(versions: Sequence[str]) -> Candidates:
    def candidates(left: Range, window: int) -> Select[int]:
        rows = select(AuditLookup.index).where(_is_opening(versions), left.limits(AuditLookup.index))
        return rows.order_by(left.order(AuditLookup.index)).limit(window)

    return candidates


def _is_opening(versions: Sequence[str]) -> ColumnElement[bool]:
    # A passage is opened by its own id; its document is known by the version that stands beside it.
    return and_(AuditLookup.res_ver.in_(versions), AuditLookup.type == EventType.SOURCE_OPENED.value)


def _reaches() -> ColumnElement[bool]:
    # The end of an answer repeats its passages.
    return AuditLookup.type != EventType.ANSWER_FINISHED.value


def _touched(target: Target) -> Subquery:
    named = select(AuditPassage.index).where(AuditPassage.doc == target.document_id)
    if target.version_id is not None:
        named = named.where(AuditPassage.ver == target.version_id)
    opened = select(AuditLookup.index).where(_is_opening(target.asked_versions))
    return union(named, opened).subquery()


_COUNTED: Final = {
    EventType.ANSWER_RETRIEVED.value: "answers",
    EventType.SEARCH_PERFORMED.value: "searches",
    EventType.SOURCE_OPENED.value: "openings",
    EventType.CONVERSATION_OPENED.value: "conversations",
}


def _counts() -> list[ColumnElement[int]]:
    """Return how many records there are of each kind, and in all."""
    kinds = [func.sum(case((AuditLookup.type == name, 1), else_=0)) for name in _COUNTED]
    return [*kinds, func.count()]


def _named_counts(row: Sequence[int | None]) -> dict[str, int]:
    # Over no rows at all a sum is NULL.
    *kinds, records = (count or 0 for count in row)
    counts = dict(zip(_COUNTED.values(), kinds, strict=True))
    return {**counts, "other": records - sum(kinds)}
