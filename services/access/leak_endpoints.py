"""`/v1/access/leak-test`: start the standing leak test, and see how it went; for administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from infra.audit.event_types import EventType
from services.access.leak_test.schedule import LeakTests
from services.deps import Admin, RequestId
from services.on_record import RecordedRoute, reads, writes

router = APIRouter(prefix="/v1/access/leak-test", tags=["access"], route_class=RecordedRoute)


def _leak_tests(request: Request) -> LeakTests:
    tests: LeakTests = request.app.state.leak_tests
    return tests


Tests = Annotated[LeakTests, Depends(_leak_tests)]


@router.post("", status_code=202)
@writes(EventType.ACCESS_TESTED)
async def start_leak_test(tests: Tests, person: Admin, corr: RequestId) -> dict[str, Any]:
    """Plant canaries and ask for them in every role through every interface; `run` is this test's id.

    It goes on in the background and takes away all that it made. 409 while one runs.
    """
    await tests.begin(person.principal, corr)
    return tests.state()


@router.get("")
@reads(EventType.ACCESS_READ, "leak_test", at="newest")
def get_leak_test(tests: Tests, _admin: Admin) -> dict[str, Any]:
    """Say how far a running test is, and what the last one found out."""
    return {**tests.state(), "last": tests.last()}
