"""What a first start gives the person at this machine: a key for the command line, a link for the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from infra.accounts import (
    create_key,
    ensure_service_account,
    invite_first_admin,
    principal_of_key,
)
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.clock import new_id
from infra.database.tables import User
from infra.stores import open_database, open_ledger
from services.cli.first_link import record_invitation
from services.cli.operator_key import read_operator_key, write_operator_key

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from infra.audit.ledger import Ledger
    from infra.settings import Settings

ACCOUNT_NAME: Final = "local operator"


def prepare_access(settings: Settings) -> str | None:
    """Make sure of the operator's key; returns a fresh one-time token while no administrator exists.

    Creates and migrates the database where needed. Everything it makes is recorded in the transaction that
    makes it. Raises ConfigurationError, AuditUnavailable, and the database's own errors.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    known = read_operator_key(settings.data_dir)
    try:
        with database.write() as session:
            secret = None if known and principal_of_key(session, known) else _new_key(session, ledger)
            token = invite_first_admin(session)
            if token is not None:
                record_invitation(session, ledger, token)
        if secret is not None:
            write_operator_key(settings.data_dir, secret)
        return token
    finally:
        ledger.close()
        database.close()


def _new_key(session: Session, ledger: Ledger) -> str:
    corr = new_id()
    is_known = session.scalar(select(User.id).where(User.kind == "service", User.name == ACCOUNT_NAME))
    account = ensure_service_account(session, ACCOUNT_NAME)
    if is_known is None:
        _record(session, ledger, EventType.ACCOUNT_CREATED, corr, Resource("account", account.id))
    key, secret = create_key(session, account.id, "operator.key")
    _record(session, ledger, EventType.KEY_CREATED, corr, Resource("key", key.id))
    return secret


def _record(session: Session, ledger: Ledger, event: EventType, corr: str, what: Resource) -> None:
    ledger.record_in(session, Event(event, Stage.SINGLE, corr, SYSTEM, res=what, outcome="ok"))
