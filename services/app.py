"""Wire the server together: open the parts, mount the routers. The only place that does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import anyio
from fastapi import FastAPI

from agents.answer import Answerer, warm_up
from agents.compose import Limits
from agents.retrieve import Retriever
from infra import accounts
from infra.access import Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event
from infra.audit.sequencer import Sequencer
from infra.audit.starts import record_start
from infra.choices import ChoiceName, read_choice
from infra.clock import new_id
from infra.database import Database
from infra.logs import get_logger
from infra.offline import install_tripwire
from infra.queue import BrokerWaker, OutboxRelay, make_celery
from infra.setting_marks import setting_marks
from infra.settings import Settings
from infra.stores import Stores, open_stores
from ingest.parse.limits import ParseLimits
from ingest.worker import EmbeddedWorker
from services import errors, health, on_record
from services.access import endpoints as access_endpoints
from services.access import leak_endpoints
from services.access.leak_test.schedule import LeakTests
from services.accounts import endpoints as account_endpoints
from services.accounts.directories import Directories
from services.audit import (
    answer_endpoints,
    erasure_endpoints,
    export_endpoints,
    hold_endpoints,
    permission_endpoints,
    proof_endpoints,
    reach_endpoints,
    receipt_endpoints,
)
from services.audit import endpoints as audit_endpoints
from services.audit.retention_schedule import RetentionSchedule
from services.chat import endpoints as chat_endpoints
from services.collections import endpoints as collection_endpoints
from services.conversations import endpoints as conversation_endpoints
from services.documents import (
    access_import_endpoints,
    batch_endpoints,
    job_endpoints,
    resumable_endpoints,
    source_endpoints,
    sync_endpoints,
)
from services.documents import endpoints as file_endpoints
from services.feedback import endpoints as feedback_endpoints
from services.left_out import LeftOut
from services.mcp import endpoints as mcp_endpoints
from services.model import ModelServer
from services.outposts import Outposts
from services.parts import Parts
from services.replica import replica_name_held
from services.requests import RequestFrame
from services.scim import endpoints as scim_endpoints
from services.search import endpoints as search_endpoints
from services.web import pages
from services.web.headers import SecurityHeaders

VERSION = "0.1.0"
RENDERERS = 2
"""How many page images are drawn at once; each takes a child process and a copy of its file."""
SUGGESTERS: Final = 2
"""How many suggestions are looked for at once: with many files each takes a processor for a while."""
_log = get_logger()


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its parts are opened when it starts and closed when it stops."""
    app = FastAPI(
        title="Strongroom",
        version=VERSION,
        summary="Private answers from private documents.",
        # The stock pages load from a public CDN; ours is at /api-docs.
        docs_url=None,
        redoc_url=None,
        responses=errors.DOCUMENTED,
        lifespan=_lifespan(settings, Directories(settings)),
    )
    for endpoints in (
        health,
        account_endpoints,
        file_endpoints,
        access_import_endpoints,
        collection_endpoints,
        job_endpoints,
        batch_endpoints,
        resumable_endpoints,
        source_endpoints,
        sync_endpoints,
        chat_endpoints,
        feedback_endpoints,
        conversation_endpoints,
        mcp_endpoints,
        audit_endpoints,
        answer_endpoints,
        reach_endpoints,
        permission_endpoints,
        erasure_endpoints,
        hold_endpoints,
        export_endpoints,
        proof_endpoints,
        receipt_endpoints,
        search_endpoints,
        access_endpoints,
        leak_endpoints,
        scim_endpoints,
    ):
        app.include_router(endpoints.router)
    errors.install(app, pages.mount(app))
    on_record.install(app)
    app.add_middleware(RequestFrame)
    app.add_middleware(SecurityHeaders)
    return app


def _lifespan(
    settings: Settings, directories: Directories
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stores = await anyio.to_thread.run_sync(open_stores, settings)
        try:
            with replica_name_held(stores.database, settings.replica):
                async with _running(app, settings, stores, directories):
                    yield
        finally:
            stores.close()

    return lifespan


@asynccontextmanager
async def _running(
    app: FastAPI, settings: Settings, stores: Stores, directories: Directories
) -> AsyncIterator[None]:
    outposts = Outposts(stores.ledger, settings)
    stores.ledger.sealer.recover()
    sequencer = Sequencer(stores.ledger.sealer)
    sequencer.start()
    app.state.pulse.start(stores.ledger)
    model = ModelServer(settings)
    model.start()
    worker = EmbeddedWorker(stores, settings) if settings.profile == "embedded" else None
    relay = worker.relay if worker else _broker_relay(stores, settings)
    await anyio.to_thread.run_sync(worker.start if worker else relay.start)
    app.state.parts = _parts(settings, stores, model, relay, directories)
    app.state.pulse.after_each_beat(app.state.parts.answerer.write_missing_ends)
    # The first question should not wait for libraries to load.
    await anyio.to_thread.run_sync(warm_up, stores.embedder)
    marks = setting_marks(settings, stores.master_key)
    await anyio.to_thread.run_sync(record_start, stores.ledger, marks)
    left_out = LeftOut(stores.ledger, app.state.strangers_refusals, app.state.looking_strangers)
    left_out.start()
    install_tripwire(lambda kind, target: _tripped(stores, kind, target), allowed_hosts=settings.model_hosts)
    leak_tests = LeakTests(app, app.state.parts)
    app.state.leak_tests = leak_tests
    await leak_tests.start()
    retention = RetentionSchedule(stores.ledger, settings)
    retention.start()
    app.state.outposts = outposts
    outposts.start()
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(outposts.stop)
        await anyio.to_thread.run_sync(retention.stop)
        await leak_tests.stop()
        await anyio.to_thread.run_sync(worker.stop if worker else relay.stop)
        await model.close()
        await anyio.to_thread.run_sync(model.stop)
        await anyio.to_thread.run_sync(app.state.pulse.stop)
        await anyio.to_thread.run_sync(left_out.stop)
        _record(stores, EventType.SERVER_STOP)
        sequencer.stop()


def _parts(
    settings: Settings, stores: Stores, model: ModelServer, relay: OutboxRelay, directories: Directories
) -> Parts:
    retriever = Retriever(stores.database, stores.index, stores.embedder, stores.master_key)
    limits = Limits(
        prompt_tokens=settings.prompt_tokens,
        max_tokens=settings.model_max_tokens,
        timeout_s=settings.model_timeout_s,
        whole=settings.strict_answers,
    )
    return Parts(
        settings=settings,
        database=stores.database,
        master_key=stores.master_key,
        ledger=stores.ledger,
        files=stores.files,
        index=stores.index,
        embedder=stores.embedder,
        relay=relay,
        model=model,
        retriever=retriever,
        answerer=Answerer(
            retriever,
            stores.embedder,
            stores.ledger,
            model.current,
            limits,
            salt_key=stores.master_key.derive("prefix cache salt"),
            renewed=lambda principal: _renewed(stores.database, principal),
            no_answer_text=lambda: _no_answer_text(stores.database),
        ),
        parse_limits=ParseLimits.from_settings(settings),
        renderers=anyio.CapacityLimiter(RENDERERS),
        suggesters=anyio.CapacityLimiter(SUGGESTERS),
        directories=directories,
    )


def _renewed(database: Database, principal: Principal) -> Principal | None:
    with database.read() as session:
        return accounts.renewed(session, principal)


def _no_answer_text(database: Database) -> str | None:
    with database.read() as session:
        return read_choice(session, ChoiceName.NO_ANSWER_TEXT)


def _broker_relay(stores: Stores, settings: Settings) -> OutboxRelay:
    return OutboxRelay(stores.database, BrokerWaker(make_celery(settings.broker_url or "")))


def _record(stores: Stores, event: EventType) -> None:
    stores.ledger.record(Event(event, Stage.SINGLE, new_id(), SYSTEM, outcome="ok"))


def _tripped(stores: Stores, kind: str, target: str) -> None:
    _log.warning("network.attempt", kind=kind, target=target)
    event = Event(EventType.NETWORK_BLOCKED, Stage.SINGLE, new_id(), SYSTEM, outcome=f"{kind}: {target}")
    stores.ledger.record(event)
