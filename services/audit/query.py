"""What the record may be asked for: filters, places to go on from, and nothing that nobody knows."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.audit.content import known_subject
from infra.audit.event_types import EventType
from infra.audit.leaf import ANONYMOUS, SYSTEM
from infra.audit.reading.filters import LAST_TIME, Direction, EventFilter, Place
from infra.database.tables import AuditLookup, User
from infra.errors import InvalidInput
from services.deps import Auditor, PartsDep

MAX_PAGE: Final = 500
"""Records of one page."""
NO_RECORDS: Final = "nobody"
"""Stands for somebody who has an account and no record yet; no subject is called like this."""
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CORRELATION: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,36}")
_CURSOR: Final = re.compile(r"(?P<way>[on])(?P<index>0|[1-9][0-9]{0,15})\.(?P<list>[0-9a-f]{16})", re.ASCII)


def refuse_unknown_query(request: Request, _person: Auditor) -> None:
    """Refuse parameters that an operation does not know, and one that is named twice.

    Somebody who asks for another tenant's records, or misspells a filter, must not be given these and take
    them for what they asked. The role comes first: a stranger learns nothing about parameters.
    """
    route = request.scope.get("route")
    known = set(_query_names(route.dependant)) if isinstance(route, APIRoute) else set()
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise InvalidInput(
                f"There is no parameter “{name[:60]}” here.",
                hint="A server keeps the record of one organisation, and these parameters only: "
                + (", ".join(sorted(known)) or "none"),
                param=name[:60],
            )
        if name in seen:
            raise InvalidInput(f"The parameter “{name}” stands there twice.", param=name)
        seen.add(name)


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Yield the query parameters of an operation, those of its dependencies included."""
    yield from (field.alias for field in dependant.query_params)
    for needed in dependant.dependencies:
        yield from _query_names(needed)


# --- filters --------------------------------------------------------------------------------------


def wanted_events(
    parts: PartsDep,
    _person: Auditor,
    who: Annotated[
        str | None,
        Query(max_length=320, description="Subject id, account id, principal id, or e-mail address."),
    ] = None,
    type_: Annotated[
        str | None,
        Query(alias="type", max_length=64, description="An event type, or the beginning of some: `file.`"),
    ] = None,
    without: Annotated[
        str | None,
        Query(max_length=1000, description="Event types to leave out, named as with `type`, by commas."),
    ] = None,
    document: Annotated[str | None, Query(min_length=1, max_length=36, description="Document id.")] = None,
    since: Annotated[
        str | None,
        Query(alias="from", max_length=40, description="First moment: RFC 3339, or ms since 1970."),
    ] = None,
    until: Annotated[
        str | None, Query(alias="to", max_length=40, description="The moment before which to stop.")
    ] = None,
    outcome: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    correlation: Annotated[
        str | None, Query(max_length=36, description="Id of a request, or of an answer.")
    ] = None,
) -> EventFilter:
    """Return what is looked for; raises InvalidInput with the parameter's name for what makes no sense."""
    first = None if since is None else moment(since, "from")
    last = None if until is None else moment(until, "to")
    if first is not None and last is not None and first >= last:
        raise InvalidInput("The end of the time lies before its beginning.", param="to")
    subject = None
    if who is not None:
        with parts.database.read() as session:
            subject = subject_of_text(session, who)
    return EventFilter(
        subject=subject,
        type=None if type_ is None else known_type(type_, "type"),
        without=() if without is None else _left_out(without),
        document=document,
        since=first,
        until=last,
        outcome=outcome,
        corr=None if correlation is None else _correlation(correlation),
    )


WantedEvents = Annotated[EventFilter, Depends(wanted_events)]
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
CursorText = Annotated[
    str | None, Query(max_length=200, description="`older` or `newer` of an earlier page.")
]


def moment(text: str, param: str) -> int:
    """Return a moment in milliseconds since 1970; raises InvalidInput for any but the two spellings."""
    if text.isascii() and text.isdigit() and len(text) <= 16:
        milliseconds = int(text)
    else:
        milliseconds = _rfc3339(text, param)
    if not 0 <= milliseconds <= LAST_TIME:
        raise _no_moment(param)
    return milliseconds


def _rfc3339(text: str, param: str) -> int:
    if not _RFC3339.fullmatch(text):
        raise _no_moment(param)
    try:
        return round(datetime.fromisoformat(text.upper()).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise _no_moment(param) from error


def _no_moment(param: str) -> InvalidInput:
    return InvalidInput(
        f"{param}: this is no moment.",
        hint="Write 2026-11-22T09:30:00Z, 2026-11-22T10:30:00%2B01:00 (in an address + is %2B), "
        "or milliseconds since 1970.",
        param=param,
    )


def known_type(text: str, param: str) -> str:
    """Return a type's name, or the beginning of some; raises InvalidInput when there is none like it."""
    names = [event.value for event in EventType]
    if text in names or (text.endswith(".") and any(name.startswith(text) for name in names)):
        return text
    raise InvalidInput(
        f"There is no event type “{text}”.",
        hint="docs/ledger-format.md lists them; file. stands for all that begin with it.",
        param=param,
    )


def _left_out(text: str) -> tuple[str, ...]:
    names = dict.fromkeys(known_type(name, "without") for name in text.split(","))
    return tuple(sorted(names))


def _correlation(text: str) -> str:
    if not _CORRELATION.fullmatch(text):
        raise InvalidInput("This is no request id.", param="correlation")
    return text


def subject_of_text(session: Session, text: str) -> str:
    """Return the subject id of whom `text` names; raises InvalidInput when it is nobody's.

    Somebody who was erased can be asked for by their subject id only, which is all that is left of them.
    """
    if text in {SYSTEM.sub, ANONYMOUS.sub}:
        return text
    if session.scalar(select(AuditLookup.index).where(AuditLookup.sub == text).limit(1)) is not None:
        return text
    account_id = text.partition(":")[2] if text.startswith(("user:", "service:")) else text
    user = session.get(User, account_id) or session.scalar(select(User).where(User.email == text.lower()))
    principal = f"{user.kind}:{user.id}" if user is not None else text
    subject = known_subject(session, principal)
    if subject is None and user is None:
        raise InvalidInput(
            "Nobody is known by this name.",
            hint="Use the subject id from a record, an account's id, or an e-mail address.",
            param="who",
        )
    return subject or NO_RECORDS


# --- places ---------------------------------------------------------------------------------------


def cursor_of(place: Place | None, listed: str) -> str | None:
    """Return a place as clients carry it; `listed` says in which list it is one."""
    if place is None:
        return None
    text = f"{place.direction.value[0]}{place.index}.{listed}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str | None, listed: str) -> Place | None:
    """Return the place that a cursor stands for; raises InvalidInput for one that was not given out here.

    A cursor belongs to the list that it came with: with other filters it would go on in the middle of
    something else.
    """
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(_decoded(cursor))
    if found is None or cursor_of(_place(found), found["list"]) != cursor:
        raise InvalidInput("This is no cursor of this list.", hint="Begin without one.", param="cursor")
    if found["list"] != listed:
        raise InvalidInput("This cursor came with other filters.", hint="Begin without one.", param="cursor")
    return _place(found)


def _place(found: re.Match[str]) -> Place:
    direction = Direction.OLDER if found["way"] == "o" else Direction.NEWER
    return Place(direction, int(found["index"]))


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def list_name(*parts: object) -> str:
    """Return the name of one list: 16 hex digits that differ with every filter."""
    told = [asdict(part) if isinstance(part, EventFilter) else part for part in parts]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
