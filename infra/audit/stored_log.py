"""The stored log as the verifier wants it: in windows, with nodes, checkpoints, contents and look-ups.

Records below the minimum index were removed by pruning (https://c2sp.org/tlog-tiles#pruning); the hashes of
the largest complete subtrees before it are kept, and stand for them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from infra.audit import content as contents
from infra.audit.checkpoint import NoteUnreadable, read_checkpoint
from infra.audit.leaf import Leaf
from infra.audit.merkle import EMPTY_ROOT, CompactRange, GetNode, node_count
from infra.audit.reading.lookup import StoredLookups, surplus
from infra.audit.records import InboxSeal, LedgerDamaged
from infra.audit.removal.removals import Removals, proven_removals
from infra.audit.verify import ContentState, Finding, Report, Verdict, verify_log
from infra.database.tables import (
    AuditCheckpoint,
    AuditContent,
    AuditCosignature,
    AuditInbox,
    AuditLeaf,
    AuditMark,
    AuditNode,
    SubjectKey,
)
from infra.errors import NotFound
from infra.keys import MasterKey

SCAN_WINDOW: Final = 500
"""Leaves that are held in memory at a time."""
MINIMUM: Final = "minimum"
"""Name of the mark at the first record that pruning left; without it nothing was pruned."""
SEGMENT: Final = 256
"""The minimum index is a multiple of this, so that pruning takes whole entry bundles and hash tiles."""
FORWARDED: Final = "forward:"
"""What the names of the marks begin with that say which record a receiver gets next."""


class RecordsPruned(NotFound):
    """Records, or a proof over them, that are gone because their retention was over."""

    code = "records_pruned"


@dataclass
class _StoredLeaf:
    """Where a record stands and what it is filed under; its bytes have gone to the check."""

    place: int
    id: str
    corr: str
    is_readable: bool = False


class StoredLog:
    """The log in the database, read in windows, as `verify_log` wants it."""

    def __init__(self, session: Session, master_key: MasterKey | None = None) -> None:
        """Look at the log of one moment: `session` must not see later commits.

        Only with the `master_key` can the keys of contents and what waits in the inbox be checked; without
        it, what waits explains nothing.
        """
        self._session = session
        self._master_key = master_key
        self._inbox = InboxSeal(master_key) if master_key is not None else None
        self._removals = Removals()
        self._keys: set[str] = set()
        self._minimum = 0
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._contents: dict[str, bytes] = {}
        self._lookups: StoredLookups | None = None
        self._leaf: _StoredLeaf | None = None

    def verify(self, verifier_key: str, kept_note: str | None) -> Report:
        """Check everything that is stored; see `infra.audit.ledger.Ledger.verify`."""
        note = latest_note(self._session)
        unsealed = self._session.scalar(select(func.count()).select_from(AuditInbox)) or 0
        self._removals = proven_removals(self._session, self._inbox)
        self._keys = set(self._session.scalars(select(SubjectKey.key_id)))
        self._minimum = minimum_index(self._session)
        report = self._verify_note(note, verifier_key, kept_note)
        if report.verdict in (Verdict.SOUND, Verdict.INCOMPLETE):
            report = self._unsigned(report)
        if report.is_sound:
            report = self._surplus(report)
        if report.is_sound:
            report = self._cut_off(report)
        return replace(report, unsealed=unsealed)

    def _verify_note(self, note: str | None, verifier_key: str, kept_note: str | None) -> Report:
        if note is None and kept_note is None:
            return _empty_report()
        if note is None:
            # With no checkpoint left, the kept one speaks for the log.
            return verify_log(self._leaves(0), kept_note or "", verifier_key)
        try:
            size = read_checkpoint(note).size
        except NoteUnreadable:
            size = 0  # verify_log reports it
        pruned = None
        if self._minimum and size:
            try:
                pruned = self._pruned_part(size)
            except Finding as finding:
                return replace(
                    _empty_report(), verdict=finding.verdict, sentence=finding.sentence, size=size, root=None
                )
        return verify_log(
            self._leaves(size),
            note,
            verifier_key,
            earlier_notes=self._notes(size, kept_note),
            stored_node=lambda level, index: self._nodes.get((level, index)),
            inspect=self._inspect,
            pruned=pruned,
        )

    def _pruned_part(self, size: int) -> CompactRange:
        """Return what stands for the records before the minimum; raises Finding where no record allows it."""
        minimum = self._minimum
        if minimum > self._removals.minimum or minimum % SEGMENT or not minimum < size:
            sentence = f"The records before {minimum} are gone, and no record says that they were pruned."
            raise Finding(Verdict.TAMPERED, sentence)
        try:
            return CompactRange.load(minimum, stored_nodes(self._session))
        except LedgerDamaged as damage:
            sentence = "A hash that stands for pruned records is missing."
            raise Finding(Verdict.TAMPERED, sentence) from damage

    def _leaves(self, size: int) -> Iterator[bytes]:
        bounds = [*range(min(self._minimum, size), size, SCAN_WINDOW), size]
        for start, end in pairwise(bounds):
            self._load_window(start, end)
            expected = start
            for place, leaf_id, corr, raw in self._session.execute(_leaf_window(start, end)).all():
                if place != expected:
                    break
                self._leaf = filed = _StoredLeaf(place, leaf_id, corr)
                # SQLite lets anybody store text where bytes belong; as bytes it is a leaf that does not fit.
                yield raw if isinstance(raw, bytes) else str(raw).encode()
                if not filed.is_readable:
                    self._check_lookups(place, None)
                expected += 1
            if expected < end:
                self._refuse_gap(expected)
                return

    def _load_window(self, start: int, end: int) -> None:
        """Load what belongs to the leaves [start, end): nodes, sealed contents, look-up rows."""
        self._nodes = self._load_nodes(start, end)
        within = and_(AuditLeaf.index >= start, AuditLeaf.index < end)
        contents_of = select(AuditContent.event_id, AuditContent.sealed).join(
            AuditLeaf, AuditLeaf.id == AuditContent.event_id
        )
        rows = self._session.execute(contents_of.where(within)).all()
        self._contents = {row.event_id: row.sealed for row in rows}
        self._lookups = StoredLookups(self._session, start, end)

    def _refuse_gap(self, index: int) -> None:
        """Tell a record that was taken out from an end that was cut off."""
        later = select(AuditLeaf.index).where(AuditLeaf.index > index).limit(1)
        if self._session.scalar(later) is not None:
            raise Finding(Verdict.TAMPERED, f"Record {index} was removed.", index)

    def _load_nodes(self, start: int, end: int) -> dict[tuple[int, int], bytes]:
        """Load the nodes that the leaves [start, end) complete."""
        completed: list[ColumnElement[bool]] = [
            and_(AuditNode.level == level, AuditNode.index >= start >> level, AuditNode.index < end >> level)
            for level in range(end.bit_length())
            if start >> level < end >> level
        ]
        nodes = select(AuditNode.level, AuditNode.index, AuditNode.hash).where(or_(*completed))
        return {(level, index): hashed for level, index, hashed in self._session.execute(nodes)}

    def _notes(self, size: int, kept_note: str | None) -> Iterator[str]:
        kept = [(read_checkpoint(kept_note).size, kept_note)] if kept_note else []
        for _, note in heapq.merge(self._stored_notes(size), kept):
            yield note

    def _stored_notes(self, size: int) -> Iterator[tuple[int, str]]:
        last = -1
        while True:
            window = (
                select(AuditCheckpoint.size, AuditCheckpoint.note)
                .where(AuditCheckpoint.size > last, AuditCheckpoint.size < size)
                .order_by(AuditCheckpoint.size)
                .limit(SCAN_WINDOW)
            )
            rows = self._session.execute(window).all()
            if not rows:
                return
            for stored_size, note in rows:
                if read_checkpoint(note).size != stored_size:
                    raise Finding(
                        Verdict.TAMPERED, f"The checkpoint stored for {stored_size} is another one."
                    )
                yield stored_size, note
            last = rows[-1][0]

    def _inspect(self, leaf: Leaf) -> ContentState | None:
        filed = self._leaf
        if filed is not None:
            self._check_filing(filed, leaf)
        if leaf.content is None:
            return None
        sealed = self._contents.get(leaf.id)
        if sealed is not None and not contents.matches(leaf.content, sealed):
            return ContentState.DIFFERS
        if sealed is not None and leaf.content.key in self._keys:
            return ContentState.MATCHES
        # Without its key or its bytes nobody reads it any more. Was that on purpose?
        return ContentState.ERASED if self._removals.explain(leaf) else ContentState.MISSING

    def _check_filing(self, filed: _StoredLeaf, leaf: Leaf) -> None:
        """Check what the record is found by: the proof may hold, and yet nobody would come across it."""
        filed.is_readable = True
        if (filed.id, filed.corr) != (leaf.id, leaf.corr):
            raise Finding(Verdict.TAMPERED, f"Record {filed.place} is filed under a wrong id.", filed.place)
        self._check_lookups(filed.place, leaf)

    def _check_lookups(self, place: int, leaf: Leaf | None) -> None:
        if self._lookups is not None and self._lookups.differs(place, leaf):
            sentence = f"An index row differs: record {place} would not be found by what it says."
            raise Finding(Verdict.TAMPERED, sentence, place)

    def _unsigned(self, report: Report) -> Report:
        """Check what no checkpoint speaks for, with the master key: what waits, and the subjects' keys."""
        if self._master_key is None or self._inbox is None:
            return report
        waiting = select(AuditInbox.id, AuditInbox.leaf, AuditInbox.mac, AuditLeaf.index)
        rows = self._session.execute(waiting.outerjoin(AuditLeaf, AuditLeaf.id == AuditInbox.id))
        for event_id, leaf, mac, index in rows:
            if index is not None or not self._inbox.is_authentic(event_id, leaf, mac):
                sentence = (
                    f"The record {event_id}, which waits for its place, was not written by this server."
                )
                return replace(report, verdict=Verdict.TAMPERED, sentence=sentence, first_bad=report.size)
        broken = contents.broken_subjects(self._session, self._master_key)
        if broken:
            sentence = f"The key of subject {broken[0]}, or whose it is, was changed or taken away."
            return replace(report, verdict=Verdict.TAMPERED, sentence=sentence, first_bad=None)
        return report

    def _cut_off(self, report: Report) -> Report:
        """Look for signs of records beyond the end: what a witness cosigned, what a receiver was sent."""
        seen = [
            select(func.max(AuditCosignature.size)),
            select(func.max(AuditMark.index)).where(AuditMark.name.startswith(FORWARDED)),
        ]
        last = max(self._session.scalar(largest) or 0 for largest in seen)
        if last <= report.size:
            return report
        sentence = f"{last} records were cosigned or forwarded and only {report.size} are here."
        return replace(report, verdict=Verdict.INCOMPLETE, sentence=sentence, first_bad=report.size)

    def _surplus(self, report: Report) -> Report:
        """Look for rows beyond what the newest checkpoint speaks for, and for rows of pruned records."""
        size, minimum = report.size, self._minimum
        leaves = self._session.scalar(select(func.count()).select_from(AuditLeaf)) or 0
        nodes = self._session.scalar(select(func.count()).select_from(AuditNode)) or 0
        if leaves > size - minimum:
            sentence = "There are records after the last one signed for."
            return replace(report, verdict=Verdict.TAMPERED, sentence=sentence, first_bad=size)
        if nodes != node_count(size) - node_count(minimum) + minimum.bit_count():
            sentence = "There are tree nodes that belong to no record."
            return replace(report, verdict=Verdict.TAMPERED, sentence=sentence)
        if surplus(self._session, minimum, size):
            sentence = "An index row differs: it belongs to no record."
            return replace(report, verdict=Verdict.TAMPERED, sentence=sentence)
        return report


def _leaf_window(start: int, end: int) -> Select[int, str, str, bytes]:
    leaves = select(AuditLeaf.index, AuditLeaf.id, AuditLeaf.corr, AuditLeaf.leaf)
    return leaves.where(AuditLeaf.index >= start, AuditLeaf.index < end).order_by(AuditLeaf.index)


def minimum_index(session: Session) -> int:
    """Return the index of the first record that pruning left; 0 before anything was pruned."""
    mark = session.get(AuditMark, MINIMUM)
    return mark.index if mark is not None else 0


def latest_note(session: Session) -> str | None:
    """Return the newest signed checkpoint, or None before the first."""
    return session.scalar(select(AuditCheckpoint.note).order_by(AuditCheckpoint.size.desc()).limit(1))


def _empty_report() -> Report:
    return Report(
        verdict=Verdict.SOUND,
        sentence="Nothing has been sealed yet.",
        first_bad=None,
        size=0,
        checked=0,
        checkpoints=0,
        root=EMPTY_ROOT,
    )


def newest_first(session: Session) -> Iterator[bytes]:
    """Yield every sealed leaf that is kept, the newest first, read in windows."""
    newest = session.scalar(select(func.max(AuditLeaf.index)))
    upper, minimum = -1 if newest is None else newest, minimum_index(session)
    while upper >= minimum:
        window = and_(AuditLeaf.index <= upper, AuditLeaf.index > upper - SCAN_WINDOW)
        yield from session.scalars(
            select(AuditLeaf.leaf).where(window).order_by(AuditLeaf.index.desc())
        ).all()
        upper -= SCAN_WINDOW


def stored_nodes(session: Session) -> GetNode:
    """Return a reader of stored subtree hashes.

    It raises RecordsPruned for a subtree of pruned records, LedgerDamaged where another one is missing.
    """

    def get_node(level: int, index: int) -> bytes:
        stored = select(AuditNode.hash).where(AuditNode.level == level, AuditNode.index == index)
        hashed = session.scalar(stored)
        if hashed is not None:
            return hashed
        minimum = minimum_index(session)
        if index + 1 << level <= minimum and not _stands_for_pruned(level, index, minimum):
            raise RecordsPruned(f"The records before {minimum} were removed when their retention was over.")
        raise LedgerDamaged("A tree node is missing; check the ledger.")

    return get_node


def _stands_for_pruned(level: int, index: int, minimum: int) -> bool:
    """Tell whether (level, index) is one of the largest complete subtrees before `minimum`."""
    return bool(minimum >> level & 1) and index == (minimum >> level) - 1
