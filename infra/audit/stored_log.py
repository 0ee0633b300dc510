"""The stored log as the verifier wants it: in windows, with nodes, checkpoints and contents beside it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from infra.audit import content as contents
from infra.audit.checkpoint import NoteUnreadable, read_checkpoint
from infra.audit.leaf import Leaf
from infra.audit.merkle import EMPTY_ROOT, GetNode, node_count
from infra.audit.records import LedgerDamaged
from infra.audit.verify import ContentState, Finding, Report, Verdict, verify_log
from infra.database.tables import (
    AuditCheckpoint,
    AuditContent,
    AuditInbox,
    AuditLeaf,
    AuditNode,
    SubjectKey,
)

SCAN_WINDOW: Final = 500
"""Leaves that are held in memory at a time."""


class StoredLog:
    """The log in the database, read in windows, as `verify_log` wants it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._row: AuditLeaf | None = None

    def verify(self, verifier_key: str, kept_note: str | None) -> Report:
        """Check everything that is stored; see `infra.audit.ledger.verify_live`."""
        note = latest_note(self._session)
        unsealed = self._session.scalar(select(func.count()).select_from(AuditInbox)) or 0
        report = self._verify_note(note, verifier_key, kept_note)
        if report.is_sound:
            report = self._surplus(report)
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
        return verify_log(
            self._leaves(size),
            note,
            verifier_key,
            earlier_notes=self._notes(size, kept_note),
            stored_node=lambda level, index: self._nodes.get((level, index)),
            inspect=self._inspect,
        )

    def _leaves(self, size: int) -> Iterator[bytes]:
        bounds = [*range(0, size, SCAN_WINDOW), size]
        for start, end in pairwise(bounds):
            self._nodes = self._load_nodes(start, end)
            expected = start
            within = select(AuditLeaf).where(AuditLeaf.index >= start, AuditLeaf.index < end)
            for row in self._session.scalars(within.order_by(AuditLeaf.index)).all():
                if row.index != expected:
                    break
                self._row = row
                # SQLite lets anybody store text where bytes belong; as bytes it is a leaf that does not fit.
                yield row.leaf if isinstance(row.leaf, bytes) else str(row.leaf).encode()
                expected += 1
            self._session.expunge_all()
            if expected < end:
                self._refuse_gap(expected)
                return

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
        row = self._row
        if row is not None and (row.id, row.corr) != (leaf.id, leaf.corr):
            # The proof holds, but whoever looks the record up by id or request would not find it.
            raise Finding(Verdict.TAMPERED, f"Record {row.index} is filed under a wrong id.", row.index)
        if leaf.content is None:
            return None
        stored = select(AuditContent.sealed).where(AuditContent.event_id == leaf.id)
        sealed = self._session.scalar(stored)
        if sealed is not None:
            return ContentState.MATCHES if contents.matches(leaf.content, sealed) else ContentState.DIFFERS
        key = select(SubjectKey.key_id).where(SubjectKey.key_id == leaf.content.key)
        return ContentState.ERASED if self._session.scalar(key) is None else ContentState.MISSING

    def _surplus(self, report: Report) -> Report:
        """Look for rows beyond what the newest checkpoint speaks for.

        Both sides of each comparison come from one statement, since records may be sealed meanwhile.
        """
        signed = select(func.coalesce(func.max(AuditCheckpoint.size), 0)).scalar_subquery()
        leaves = select(func.count()).select_from(AuditLeaf).scalar_subquery()
        nodes = select(func.count()).select_from(AuditNode).scalar_subquery()
        size, leaf_total, node_total = self._session.execute(select(signed, leaves, nodes)).one()
        if leaf_total > size:
            sentence = "There are records after the last one signed for."
            return replace(report, verdict=Verdict.TAMPERED, sentence=sentence, first_bad=size)
        if node_total != node_count(size):
            sentence = "There are tree nodes that belong to no record."
            return replace(report, verdict=Verdict.TAMPERED, sentence=sentence)
        return report


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
    """Yield every sealed leaf, the newest first, read in windows."""
    newest = session.scalar(select(func.max(AuditLeaf.index)))
    upper = -1 if newest is None else newest
    while upper >= 0:
        window = and_(AuditLeaf.index <= upper, AuditLeaf.index > upper - SCAN_WINDOW)
        yield from session.scalars(
            select(AuditLeaf.leaf).where(window).order_by(AuditLeaf.index.desc())
        ).all()
        upper -= SCAN_WINDOW


def stored_nodes(session: Session) -> GetNode:
    """Return a reader of stored subtree hashes; it raises LedgerDamaged where one is missing."""

    def get_node(level: int, index: int) -> bytes:
        stored = select(AuditNode.hash).where(AuditNode.level == level, AuditNode.index == index)
        hashed = session.scalar(stored)
        if hashed is None:
            raise LedgerDamaged("A tree node is missing; check the ledger.")
        return hashed

    return get_node
