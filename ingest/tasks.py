"""The Celery tasks: thin wrappers, bound to their collaborators when a process starts."""

from __future__ import annotations

import threading

from celery import Celery

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.database.tables import Job
from infra.queue import MAINTENANCE
from ingest import jobs
from ingest.pipeline import Pipeline

SWEEP_TASK = "ingest.sweep"


class Desk:
    """What a process works on, and whether it still takes anything; one for all its tasks.

    A wake-up says "look now", so a worker first looks for what a person waits for, whatever it was woken
    for: the order then holds with every broker. A job under way is not interrupted.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._at_work: dict[str, int] = {}  # job id -> the fence that its claim would have
        self._lock = threading.Lock()
        self._closed = False

    def look(self, job_id: str) -> None:
        """Work on what is most urgent, then on `job_id`; when the process stops, leave it to the next one."""
        done: set[str] = set()
        while (urgent := self._most_urgent(besides=done)) is not None:
            done.add(urgent)
            self._work(urgent)
        if job_id not in done:
            self._work(job_id)

    def close(self) -> int:
        """Hand back what is being worked on, and take nothing any more; returns how many jobs.

        The work at hand notices by itself, at its next step, that it does not count any longer.
        """
        with self._lock:
            self._closed = True
            at_work = dict(self._at_work)
        with self._pipeline.database.write() as session:
            return sum(jobs.hand_back(session, job_id, fence=fence) for job_id, fence in at_work.items())

    def _most_urgent(self, *, besides: set[str]) -> str | None:
        if self._closed:
            return None
        with self._pipeline.database.read() as session:
            return jobs.most_urgent(session, besides=besides)

    def _work(self, job_id: str) -> None:
        with self._pipeline.database.read() as session:
            job = session.get(Job, job_id)
        with self._lock:
            if job_id in self._at_work:
                return  # Another thread of this process is at it, and hands it back itself.
            is_closed = self._closed
            if not is_closed:
                self._at_work[job_id] = job.fence + 1 if job is not None else 0
        if is_closed:
            with self._pipeline.database.write() as session:
                jobs.wake_again(session, job_id)
            return
        try:
            self._pipeline.run(job_id)
        finally:
            with self._lock:
                del self._at_work[job_id]


def register(app: Celery, pipeline: Pipeline) -> Desk:
    """Define the tasks on `app`; both profiles run exactly these. Close the desk before the process ends."""
    desk = Desk(pipeline)
    app.conf.task_routes = {SWEEP_TASK: {"queue": MAINTENANCE}}

    # Not shared: Celery would give them to every other application of this process as well, and keep the
    # first pipeline for all of them.
    @app.task(name=jobs.PROCESS_TASK, shared=False)
    def process(job_id: str) -> None:
        desk.look(job_id)

    @app.task(name=SWEEP_TASK, shared=False)
    def sweep(_argument: str = "") -> None:
        sweep_once(pipeline.database, pipeline.ledger, orphaned=False)

    return desk


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
