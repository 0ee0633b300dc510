"""What part of the record is asked for: from and to, as dates, moments or record numbers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.database.tables import AuditLookup
from infra.errors import InvalidInput

_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]{8,18}([Zz]|[+-][0-9]{2}:[0-9]{2})")
LONGEST_BOUND: Final = 40


def find_range(
    session: Session, start: str | None, stop: str | None, *, minimum: int, size: int
) -> tuple[int, int]:
    """Return first record and end (exclusive) of what `start` and `stop` ask for, both inclusive.

    Each is a record's number, a day (RFC 3339 full-date, UTC) or a moment (RFC 3339 date-time); None is the
    log's own begin or end. Records of a time are those from the first to the last whose clock says so, with
    what lies between them. Raises InvalidInput for nonsense and for a part that holds no record.
    """
    first = minimum if start is None else max(minimum, _first_from(session, start, size))
    end = size if stop is None else min(size, _end_at(session, stop))
    if first >= end:
        raise InvalidInput("The record holds nothing in this range.", param="to")
    return first, end


def _first_from(session: Session, start: str, size: int) -> int:
    if _NUMBER.fullmatch(start):
        return int(start)
    moment = _moment(start, "from")
    found = session.scalar(select(func.min(AuditLookup.index)).where(AuditLookup.time >= moment))
    return size if found is None else found


def _end_at(session: Session, stop: str) -> int:
    if _NUMBER.fullmatch(stop):
        return int(stop) + 1
    moment = _moment(stop, "to")
    if _DATE.fullmatch(stop):
        moment += int(timedelta(days=1).total_seconds()) * 1000 - 1
    found = session.scalar(select(func.max(AuditLookup.index)).where(AuditLookup.time <= moment))
    return 0 if found is None else found + 1


def _moment(text: str, param: str) -> int:
    """Return a day's begin or a moment in UTC milliseconds since 1970."""
    try:
        if _DATE.fullmatch(text):
            return _ms(datetime.combine(date.fromisoformat(text), time(), UTC))
        if _MOMENT.fullmatch(text):
            return _ms(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError) as error:
        raise _no_date(text, param) from error
    raise _no_date(text, param)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _no_date(text: str, param: str) -> InvalidInput:
    return InvalidInput(
        f"“{text[:LONGEST_BOUND]}” is neither a record's number nor a date.",
        hint="Use 2026-03-31, 2026-03-31T18:00:00Z, or a number such as 1200.",
        param=param,
    )
