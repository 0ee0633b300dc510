"""Read the record: its events, and the contents that belong to them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit import content as contents
from infra.audit.records import InboxSeal, LoggedEvent, readable
from infra.audit.removal.removals import proven_removals
from infra.audit.stored_log import SCAN_WINDOW
from infra.database import Database
from infra.database.tables import AuditContent, AuditInbox, AuditLeaf
from infra.errors import NotFound
from infra.keys import MasterKey


class LedgerReader:
    """Finds records, and opens what was recorded with them."""

    def __init__(self, database: Database, master_key: MasterKey) -> None:
        self._database = database
        self._master_key = master_key

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
        with self._database.read() as session:
            return [
                LoggedEvent(row.id, row.index, readable(row.leaf), row.leaf)
                for row in session.scalars(rows.order_by(order).limit(limit))
            ]

    def event(self, event_id: str) -> LoggedEvent:
        """Return one record, sealed or still waiting; raises NotFound."""
        with self._database.read() as session:
            return find(session, event_id)

    def read_content(self, event_id: str) -> bytes:
        """Return the recorded content of an event, checked against its leaf.

        Raises NotFound for an event without content, ContentErased after an erasure, ContentBroken when
        it is not what was recorded. Reading it is an event of its own, which the caller records.
        """
        with self._database.read() as session:
            leaf = find(session, event_id).leaf
            if leaf is None or leaf.content is None:
                raise NotFound("This event has no recorded content.")
            key = contents.key_by_id(session, leaf.content.key, self._master_key)
            row = session.get(AuditContent, event_id)
            if row is None:
                if proven_removals(session, InboxSeal(self._master_key)).explain(leaf):
                    raise contents.ContentErased("This content was destroyed when its retention was over.")
                raise contents.ContentBroken("The recorded content is missing.")
            return contents.open_content(key, leaf.content, event_id, row.sealed)

    def leaves(self) -> Iterator[bytes]:
        """Yield every sealed leaf in order, for an export."""
        last: int | None = -1
        while last is not None and (rows := self.events(last, SCAN_WINDOW)):
            yield from (row.raw for row in rows)
            last = rows[-1].index


def find(session: Session, event_id: str) -> LoggedEvent:
    """Return one record, sealed or still waiting; raises NotFound."""
    # Inbox first: a record moves from there to the log, never back, so it cannot slip between the two.
    waiting = session.get(AuditInbox, event_id)
    row = session.scalar(select(AuditLeaf).where(AuditLeaf.id == event_id))
    if row is not None:
        return LoggedEvent(row.id, row.index, readable(row.leaf), row.leaf)
    if waiting is None:
        raise NotFound("There is no such event.")
    return LoggedEvent(waiting.id, None, readable(waiting.leaf), waiting.leaf)
