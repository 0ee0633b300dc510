"""Break glass: one auditor asks to read contents, a second one lets them, for a while.

Why the reason is not a column here: somebody wrote it, and it may name people. It is the sealed content of
the event that records the request, under the requester's key, and goes with them when they are erased.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from infra.database.tables import ContentPermission
from infra.errors import Conflict, NotFound, NotPermitted

WAITING_MS: Final = 24 * 60 * 60 * 1000
"""How long a request can be approved; the auditor who could may be at work tomorrow only."""
MOST_LISTED: Final = 100


class PermissionState(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    APPROVED = "approved"
    EXPIRED = "expired"


def state_of(permission: ContentPermission, now: int) -> PermissionState:
    """Return where a request stands at `now` (ms since 1970)."""
    if permission.expires_at <= now:
        return PermissionState.EXPIRED
    return PermissionState.WAITING if permission.approver is None else PermissionState.APPROVED


def request_permission(
    session: Session, permission_id: str, *, requester: str, event_id: str, now: int
) -> ContentPermission:
    """Keep a request of the principal `requester`, whose reason is the content of the event `event_id`."""
    permission = ContentPermission(
        id=permission_id,
        requester=requester,
        event_id=event_id,
        created_at=now,
        expires_at=now + WAITING_MS,
    )
    session.add(permission)
    return permission


def approve(
    session: Session, permission_id: str, *, approver: str, minutes: int, now: int
) -> ContentPermission:
    """Let the requester read contents for `minutes` from `now` on.

    Raises NotFound, NotPermitted for the requester themselves, and Conflict for a request that was approved
    already or has expired.
    """
    permission = get_permission(session, permission_id)
    if permission.requester == approver:
        raise NotPermitted("A second auditor has to approve this: it is your own request.")
    # One statement decides, so that of two auditors who press at once one is told that it was done.
    approved = session.execute(
        update(ContentPermission)
        .where(
            ContentPermission.id == permission_id,
            ContentPermission.approver.is_(None),
            ContentPermission.expires_at > now,
        )
        .values(approver=approver, expires_at=now + minutes * 60_000)
    )
    if not (isinstance(approved, CursorResult) and approved.rowcount == 1):
        raise Conflict("This request was approved already, or has expired.", hint="Ask for a new one.")
    session.refresh(permission)
    return permission


def get_permission(session: Session, permission_id: str) -> ContentPermission:
    """Return one request; raises NotFound."""
    permission = session.get(ContentPermission, permission_id)
    if permission is None:
        raise NotFound("There is no such request.")
    return permission


def standing_permission(session: Session, requester: str, now: int) -> ContentPermission | None:
    """Return the approved permission of `requester` that lasts longest, if any stands at `now`."""
    return session.scalar(
        select(ContentPermission)
        .where(
            ContentPermission.requester == requester,
            ContentPermission.approver.is_not(None),
            ContentPermission.expires_at > now,
        )
        .order_by(ContentPermission.expires_at.desc())
        .limit(1)
    )


def list_permissions(session: Session) -> Sequence[ContentPermission]:
    """Return the newest requests, at most MOST_LISTED of them, the newest first."""
    newest = select(ContentPermission).order_by(ContentPermission.created_at.desc(), ContentPermission.id)
    return session.scalars(newest.limit(MOST_LISTED)).all()
