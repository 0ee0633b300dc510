"""The Celery tasks: thin wrappers, bound to their collaborators when a process starts."""

from __future__ import annotations

from celery import Celery

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
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
        sweep_once(pipeline.database, pipeline.ledger, orphaned=False)


def sweep_once(database: Database, ledger: Ledger, *, orphaned: bool) -> None:
    """Queue abandoned work again, and record that or what is given up; see `ingest.jobs.sweep`."""
    with database.write() as session:
        for job in jobs.sweep(session, orphaned=orphaned):
            what = Resource(type="file", id=job.document_id, ver=job.version_id)
            given_up = job.state == "quarantined"
            kind = EventType.FILE_PARSED if given_up else EventType.JOB_SWEPT
            ledger.record_in(
                session, Event(kind, Stage.SINGLE, job.corr, SYSTEM, res=what, outcome=job.state)
            )
