"""The access epoch: one number that grows with every change of who may read what.

A cache whose keys hold it (with the scope's principal-set hash) cannot give an answer from before a change.
It is read in the transaction of the read it protects, and raised in the transaction of the change.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from infra.database.tables import AccessEpoch


def current_epoch(session: Session) -> int:
    """Return the epoch as this transaction sees it; raises NoResultFound in a database without one."""
    return session.scalars(select(AccessEpoch.epoch)).one()


def raise_epoch(session: Session) -> None:
    """Make every earlier cache entry unusable, from the commit of this transaction on."""
    session.execute(update(AccessEpoch).values(epoch=AccessEpoch.epoch + 1))
