"""The ledger: records enter an inbox in the caller's transaction; one sequencer gives them their place.

A record is durable when `record` returns or the caller's transaction commits. `seal` moves what waits
into the log: it assigns indices, stores leaves and tree nodes, and signs a checkpoint, all in one
transaction, so that after a crash each record is in the inbox or in the log, and never in both.
"""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError
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
from infra.audit.proofs import LedgerProofs
from infra.audit.reading import LedgerReader
from infra.audit.records import RecordedEvent, Stamp, recorded
from infra.audit.sequencer import Sealer
from infra.audit.stored_log import StoredLog
from infra.audit.verify import Report
from infra.database import Database
from infra.database.tables import (
    AuditContent,
    AuditInbox,
)
from infra.keys import MasterKey


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
        self.sealer = Sealer(database, self._signer, source=source)
        self.reader = LedgerReader(database, master_key)
        self.proofs = LedgerProofs(database)

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
        stamp = Stamp.now()
        return self._commits.run(lambda session: self._insert(session, event, content, stamp))

    def record_in(self, session: Session, event: Event, content: bytes | None = None) -> RecordedEvent:
        """Record an event in the caller's write transaction: it stands exactly when that commits.

        Raises AuditUnavailable when the database fails, LeafInvalid or LeafTooLarge.
        """
        with fail_closed():
            return self._insert(session, event, content, Stamp.now())

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

    def erase_subject(self, session: Session, principal_id: str) -> int:
        """Destroy a principal's key, mapping and recorded content; returns how many contents went.

        The log stays as it is and stays verifiable. Raises AuditUnavailable when the database fails.
        """
        with fail_closed():
            return contents.erase_subject(session, principal_id)

    def _register(self, session: Session, principal: Principal) -> Actor:
        subject_id = contents.subject_of(session, principal.principal_id, self._master_key)
        return _actor(principal, subject_id)

    def _insert(self, session: Session, event: Event, content: bytes | None, stamp: Stamp) -> RecordedEvent:
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
            ret=event.ret,
            content=reference,
        )
        return recorded(leaf)

    # --- its state --------------------------------------------------------------------------------

    def verify(self, *, kept_note: str | None = None) -> Report:
        """Check the stored log: leaves, nodes, every checkpoint, look-up columns and contents.

        `kept_note` is a checkpoint that an auditor kept elsewhere: it is what shows that the whole log,
        checkpoints included, was not rolled back. Safe while records are being written.
        """
        with self.database.read() as session:
            return StoredLog(session).verify(self.verifier_key, kept_note)

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


# --- records --------------------------------------------------------------------------------------


def _actor(principal: Principal, subject_id: str) -> Actor:
    return Actor(
        sub=subject_id,
        kind=principal.kind,
        auth=principal.auth_method,
        sess=principal.session_hash or None,
        pset=scope_of(principal).principal_set_hash,
    )
