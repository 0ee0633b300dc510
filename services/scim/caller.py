"""Who pushes: a service account with a key for nothing but SCIM, and what its requests have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from infra.access import KeyScope, Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.errors import NotPermitted
from services.deps import CurrentPerson, PartsDep, RequestId
from services.parts import Parts

PREFIX: Final = "/scim/v2"
ATTEMPTS: Final = 5
"""How often a change is made again because another one came in between."""


@dataclass(frozen=True)
class Directory:
    """The directory that a request comes from. `base` is the address of its endpoints, without a slash."""

    parts: Parts
    principal: Principal
    corr: str
    name: str
    base: str

    def record(
        self,
        session: Session,
        event_type: EventType,
        what: Resource,
        outcome: str = "ok",
        *,
        about: dict[str, list[str]] | None = None,
    ) -> None:
        """Put what happens on the record, in the transaction in which it happens."""
        actor = self.parts.ledger.actor_for(session, self.principal)
        event = Event(event_type, Stage.SINGLE, self.corr, actor, res=what, outcome=outcome)
        # Whom it is about is content: encrypted, and erasable.
        self.parts.ledger.record_in(session, event, json.dumps(about).encode() if about else None)


def _directory(request: Request, parts: PartsDep, person: CurrentPerson, corr: RequestId) -> Directory:
    principal = person.principal
    is_service = principal.kind == "service" and principal.auth_method == "api_key"
    if not is_service or principal.scopes != {KeyScope.SCIM}:
        # A key that can do more, or a person, who can do more than push, has no business here.
        raise NotPermitted("Only a service account's key that has the scope scim alone may push people.")
    root = parts.settings.public_url or str(request.base_url)
    return Directory(
        parts=parts,
        principal=principal,
        corr=corr,
        name=parts.settings.scim_directory,
        base=root.rstrip("/") + PREFIX,
    )


Caller = Annotated[Directory, Depends(_directory)]
