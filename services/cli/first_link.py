"""The one-time link that creates the first administrator. Light while there is one already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.accounts import hash_secret, invite_first_admin
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.clock import new_id
from infra.database import Database

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from infra.audit.ledger import Ledger
    from infra.settings import Settings


def renew_first_link(settings: Settings) -> str | None:
    """Return a fresh one-time token while no administrator exists, for a server that is running already.

    Its database is up to date and has one writer at a time, so this waits for its turn. Raises
    ConfigurationError, AuditUnavailable, and the database's own errors.
    """
    database = Database(settings.resolved_database_url)
    try:
        with database.write() as session:
            token = invite_first_admin(session)
            if token is not None:
                _record_with_new_ledger(session, settings, database, token)
            return token
    finally:
        database.close()


def record_invitation(session: Session, ledger: Ledger, token: str) -> None:
    """Record in the caller's transaction that the link was made; only a part of its hash is named."""
    what = Resource("invitation", hash_secret(token)[:16])
    event = Event(
        EventType.INVITATION_CREATED, Stage.SINGLE, new_id(), SYSTEM, res=what, outcome="first administrator"
    )
    ledger.record_in(session, event)


def _record_with_new_ledger(session: Session, settings: Settings, database: Database, token: str) -> None:
    # Imported here because a second `up`, by far the most frequent, finds an administrator and ends at once.
    from infra.master_key import load_master_key
    from infra.stores import open_ledger

    master_key = load_master_key(settings, create=False)
    ledger = open_ledger(settings, database, master_key)
    try:
        record_invitation(session, ledger, token)
    finally:
        ledger.close()
