"""The standing leak test finds what leaks, says when it proves nothing, and leaves no trace."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from rich.console import Console
from sqlalchemy import select, true

import services.app
from infra import accounts, canaries, documents, titles
from infra.access import Role
from infra.audit.event_types import EventType
from infra.clock import new_id
from infra.database.tables import Collection, Conversation, Document, Group, User
from infra.epoch import raise_epoch
from infra.errors import NotFound, NotPermitted
from infra.network import in_process_client
from infra.settings import Settings
from ingest import jobs
from services.access import endpoints as access_endpoints
from services.access.leak_test.canary import Canary, Rule
from services.access.leak_test.interfaces import INTERFACES, PLANTING
from services.access.leak_test.judging import Inquiry
from services.access.leak_test.people import Cast, enter, leave
from services.access.leak_test.planting import Planting
from services.access.leak_test.results import Leak, Result, Unproven
from services.access.leak_test.schedule import LeakTests, is_due
from services.cli.access_leak_test import show
from services.parts import Parts
from services.search import endpoints as search_endpoints
from tests.leaks import mutations
from tests.preloaded import PreloadedServer
from tests.serving import ROOT

NOWHERE = "00000000-0000-7000-8000-000000000000"
TAGS = {"files", "collections", "jobs", "sources", "search", "chat", "conversations", "mcp"}


# --- a server in this process, so that faults can be planted in it --------------------------------


@dataclass
class House:
    """A running server with two groups, and the way into its event loop."""

    app: FastAPI
    parts: Parts
    portal: BlockingPortal

    @property
    def tests(self) -> LeakTests:
        """Its leak tests."""
        found: LeakTests = self.app.state.leak_tests
        return found

    def run(self) -> dict[str, Any]:
        """Run one leak test as the night does; returns the result on the record."""

        async def whole() -> str:
            run_id = await self.tests.begin(None)
            await self.tests.ended()
            return run_id

        run_id = self.portal.call(whole)
        last = self.tests.last()
        assert last is not None
        assert last["id"] == run_id
        return last


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Start the server; without the tripwire, which could not be taken out of this process again."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("house"), quote_only=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(services.app, "install_tripwire", lambda *_args, **_more: None)
        app = services.app.create_app(settings)
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        ):
            yield House(app, app.state.parts, portal)


def traces(parts: Parts) -> dict[str, int]:
    """Count what a leak test makes."""
    with parts.database.read() as session:
        return {
            "accounts": len(canaries.canary_accounts(session)),
            "documents": len(session.scalars(select(Document)).all()),
            "collections": len(session.scalars(select(Collection)).all()),
            "conversations": len(session.scalars(select(Conversation)).all()),
            "groups": len(session.scalars(select(Group)).all()),
            "points": parts.index.count(),
        }


NO_TRACE = dict.fromkeys(("accounts", "documents", "collections", "conversations", "groups", "points"), 0)


# --- what it finds --------------------------------------------------------------------------------


@dataclass
class Stage:
    """Canaries that are planted, and questions about them."""

    house: House
    cast: Cast
    canaries: list[Canary]

    def hold(self, *names: str) -> Inquiry:
        """Ask through some interfaces; whatever was remembered of earlier searches is forgotten."""
        with self.house.parts.database.write() as session:
            raise_epoch(session)
        wanted = [each for each in INTERFACES if each.name in names]
        assert {each.name for each in wanted} == set(names)

        async def ask() -> Inquiry:
            async with in_process_client(self.house.app, timeout_s=120) as client:
                inquiry = Inquiry(client, self.cast, self.canaries, lambda: None, wanted)
                await inquiry.hold()
                return inquiry

        return self.house.portal.call(ask)


def leaking(inquiry: Inquiry) -> set[str]:
    """Return the interfaces that leaked."""
    return {leak.interface for leak in inquiry.leaks}


@contextmanager
def mutant(*names: str) -> Iterator[None]:
    """Take layers out of the program, and put them back."""
    by_function: dict[str, list[mutations.Edit]] = {}
    for name in names:
        for edit in mutations.MUTANTS[name]:
            by_function.setdefault(edit.function, []).append(edit)
    kept = {path: mutations._find(path) for path in by_function}
    codes = {path: function.__code__ for path, function in kept.items()}
    try:
        for path, edits in by_function.items():
            mutations.apply(path, edits)
        yield
    finally:
        for path, function in kept.items():
            function.__code__ = codes[path]


@pytest.fixture(scope="class")
def stage(house: House) -> Iterator[Stage]:
    """Plant canaries; afterwards nothing of them is left."""
    plan, cast = enter(house.parts, new_id(), None)

    async def plant() -> list[Canary]:
        async with in_process_client(house.app, timeout_s=120) as client:
            return await Planting(house.parts, client, plan, cast, lambda _step: None).plant()

    planted = house.portal.call(plant)
    yield Stage(house, cast, planted)
    leave(house.parts, plan.run_id)
    assert traces(house.parts) == NO_TRACE


class TestFaults:
    """Faults of the program, each found and named; the canaries are planted once."""

    def test_without_a_fault_nothing_is_found_and_everything_is_proved(self, stage: Stage) -> None:
        """The interfaces of the tests below are quiet while the program is whole."""
        inquiry = stage.hold(
            "files", "suggestions", "search", "source", "MCP fetch", "job", "explanation", "vector store"
        )
        assert (inquiry.leaks, inquiry.unproven) == ([], [])

    def test_an_unscoped_list_of_files(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names and ids leak through the list, and a count through a shared collection."""

        def everything(session: Any, _scope: Any, *, collection_ids: Any = None, after: Any = None) -> Any:
            del after
            wanted = select(Document).where(Document.deleted_at.is_(None))
            if collection_ids is not None:
                wanted = wanted.where(Document.collection_id.in_(collection_ids))
            yield from session.scalars(wanted)

        monkeypatch.setattr(documents, "readable_documents", everything)
        inquiry = stage.hold("files", "counts of a shared vector store", "file", "search")
        assert leaking(inquiry) == {"files", "counts of a shared vector store"}
        assert {leak.what for leak in inquiry.leaks} >= {"file name", "file id", "job id", "a count"}
        assert {leak.role for leak in inquiry.leaks} == set(Role)

    def test_unscoped_suggestions(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file's name leaks while somebody types."""
        monkeypatch.setattr(titles, "readable", lambda _scope: true())
        monkeypatch.setattr(titles, "_re_checked", lambda _session, _scope, batch: batch)
        assert leaking(stage.hold("files", "suggestions", "newest suggestions", "search")) == {
            "suggestions",
            "newest suggestions",
        }

    def test_a_search_without_filter_and_re_check(self, stage: Stage) -> None:
        """Whatever rests on the search shows the content."""
        names = ("search", "chat", "chat stream", "MCP search", "MCP ask")
        with mutant("filter", "re-check"):
            # A search in a collection looks among its readable files only, so it has a layer more.
            inquiry = stage.hold(*names, "search in a collection", "files", "file content")
        assert leaking(inquiry) == set(names)
        assert "content" in {leak.what for leak in inquiry.leaks}

    def test_a_missing_re_check_alone(self, stage: Stage) -> None:
        """The index still keeps searches apart; sources and shared answers are open to whoever has the id."""
        with mutant("re-check"):
            inquiry = stage.hold(
                "search",
                "source",
                "MCP fetch",
                "items of a shared conversation",
                "export of a shared conversation",
            )
        assert leaking(inquiry) == {
            "source",
            "MCP fetch",
            "items of a shared conversation",
            "export of a shared conversation",
        }

    def test_the_rule_is_named(self, stage: Stage) -> None:
        """When denials alone are forgotten, the canary that is denied tells, and no other."""
        with mutant("sql-deny", "rule-deny", "filter-deny"):
            inquiry = stage.hold("files", "file", "search")
        assert {leak.rule.kind for leak in inquiry.leaks} == {"deny"}
        assert leaking(inquiry) == {"files", "file", "search"}

    def test_another_status_for_what_exists(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """To be told that one may not is to be told that it is there."""
        honest = jobs.get_job

        def told(session: Any, scope: Any, job_id: str) -> Any:
            try:
                return honest(session, scope, job_id)
            except NotFound:
                if session.get(jobs.Job, job_id) is not None:
                    raise NotPermitted("This job is somebody else's.") from None
                raise

        monkeypatch.setattr(jobs, "get_job", told)
        inquiry = stage.hold("job", "job events", "file")
        assert {(leak.interface, leak.what) for leak in inquiry.leaks} == {
            ("job", "that it exists"),
            ("job events", "that it exists"),
        }

    def test_the_role_is_named(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """An explanation with the file's name tells administrators, and only them."""
        honest = access_endpoints.explanation

        def told(session: Any, user: User, document: Document) -> dict[str, Any]:
            return {**honest(session, user, document), "filename": document.name}

        monkeypatch.setattr(access_endpoints, "explanation", told)
        inquiry = stage.hold("explanation")
        assert {(leak.role, leak.what) for leak in inquiry.leaks} == {("admin", "file name")}

    def test_an_insider_who_finds_nothing_proves_nothing(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A search that is broken for everybody is no clean search."""
        monkeypatch.setattr(search_endpoints, "search", lambda *_args, **_more: [])
        inquiry = stage.hold("search", "chat")
        assert {each.interface for each in inquiry.unproven} == {"search"}
        assert {each.rule for each in inquiry.unproven} == {canary.rule for canary in stage.canaries}
        assert inquiry.leaks == []

    def test_an_outsider_who_cannot_ask_proves_nothing(self, stage: Stage) -> None:
        """An account whose key opens nothing is told nothing, which must not look clean."""
        outsider = stage.cast.outsiders[Role.AUDITOR]
        with stage.house.parts.database.write() as session:
            user = session.get_one(User, outsider.principal.partition(":")[2])
            user.disabled_at = 1
        inquiry = stage.hold("files", "search")
        with stage.house.parts.database.write() as session:
            session.merge(user).disabled_at = None
        assert {each.interface for each in inquiry.unproven} == {"files", "search"}
        assert all(each.why.endswith("to the auditor") for each in inquiry.unproven)


# --- how a run ends -------------------------------------------------------------------------------


def test_a_canary_that_cannot_be_planted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is inconclusive, says at what, is on the record, and leaves nothing."""
    monkeypatch.setattr(Canary, "content", property(lambda _self: b"\x7fELF\x02\x01\x01" + bytes(64)))
    result = house.run()
    assert result["outcome"] == "inconclusive"
    assert result["failure"] == "POST /v1/files answered with status 422."
    assert traces(house.parts) == NO_TRACE


def test_a_server_that_stops_takes_the_canaries_along(house: House) -> None:
    """What a run has made by then is removed, and its result says why it proves nothing."""

    async def stop() -> None:
        other = LeakTests(house.app, house.parts)
        await other.start()
        await other.begin(None)
        while other.state()["done"] < 2:
            await anyio.sleep(0.05)
        await other.stop()

    house.portal.call(stop)
    last = house.tests.last()
    assert last is not None
    assert (last["outcome"], last["failure"]) == ("inconclusive", "The server stopped.")
    assert traces(house.parts) == NO_TRACE


def test_a_start_removes_what_a_killed_run_left(house: House) -> None:
    """Accounts, files and all go, and the record says that a run was cut short."""
    plan, cast = enter(house.parts, new_id(), None)

    async def cut_short() -> None:
        async with in_process_client(house.app, timeout_s=120) as client:
            planting = Planting(house.parts, client, plan, cast, lambda _step: None)
            for canary in plan.canaries[:4]:
                await planting._store(canary)

    house.portal.call(cut_short)
    assert traces(house.parts)["documents"] == 4

    async def start() -> None:
        fresh = LeakTests(house.app, house.parts)
        await fresh.start()
        await fresh.stop()

    house.portal.call(start)
    assert traces(house.parts) == NO_TRACE
    last = house.tests.last()
    assert last is not None
    assert last["failure"] == "A run was cut short. What it had left was removed."


def test_young_accounts_of_another_server_stay(house: House) -> None:
    """Where several servers share a database, a test that another one runs is left alone."""
    plan, _ = enter(house.parts, new_id(), None)
    assert leave(house.parts, plan.run_id, older_than_ms=60_000) == 0
    assert traces(house.parts)["accounts"] == 6
    assert leave(house.parts, plan.run_id) == 6
    assert traces(house.parts) == NO_TRACE


def test_an_account_that_looks_like_a_canary_stays(house: House) -> None:
    """A real account with such a name, or even with such a compartment, is not removed."""
    with house.parts.database.write() as session:
        account = accounts.create_service_account(session, "leak test robot", [Role.EMPLOYEE])
        person = User(
            id=new_id(),
            kind="user",
            name="leak test person",
            email="person@example.org",
            roles=[Role.EMPLOYEE],
            compartments=[canaries.compartment_of_run(new_id())],
            created_at=1,
        )
        session.add(person)
    assert leave(house.parts, new_id()) == 0
    with house.parts.database.write() as session:
        for user_id in (account.id, person.id):
            session.delete(session.get_one(User, user_id))


# --- as an administrator sees it ------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_command_runs_it_from_end_to_end(make_server: Callable[..., PreloadedServer]) -> None:
    """On a whole server with groups it is clean, names every interface's rules, and nothing stays."""
    server = make_server().start()
    admin = server.person("Admin", [Role.ADMIN, Role.CURATOR, Role.EMPLOYEE])
    auditor, ben = server.person("Auditor", [Role.AUDITOR]), server.person("Ben")
    group = admin.client.post("/v1/groups", json={"name": "Legal"}).json()
    admin.client.put(f"/v1/groups/{group['id']}/members/{ben.id}").raise_for_status()
    before = [user["id"] for user in admin.client.get("/v1/users").json()["data"]]
    with started(server, admin.new_key("leak test", scopes=["admin"])["key"]) as command:
        seen = _while_it_runs(admin.client, ben.client)
        out, _ = command.communicate(timeout=240)
    assert command.returncode == 0, out
    result = json.loads(out)
    assert (result["outcome"], result["cause"], result["failure"]) == ("clean", "asked", None)
    assert result["notes"] == []
    assert {rule["kind"] for rule in result["canaries"]} == {
        "group", "person", "clearance", "compartment", "collection", "narrowed", "deny",
    }  # fmt: skip
    assert {"kind": "group", "about": group["id"]} in result["canaries"]
    assert set(result["accounts"].values()) == {
        "owner", "insider", *(f"outsider ({role})" for role in Role),
    }  # fmt: skip
    assert seen == {"refused": 409, "files": 0, "suggestions": 0}
    after = {user["id"]: user["name"] for user in admin.client.get("/v1/users").json()["data"]}
    assert set(after) - set(before) == {id_ for id_, name in after.items() if name == "leak test"}
    assert admin.client.get("/v1/groups").json()["data"] == [{**group, "members": [ben.id]}]
    _check_record(auditor.client, result)


@contextmanager
def started(server: PreloadedServer, key: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command beside the test."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    command = [sys.executable, "-m", "services.cli", "access", "leak-test", "--json", "--url", server.url]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, "STRONGROOM_API_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def _while_it_runs(admin: Any, member: Any) -> dict[str, int]:
    """Return what a second start gets, and the most that a member of the group ever sees of canaries."""
    refused, files, suggestions, deadline = 0, 0, 0, time.monotonic() + 220
    while time.monotonic() < deadline:
        state = admin.get("/v1/access/leak-test").json()
        if state["state"] == "running" and state["done"] > 1:
            refused = refused or admin.post("/v1/access/leak-test").status_code
            files = max(files, len(member.get("/v1/files").json()["data"]))
            suggestions = max(suggestions, len(member.get("/v1/suggestions").json()["data"]))
        if state["last"] is not None:
            break
        time.sleep(0.3)
    return {"refused": refused, "files": files, "suggestions": suggestions}


def _check_record(auditor: Any, result: dict[str, Any]) -> None:
    """The result, who asked for it, and the accounts that came and went are on the record."""
    wanted = {"correlation": "leak-test", "newest": True}
    (event,) = auditor.get("/v1/audit/events", params=wanted).json()["data"]
    assert (event["type"], event["outcome"]) == (EventType.ACCESS_TESTED, "clean")
    assert event["actor"]["label"] == "leak test"
    assert event["res"] == {"type": "leak_test", "id": result["id"], "ver": None}
    content = auditor.get(f"/v1/audit/events/{event['id']}/content").json()["text"]
    assert json.loads(content) == result
    run = {"correlation": result["id"], "limit": 500}
    events = auditor.get("/v1/audit/events", params=run).json()["data"]
    told = [each["type"] for each in events]
    assert (
        next(each for each in events if each["type"] == EventType.ACCESS_TESTED)["actor"]["label"] == "Admin"
    )
    assert told.count(EventType.ACCOUNT_CREATED) == told.count(EventType.ACCOUNT_DISABLED) == 6
    assert told.count(EventType.FILE_DELETED) == len(result["canaries"])
    assert EventType.GROUP_CHANGED in told


def test_it_is_for_administrators(house: House) -> None:
    """Nobody else starts it or sees what it found."""
    with house.parts.database.write() as session:
        user = User(id=new_id(), kind="user", name="Eve", roles=[Role.EMPLOYEE, Role.AUDITOR], created_at=1)
        session.add(user)
        session.flush()
        _, key = accounts.create_key(session, user.id, "test")

    async def statuses() -> list[int]:
        headers = {"authorization": f"Bearer {key}"}
        async with in_process_client(house.app) as client:
            path = "/v1/access/leak-test"
            answers = [await client.get(path, headers=headers), await client.post(path, headers=headers)]
            return [answer.status_code for answer in [*answers, await client.post(path)]]

    assert house.portal.call(statuses) == [403, 403, 401]


def test_every_operation_is_asked(house: House) -> None:
    """An operation that reads or takes documents, and that no interface of the leak test uses, fails this."""
    asked = {_template(each.operation) for each in INTERFACES} | {_template(each) for each in PLANTING}
    offered = {
        _template(f"{method.upper()} {path}")
        for path, methods in house.app.openapi()["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post"} and TAGS.intersection(operation.get("tags", ()))
    }
    assert offered <= asked
    assert len(offered) > 30


def _template(operation: str) -> str:
    return "".join("{}" if part.startswith("{") else part for part in _split(operation))


def _split(operation: str) -> list[str]:
    return operation.replace("{", "\0{").replace("}", "}\0").split("\0")


# --- words and times ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "last", "due"),
    [
        (datetime(2026, 3, 1, 3, 0, tzinfo=UTC), None, True),
        (datetime(2026, 3, 1, 2, 59, tzinfo=UTC), None, False),
        (datetime(2026, 3, 1, 4, 0, tzinfo=UTC), None, False),
        (datetime(2026, 3, 1, 3, 50, tzinfo=UTC), datetime(2026, 3, 1, 2, 59, tzinfo=UTC), True),
        (datetime(2026, 3, 1, 3, 50, tzinfo=UTC), datetime(2026, 3, 1, 3, 0, tzinfo=UTC), False),
    ],
)
def test_once_in_its_hour(now: datetime, last: datetime | None, due: bool) -> None:
    """The night's test runs within its hour and not twice, whoever ran the first one."""
    started_at = {"started_at": int(last.timestamp() * 1000)} if last is not None else None
    assert is_due(now, 3, started_at) is due


def a_result(**fields: Any) -> Result:
    """Return a result with some findings."""
    return Result("r", "asked", started_at=1000, ended_at=13_000, asked=7, rules=[Rule("deny")], **fields)


LEAK = Leak(
    "job events", "GET /v1/jobs/{job_id}/events", "admin", Rule("group", "group:local:x"), "file name"
)
UNPROVEN = Unproven("search", Rule("person"), "not found")


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ({}, "clean"),
        ({"leaks": [LEAK], "unproven": [UNPROVEN], "failure": "x"}, "leak"),
        ({"unproven": [UNPROVEN]}, "inconclusive"),
        ({"failure": "x"}, "inconclusive"),
    ],
)
def test_the_outcome_is_the_worst_of_what_was_found(found: dict[str, Any], outcome: str) -> None:
    """A leak is a leak whatever else went wrong, and only a run that proved everything is clean."""
    assert a_result(**found).outcome == outcome


def shown(**fields: Any) -> str:
    """Return what stands on the screen, with single blanks."""
    screen = io.StringIO()
    show(Console(file=screen, width=200, highlight=False, markup=False), a_result(**fields).as_dict())
    return " ".join(screen.getvalue().split())


def test_a_leak_in_the_terminal() -> None:
    """One line says where, against which rule, what, and to whom."""
    auditor = Leak(LEAK.interface, LEAK.operation, "auditor", LEAK.rule, LEAK.what)
    text = shown(leaks=[LEAK, auditor], notes=["Of 60 groups, the 50 newest were tested."])
    assert text.startswith("Leaks: 2 (1 canaries, 7 requests, 12 s).")
    assert "job events GET /v1/jobs/{job_id}/events group group:local:x file name admin, auditor" in text
    assert text.endswith("Of 60 groups, the 50 newest were tested.")


def test_nothing_proved_in_the_terminal() -> None:
    """It does not look like a good result."""
    text = shown(unproven=[UNPROVEN], failure="The server stopped.")
    assert text.startswith("Nothing is proved")
    assert "The server stopped. Not proved: 1" in text
    assert text.endswith("search person not found")


def test_a_clean_result_in_the_terminal() -> None:
    """One sentence."""
    assert shown() == "Nobody was told anything that is not theirs: 1 canaries, 7 requests, 12 s."


def test_a_long_list_of_leaks_is_cut_and_counted() -> None:
    """A result stays readable however much leaks."""
    found = a_result(leaks=[LEAK] * 1000).as_dict()
    assert (found["leak_count"], len(found["leaks"])) == (1000, 200)


def test_the_command_without_a_server(tmp_path: Path) -> None:
    """Exit code 2: nothing is proved."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    command = [sys.executable, "-m", "services.cli", "access", "leak-test", "--data-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "not running" in done.stderr
