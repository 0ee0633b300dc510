"""Follow jobs: lists in pages, how fast one goes, and how long it still takes.

Whoever may read a document may follow its jobs; light like `ingest.jobs`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from infra.access import AccessScope, DocumentAccess, may_read
from infra.database.tables import Document, Job
from infra.documents import access_of, readable
from ingest.jobs import STATES, get_job

LISTED: Final = 200
"""Most jobs of one page."""
_UNITS: Final = {"parse": "pages", "embed": "passages", "index": "passages"}


@dataclass(frozen=True)
class Wanted:
    """Which jobs: in one of these states, of this batch; None takes them all."""

    states: Collection[str] | None = None
    batch_id: str | None = None


@dataclass(frozen=True)
class Pace:
    """What a job's `done` and `total` count, how many a second, and how many seconds its stage still takes.

    None is what cannot be told yet.
    """

    unit: str | None = None
    rate: float | None = None
    remaining_s: int | None = None


def page_of_jobs(
    session: Session, scope: AccessScope, wanted: Wanted, *, after: str | None = None, limit: int = LISTED
) -> tuple[list[tuple[Job, Document]], bool]:
    """Return at most `limit` jobs of readable documents, newest first, behind `after`; and whether more come.

    New jobs change no page behind them. Raises NotFound for an `after` that is not there or not theirs:
    where it stands would tell its age.
    """
    last = get_job(session, scope, after)[0] if after is not None else None
    with closing(_readable_jobs(session, scope, wanted, after=last)) as found:
        page = list(islice(found, limit + 1))
    return page[:limit], len(page) > limit


def counts_by_state(session: Session, scope: AccessScope, wanted: Wanted) -> dict[str, int]:
    """Return how many jobs of readable documents are in each state, of all states."""
    with closing(_readable_jobs(session, scope, wanted)) as found:
        counted = Counter(job.state for job, _ in found)
    return {state: counted[state] for state in sorted(STATES)}


def _readable_jobs(
    session: Session, scope: AccessScope, wanted: Wanted, *, after: Job | None = None
) -> Generator[tuple[Job, Document], None, None]:
    chosen = select(Job, Document).join(Document, Document.id == Job.document_id).where(readable(scope))
    if wanted.states is not None:
        chosen = chosen.where(Job.state.in_(wanted.states))
    if wanted.batch_id is not None:
        chosen = chosen.where(Job.batch_id == wanted.batch_id)
    if after is not None:
        chosen = chosen.where(tuple_(Job.created_at, Job.id) < (after.created_at, after.id))
    chosen = chosen.order_by(Job.created_at.desc(), Job.id.desc()).execution_options(yield_per=LISTED)
    with closing(session.execute(chosen)) as rows:
        for some in rows.partitions():
            access = access_of(session, {document.id for _, document in some})
            for job, document in some:
                if may_read(scope, access.get(document.id, DocumentAccess())):
                    yield job, document


def pace_of(job: Job) -> Pace:
    """Reckon a running job's pace from when its stage began to its last sign of progress."""
    unit = _UNITS.get(job.stage)
    if job.state != "running" or unit is None:
        return Pace()
    if not job.done or job.stage_since is None:
        return Pace(unit)
    rate = job.done / (max(job.updated_at - job.stage_since, 1) / 1000)
    if job.total is None:
        return Pace(unit, _rounded(rate))
    return Pace(unit, _rounded(rate), math.ceil(max(job.total - job.done, 0) / rate))


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
