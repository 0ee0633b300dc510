"""The ledger: records enter an inbox in the caller's transaction; one sequencer gives them their place.

A record is durable when `record` returns or the caller's transaction commits. `seal` moves what waits
into the log: it assigns indices, stores leaves and tree nodes, and signs a checkpoint, all in one
transaction, so that after a crash each record is in the inbox or in the log, and never in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from infra.access import Principal, scope_of
from infra.audit import content as contents
from infra.audit.checkpoint import (
    Signer,
)
from infra.audit.group_commit import GroupCommit, fail_closed, unavailable
from infra.audit.leaf import (
    Actor,
    ContentRef,
    Event,
    Leaf,
)
from infra.audit.proofs.stored import LedgerProofs
from infra.audit.reading.reader import LedgerReader
from infra.audit.records import InboxSeal, RecordedEvent, Stamp, recorded
from infra.audit.sequencer import Sealer
from infra.audit.stored_log import StoredLog
from infra.audit.verify import Report, weigh_kept
from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import (
    AuditContent,
    AuditInbox,
    AuditMark,
)
from infra.errors import StrongroomError
from infra.keys import MasterKey, SealBroken

# Plain tables and statements that are built once: this is the path that every answer waits for, and an
# insert made anew for each record takes five times as long as the database needs for it.
_ADD_CONTENTS: Final = insert(AuditContent.metadata.tables[AuditContent.__tablename__])
_ADD_RECORDS: Final = insert(AuditInbox.metadata.tables[AuditInbox.__tablename__])


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
        self._inbox = InboxSeal(master_key)
        self._signer = Signer(origin, master_key.derive("ledger signing key"))
        self._commits = GroupCommit(
            database, timeout_s=timeout_s, prepare=_read_keys, complete=_insert_gathered
        )
        self.sealer = Sealer(database, self._signer, self._inbox, source=source)
        self.reader = LedgerReader(database, master_key)
        self.proofs = LedgerProofs(database)

    @property
    def verifier_key(self) -> str:
        """The public key that checkpoints are verified with, as `name+id+base64` (C2SP signed-note)."""
        return str(self._signer.verifier_key)

    @property
    def signer(self) -> Signer:
        """What signs for this log; the manifest of an export is signed like its checkpoint."""
        return self._signer

    # --- writing ----------------------------------------------------------------------------------

    def record(self, event: Event, content: bytes | None = None) -> RecordedEvent:
        """Record an event in a transaction of its own, shared with other callers' records.

        Returns when it is durable. Raises AuditUnavailable when the database fails or `timeout_s` is
        over, and LeafInvalid or LeafTooLarge for an event that fits no record. Do not call it inside a
        write transaction of the same thread, which it would wait for: use `record_in` there.
        """
        stamp = Stamp.now()
        return self._commits.run(
            lambda session: self._add(_gathered_by(session), event, content, stamp),
            needs=event.actor.sub if content is not None else None,
        )

    def record_all(self, events: Sequence[Event]) -> None:
        """Record events that have no content together, like `record`: all of them stand, or none does."""
        made = [self._leaf(event, None, Stamp.now()) for event in events]
        self._commits.run(lambda session: self._gather(_gathered_by(session), made))

    def record_in(self, session: Session, event: Event, content: bytes | None = None) -> RecordedEvent:
        """Record an event in the caller's write transaction: it stands exactly when that commits.

        Raises AuditUnavailable when the database fails, LeafInvalid or LeafTooLarge.
        """
        gathered = _Gathered()
        with fail_closed():
            if content is not None:
                gathered.keys = contents.keys_of(session, [event.actor.sub])
            made = self._add(gathered, event, content, Stamp.now())
            gathered.insert(session)
        return made

    def actor_for(self, session: Session, principal: Principal) -> Actor:
        """Return `principal` as the ledger names them; a first appearance writes, so pass a write session."""
        with fail_closed():
            return self._register(session, principal)

    def identify(self, principal: Principal) -> Actor:
        """Return `principal` as the ledger names them, in transactions of its own.

        Raises AuditUnavailable like `record`.
        """
        with fail_closed(), self.database.read() as session:
            subject_id = contents.known_subject(session, principal.principal_id)
        if subject_id is not None:
            return _actor(principal, subject_id)
        return self._commits.run(lambda session: self._register(session, principal))

    def _register(self, session: Session, principal: Principal) -> Actor:
        subject_id = contents.subject_of(session, principal.principal_id, self._master_key)
        return _actor(principal, subject_id)

    def _add(self, gathered: _Gathered, event: Event, content: bytes | None, stamp: Stamp) -> RecordedEvent:
        reference, sealed = self._seal_content(gathered.keys, event, content, stamp.id)
        # The leaf is built, and refused if need be, before anything is written.
        made = self._leaf(event, reference, stamp)
        if reference is not None:
            gathered.contents.append({"event_id": stamp.id, "key_id": reference.key, "sealed": sealed})
        self._gather(gathered, [made])
        return made

    def _gather(self, gathered: _Gathered, made: Sequence[RecordedEvent]) -> None:
        for record in made:
            mac = self._inbox.mac(record.id, record.leaf)
            gathered.records.append({"id": record.id, "leaf": record.leaf, "mac": mac})

    def _seal_content(
        self, keys: Mapping[str, contents.WrappedKey], event: Event, content: bytes | None, event_id: str
    ) -> tuple[ContentRef | None, bytes]:
        if content is None:
            return None, b""
        try:
            found = keys[event.actor.sub]
            key = found.unwrap(self._master_key)
        except (KeyError, SealBroken) as error:
            raise unavailable() from error  # the subject was erased, or never had a key that opens
        return contents.seal_content(key, found.key_id, event_id, content)

    def _leaf(self, event: Event, reference: ContentRef | None, stamp: Stamp) -> RecordedEvent:
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
            calls=event.calls,
            segments=event.segments,
            ret=event.ret,
            content=reference,
        )
        return recorded(leaf)

    # --- its state --------------------------------------------------------------------------------

    def verify(self, *, kept_note: str | None = None) -> Report:
        """Check the stored log: leaves, nodes, every checkpoint, look-up columns, contents, keys and inbox.

        `kept_note` is a checkpoint that an auditor kept elsewhere: it is what shows that the whole log,
        checkpoints included, was not rolled back. Safe while records are being written.
        """
        with self.database.read() as session:
            return self.verify_in(session, kept_note=kept_note)

    def verify_in(
        self, session: Session, *, verifier_key: str | None = None, kept_note: str | None = None
    ) -> Report:
        """Check like `verify` what `session` sees; `verifier_key` replaces this server's own."""
        log = StoredLog(session, self._master_key)
        report = log.verify(verifier_key or self.verifier_key, kept_note)
        return weigh_kept(report, kept_note) if kept_note is not None else report

    def healthy(self) -> bool:
        """Tell whether the ledger takes records now, in `timeout_s` seconds at most.

        What can be read may still not be written, with a full disk or a lock that is held: so it writes.
        """
        try:
            self._commits.run(self._touch)
        except StrongroomError:
            return False
        return True

    def _touch(self, session: Session) -> None:
        session.merge(AuditMark(name=f"pulse:{self.source}"[:64], index=now_ms()))
        session.execute(select(AuditInbox.id).limit(1))

    def close(self) -> None:
        """Write what callers wait for, and stop taking records."""
        self._commits.close()


# --- records --------------------------------------------------------------------------------------


class _Gathered:
    """The keys that the records of one transaction are sealed with, and the rows that they add together."""

    def __init__(self) -> None:
        self.keys: dict[str, contents.WrappedKey] = {}
        self.records: list[dict[str, Any]] = []
        self.contents: list[dict[str, Any]] = []

    def insert(self, session: Session) -> None:
        if self.contents:
            session.execute(_ADD_CONTENTS, self.contents)
        if self.records:
            session.execute(_ADD_RECORDS, self.records)


def _gathered_by(session: Session) -> _Gathered:
    """Return what a shared transaction has gathered so far; the session lives as long as that does."""
    gathered: _Gathered = session.info.setdefault(_Gathered, _Gathered())
    return gathered


def _read_keys(session: Session, subject_ids: set[str]) -> None:
    if subject_ids:
        _gathered_by(session).keys = contents.keys_of(session, subject_ids)


def _insert_gathered(session: Session) -> None:
    _gathered_by(session).insert(session)


def _actor(principal: Principal, subject_id: str) -> Actor:
    return Actor(
        sub=subject_id,
        kind=principal.kind,
        auth=principal.auth_method,
        sess=principal.session_hash or None,
        pset=scope_of(principal).principal_set_hash,
    )
