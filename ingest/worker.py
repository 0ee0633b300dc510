"""What works on jobs: the pipeline bound to Celery tasks, in this process or as a Celery worker.

Server profile: `celery -A ingest.worker:app worker`. It serves all queues; `-Q interactive` keeps
one for what people wait for.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from celery import Celery
from celery.bootsteps import StartStopStep
from sqlalchemy.exc import SQLAlchemyError

from infra.errors import DatabaseBusy
from infra.logs import configure_logs, get_logger
from infra.offline import close_phone_lines
from infra.queue import BrokerWaker, LocalWaker, OutboxRelay, Ticker, make_celery
from infra.settings import Settings
from infra.stores import Stores, open_stores
from infra.vectors import IndexUnavailable
from ingest.index import drop_stray_points, mend, reconcile
from ingest.intake import settle_places
from ingest.parse.limits import ParseLimits
from ingest.pipeline import Pipeline
from ingest.resumable import sweep_expired
from ingest.sync.watching import Watch
from ingest.tasks import Desk, register, sweep_once

SWEEP_PERIOD_S = 30.0
ABANDONED_S = 3600.0
"""Without a write for so long, a file under way belongs to a server that is gone."""
AT_ONCE: Final = 2
"""Files that one process reads at a time: one is parsed while the other is embedded."""
_log = get_logger()


def pipeline_of(stores: Stores, settings: Settings) -> Pipeline:
    """Bind the pipeline to opened stores."""
    return Pipeline(
        database=stores.database,
        files=stores.files,
        index=stores.index,
        embedder=stores.embedder,
        ledger=stores.ledger,
        master_key=stores.master_key,
        limits=ParseLimits.from_settings(settings),
        with_hidden_text=settings.answer_from_hidden_text,
    )


class EmbeddedWorker:
    """The tasks on threads of this process, with the relay and the sweep beside them."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        app = make_celery("memory://")
        self._desk = register(app, pipeline_of(stores, settings))
        self._waker = LocalWaker(app, threads=AT_ONCE, keeps_one_free=True)
        self.relay = OutboxRelay(stores.database, self._waker)
        self._sweeper = Ticker(self._sweep, period_s=SWEEP_PERIOD_S, name="sweep")
        self._watch = Watch(stores, settings, self.relay.kick)

    def start(self) -> None:
        """Mend what a crash left, queue abandoned work again, and begin."""
        self._stores.files.sweep_partial()
        mend(self._stores.database, self._stores.index, self._stores.files)
        sweep_once(self._stores.database, self._stores.ledger, orphaned=True)
        reconcile(self._stores.database, self._stores.index)
        _settle(self._stores)
        self._waker.start()
        self.relay.start()
        self._sweeper.start()
        self._watch.start()

    def stop(self) -> None:
        """Hand back the job at hand; it and the rest wait in the job table for the next start."""
        # No more wake-ups first: what is handed back would come round again at once, to be put off again.
        self.relay.stop()
        _hand_back(self._desk)
        self._watch.stop()
        self._sweeper.stop()
        self._waker.stop()

    def _sweep(self) -> None:
        sweep_once(self._stores.database, self._stores.ledger, orphaned=False)
        self.relay.kick()
        mend(self._stores.database, self._stores.index, self._stores.files)
        sweep_expired(self._stores.database, self._stores.files, self._stores.ledger)


class Upkeep:
    """What a Celery worker does beside its tasks: deliver wake-ups, and queue abandoned work again.

    Every worker does it, so that a job whose worker was killed is taken up while any other one lives.
    """

    def __init__(self, stores: Stores, settings: Settings, app: Celery, desk: Desk) -> None:
        self._stores = stores
        self._desk = desk
        self._relay = OutboxRelay(stores.database, BrokerWaker(app))
        self._sweeper = Ticker(self._sweep, period_s=SWEEP_PERIOD_S, name="sweep")
        self._watch = Watch(stores, settings, self._relay.kick)

    def start(self) -> None:
        """Look once, and go on looking."""
        # Other servers may be writing files of theirs at this moment.
        self._stores.files.sweep_partial(older_than_s=ABANDONED_S)
        sweep_once(self._stores.database, self._stores.ledger, orphaned=False)
        _drop_strays(self._stores)
        _settle(self._stores)
        self._relay.start()
        self._sweeper.start()
        self._watch.start()

    def stop(self) -> None:
        """Hand the job at hand to the other workers, and stop after the turn at hand."""
        _hand_back(self._desk)
        self._watch.stop()
        self._sweeper.stop()
        self._relay.stop()

    def _sweep(self) -> None:
        sweep_once(self._stores.database, self._stores.ledger, orphaned=False)
        self._relay.kick()
        mend(self._stores.database, self._stores.index, self._stores.files)
        sweep_expired(self._stores.database, self._stores.files, self._stores.ledger)


def _hand_back(desk: Desk) -> None:
    try:
        desk.close()
    except (SQLAlchemyError, DatabaseBusy) as error:
        # The process ends all the same; the lease runs out instead.
        _log.warning("job.not_handed_back", error=type(error).__name__)


def _drop_strays(stores: Stores) -> None:
    try:
        drop_stray_points(stores.database, stores.index)
    except IndexUnavailable:
        # Jobs wait for the index as well; strays are in nobody's way, and the next start finds them.
        _log.warning("index.strays_not_looked_for")


def _settle(stores: Stores) -> None:
    settle_places(stores.database, stores.files, stores.ledger, stores.master_key)


def celery_app(settings: Settings, stores: Stores) -> Celery:
    """Return the worker's application for the server profile."""
    app = make_celery(settings.broker_url or "memory://")
    desk = register(app, pipeline_of(stores, settings))
    app.steps["worker"].add(_step_of(Upkeep(stores, settings, app, desk)))
    return app


def _step_of(upkeep: Upkeep) -> type[StartStopStep]:
    """Bind the upkeep to a worker's life: started behind its pool, stopped before it."""

    class UpkeepStep(StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            upkeep.start()

        def stop(self, parent: Any) -> None:
            upkeep.stop()

        def terminate(self, parent: Any) -> None:
            upkeep.stop()

    return UpkeepStep


@cache
def _worker_app() -> Celery:
    """Open the stores of this process; once, however often Celery looks at the module."""
    # The libraries with switches are imported by the stores, not by this module.
    close_phone_lines()
    settings = Settings()
    configure_logs(settings.log_level)
    return celery_app(settings, open_stores(settings))


def __getattr__(name: str) -> Any:
    # Celery asks this module for `app` when a worker starts; importing the module opens nothing.
    if name == "app":
        return _worker_app()
    raise AttributeError(name)
