"""How contents are opened: by whom that is allowed, and on the record before the text leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.audit.content import ContentBroken, ContentErased
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Authz, Event, Resource
from infra.audit.reading.lineage import Step
from infra.audit.reading.permissions import standing_permission
from infra.clock import now_ms
from infra.errors import NotFound, NotPermitted
from services.deps import Person
from services.parts import Parts

BREAK_GLASS: Final = "content-permission"
"""The rule's name in the record; the id of the permission follows it."""


@dataclass(frozen=True)
class Opened:
    """The content of one record: its text, or why there is none."""

    state: str
    """`readable`; or `erased` (with its person, or after its retention), `broken`, `missing`."""
    text: str | None = None


def record_look(
    parts: Parts, person: Person, corr: str, what: Resource, *, authz: Authz | None = None
) -> None:
    """Record that an auditor reads, before they do."""
    actor = parts.ledger.identify(person.principal)
    event = Event(EventType.AUDIT_READ, Stage.SINGLE, corr, actor, res=what, authz=authz, outcome="ok")
    parts.ledger.record(event)


def allowed_to_open(parts: Parts, person: Person) -> Authz | None:
    """Return by which permission an auditor opens contents; None where they need none.

    Raises NotPermitted when `break_glass` is set and no permission of theirs stands.
    """
    if not parts.settings.break_glass:
        return None
    with parts.database.read() as session:
        permission = standing_permission(session, person.principal.principal_id, now_ms())
    if permission is None:
        raise NotPermitted(
            "Reading contents takes a second auditor here, and no permission of yours stands.",
            hint="Ask for it on the record page and say why; another auditor approves it there.",
        )
    return Authz("allow", f"{BREAK_GLASS}:{permission.id}", 0)


def open_step(parts: Parts, step: Step) -> Opened | None:
    """Return the content of one record of an answer; None for a record without. Record it before."""
    if step.leaf.content is None:
        return None
    try:
        return Opened("readable", parts.ledger.reader.read_content(step.leaf.id).decode())
    except (NotFound, ContentBroken) as error:
        states = {ContentErased.code: "erased", ContentBroken.code: "broken"}
        return Opened(states.get(error.code, "missing"))
