"""A start on the record: with which settings, and which of them are others than at the last one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.event_types import EventType, Stage
from infra.audit.group_commit import fail_closed
from infra.audit.leaf import SYSTEM, Event, Leaf, Resource
from infra.audit.ledger import Ledger
from infra.audit.records import readable
from infra.clock import new_id, now_ms
from infra.database.tables import AuditLeaf, AuditLookup, Choice
from infra.setting_marks import changed_names, digest_of

SETTINGS: Final = "settings"
"""What a start's resource is called; its id is the digest of all settings."""
NAMES_UNKNOWN: Final = "names unknown"
"""Outcome where the digests differ, and the marks of the earlier start are gone, or not what it recorded."""
RECENT: Final = 200
"""Starts that are looked through for one of this server; there may be several replicas."""


def record_start(ledger: Ledger, marks: Mapping[str, str]) -> None:
    """Record that the server starts with these settings, and which of them changed since it last did.

    `marks` are those of `infra.setting_marks`. A server whose name is new is compared with the last start of
    any. Records and marks are one transaction; raises AuditUnavailable, and then nothing may be served.
    """
    digest = digest_of(marks)
    with fail_closed(), ledger.database.write() as session:
        changed = _changed(session, ledger.source, marks)
        _record(ledger, session, EventType.SERVER_START, digest, "ok")
        if changed:
            _record(ledger, session, EventType.SETTINGS_CHANGED, digest, changed)
        session.merge(Choice(name=_row(ledger.source), value=json.dumps(dict(marks)), changed_at=now_ms()))


def _changed(session: Session, source: str, marks: Mapping[str, str]) -> str:
    """Return the outcome that names what changed; empty when nothing did, or there is nothing to compare."""
    last = _last_start(session, source)
    kept = _kept(session, last.src if last is not None else source)
    recorded = _digest(last)
    if kept is not None and recorded in (None, digest_of(kept)):
        return ", ".join(changed_names(kept, marks))
    # What a start recorded is signed; the marks beside it are not.
    return NAMES_UNKNOWN if recorded not in (None, digest_of(marks)) else ""


def _last_start(session: Session, source: str) -> Leaf | None:
    """Return the last start of this server, or of another one if it is the first of its name."""
    starts = (
        select(AuditLeaf.leaf)
        .join(AuditLookup, AuditLookup.index == AuditLeaf.index)
        .where(AuditLookup.type == EventType.SERVER_START.value)
        .order_by(AuditLookup.index.desc())
        .limit(RECENT)
    )
    found = [leaf for raw in session.scalars(starts) if (leaf := readable(raw)) is not None]
    return next((leaf for leaf in found if leaf.src == source), found[0] if found else None)


def _digest(start: Leaf | None) -> str | None:
    """Return the digest that a start recorded; None for one of an older version, and where there is none."""
    return start.res.id if start is not None and start.res is not None else None


def _kept(session: Session, source: str) -> dict[str, str] | None:
    row = session.get(Choice, _row(source))
    if row is None:
        return None
    try:
        found = json.loads(row.value)
    except ValueError:
        return {}
    return {str(name): str(mark) for name, mark in found.items()} if isinstance(found, dict) else {}


def _row(source: str) -> str:
    # A server's name may be longer than the column.
    return f"{SETTINGS}:{hashlib.sha256(source.encode()).hexdigest()[:32]}"


def _record(ledger: Ledger, session: Session, event: EventType, digest: str, outcome: str) -> None:
    what = Resource(SETTINGS, digest)
    ledger.record_in(session, Event(event, Stage.SINGLE, new_id(), SYSTEM, res=what, outcome=outcome))
