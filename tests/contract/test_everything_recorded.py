"""Every operation and every background task leaves its event, or stands in the published exemptions.

Nothing here lists operations: they come from the application itself. A new one that declares nothing keeps
the server from starting; one that declares an event is called here, and its event is looked for.
"""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlencode

import httpx2
import pytest
from callers import SOURCES, Actor, House
from celery import Celery
from fastapi import APIRouter, FastAPI
from role_matrix import MATRIX, PUBLIC, Caller

from infra import documents
from infra.audit.event_types import EventType
from infra.audit.leaf import Leaf, parse
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import AuditInbox, AuditLeaf, Job
from infra.errors import ConfigurationError
from infra.keys import MasterKey
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from ingest import jobs
from ingest.tasks import register
from services import on_record
from services.app import create_app
from services.on_record import BACKGROUND, EXEMPT, TASKS, Declared, RecordedRoute
from tests.directory_servers import Authority, OidcServer, browse
from tests.preloaded import PreloadedServer

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "recorded.md"
HOME: Final = "https://strongroom.internal"
STRANGERS_A_MINUTE: Final = 100
"""Refusals of strangers that one server is asked for here: beyond 120 a minute they are counted only."""
PREFERRED: Final = (Caller.FULL_KEY, Caller.ADMIN, Caller.AUDITOR, Caller.SCIM_KEY, Caller.NOBODY)
SIGN_IN: Final = "GET /v1/directories/{name}/sign-in"
CALLBACK: Final = "GET /v1/directories/{name}/callback"


def declared() -> dict[str, Declared | None]:
    """Return what each operation of the application declares."""
    return dict(on_record.operations(create_app(Settings(data_dir=Path("unused")))))


DECLARED: Final = declared()
RECORDED: Final = sorted(operation for operation, events in DECLARED.items() if events is not None)


# --- the published lists --------------------------------------------------------------------------


def test_every_operation_is_recorded_or_exempt() -> None:
    """The two lists share nothing and leave nothing out; an exemption of what is gone is gone as well."""
    assert {operation for operation, events in DECLARED.items() if events is None} == set(EXEMPT)


def test_the_openapi_document_says_what_is_recorded() -> None:
    """Each described operation names its events under `x-record`, or is exempt."""
    paths = create_app(Settings(data_dir=Path("unused"))).openapi()["paths"]
    described = {
        f"{method.upper()} {path}": operation.get("x-record")
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    events = {operation: _names(operation) for operation in described}
    assert described == {operation: named or None for operation, named in events.items()}
    assert {operation for operation, named in described.items() if named is None} <= set(EXEMPT)


def test_a_route_without_a_declaration_keeps_the_server_from_starting() -> None:
    """Somebody who adds an operation and forgets the record finds out at once."""
    app, router = FastAPI(docs_url=None, redoc_url=None), APIRouter(route_class=RecordedRoute)
    router.add_api_route("/v1/forgotten", lambda: {}, methods=["PUT"])
    app.include_router(router)
    with pytest.raises(ConfigurationError, match="PUT /v1/forgotten"):
        on_record.install(app)


def test_a_declaration_that_nobody_keeps_is_none() -> None:
    """On a route of another class nothing would be recorded, so the declaration does not count."""
    app, router = FastAPI(docs_url=None, redoc_url=None), APIRouter()
    router.add_api_route("/v1/idle", on_record.reads(EventType.FILES_READ, "files")(lambda: {}))
    app.include_router(router)
    with pytest.raises(ConfigurationError, match="GET /v1/idle"):
        on_record.install(app)


def test_the_page_lists_every_operation() -> None:
    """`docs/recorded.md` says of each operation what the code says."""
    assert _table("Operations") == {operation: _names(operation) for operation in RECORDED}
    assert _table("What is served without a record", as_codes=False) == {
        operation: [reason] for operation, reason in EXEMPT.items()
    }


def test_the_page_lists_every_task_and_thread() -> None:
    """Background work is in the same page, with its events, or with the reason why it has none."""
    assert _table("Tasks") == {name: [event.value for event in events] for name, events in TASKS.items()}
    assert _table("Threads", as_codes=False) == {name: [text] for name, text in BACKGROUND.items()}


def test_every_task_is_listed() -> None:
    """A new Celery task needs a line, and leaves an event."""
    app = Celery("tasks", set_as_current=False)
    register(app, SimpleNamespace(database=None, ledger=None))  # type: ignore[arg-type]  # bound, never run
    assert {name for name in app.tasks if not name.startswith("celery.")} == set(TASKS)
    assert all(TASKS.values())


def test_every_thread_is_listed() -> None:
    """A new thread, or a new thing done at a steady pace, needs a line."""
    assert set(_threads()) == set(BACKGROUND)


def _names(operation: str) -> list[str]:
    found = DECLARED[operation]
    return [event.value for event in found.events] if found is not None else []


def _table(heading: str, *, as_codes: bool = True) -> dict[str, list[str]]:
    """Return a table of the page: its first column, and what stands in the second."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, flags=re.MULTILINE)
    return {name: re.findall(r"`([^`]+)`", cell) if as_codes else [cell] for name, cell in rows}


def _threads() -> Iterator[str]:
    """Yield the names under which our code starts threads."""
    for package in ("services", "agents", "ingest", "infra"):
        for file in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in {
                    "Thread",
                    "Ticker",
                    "Timer",
                }:
                    given = {word.arg: word.value for word in call.keywords}
                    name = given.get("name")
                    if isinstance(name, ast.Constant):
                        yield str(name.value)
                    else:
                        # The Ticker itself is named by whoever makes one.
                        assert isinstance(name, ast.Name), f"{file.name} starts a thread without a name"


# --- for real: each operation ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority that the provider's certificate comes from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[OidcServer]:
    """Run an OpenID Connect provider, so that signing in there can succeed."""
    running = OidcServer(authority.issue("127.0.0.1"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def house(
    make_server: Callable[..., PreloadedServer], authority: Authority, provider: OidcServer
) -> Iterator[House]:
    """Start a server that knows the provider, and on which every caller has what it needs."""
    described = provider.described(ca_file=authority.ca_file).model_dump(mode="json")
    described["client_secret"] = provider.client_secret
    server = make_server(
        oidc=json.dumps([described]),
        sources=SOURCES,
        public_url=HOME,
        trusted_proxies='["127.0.0.1"]',
    )
    server.start()
    database, master_key = open_database(server.settings())
    house = House(server, database, master_key)
    yield house
    house.close()
    server.kill()


@pytest.mark.parametrize("operation", RECORDED)
def test_what_succeeds_is_on_the_record(operation: str, house: House, authority: Authority) -> None:
    """One of the declared events is there, under the id that the answer names, before the answer is."""
    actor = house.throw_away(next(caller for caller in PREFERRED if caller in MATRIX[operation]))
    answer = call(house, actor, operation, authority)
    assert answer.status_code < 400, answer.text
    found = records_of(house, answer)
    assert {leaf.type for leaf in found} & set(_names(operation)), [leaf.type for leaf in found]
    assert EventType.REFUSED not in {leaf.type for leaf in found}
    actor.close()


def call(house: House, actor: Actor, operation: str, authority: Authority) -> httpx2.Response:
    """Send a request of `operation` that fits."""
    method, template = operation.split()
    if operation in {SIGN_IN, CALLBACK}:
        return sign_in_at_directory(house, actor, operation, authority)
    fitting = actor.fitting(operation)
    path = fitting.path
    if template in {"/v1/jobs/{job_id}/cancel", "/v1/jobs/{job_id}/retry"}:
        # Rows that nobody works on: a real job may have ended by itself.
        path = {"job_id": new_job(house, actor, "queued" if template.endswith("cancel") else "failed")}
    files = {"files": {"file": ("note.txt", b"A note.")}} if operation == "POST /v1/files" else {}
    body = {} if fitting.body is None else {"json": fitting.body}
    if fitting.content is not None:
        body = {"content": fitting.content}
    headers = {**actor.headers, "accept": "application/json, text/event-stream", **fitting.headers}
    with httpx2.Client(base_url=house.server.url, timeout=120) as client:
        return client.request(
            method, template.format(**path), params=fitting.query, headers=headers, **body, **files
        )


def sign_in_at_directory(house: House, actor: Actor, operation: str, authority: Authority) -> httpx2.Response:
    """Go to the provider, and come back if that is what is asked for."""
    with httpx2.Client(base_url=house.server.url, timeout=60, headers=actor.headers) as client:
        begun = client.get(SIGN_IN.split()[1].format(name="sso"))
        if operation == SIGN_IN:
            return begun
        cookie = begun.headers["set-cookie"].split(";")[0]
        came_back = urlencode(browse(begun.headers["location"], authority.ca_file))
        path = CALLBACK.split()[1].format(name="sso")
        return client.get(f"{path}?{came_back}", headers={"cookie": cookie})


def new_job(house: House, actor: Actor, state: str) -> str:
    """Keep a job of one's own file in a state, with nobody to wake up; returns its id."""
    document_id = actor.new_file()["id"]
    with house.database.write() as session:
        now = now_ms()
        version = documents.latest_version(session, document_id).id
        job = Job(id=new_id(), kind="ingest", document_id=document_id, version_id=version, corr=new_id())
        job.state, job.stage, job.done, job.attempt, job.fence = state, state, 0, 1, 0
        job.cancel_requested, job.created_at, job.updated_at = False, now, now
        session.add(job)
        return job.id


def records_of(house: House, answer: httpx2.Response) -> list[Leaf]:
    """Return what is on the record about one request, sealed or not."""
    corr = answer.headers["x-request-id"].encode()
    # The inbox first: what moves on in between is then seen twice, and not never.
    with house.database.read() as session:
        raw = [row.leaf for row in session.query(AuditInbox)]
    with house.database.read() as session:
        raw += [row.leaf for row in session.query(AuditLeaf).where(AuditLeaf.corr == corr.decode())]
    return [parse(leaf) for leaf in raw if corr in leaf]


# --- for real: each refusal -----------------------------------------------------------------------

CLOSED: Final = sorted(operation for operation in RECORDED if MATRIX.get(operation) != PUBLIC)
BY_SECRET: Final = {
    "POST /v1/session": {"email": "nobody@example.org", "password": "not theirs at all"},
    "POST /v1/invitations/accept": {
        "token": "no invitation",
        "name": "Nobody",
        "email": "nobody@example.org",
        "password": "a long enough password",
    },
    SIGN_IN: None,
    CALLBACK: None,
}
"""What everybody reaches is refused for what is sent."""


@pytest.mark.parametrize("first", range(0, len(CLOSED), STRANGERS_A_MINUTE))
def test_without_a_key_the_refusal_is_on_the_record(
    first: int, make_server: Callable[..., PreloadedServer]
) -> None:
    """Whoever knocks without being known leaves `refused` for each operation, with its name."""
    server = make_server(trusted_proxies='["127.0.0.1"]')
    server.start()
    database, _ = open_database(server.settings())
    house = SimpleNamespace(database=database)
    chunk = CLOSED[first : first + STRANGERS_A_MINUTE]
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        answers = {operation: knock(client, operation) for operation in chunk}
    for operation, answer in answers.items():
        assert answer.status_code == 401, (operation, answer.text)
        (leaf,) = records_of(house, answer)  # type: ignore[arg-type]  # only its database is asked
        assert leaf.res is not None
        assert (leaf.type, leaf.outcome) == (EventType.REFUSED, "not_authenticated")
        assert leaf.res.id.replace(":path}", "}") == operation
    database.close()
    server.kill()


@pytest.mark.parametrize("operation", sorted(set(RECORDED) - set(CLOSED)))
def test_what_everybody_reaches_is_refused_on_the_record(operation: str, house: House) -> None:
    """A wrong password, a made-up invitation and a directory that is none leave `refused` as well."""
    stranger = house.throw_away(Caller.NOBODY)
    with httpx2.Client(base_url=house.server.url, timeout=60, headers=stranger.headers) as client:
        answer = knock(client, operation, BY_SECRET[operation])
    assert 400 <= answer.status_code < 500
    assert EventType.REFUSED in {leaf.type for leaf in records_of(house, answer)}


def knock(client: httpx2.Client, operation: str, body: Any = None) -> httpx2.Response:
    """Send a request of `operation` that names nothing that exists."""
    method, template = operation.split()
    sent = {} if body is None else {"json": body}
    return client.request(method, re.sub(r"{[^}]+}", "none", template), **sent)


# --- for real: background work --------------------------------------------------------------------


def test_a_sweep_is_on_the_record(tmp_path: Path) -> None:
    """Work that lost its worker is queued again, which leaves an event with the job's request id."""
    settings = Settings(data_dir=tmp_path)
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    app = Celery("tasks", set_as_current=False)
    register(app, SimpleNamespace(database=database, ledger=ledger))  # type: ignore[arg-type]  # all it uses
    corr = abandoned_job(database, master_key)
    app.tasks["ingest.sweep"].apply(args=("",)).get()
    ledger.sealer.seal_all()
    found = [event.leaf for event in ledger.reader.events(corr=corr)]
    assert [(leaf.type, leaf.outcome) for leaf in found if leaf] == [(EventType.JOB_SWEPT, "queued")]
    ledger.close()
    database.close()


def abandoned_job(database: Database, master_key: MasterKey) -> str:
    """Leave a job whose worker has gone; returns its correlation id."""
    corr, version_id = new_id(), new_id()
    with database.write() as session:
        document = documents.create_document(session, owner="user:ada", name="a.txt")
        _, wrapped = documents.new_version_key(master_key, version_id)
        documents.add_version(
            session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
        )
        job = jobs.submit(session, document_id=document.id, version_id=version_id, corr=corr)
        job.state, job.attempt, job.lease_until = "running", 1, now_ms() - 1
    return corr


def test_reading_a_file_in_is_on_the_record(house: House) -> None:
    """The task that makes passages leaves how that ended, with the upload's request id."""
    actor = house.throw_away(Caller.EMPLOYEE)
    answer = actor.client.post("/v1/files", files={"file": ("note.txt", b"Read me in.")})
    deadline = time.monotonic() + 60
    while not (found := [leaf for leaf in records_of(house, answer) if leaf.type == EventType.FILE_PARSED]):
        assert time.monotonic() < deadline, "the task left no event"
        time.sleep(0.1)
    assert found[0].outcome == "ok"
    actor.close()
