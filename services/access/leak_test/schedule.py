"""When leak tests run: at an administrator's word, and every night; one at a time on all servers together."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import anyio
from fastapi import FastAPI

from infra.access import Principal
from infra.clock import new_id, now_ms
from infra.errors import Conflict, NotFound, StrongroomError
from infra.logs import get_logger
from infra.queue import Ticker
from services.access.leak_test.people import LONGEST_MS, Cast, enter, leave
from services.access.leak_test.plan import Plan
from services.access.leak_test.results import Result
from services.access.leak_test.run import CORRELATION, Progress, record_begin, record_result, run
from services.parts import Parts

PERIOD_S: Final = 600.0
"""How often it is looked whether the night's test is due, in seconds."""
_log = get_logger()


class LeakTests:
    """The leak tests of one server. Everything but `last` belongs to the server's event loop."""

    def __init__(self, app: FastAPI, parts: Parts) -> None:
        self._app = app
        self._parts = parts
        self._ticker = Ticker(self._look, period_s=PERIOD_S, name="leak test")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_busy = False
        self._run_id: str | None = None
        self._progress = Progress()

    async def start(self) -> None:
        """Remove what a run left that was cut short, and begin to look at the clock."""
        self._loop = asyncio.get_running_loop()
        try:
            await anyio.to_thread.run_sync(self._remove_leftovers)
        except StrongroomError as error:
            # A store that is away must not keep the server from starting; the next run tries again.
            _log.warning("leak_test.leftovers_kept", error=error.code)
        self._ticker.start()

    async def stop(self) -> None:
        """End a run under way, its canaries removed, and stop looking at the clock."""
        await anyio.to_thread.run_sync(self._ticker.stop)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def begin(self, asked_by: Principal | None, corr: str | None = None) -> str:
        """Start a run, on the record under `corr`, and return its id; nobody asks for a nightly one.

        Raises Conflict while one runs.
        """
        if self._is_busy:
            raise Conflict("A leak test is running.", hint="Wait for its end.")
        self._is_busy, run_id = True, new_id()
        try:
            await anyio.to_thread.run_sync(record_begin, self._parts, run_id, asked_by, corr or run_id)
            await anyio.to_thread.run_sync(self._remove_leftovers)
            plan, cast = await anyio.to_thread.run_sync(enter, self._parts, run_id, asked_by)
        except BaseException:
            self._is_busy = False
            raise
        self._run_id, self._progress = run_id, Progress()
        result = Result(run_id, cause="nightly" if asked_by is None else "asked", started_at=now_ms())
        self._task = asyncio.create_task(self._finish(plan, cast, result))
        return run_id

    async def ended(self) -> None:
        """Wait until no run is under way."""
        if self._task is not None:
            await self._task

    def state(self) -> dict[str, Any]:
        """Return what runs here now, as JSON."""
        running = self._is_busy and self._run_id is not None
        return {
            "object": "access.leak_test",
            "state": "running" if running else "idle",
            "run": self._run_id,
            "step": self._progress.step if running else None,
            "done": self._progress.done,
            "total": self._progress.total,
        }

    def last(self) -> dict[str, Any] | None:
        """Return the newest result on the record, of whichever server, or None."""
        ledger = self._parts.ledger
        for event in ledger.reader.events(corr=CORRELATION, newest_first=True, limit=1):
            with suppress(NotFound):
                found: dict[str, Any] = json.loads(ledger.reader.read_content(event.id))
                return found
        return None

    async def _finish(self, plan: Plan, cast: Cast, result: Result) -> None:
        try:
            await run(self._app, self._parts, plan, cast, result, self._progress)
        finally:
            self._is_busy = False

    def _remove_leftovers(self) -> None:
        """Remove what runs left that are over; another server's, until its keys have expired, may not be."""
        is_alone = self._parts.settings.profile == "embedded"
        result = Result(new_id(), cause="leftovers", started_at=now_ms())
        if leave(self._parts, result.id, older_than_ms=0 if is_alone else LONGEST_MS):
            result.failure = "A run was cut short. What it had left was removed."
            result.ended_at = now_ms()
            record_result(self._parts, result)

    # --- every night ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Begin the night's test when it is due; called on the ticker's thread."""
        last = self.last()
        now = datetime.now(UTC).astimezone()
        if self._loop is not None and is_due(now, self._parts.settings.leak_test_hour, last):
            asyncio.run_coroutine_threadsafe(self._begin_nightly(), self._loop)

    async def _begin_nightly(self) -> None:
        try:
            await self.begin(None)
        except Conflict:
            _log.info("leak_test.skipped")  # One is running, here or on another server.
        except Exception as error:  # noqa: BLE001 - the edge of a task that nobody waits for
            _log.error("leak_test.not_begun", error=type(error).__name__, exc_info=error)


def is_due(now: datetime, hour: int, last: dict[str, Any] | None) -> bool:
    """Say whether the night's test has to run: within its hour, unless one has run in this hour already."""
    if now.hour != hour:
        return False
    began = now.replace(minute=0, second=0, microsecond=0).timestamp() * 1000
    return last is None or int(last["started_at"]) < began
