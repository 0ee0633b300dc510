"""Forget a person's account: what identifies them goes, an empty closed row stays.

The row stays because files and access lists name it by its id, which says nothing about anybody.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from infra.access import Role
from infra.accounts.people import set_disabled
from infra.clock import now_ms
from infra.database.tables import (
    ApiKey,
    DirectoryRecord,
    GroupMember,
    Identity,
    Invitation,
    User,
    WebSession,
)
from infra.epoch import raise_epoch
from infra.errors import NotFound

FORGOTTEN_NAME: Final = "erased account"


def forget_account(session: Session, user_id: str) -> int:
    """Close an account and remove name, address, password, sign-ins, keys and memberships.

    Returns how many rows that named the person were emptied or removed. Raises NotFound, and Conflict when
    no administrator would be left.
    """
    # The epoch's row is locked by this, as for every other change of who may do what.
    raise_epoch(session)
    user = session.get(User, user_id, populate_existing=True)
    if user is None:
        raise NotFound("There is no such account.")
    removed = _remove_rows(session, user_id, user.email)
    set_disabled(session, user, disabled=True)
    user.email, user.email_vouched = None, False
    user.name, user.password_hash, user.roles = FORGOTTEN_NAME, None, [Role.EMPLOYEE.value]
    user.clearance, user.compartments = 0, []
    session.flush()
    return 1 + removed + _empty_directory_records(session, user_id)


def _remove_rows(session: Session, user_id: str, email: str | None) -> int:
    removed = 0
    for table in (WebSession, ApiKey, Identity, GroupMember):
        rows = delete(table).where(table.user_id == user_id).returning(table.user_id)
        removed += len(session.execute(rows).all())
    if email is not None:
        rows = delete(Invitation).where(Invitation.email == email).returning(Invitation.token_hash)
        removed += len(session.execute(rows).all())
    return removed


def _empty_directory_records(session: Session, user_id: str) -> int:
    theirs = (DirectoryRecord.kind == "user", DirectoryRecord.id == user_id)
    found = len(session.scalars(select(DirectoryRecord.id).where(*theirs)).all())
    now = now_ms()
    session.execute(
        update(DirectoryRecord)
        .where(*theirs)
        .values(attributes={}, unique_name=None, external_id=None, deleted_at=now, changed_at=now)
    )
    return found
