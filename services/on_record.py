"""What each operation puts on the record. One that does not say so is not served: the program ends instead.

An operation that only looks is recorded here, between its success and its first byte:

    router = APIRouter(prefix="/v1/files", tags=["files"], route_class=RecordedRoute)

    @router.get("")
    @reads(EventType.FILES_READ, "files")
    def list_files(…): …

    @router.get("/{file_id}")
    @reads(EventType.FILES_READ, "file", of="file_id")
    def get_file(file_id: str, …): …

An operation that changes something, or whose record says more than who looked at what, writes its event
itself, in the transaction of the change or before it lets anything out. Here it only says which:

    @router.delete("/{file_id}")
    @writes(EventType.FILE_DELETED)
    def delete_file(…): …

What is served without a record stands in EXEMPT, with the reason. `docs/recorded.md` publishes all of it, and
tests/contract/test_everything_recorded.py calls each operation and looks for its events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import Mount

from infra.access import Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.group_commit import unavailable
from infra.audit.leaf import ANONYMOUS, Event, Resource
from infra.errors import ConfigurationError
from services.parts import Parts
from services.pulse import Pulse
from services.refusals import ANONYMOUS_PER_MINUTE, StrangersRecords

_ANY: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
EXEMPT: Final = {
    "GET /healthz": "Says that the process answers.",
    "GET /readyz": "Says whether the parts of the server are there.",
    "GET /openapi.json": "Describes this interface; the same for everybody.",
    "HEAD /openapi.json": "The same without its body.",
    "OPTIONS /v1/uploads": "Says how uploads may come in parts; the same for everybody.",
    "GET /v1/directories": "Names the company directories of the settings, for the sign-in page.",
    "GET /": "A page's frame; what it shows is read by the operations of this list.",
    "GET /documents": "A page's frame.",
    "GET /people": "A page's frame.",
    "GET /record": "A page's frame.",
    "GET /account": "A page's frame.",
    "GET /api-docs": "A page's frame.",
    "GET /sources/{citation_id}": "A page's frame.",
    "GET /sign-in": "A page's frame.",
    "GET /join": "A page's frame.",
    **{f"{method} /scim/v2/{{path}}": "Is always refused, which is on the record." for method in _ANY},
    "GET /static": "Scripts, styles and icons of the pages; the same for everybody.",
}
"""`METHOD path` -> why nothing is recorded: there is nothing in it that is anybody's."""

TASKS: Final = {
    "ingest.process": (EventType.FILE_PARSED,),
    "ingest.sweep": (EventType.JOB_SWEPT, EventType.FILE_PARSED),
}
"""Celery task -> the events that it writes when it changes something."""

BACKGROUND: Final = {
    "tasks": "Runs the tasks; each writes its own events.",
    "sweep": "Queues abandoned work again: `job.swept`, or `file.parsed` for what is given up. "
    "Removes uploads that nobody went on with: `upload.dropped`.",
    "encoder lane": "Embeds, in the embedding model's own process, which knows no names and keeps nothing.",
    "sync": "Looks at watched folders and buckets: `file.uploaded`, `file.moved`, `file.unplaced`, "
    "`file.deleted`, `sync.halted`.",
    "outbox": "Delivers wake-ups of tasks; changes nothing that is anybody's.",
    "leak test": "Begins the night's leak test: `access.tested`, at its begin and at its end.",
    "retention": "Destroys what is past its retention: `content.pruned`, `audit.pruned`, `keys.expired`.",
    "record-forwarding": "Sends this record on; a place lost, or found again, is `audit.forwarded`.",
    "pulse": "Asks whether this record takes records; writes ends of answers that it did not take before.",
    "left out": "Sums up what strangers did too often to be recorded one by one: `refused`, `signin.begun`.",
    "ledger-writer": "Writes this record.",
    "ledger-sequencer": "Seals this record; what a crash left open is closed as `ledger.recovered`.",
    "witness": "Sends checkpoints to witnesses; one that is lost, or found again, is `checkpoint.cosigned`.",
    "llama-server": "Keeps the language model's process alive; each call of it is `answer.generated`.",
}
"""Thread -> what it leaves on the record, or why nothing."""

WRITERS: Final = 32
"""Threads that record looks, apart from those that answer requests; they share their commits."""
_DECLARED: Final = "on_record"
_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """What one operation puts on the record; its success always leaves at least one of `events`."""

    events: tuple[EventType, ...]

    async def put(self, request: Request) -> None:
        """Record the request where its endpoint does not; raises AuditUnavailable."""


@dataclass(frozen=True)
class Looking(Declared):
    """Somebody looks at something of the kind `kind`: at the one that the path's `of` names, or at `at`."""

    kind: str
    of: str | None
    at: str

    async def put(self, request: Request) -> None:
        """Record who looked, and at what; raises AuditUnavailable, and then nothing may be sent."""
        principal: Principal | None = getattr(request.state, "principal", None)
        outcome: str | None = "ok"
        if principal is None:
            strangers: StrangersRecords = request.app.state.looking_strangers
            outcome = strangers.admit("ok")
        if outcome is None:
            return
        what = Resource(self.kind, request.path_params[self.of] if self.of else self.at)
        corr: str = request.state.request_id
        event = Event(self.events[0], Stage.SINGLE, corr, ANONYMOUS, res=what, outcome=outcome)
        await _durable(request, event, principal)


async def _durable(request: Request, event: Event, principal: Principal | None) -> None:
    """Record an event within the ledger's time, also when every writer waits for a ledger that is stuck."""
    parts: Parts = request.app.state.parts
    writers: CapacityLimiter = request.app.state.look_writers
    with anyio.move_on_after(parts.settings.audit_timeout_s) as waiting:
        await anyio.to_thread.run_sync(
            _record, parts, event, principal, limiter=writers, abandon_on_cancel=True
        )
    if waiting.cancelled_caught:
        raise unavailable()


def _record(parts: Parts, event: Event, principal: Principal | None) -> None:
    if principal is not None:
        event = replace(event, actor=parts.ledger.identify(principal))
    parts.ledger.record(event)


def reads(
    event: EventType, kind: str, *, of: str | None = None, at: str = "list"
) -> Callable[[_Endpoint], _Endpoint]:
    """Declare that an operation looks at something of `kind`, and let its route record who did.

    `of` names the path parameter that holds the id of what is looked at; without it the record says `at`.
    """
    return _declare(Looking((event,), kind, of, at))


def writes(*events: EventType) -> Callable[[_Endpoint], _Endpoint]:
    """Declare the events of which an operation writes at least one by itself, whenever it succeeds."""
    return _declare(Declared(events))


def _declare(declared: Declared) -> Callable[[_Endpoint], _Endpoint]:
    def mark(endpoint: _Endpoint) -> _Endpoint:
        endpoint.__dict__[_DECLARED] = declared
        return endpoint

    return mark


class RecordedRoute(APIRoute):
    """A route that sends nothing before what its endpoint declares is on the record."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        """Add the declaration to the OpenAPI document as `x-record`."""
        declared = declaration_of(endpoint)
        if declared is not None:
            extra = how.get("openapi_extra") or {}
            how["openapi_extra"] = {**extra, "x-record": [event.value for event in declared.events]}
        super().__init__(path, endpoint, **how)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with the record between its success and the answer."""
        handler, declared = super().get_route_handler(), declaration_of(self.endpoint)
        if declared is None:
            return handler

        async def answer(request: Request) -> Response:
            pulse: Pulse = request.app.state.pulse
            if not pulse.is_beating:
                # Nothing is begun that could not be put on the record, and no thread waits in vain.
                raise unavailable()
            response = await handler(request)
            if response.status_code < 400:
                await declared.put(request)
            return response

        return answer


def declaration_of(endpoint: Callable[..., Any]) -> Declared | None:
    """Return what an endpoint declares, if it does."""
    found: Declared | None = getattr(endpoint, _DECLARED, None)
    return found


def install(app: FastAPI) -> None:
    """Prepare `app`, whose routes are complete, for records of strangers; refuse operations without one.

    Raises ConfigurationError for an operation that neither declares an event nor is exempt.
    """
    # All that a stranger can look at without a refusal is the way to a company directory.
    app.state.looking_strangers = StrangersRecords(
        ANONYMOUS_PER_MINUTE, time.monotonic, summed_up_as=EventType.SIGNIN_BEGUN
    )
    app.state.pulse = Pulse()
    app.state.look_writers = CapacityLimiter(WRITERS)
    missing = [operation for operation, declared in operations(app) if declared is None]
    undeclared = sorted(set(missing) - set(EXEMPT))
    if undeclared:
        raise ConfigurationError(f"These operations would leave no record: {', '.join(undeclared)}.")


def operations(app: FastAPI) -> Iterator[tuple[str, Declared | None]]:
    """Yield every operation that is served, as `METHOD path`, with what it declares."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, Mount):
            yield f"GET /{route.original_route.name}", None
        for method in sorted(route.methods or ()):
            yield f"{method} {route.path_format}", _declared_on(route)


def _declared_on(route: RouteContext) -> Declared | None:
    # A declaration on a route of another class would be one that nobody keeps.
    if not isinstance(route.original_route, RecordedRoute):
        return None
    return declaration_of(route.original_route.endpoint)
