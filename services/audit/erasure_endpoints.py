"""`/v1/erasures`: administrators have people erased; they and auditors see the certificates."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from infra.access import Role
from infra.audit.event_types import EventType
from infra.audit.removal.erasure import PAGE, ErasureWish, as_json, erase, get_erasure, list_erasures
from infra.audit.removal.holds import MAX_REASON_CHARS
from infra.errors import NotPermitted
from services.accounts.signing_in import signed_in_person
from services.deps import Admin, CurrentPerson, PartsDep, Person, RequestId
from services.on_record import RecordedRoute, reads, writes

router = APIRouter(prefix="/v1/erasures", tags=["erasures"], route_class=RecordedRoute)
_Id = Annotated[str, Path(max_length=36)]


class ErasureRequest(BaseModel):
    """Whom to erase, by account or by the subject id in the record, and whether the account goes as well."""

    model_config = ConfigDict(extra="forbid")

    user: str | None = Field(None, min_length=1, max_length=36)
    subject: str | None = Field(None, min_length=1, max_length=36)
    reason: str | None = Field(None, max_length=MAX_REASON_CHARS)
    account: bool = False


def _overseer(person: CurrentPerson) -> Person:
    """Return an administrator, who asks for erasures, or an auditor, who checks them."""
    if not person.roles & {Role.ADMIN, Role.AUDITOR}:
        raise NotPermitted("This is for administrators and auditors.")
    return person


Overseer = Annotated[Person, Depends(_overseer)]


@router.post("", status_code=201)
@writes(EventType.SUBJECT_ERASED)
def erase_person(body: ErasureRequest, parts: PartsDep, person: Admin, corr: RequestId) -> dict[str, Any]:
    """Destroy a person's key, mapping, contents, conversations and feedback; returns the certificate.

    It counts what was removed from each store, and what a search for it found afterwards. While a legal hold
    covers the person nothing is removed (409). `account` closes and empties the account too, and takes an
    administrator who signed in; without it, the person goes on under a new subject id.
    """
    if body.account:
        signed_in_person(person)
    wish = ErasureWish(body.user, body.subject, body.reason, body.account)
    return erase(parts.ledger, wish, by=person.principal, corr=corr)


@router.get("")
@reads(EventType.AUDIT_READ, "record", at="erasures")
def list_certificates(
    parts: PartsDep,
    _person: Overseer,
    after: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> dict[str, Any]:
    """List certificates, the newest first; `after` is the id that the page before ended with."""
    with parts.database.read() as session:
        rows = list_erasures(session, after=after, limit=limit + 1)
    page = [as_json(row) for row in rows[:limit]]
    return {"object": "list", "data": page, "has_more": len(rows) > limit}


@router.get("/{erasure_id}")
@reads(EventType.AUDIT_READ, "erasure", of="erasure_id")
def get_certificate(erasure_id: _Id, parts: PartsDep, _person: Overseer) -> dict[str, Any]:
    """Return one certificate."""
    with parts.database.read() as session:
        return as_json(get_erasure(session, erasure_id))
