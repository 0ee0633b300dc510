"""Every operation of the OpenAPI document as every caller: who gets in, and what is answered.

Requests are of two kinds. One fits: it names things that exist, and does what the operation is for. The
others are made from the document by Schemathesis, some as it describes them and some against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.cookiejar import DefaultCookiePolicy
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from callers import Actor, Fitting, House, names_in
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from role_matrix import BY_CONTENT, CHECKING_SECRETS, HIDDEN, MATRIX, Caller
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.settings import Settings
from services.app import create_app

Send = Callable[..., Response]
Operation = APIOperation[Any, Any, Any, Any]
Request = Case[Any]
EXAMPLES: Final = 2
SEED: Final = 20260101
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SPOILING: Final = frozenset(
    {
        *(operation for operation in MATRIX if operation.startswith("DELETE ")),
        # Signing in ends the session that comes along.
        "POST /v1/session",
        "POST /v1/invitations/accept",
        "POST /v1/me/password",
        "PUT /v1/files/{file_id}/access",
        "PATCH /v1/vector_stores/{collection_id}/label",
    }
)
"""After these, what a caller had may be gone, or closed to them: they are done by accounts of their own."""
REACHED_IN_VAIN: Final = {
    # No provider is configured here; the tests of signing in with a directory have one.
    "GET /v1/directories/{name}/sign-in": 404,
    "GET /v1/directories/{name}/callback": 404,
    # The file's job may have ended by itself.
    "POST /v1/jobs/{job_id}/cancel": 409,
    "POST /v1/jobs/{job_id}/retry": 409,
    # One runs at a time.
    "POST /v1/access/leak-test": 409,
}
"""What a request that fits is answered where there is nothing to do."""
ONCE: Final = frozenset({"POST /v1/access/leak-test", "DELETE /v1/session"})
"""Take nothing from a request, and cannot well be done again: one works for a while, one ends the session."""
# The parts of a resumable upload are bytes like any others.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
FILE: Final = {"file": ("note.txt", b"Employees receive 25 days of annual leave.", "text/plain")}


@pytest.fixture(scope="module")
def described(house: House) -> BaseSchema:
    """Return the document that the server gives out, without what it says of keys.

    Schemathesis would leave keys out and make some up, where the matrix says who sends which.
    """
    document = requests.get(f"{house.server.url}/openapi.json", timeout=60).json()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def wire() -> Iterator[requests.Session]:
    """Keep connections open, and no cookie."""
    with requests.Session() as session:
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield session


@pytest.fixture
def send(house: House, wire: requests.Session) -> Send:
    """Return what sends a case as an actor."""

    def send(case: Request, actor: Actor, **how: Any) -> Response:
        return case.call(
            base_url=house.server.url,
            session=wire,
            headers=actor.headers,
            allow_redirects=False,
            timeout=120,
            **how,
        )

    return send


# --- the matrix -----------------------------------------------------------------------------------


def test_the_matrix_names_every_operation(described: BaseSchema) -> None:
    """A new operation needs somebody who says who may reach it; one that is gone leaves the matrix."""
    paths = described.raw_schema["paths"]
    served = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    assert served == set(MATRIX)


def test_nothing_else_is_served(tmp_path: Path) -> None:
    """An operation that is left out of the document is no way around the matrix."""
    app = create_app(Settings(data_dir=tmp_path))
    routes = [route for route in iter_route_contexts(app.routes) if route.path_format is not None]
    served = {f"{method} {route.path_format}" for route in routes for method in route.methods or ()}
    assert {found for found in served if found not in MATRIX} == HIDDEN


# --- requests that fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", MATRIX)
def test_who_gets_in(operation: str, house: House, described: BaseSchema, send: Send) -> None:
    """Whom the matrix names can do it; everybody else is refused, with things that exist as well."""
    files = {"files": FILE} if operation == "POST /v1/files" else {}
    with actors(house, operation) as everybody:
        for actor in everybody:
            case = fitting_case(described, operation, actor.fitting(operation))
            answer = send(case, actor, **files)
            case.validate_response(answer, checks=CHECKS)
            if actor.caller in MATRIX[operation]:
                in_vain = answer.status_code == REACHED_IN_VAIN.get(operation)
                assert answer.status_code < 400 or in_vain, (actor.caller, answer.text)
            else:
                check_refused(operation, actor.caller, answer)


@contextmanager
def actors(house: House, operation: str) -> Iterator[list[Actor]]:
    """Yield a caller of each kind."""
    if operation not in SPOILING:
        yield [house.caller(caller) for caller in Caller]
        return
    with ExitStack() as stack:
        yield [stack.enter_context(closing(house.throw_away(caller))) for caller in Caller]


def fitting_case(described: BaseSchema, operation: str, fitting: Fitting) -> Request:
    """Return a request of `operation` with values that fit."""
    method, path = operation.split()
    body = {} if fitting.body is None else {"body": fitting.body, "media_type": "application/json"}
    if fitting.content is not None:
        body = {"body": fitting.content, "media_type": fitting.headers["Content-Type"]}
    return operation_of(described, method, path).Case(
        path_parameters=fitting.path, query=fitting.query, headers=fitting.headers, **body
    )


def operation_of(described: BaseSchema, method: str, path: str) -> Operation:
    """Return an operation of the document."""
    return described[path][method]


def check_refused(operation: str, caller: Caller, answer: Response) -> None:
    """Check that somebody did not get in, and that they were told so in the shape that clients know."""
    assert answer.status_code == (401 if caller is Caller.NOBODY else 403), (caller, answer.text)
    if operation.startswith("HEAD "):
        return
    body = answer.json()
    if "/scim/" in operation:
        assert body["status"] == str(answer.status_code)
        assert body["detail"]
    else:
        assert body["error"]["code"] == (
            "not_authenticated" if answer.status_code == 401 else "not_permitted"
        )


# --- requests made from the document --------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize("operation", [operation for operation in MATRIX if operation not in ONCE])
def test_made_requests(
    operation: str, house: House, described: BaseSchema, send: Send, pytestconfig: pytest.Config
) -> None:
    """Nothing makes the server fail, answers are as documented, and nobody gets in who should not."""
    start = pytestconfig.getoption("contract_seed", None) or SEED
    several = settings(
        max_examples=pytestconfig.getoption("contract_examples", None) or EXAMPLES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with actors(house, operation) as everybody:
        for made_from in strategies(operation_of(described, *operation.split())):
            seed(start)(several(given(made_from)(knocking(operation, everybody, send))))()


def knocking(operation: str, everybody: list[Actor], send: Send) -> Callable[[Request], None]:
    """Return what sends a case as everybody; in every other one, the path names things that are there."""
    refused: set[Caller] = set()
    naming = cycle((True, False) if names_in(operation) else (False,))

    def knock(case: Request) -> None:
        existing = next(naming)
        for actor in everybody:
            if actor.caller in refused:
                # One refusal is like the other: it comes before anybody looks at what was sent.
                continue
            own = case.derive()
            if existing:
                own.path_parameters = actor.fitting(operation).path
            answer = send(own, actor)
            own.validate_response(answer, checks=CHECKS)
            if actor.caller in MATRIX[operation]:
                check_let_in(operation, actor.caller, answer)
            elif not is_unreadable(own, answer):
                check_refused(operation, actor.caller, answer)
                refused.add(actor.caller)

    return knock


def strategies(operation: Operation) -> list[st.SearchStrategy[Request]]:
    """Return how requests of an operation are made: as it is described, and against it where one can.

    Nothing goes against a path, which takes any text; an operation that takes nothing is sent a query.
    """
    if operation.body or operation.query:
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        return [operation.as_strategy(generation_mode=mode) for mode in modes]
    if operation.path_parameters:
        return [operation.as_strategy(generation_mode=GenerationMode.POSITIVE)]
    words = st.text(max_size=20)
    return [st.builds(lambda query: operation.Case(query=query), st.dictionaries(words, words, max_size=3))]


def check_let_in(operation: str, caller: Caller, answer: Response) -> None:
    """Check that a request, which may make no sense, was not refused because of who sent it."""
    if operation in BY_CONTENT and caller is Caller.FULL_KEY and answer.status_code == 403:
        return
    if operation not in CHECKING_SECRETS:
        assert answer.status_code not in {401, 403}, (caller, answer.request.url, answer.text)


def is_unreadable(case: Request, answer: Response) -> bool:
    """Tell whether a body was no JSON at all, which is said to everybody before it is asked who they are."""
    return isinstance(case.body, bytes) and answer.status_code == 400
