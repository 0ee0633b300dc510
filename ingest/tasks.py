"""The Celery tasks: thin wrappers, bound to their collaborators when a process starts."""

from __future__ import annotations

from celery import Celery

from infra.clock import now_ms
from infra.database import Database
from ingest import jobs
from ingest.pipeline import Pipeline

SWEEP_TASK = "ingest.sweep"


def register(app: Celery, pipeline: Pipeline) -> None:
    """Define the tasks on `app`; both profiles run exactly these."""

    # Not shared: Celery would give them to every other application of this process as well, and keep the
    # first pipeline for all of them.
    @app.task(name=jobs.PROCESS_TASK, shared=False)
    def process(job_id: str) -> None:
        pipeline.run(job_id)

    @app.task(name=SWEEP_TASK, shared=False)
    def sweep(_argument: str = "") -> None:
        sweep_once(pipeline.database, orphaned=False)


def sweep_once(database: Database, *, orphaned: bool) -> int:
    """Queue abandoned work again; returns when it did so (UTC ms). See `ingest.jobs.sweep`."""
    with database.write() as session:
        jobs.sweep(session, orphaned=orphaned)
    return now_ms()
