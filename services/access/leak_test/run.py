"""One run of the leak test, from the first account to the last trace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import anyio
from fastapi import FastAPI

from infra.access import Principal, Role
from infra.accounts import ensure_service_account, list_service_accounts
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.canaries import NAME
from infra.clock import new_id, now_ms
from infra.errors import StrongroomError
from infra.logs import get_logger
from infra.network import in_process_client
from services.access.leak_test.judging import Inquiry
from services.access.leak_test.people import Cast, leave
from services.access.leak_test.plan import Plan
from services.access.leak_test.planting import Planting
from services.access.leak_test.results import Result
from services.parts import Parts

CORRELATION: Final = "leak-test"
"""The correlation id of every result on the record, by which the last one is found."""
TIMEOUT_S: Final = 120.0
_log = get_logger()


@dataclass
class Progress:
    """How far a run has come."""

    step: str = "making accounts"
    done: int = 0
    total: int = 0


async def run(app: FastAPI, parts: Parts, plan: Plan, cast: Cast, result: Result, progress: Progress) -> None:
    """Plant, ask, judge, remove, and put the result on the record; whatever happens, nothing stays.

    Raises nothing but a cancellation: what goes wrong makes the result inconclusive.
    """
    result.rules = [canary.rule for canary in plan.canaries]
    players = (cast.owner, cast.insider, *cast.outsiders.values())
    result.accounts = {player.principal: player.name for player in players}
    result.notes += plan.notes
    try:
        await _held(app, parts, plan, cast, result, progress)
    except StrongroomError as error:
        result.failure = error.message
    except Exception as error:  # noqa: BLE001 - the edge of a task: its failure is its result
        _log.error("leak_test.failed", run=plan.run_id, error=type(error).__name__, exc_info=error)
        result.failure = f"The test itself failed ({type(error).__name__})."
    except BaseException:
        result.failure = "The server stopped."
        raise
    finally:
        # Also while the server stops: what is left now would be left until its next start.
        with anyio.CancelScope(shield=True):
            progress.step = "removing canaries"
            await anyio.to_thread.run_sync(_end, parts, result)


async def _held(
    app: FastAPI, parts: Parts, plan: Plan, cast: Cast, result: Result, progress: Progress
) -> None:
    def on_step(step: str) -> None:
        progress.step = step
        progress.done += 1

    progress.total = 3 * len(plan.canaries)
    async with in_process_client(app, timeout_s=TIMEOUT_S) as client:
        planted = await Planting(parts, client, plan, cast, on_step).plant()
        inquiry = Inquiry(client, cast, planted, lambda: on_step("asking for canaries"))
        progress.total += inquiry.size
        try:
            await inquiry.hold()
        finally:
            result.leaks, result.unproven = inquiry.leaks, inquiry.unproven
            result.asked = max(0, progress.done - 3 * len(plan.canaries))


def _end(parts: Parts, result: Result) -> None:
    try:
        leave(parts, result.id)
    except Exception as error:  # noqa: BLE001 - the edge of a task: the result must be recorded all the same
        _log.error("leak_test.not_removed", run=result.id, error=type(error).__name__, exc_info=error)
        result.failure = "Not every canary could be removed; the next start or run removes them."
    result.ended_at = now_ms()
    record_result(parts, result)


def record_begin(parts: Parts, run_id: str, asked_by: Principal | None, corr: str) -> None:
    """Put on the record that a run begins, and who asked for it."""
    actor = SYSTEM if asked_by is None else parts.ledger.identify(asked_by)
    what = Resource("leak_test", run_id)
    parts.ledger.record(Event(EventType.ACCESS_TESTED, Stage.SINGLE, corr, actor, res=what, outcome="begun"))


def record_result(parts: Parts, result: Result) -> None:
    """Put a result on the record, and a leak into the log as well."""
    for leak in result.leaks:
        _log.error(
            "leak_test.leak",
            run=result.id,
            interface=leak.interface,
            role=leak.role,
            rule=leak.rule.kind,
            what=leak.what,
        )
    actor = parts.ledger.identify(_reporter(parts))
    what = Resource("leak_test", result.id)
    event = Event(EventType.ACCESS_TESTED, Stage.SINGLE, CORRELATION, actor, res=what, outcome=result.outcome)
    parts.ledger.record(event, json.dumps(result.as_dict()).encode())
    # Whoever asks now for the last result shall get this one.
    parts.ledger.sealer.seal_all()


def _reporter(parts: Parts) -> Principal:
    """Return whom the record names for results: a service account without a key, which stays."""
    with parts.database.write() as session:
        is_known = any(user.name == NAME for user in list_service_accounts(session))
        account = ensure_service_account(session, NAME)
        if not is_known:
            what = Resource("account", account.id)
            created = Event(EventType.ACCOUNT_CREATED, Stage.SINGLE, new_id(), SYSTEM, res=what, outcome="ok")
            parts.ledger.record_in(session, created)
        return Principal(user_id=account.id, kind=account.kind, roles=frozenset({Role.EMPLOYEE}))
