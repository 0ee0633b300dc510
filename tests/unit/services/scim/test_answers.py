"""Refusals reach a directory in SCIM's own shape, whoever raised them."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from scim2_models import MutabilityException

from infra.errors import (
    Conflict,
    DatabaseBusy,
    InvalidInput,
    NotAuthenticated,
    NotPermitted,
    Throttled,
    TooLarge,
)
from services.scim.answers import ScimRoute


def refusal_of(error: Exception) -> tuple[int, dict[str, str], str | None]:
    """Return the status, the headers and the scimType with which an endpoint's error is answered."""
    router = APIRouter(route_class=ScimRoute)

    @router.get("/")
    def fail() -> None:
        raise error

    app = FastAPI()
    app.include_router(router)
    with TestClient(app) as client:
        answer = client.get("/")
    assert answer.headers["content-type"].startswith("application/scim+json")
    body = answer.json()
    assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert body["status"] == str(answer.status_code)
    assert body["detail"] == "why"
    return answer.status_code, dict(answer.headers), body.get("scimType")


@pytest.mark.parametrize(
    ("error", "status", "scim_type"),
    [
        (InvalidInput("why"), 400, "invalidValue"),
        (NotPermitted("why"), 403, None),
        (Conflict("why"), 409, "uniqueness"),
        (TooLarge("why"), 413, None),
        (DatabaseBusy("why"), 503, None),
        (MutabilityException(detail="why"), 400, "mutability"),
    ],
)
def test_each_error_has_its_status_and_type(error: Exception, status: int, scim_type: str | None) -> None:
    """The types are those of RFC 7644, table 9; where it has none, there is none."""
    found = refusal_of(error)
    assert (found[0], found[2]) == (status, scim_type)


def test_who_is_unknown_is_told_how_to_be_known() -> None:
    """401 names the scheme (RFC 9110, section 11.6.1)."""
    status, headers, _ = refusal_of(NotAuthenticated("why"))
    assert (status, headers["www-authenticate"]) == (401, "Bearer")


def test_who_is_too_fast_is_told_when_to_come_back() -> None:
    """429 says for how long."""
    status, headers, _ = refusal_of(Throttled("why", retry_after_s=7))
    assert (status, headers["retry-after"]) == (429, "7")
