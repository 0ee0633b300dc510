"""Give waiting records their place: one sequencer assigns indices in batches and signs checkpoints.

One transaction takes records out of the inbox, stores leaves and tree nodes, and signs the new state, so
that after a crash each record is in the inbox or in the log, and never in both.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, insert, select, text
from sqlalchemy.orm import Session

from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    Signer,
    sign_checkpoint,
    verify_checkpoint,
)
from infra.audit.event_types import EventType, Stage
from infra.audit.group_commit import fail_closed
from infra.audit.leaf import AI, SYSTEM, Leaf
from infra.audit.merkle import CompactRange, leaf_hash
from infra.audit.model_calls import calls_of, segments_of
from infra.audit.reading.lookup import insert_lookups
from infra.audit.records import InboxSeal, LedgerDamaged, RecordedEvent, Stamp, readable, recorded
from infra.audit.stored_log import latest_note, newest_first, stored_nodes
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import AuditCheckpoint, AuditInbox, AuditLeaf, AuditNode
from infra.logs import get_logger

SEAL_BATCH: Final = 500
"""Records that get their place in one transaction; bounds how long it holds SQLite's writer."""
SEQUENCER_LOCK: Final = 0x5354524F4E47
"""PostgreSQL advisory lock, so that of several replicas one assigns indices at a time."""
ALIVE_AFTER_MS: Final = 59 * 60 * 1000
"""Quiet time after which the server signs that nothing happened; less than an hour, so that each has one."""
UNKNOWN: Final = "unknown"
"""Outcome of what was begun and, after a crash, cannot be known to have ended."""
ENDED_BY: Final = {EventType.ANSWER_ASKED.value: EventType.ANSWER_FINISHED.value}
"""Event types whose end has another name than their start."""

# Plain tables and statements that are built once, like those of `infra.audit.ledger`.
_INBOX: Final = AuditInbox.metadata.tables[AuditInbox.__tablename__]
_ADD_LEAVES: Final = insert(AuditLeaf.metadata.tables[AuditLeaf.__tablename__])
_ADD_NODES: Final = insert(AuditNode.metadata.tables[AuditNode.__tablename__])
_OLDEST: Final = select(_INBOX.c.id, _INBOX.c.leaf, _INBOX.c.mac).order_by(_INBOX.c.id).limit(SEAL_BATCH)
_REMOVE: Final = (
    delete(_INBOX).where(_INBOX.c.id.in_(bindparam("ids", expanding=True))).returning(_INBOX.c.id)
)
# A part of its own, because PostgreSQL may run a subquery more than once, and each run would take more.
_TAKEN: Final = (
    select(_INBOX.c.id).order_by(_INBOX.c.id).limit(SEAL_BATCH).with_for_update(skip_locked=True).cte("taken")
)
_TAKE_OLDEST: Final = (
    delete(_INBOX).where(_INBOX.c.id == _TAKEN.c.id).returning(_INBOX.c.id, _INBOX.c.leaf, _INBOX.c.mac)
)


class Sealer:
    """Moves records from the inbox into the log of one server."""

    def __init__(self, database: Database, signer: Signer, inbox: InboxSeal, *, source: str) -> None:
        """Sign with `signer`, whose name is the log's, what `inbox` says a server wrote.

        `source` is this server's name in its records.
        """
        self._database = database
        self._signer = signer
        self._inbox = inbox
        self._origin = signer.verifier_key.name
        self._source = source
        self._sealing = threading.Lock()

    def seal(self) -> Checkpoint | None:
        """Give waiting records their place, and sign the new state; None when nothing waits.

        Takes at most SEAL_BATCH records: call it until it returns None. Raises LedgerDamaged when the
        stored log contradicts its last checkpoint, or when something waits that no server of this log
        wrote; and the database's own errors.
        """
        with self._sealing:
            if self._database.is_sqlite:
                return self._seal_behind_one_lock()
            return self._seal_among_replicas()

    def seal_all(self) -> Checkpoint | None:
        """Seal until nothing waits; returns the last new checkpoint."""
        last = None
        while checkpoint := self.seal():
            last = checkpoint
        return last

    def say_alive(self) -> None:
        """Write the record of a quiet hour; sealing it signs a checkpoint that shows nothing was left out."""
        with self._database.write() as session:
            self._say(session, EventType.LEDGER_ALIVE, "ok")

    def signed_at(self) -> int:
        """Return when the newest checkpoint was signed, in UTC ms since 1970; 0 before the first."""
        newest = select(AuditCheckpoint.created_at).order_by(AuditCheckpoint.size.desc()).limit(1)
        with self._database.read() as session:
            return session.scalar(newest) or 0

    def recover(self) -> int:
        """Close what a crash of this server left open, as `unknown`; returns how many were closed.

        Call it once at start, before requests are served. Only records of this `source` are closed:
        another replica's unfinished work is still being done. Raises LedgerDamaged or AuditUnavailable.
        """
        with fail_closed():
            self.seal_all()
            with self._database.read() as session:
                unfinished = self._unfinished(session)
                told = {start.id: _told_before(session, start) for start in unfinished}
            with self._database.write() as session:
                for start in unfinished:
                    self._close_start(session, start, *told[start.id])
                self._say_recovered(session, len(unfinished))
            self.seal_all()
        get_logger().info("ledger.recovered", closed=len(unfinished))
        return len(unfinished)

    def _seal_behind_one_lock(self) -> Checkpoint | None:
        """Seal on SQLite, whose lock stops every writer: records are read and hashed before it is taken."""
        with self._database.read() as session:
            waiting = self._authentic(session.execute(_OLDEST).all())
        if not waiting:
            return None
        with self._database.write() as session:
            return self._append(session, _still_there(session, waiting))

    def _seal_among_replicas(self) -> Checkpoint | None:
        """Seal on PostgreSQL, where writers go on meanwhile, and another replica's sequencer waits its turn.

        The batch is read with that turn in hand: it is whatever is committed by then, in the order of ids,
        whichever of them came last. No position in the inbox is remembered, so none is passed over.
        """
        with self._database.write() as session:
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SEQUENCER_LOCK})
            return self._append(session, self._authentic(session.execute(_TAKE_OLDEST).all()))

    def _authentic(self, rows: Sequence[Row[str, bytes, bytes]]) -> list[_Waiting]:
        """Hash what waits, and refuse all of it when a row was written or changed by somebody else.

        A signature would make it genuine, and leaving it out in silence would hide that somebody tried.
        """
        for row in rows:
            if not self._inbox.is_authentic(row.id, row.leaf, row.mac):
                get_logger().error("ledger.inbox_forged", event_id=row.id)
                raise LedgerDamaged(
                    "A record that waits for its place was not written by this server, or was changed.",
                    hint="Check the record; nothing is sealed while that row is in the inbox.",
                )
        return _hashed(rows)

    def _append(self, session: Session, taken: list[_Waiting]) -> Checkpoint | None:
        if not taken:
            return None  # nothing waits, or somebody was faster
        tree = self._sound_tree(session)
        places = enumerate(taken, tree.size)
        found = [(index, record.parsed) for index, record in places if record.parsed is not None]
        leaves: list[dict[str, Any]] = []
        nodes: list[dict[str, Any]] = []
        for record in taken:
            leaves.append({"index": tree.size, "id": record.id, "corr": record.corr, "leaf": record.leaf})
            nodes.extend(vars(node) for node in tree.append(record.hash))
        session.execute(_ADD_LEAVES, leaves)
        session.execute(_ADD_NODES, nodes)
        insert_lookups(session, found)
        return self._sign(session, Checkpoint(self._origin, tree.size, tree.root()))

    def _sound_tree(self, session: Session) -> CompactRange:
        """Take the tree up again, and refuse to build on one that is not what was last signed.

        A log must never sign two histories (C2SP tlog-checkpoint): a signature over a damaged state
        would make the damage look genuine.
        """
        note = latest_note(session)
        newest = session.scalar(select(func.max(AuditLeaf.index)))
        size = 0 if newest is None else newest + 1
        if note is None and size == 0:
            return CompactRange()
        try:
            signed = verify_checkpoint(note or "", self._signer.verifier_key)
        except (NoteUnreadable, NoteUntrusted) as error:
            raise LedgerDamaged("The last checkpoint is not one that this server signed.") from error
        tree = CompactRange.load(size, stored_nodes(session))
        if (signed.size, signed.root) != (tree.size, tree.root()):
            raise LedgerDamaged("The stored log is not the one that was last signed.")
        return tree

    def _sign(self, session: Session, checkpoint: Checkpoint) -> Checkpoint:
        note = sign_checkpoint(checkpoint, self._signer)
        session.execute(insert(AuditCheckpoint).values(size=checkpoint.size, created_at=now_ms(), note=note))
        return checkpoint

    def _unfinished(self, session: Session) -> list[Leaf]:
        """Return this server's starts without an end since it last recovered, oldest first."""
        ends: Counter[tuple[str, str]] = Counter()
        unfinished: list[Leaf] = []
        for raw in newest_first(session):
            leaf = self._own_boundary(raw)
            if leaf is None:
                continue
            if leaf.type == EventType.LEDGER_RECOVERED:
                break
            opened = (leaf.corr, ENDED_BY.get(leaf.type, leaf.type))
            if leaf.stage is Stage.END:
                ends[leaf.corr, leaf.type] += 1
            elif ends[opened] > 0:
                ends[opened] -= 1
            else:
                unfinished.append(leaf)
        return unfinished[::-1]

    def _own_boundary(self, raw: bytes) -> Leaf | None:
        """Return the leaf if it is a start, an end or a recovery of this server."""
        # Canonical JSON escapes quotes inside strings, so these bytes occur as members only. Looking
        # for them first spares parsing the bulk of a long log.
        marks = (b'"stage":"start"', b'"stage":"end"', b'"type":"ledger.recovered"')
        if not any(mark in raw for mark in marks):
            return None
        leaf = readable(raw)
        return leaf if leaf is not None and leaf.src == self._source else None

    def _say_recovered(self, session: Session, closed: int) -> None:
        self._say(session, EventType.LEDGER_RECOVERED, f"closed {closed}")

    def _say(self, session: Session, event: EventType, outcome: str) -> None:
        """Write a record of the server about itself."""
        stamp = Stamp.now()
        leaf = Leaf(
            id=stamp.id,
            type=event.value,
            stage=Stage.SINGLE,
            corr=new_id(),
            time=stamp.time,
            src=self._source,
            actor=SYSTEM,
            outcome=outcome,
        )
        self._put(session, recorded(leaf))

    def _close_start(self, session: Session, start: Leaf, calls: tuple[AI, ...], segments: int) -> None:
        end = Leaf(
            id=new_id(),
            type=ENDED_BY.get(start.type, start.type),
            stage=Stage.END,
            corr=start.corr,
            time=now_ms(),
            src=self._source,
            actor=SYSTEM,
            res=start.res,
            outcome=UNKNOWN,
            ai=start.ai,
            calls=calls,
            segments=segments,
        )
        self._put(session, recorded(end))

    def _put(self, session: Session, made: RecordedEvent) -> None:
        mac = self._inbox.mac(made.id, made.leaf)
        session.execute(insert(AuditInbox).values(id=made.id, leaf=made.leaf, mac=mac))


class Sequencer:
    """A thread that seals waiting records every `interval_s` seconds, and outlives database errors.

    In a quiet hour it writes a record of its own, so that every hour has a checkpoint.
    """

    def __init__(
        self,
        sealer: Sealer,
        *,
        interval_s: float = 0.25,
        retry_s: float = 1.0,
        now: Callable[[], int] = now_ms,
    ) -> None:
        """Seal with `sealer`; `now` returns UTC milliseconds since 1970."""
        self._sealer = sealer
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._now = now
        self._signed_at: int | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._loop, name="ledger-sequencer", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Seal what waits one last time, and end the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _loop(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            began = time.monotonic()
            sealed = self._seal()
            if stopping:
                return
            # Under load a round takes a while itself; writers get a breath between two all the same.
            pause = max(self._interval_s - (time.monotonic() - began), self._interval_s / 5)
            self._stopping.wait(pause if sealed else self._retry_s)

    def _seal(self) -> bool:
        try:
            began = self._now()
            if self._sealer.seal_all() is not None:
                self._signed_at = began
            self._break_silence()
        except Exception as error:  # noqa: BLE001
            # The edge of the thread: records stay durable in the inbox, and the next round tries again.
            # No traceback: its local variables would put records into the log.
            get_logger().error("ledger.seal_failed", error=type(error).__name__)
            return False
        return True

    def _break_silence(self) -> None:
        """Write a record when none was signed for an hour, by this server or another replica."""
        if self._signed_at is None or self._is_quiet(self._signed_at):
            self._signed_at = self._sealer.signed_at()
            if self._signed_at and self._is_quiet(self._signed_at):
                self._sealer.say_alive()
                # It is sealed with the next round; until then it must not be written again.
                self._signed_at = self._now()

    def _is_quiet(self, since: int) -> bool:
        return self._now() - since >= ALIVE_AFTER_MS


class _Waiting:
    """A record in the inbox, hashed."""

    def __init__(self, *, id: str, leaf: bytes) -> None:  # noqa: A002  the column's name
        self.id = id
        self.leaf = leaf
        self.hash = leaf_hash(leaf)
        self.parsed = readable(leaf)
        if self.parsed is None:
            # Sealing it all the same keeps the log moving; the check will point at it.
            get_logger().error("ledger.inbox_unreadable", event_id=id)
        self.corr = self.parsed.corr if self.parsed else ""


def _told_before(session: Session, start: Leaf) -> tuple[tuple[AI, ...], int]:
    """Return the model calls and the number of segments of the answer that `start` begins, if it is one."""
    if start.type not in ENDED_BY:
        return (), 0
    own = select(AuditLeaf.leaf).where(AuditLeaf.corr == start.corr).order_by(AuditLeaf.index)
    leaves = [leaf for raw in session.scalars(own) if (leaf := readable(raw)) is not None]
    return calls_of(leaves), segments_of(leaves)


def _hashed(rows: Sequence[Row[str, bytes, bytes]]) -> list[_Waiting]:
    return sorted((_Waiting(id=row.id, leaf=row.leaf) for row in rows), key=lambda record: record.id)


def _still_there(session: Session, waiting: list[_Waiting]) -> list[_Waiting]:
    """Remove the records from the inbox; returns those that were still there."""
    removed = set(session.scalars(_REMOVE, {"ids": [record.id for record in waiting]}))
    return [record for record in waiting if record.id in removed]
