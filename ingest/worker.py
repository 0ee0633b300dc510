"""What works on jobs: the pipeline bound to Celery tasks, in this process or as a Celery worker.

Server profile: `celery -A ingest.worker:app worker`.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from infra.queue import LocalWaker, OutboxRelay, Ticker, make_celery
from infra.settings import Settings
from infra.stores import Stores, open_stores
from ingest.index import repair
from ingest.parse.limits import ParseLimits
from ingest.pipeline import Pipeline
from ingest.tasks import register, sweep_once

SWEEP_PERIOD_S = 30.0


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
    )


class EmbeddedWorker:
    """The tasks on one thread of this process, with the relay and the sweep beside them."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        app = make_celery("memory://")
        register(app, pipeline_of(stores, settings))
        self._waker = LocalWaker(app)
        self.relay = OutboxRelay(stores.database, self._waker)
        self._sweeper = Ticker(self._sweep, period_s=SWEEP_PERIOD_S, name="sweep")

    def start(self) -> None:
        """Mend what a crash left, queue abandoned work again, and begin."""
        self._stores.files.sweep_partial()
        repair(self._stores.database, self._stores.index, self._stores.files)
        sweep_once(self._stores.database, orphaned=True)
        self._waker.start()
        self.relay.start()
        self._sweeper.start()

    def stop(self) -> None:
        """Finish the task at hand; the rest waits in the job table for the next start."""
        self._sweeper.stop()
        self.relay.stop()
        self._waker.stop()

    def _sweep(self) -> None:
        sweep_once(self._stores.database, orphaned=False)
        self.relay.kick()


def celery_app(settings: Settings, stores: Stores) -> Celery:
    """Return the worker's application for the server profile."""
    app = make_celery(settings.broker_url or "memory://")
    register(app, pipeline_of(stores, settings))
    return app


def __getattr__(name: str) -> Any:
    # Celery asks this module for `app` when a worker starts; importing the module opens nothing.
    if name == "app":
        settings = Settings()
        return celery_app(settings, open_stores(settings))
    raise AttributeError(name)
