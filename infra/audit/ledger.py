"""The ledger: records enter an inbox in the caller's transaction; one sequencer gives them their place.

A record is durable when `record` returns or the caller's transaction commits. `seal` moves what waits
into the log: it assigns indices, stores leaves and tree nodes, and signs a checkpoint, all in one
transaction, so that after a crash each record is in the inbox or in the log, and never in both.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from infra.access import Principal, scope_of
from infra.audit import content as contents
from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    Signer,
    read_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from infra.audit.group_commit import GroupCommit, unavailable
from infra.audit.leaf import (
    SYSTEM,
    Actor,
    ContentRef,
    Event,
    EventType,
    Leaf,
    LeafInvalid,
    LeafTooLarge,
    Stage,
    canonical,
    parse,
)
from infra.audit.merkle import (
    CompactRange,
    GetNode,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from infra.audit.stored_log import SCAN_WINDOW, StoredLog, latest_note
from infra.audit.verify import Report
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import (
    AuditCheckpoint,
    AuditContent,
    AuditInbox,
    AuditLeaf,
    AuditNode,
)
from infra.errors import InvalidInput, NotFound, StrongroomError
from infra.keys import MasterKey
from infra.logs import get_logger

SEAL_BATCH: Final = 500
"""Records that get their place in one transaction; bounds how long it holds SQLite's writer."""
SEQUENCER_LOCK: Final = 0x5354524F4E47
"""PostgreSQL advisory lock, so that of several replicas one assigns indices at a time."""
UNKNOWN: Final = "unknown"
"""Outcome of what was begun and, after a crash, cannot be known to have ended."""
ENDED_BY: Final = {EventType.ANSWER_ASKED.value: EventType.ANSWER_FINISHED.value}
"""Event types whose end has another name than their start."""


class LedgerDamaged(StrongroomError):
    """The stored log contradicts its own last checkpoint; nothing more is signed on top of it."""

    code = "ledger_damaged"


@dataclass(frozen=True)
class RecordedEvent:
    """A record that was written: its id, its bytes, and their leaf hash (32 bytes)."""

    id: str
    time: int
    leaf: bytes
    leaf_hash: bytes


@dataclass(frozen=True)
class LoggedEvent:
    """A record as it is stored. `index` is None while it waits for its place; `leaf`, if unreadable."""

    id: str
    index: int | None
    leaf: Leaf | None
    raw: bytes


class Ledger:
    """Writes and reads the record of one server."""

    def __init__(
        self, database: Database, master_key: MasterKey, *, origin: str, source: str, timeout_s: float
    ) -> None:
        """Open the ledger. `origin` names the log in its checkpoints, `source` this server in its records.

        `timeout_s` is the longest that `record` and `identify` wait, in seconds.
        """
        self.database = database
        self.origin = origin
        self.source = source
        self._master_key = master_key
        self._signer = Signer(origin, master_key.derive("ledger signing key"))
        self._commits = GroupCommit(database, timeout_s=timeout_s)
        self._sealing = threading.Lock()

    @property
    def verifier_key(self) -> str:
        """The public key that checkpoints are verified with, as `name+id+base64` (C2SP signed-note)."""
        return str(self._signer.verifier_key)

    # --- writing ----------------------------------------------------------------------------------

    def record(self, event: Event, content: bytes | None = None) -> RecordedEvent:
        """Record an event in a transaction of its own, shared with other callers' records.

        Returns when it is durable. Raises AuditUnavailable when the database fails or `timeout_s` is
        over, and LeafInvalid or LeafTooLarge for an event that fits no record. Do not call it inside a
        write transaction of the same thread, which it would wait for: use `record_in` there.
        """
        stamp = _Stamp.now()
        return self._commits.run(lambda session: self._insert(session, event, content, stamp))

    def record_in(self, session: Session, event: Event, content: bytes | None = None) -> RecordedEvent:
        """Record an event in the caller's write transaction: it stands exactly when that commits.

        Raises AuditUnavailable when the database fails, LeafInvalid or LeafTooLarge.
        """
        with _fail_closed():
            return self._insert(session, event, content, _Stamp.now())

    def actor_for(self, session: Session, principal: Principal) -> Actor:
        """Return `principal` as the ledger names them; a first appearance writes, so pass a write session."""
        with _fail_closed():
            return self._register(session, principal)

    def identify(self, principal: Principal) -> Actor:
        """Return `principal` as the ledger names them, in transactions of its own.

        Raises AuditUnavailable like `record`.
        """
        with _fail_closed(), self.database.read() as session:
            subject_id = contents.known_subject(session, principal.principal_id)
        if subject_id is not None:
            return _actor(principal, subject_id)
        return self._commits.run(lambda session: self._register(session, principal))

    def erase_subject(self, session: Session, principal_id: str) -> int:
        """Destroy a principal's key, mapping and recorded content; returns how many contents went.

        The log stays as it is and stays verifiable. Raises AuditUnavailable when the database fails.
        """
        with _fail_closed():
            return contents.erase_subject(session, principal_id)

    def _register(self, session: Session, principal: Principal) -> Actor:
        subject_id = contents.subject_of(session, principal.principal_id, self._master_key)
        return _actor(principal, subject_id)

    def _insert(self, session: Session, event: Event, content: bytes | None, stamp: _Stamp) -> RecordedEvent:
        reference, sealed = self._seal_content(session, event, content, stamp.id)
        # The leaf is built, and refused if need be, before anything is written.
        recorded = self._leaf(event, reference, stamp)
        if reference is not None:
            row = {"event_id": stamp.id, "key_id": reference.key, "sealed": sealed}
            session.execute(insert(AuditContent).values(row))
        session.execute(insert(AuditInbox).values(id=recorded.id, leaf=recorded.leaf))
        return recorded

    def _seal_content(
        self, session: Session, event: Event, content: bytes | None, event_id: str
    ) -> tuple[ContentRef | None, bytes]:
        if content is None:
            return None, b""
        try:
            key_id, key = contents.key_of(session, event.actor.sub, self._master_key)
        except contents.SubjectUnknown as error:
            raise unavailable() from error
        return contents.seal_content(key, key_id, event_id, content)

    def _leaf(self, event: Event, reference: ContentRef | None, stamp: _Stamp) -> RecordedEvent:
        leaf = Leaf(
            id=stamp.id,
            type=event.type.value,
            stage=event.stage,
            corr=event.corr,
            time=stamp.time,
            src=self.source,
            actor=event.actor,
            res=event.res,
            authz=event.authz,
            outcome=event.outcome,
            ai=event.ai,
            ret=event.ret,
            content=reference,
        )
        return _recorded(leaf)

    # --- sealing ----------------------------------------------------------------------------------

    def seal(self) -> Checkpoint | None:
        """Give waiting records their place, and sign the new state; None when nothing waits.

        Takes at most SEAL_BATCH records: call it until it returns None. Raises LedgerDamaged when the
        stored log contradicts its last checkpoint, and the database's own errors.
        """
        with self._sealing:
            waiting = self._read_inbox()
            if not waiting:
                return None
            with self.database.write() as session:
                return self._append(session, waiting)

    def seal_all(self) -> Checkpoint | None:
        """Seal until nothing waits; returns the last new checkpoint."""
        last = None
        while checkpoint := self.seal():
            last = checkpoint
        return last

    def recover(self) -> int:
        """Close what a crash of this server left open, as `unknown`; returns how many were closed.

        Call it once at start, before requests are served. Only records of this `source` are closed:
        another replica's unfinished work is still being done. Raises LedgerDamaged or AuditUnavailable.
        """
        with _fail_closed():
            self.seal_all()
            with self.database.read() as session:
                unfinished = self._unfinished(session)
            with self.database.write() as session:
                for start in unfinished:
                    self._close_start(session, start)
                self._insert(session, _recovered(len(unfinished)), None, _Stamp.now())
            self.seal_all()
        get_logger().info("ledger.recovered", closed=len(unfinished))
        return len(unfinished)

    def _read_inbox(self) -> list[_Waiting]:
        """Read and hash the next batch before the writer's lock is taken."""
        oldest = select(AuditInbox.id, AuditInbox.leaf).order_by(AuditInbox.id).limit(SEAL_BATCH)
        with self.database.read() as session:
            return [_Waiting(id=row.id, leaf=row.leaf) for row in session.execute(oldest)]

    def _append(self, session: Session, waiting: list[_Waiting]) -> Checkpoint | None:
        if not self.database.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SEQUENCER_LOCK})
        taken = _take(session, waiting)
        if not taken:
            return None  # another replica was faster
        tree = self._sound_tree(session)
        leaves: list[dict[str, Any]] = []
        nodes: list[dict[str, Any]] = []
        for record in taken:
            leaves.append({"index": tree.size, "id": record.id, "corr": record.corr, "leaf": record.leaf})
            nodes.extend(vars(node) for node in tree.append(record.hash))
        session.execute(insert(AuditLeaf), leaves)
        session.execute(insert(AuditNode), nodes)
        return self._sign(session, Checkpoint(self.origin, tree.size, tree.root()))

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
        tree = CompactRange.load(size, _stored_nodes(session))
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
        for raw in _newest_first(session):
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
        leaf = _readable(raw)
        return leaf if leaf is not None and leaf.src == self.source else None

    def _close_start(self, session: Session, start: Leaf) -> None:
        end = Leaf(
            id=new_id(),
            type=ENDED_BY.get(start.type, start.type),
            stage=Stage.END,
            corr=start.corr,
            time=now_ms(),
            src=self.source,
            actor=SYSTEM,
            res=start.res,
            outcome=UNKNOWN,
        )
        recorded = _recorded(end)
        session.execute(insert(AuditInbox).values(id=recorded.id, leaf=recorded.leaf))

    # --- reading ----------------------------------------------------------------------------------

    def checkpoint(self) -> str | None:
        """Return the newest signed checkpoint, or None before the first."""
        with self.database.read() as session:
            return latest_note(session)

    def checkpoints(self, *, after_size: int = -1, limit: int = 100) -> list[str]:
        """Return signed checkpoints of more than `after_size` leaves, in ascending size."""
        later = select(AuditCheckpoint.note).where(AuditCheckpoint.size > after_size)
        with self.database.read() as session:
            return list(session.scalars(later.order_by(AuditCheckpoint.size).limit(limit)))

    def events(
        self,
        after_index: int = -1,
        limit: int = 100,
        *,
        before_index: int | None = None,
        corr: str | None = None,
        newest_first: bool = False,
    ) -> list[LoggedEvent]:
        """Return records of the log between two exclusive indices, of one request if `corr` is given."""
        rows = select(AuditLeaf).where(AuditLeaf.index > after_index)
        if before_index is not None:
            rows = rows.where(AuditLeaf.index < before_index)
        if corr is not None:
            rows = rows.where(AuditLeaf.corr == corr)
        order = AuditLeaf.index.desc() if newest_first else AuditLeaf.index
        with self.database.read() as session:
            return [
                LoggedEvent(row.id, row.index, _readable(row.leaf), row.leaf)
                for row in session.scalars(rows.order_by(order).limit(limit))
            ]

    def event(self, event_id: str) -> LoggedEvent:
        """Return one record, sealed or still waiting; raises NotFound."""
        with self.database.read() as session:
            return _find(session, event_id)

    def receipt(self, event_id: str) -> dict[str, Any]:
        """Return the proof that an event is on the record; raises NotFound.

        `id`, `leaf_hash` (hex) and `sealed` always; once it is sealed also `index`, `size`, `proof`
        (base64 hashes, leaf to root), `checkpoint`, and the same as one text, `tlog_proof`
        (https://c2sp.org/tlog-proof).
        """
        with self.database.read() as session:
            found = _find(session, event_id)
            receipt = {"id": event_id, "leaf_hash": leaf_hash(found.raw).hex(), "sealed": False}
            note = latest_note(session)
            if found.index is None or note is None:
                return receipt
            size = read_checkpoint(note).size
            path = inclusion_proof(found.index, size, _stored_nodes(session))
        proof = [b64encode(hashed).decode() for hashed in path]
        return receipt | {
            "sealed": True,
            "index": found.index,
            "size": size,
            "proof": proof,
            "checkpoint": note,
            "tlog_proof": _tlog_proof(found.index, proof, note),
        }

    def consistency(self, first: int, second: int | None = None) -> list[str]:
        """Return the proof (base64 hashes) that the log of `first` leaves begins that of `second`.

        `second` defaults to the newest checkpoint's size. Raises InvalidInput for sizes that never were.
        """
        with self.database.read() as session:
            note = latest_note(session)
            newest = read_checkpoint(note).size if note else 0
            last = newest if second is None else second
            if not 0 <= first <= last <= newest:
                raise InvalidInput("The log never had these sizes.", param="first")
            path = consistency_proof(first, last, _stored_nodes(session))
        return [b64encode(hashed).decode() for hashed in path]

    def read_content(self, event_id: str) -> bytes:
        """Return the recorded content of an event, checked against its leaf.

        Raises NotFound for an event without content, ContentErased after an erasure, ContentBroken when
        it is not what was recorded. Reading it is an event of its own, which the caller records.
        """
        with self.database.read() as session:
            leaf = _find(session, event_id).leaf
            if leaf is None or leaf.content is None:
                raise NotFound("This event has no recorded content.")
            key = contents.key_by_id(session, leaf.content.key, self._master_key)
            row = session.get(AuditContent, event_id)
            if row is None:
                raise contents.ContentBroken("The recorded content is missing.")
            return contents.open_content(key, leaf.content, event_id, row.sealed)

    def leaves(self) -> Iterator[bytes]:
        """Yield every sealed leaf in order, for an export."""
        start = 0
        while rows := self.events(start - 1, SCAN_WINDOW):
            yield from (row.raw for row in rows)
            start += len(rows)

    def healthy(self) -> bool:
        """Tell whether the ledger's tables can be read now; cheap, for a readiness probe."""
        try:
            with self.database.read() as session:
                session.execute(select(AuditInbox.id).limit(1))
        except (SQLAlchemyError, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """Write what callers wait for, and stop taking records."""
        self._commits.close()


class Sequencer:
    """A thread that seals waiting records every `interval_s` seconds, and outlives database errors."""

    def __init__(self, ledger: Ledger, *, interval_s: float = 0.25, retry_s: float = 1.0) -> None:
        self._ledger = ledger
        self._interval_s = interval_s
        self._retry_s = retry_s
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
            sealed = self._seal()
            if stopping:
                return
            self._stopping.wait(self._interval_s if sealed else self._retry_s)

    def _seal(self) -> bool:
        try:
            self._ledger.seal_all()
        except Exception as error:  # noqa: BLE001
            # The edge of the thread: records stay durable in the inbox, and the next round tries again.
            # No traceback: its local variables would put records into the log.
            get_logger().error("ledger.seal_failed", error=type(error).__name__)
            return False
        return True


def verify_live(ledger: Ledger, *, kept_note: str | None = None) -> Report:
    """Check the stored log: leaves, nodes, every checkpoint, look-up columns and contents.

    `kept_note` is a checkpoint that an auditor kept elsewhere: it is what shows that the whole log,
    checkpoints included, was not rolled back. Safe while records are being written.
    """
    with ledger.database.read() as session:
        return StoredLog(session).verify(ledger.verifier_key, kept_note)


# --- records --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stamp:
    """When the caller spoke, and the id made at that moment."""

    id: str
    time: int

    @classmethod
    def now(cls) -> _Stamp:
        return cls(new_id(), now_ms())


class _Waiting:
    """A record in the inbox, hashed."""

    def __init__(self, *, id: str, leaf: bytes) -> None:  # noqa: A002  the column's name
        self.id = id
        self.leaf = leaf
        self.hash = leaf_hash(leaf)
        readable = _readable(leaf)
        if readable is None:
            # Sealing it all the same keeps the log moving; the check will point at it.
            get_logger().error("ledger.inbox_unreadable", event_id=id)
        self.corr = readable.corr if readable else ""


def _take(session: Session, waiting: list[_Waiting]) -> list[_Waiting]:
    """Remove the records from the inbox; returns those that were still there."""
    ids = [record.id for record in waiting]
    removed = set(
        session.scalars(
            delete(AuditInbox).where(AuditInbox.id.in_(ids)).returning(AuditInbox.id),
            execution_options={"synchronize_session": False},
        )
    )
    return [record for record in waiting if record.id in removed]


def _recorded(leaf: Leaf) -> RecordedEvent:
    data = canonical(leaf)
    return RecordedEvent(leaf.id, leaf.time, data, leaf_hash(data))


def _recovered(closed: int) -> Event:
    return Event(
        type=EventType.LEDGER_RECOVERED,
        stage=Stage.SINGLE,
        corr=new_id(),
        actor=SYSTEM,
        outcome=f"closed {closed}",
    )


def _actor(principal: Principal, subject_id: str) -> Actor:
    return Actor(
        sub=subject_id,
        kind=principal.kind,
        auth=principal.auth_method,
        sess=principal.session_hash or None,
        pset=scope_of(principal).principal_set_hash,
    )


def _readable(raw: bytes) -> Leaf | None:
    try:
        return parse(raw)
    except (LeafInvalid, LeafTooLarge):
        return None


def _tlog_proof(index: int, proof: list[str], note: str) -> str:
    return "\n".join(["c2sp.org/tlog-proof@v1", f"index {index}", *proof, "", note])


# --- rows -----------------------------------------------------------------------------------------


@contextmanager
def _fail_closed() -> Iterator[None]:
    """Turn any failure of the database into AuditUnavailable."""
    try:
        yield
    except (SQLAlchemyError, TimeoutError) as error:
        raise unavailable() from error


def _find(session: Session, event_id: str) -> LoggedEvent:
    # Inbox first: a record moves from there to the log, never back, so it cannot slip between the two.
    waiting = session.get(AuditInbox, event_id)
    row = session.scalar(select(AuditLeaf).where(AuditLeaf.id == event_id))
    if row is not None:
        return LoggedEvent(row.id, row.index, _readable(row.leaf), row.leaf)
    if waiting is None:
        raise NotFound("There is no such event.")
    return LoggedEvent(waiting.id, None, _readable(waiting.leaf), waiting.leaf)


def _newest_first(session: Session) -> Iterator[bytes]:
    newest = session.scalar(select(func.max(AuditLeaf.index)))
    upper = -1 if newest is None else newest
    while upper >= 0:
        window = and_(AuditLeaf.index <= upper, AuditLeaf.index > upper - SCAN_WINDOW)
        yield from session.scalars(
            select(AuditLeaf.leaf).where(window).order_by(AuditLeaf.index.desc())
        ).all()
        upper -= SCAN_WINDOW


def _stored_nodes(session: Session) -> GetNode:
    def get_node(level: int, index: int) -> bytes:
        stored = select(AuditNode.hash).where(AuditNode.level == level, AuditNode.index == index)
        hashed = session.scalar(stored)
        if hashed is None:
            raise LedgerDamaged("A tree node is missing; check the ledger.")
        return hashed

    return get_node
