"""Following jobs: pages that stay as they are, and how long a job still takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from infra import documents
from infra.access import Principal, Role, scope_of
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Base, Document, Job
from infra.errors import NotFound
from ingest import jobs
from ingest.following import Pace, Wanted, counts_by_state, pace_of, page_of_jobs

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))
BEN = Principal(user_id="ben", kind="user", roles=frozenset({Role.EMPLOYEE}))
Submit = Callable[..., Job]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One open transaction on a database with every table."""
    database = Database(f"sqlite:///{tmp_path / 'following.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as opened:
        yield opened
    database.close()


@pytest.fixture
def submit(session: Session) -> Submit:
    """Submit jobs, for files of Ada's unless somebody else is named."""

    def _submit(owner: Principal = ADA) -> Job:
        document = documents.create_document(session, owner=owner.principal_id, name="a.md")
        version = documents.add_version(
            session, document, version_id=new_id(), sha256="0" * 64, size=1, wrapped_key=b"k"
        )
        return jobs.submit(session, document_id=document.id, version_id=version.id, corr="c")

    return _submit


def ids(session: Session, **how: object) -> tuple[list[str], bool]:
    """Return a page of Ada's jobs, two at a time."""
    page, has_more = page_of_jobs(session, scope_of(ADA), Wanted(), limit=2, **how)  # type: ignore[arg-type]
    return [job.id for job, _ in page], has_more


def test_pages_stay_as_they_are_while_jobs_come_in(session: Session, submit: Submit) -> None:
    """What is behind a cursor is the same before and after new jobs, and nothing is left out or repeated."""
    old = [submit().id for _ in range(5)]
    first, has_more = ids(session)
    assert (first, has_more) == (old[:2:-1], True)
    submit()
    second, has_more = ids(session, after=first[-1])
    submit()
    third, none_left = ids(session, after=second[-1])
    assert [*first, *second, *third] == old[::-1]
    assert (has_more, none_left) == (True, False)


def test_jobs_of_others_take_no_place_in_a_page(session: Session, submit: Submit) -> None:
    """Hidden: Ben's jobs, also one that SQL alone would show. Visible: all of Ada's."""
    mine = submit()
    for _ in range(3):
        submit(BEN)
    sealed = submit()
    session.get_one(Document, sealed.document_id).compartments = ["sealed"]
    also_mine = submit()
    assert ids(session) == ([also_mine.id, mine.id], False)
    counted = counts_by_state(session, scope_of(ADA), Wanted())
    assert counted == dict.fromkeys(sorted(jobs.STATES), 0) | {"queued": 2}


def test_a_cursor_that_is_not_theirs_is_like_none(session: Session, submit: Submit) -> None:
    """Where somebody else's job stands in the list would tell its age."""
    submit()
    for cursor in (submit(BEN).id, new_id()):
        with pytest.raises(NotFound, match="There is no such job"):
            ids(session, after=cursor)


# --- pace -----------------------------------------------------------------------------------------


def running(stage: str, done: int, total: int | None, *, seconds: float) -> Job:
    """Return a job that has worked on a stage for some seconds."""
    return Job(
        state="running",
        stage=stage,
        done=done,
        total=total,
        stage_since=1_000,
        updated_at=1_000 + int(seconds * 1000),
    )


@pytest.mark.parametrize(
    ("job", "pace"),
    [
        (running("parse", 30, 120, seconds=10), Pace("pages", 3.0, 30)),
        (running("embed", 64, 65, seconds=3), Pace("passages", 21.3, 1)),
        (running("parse", 7, None, seconds=2), Pace("pages", 3.5, None)),
        (running("parse", 0, 120, seconds=10), Pace("pages")),
        (running("chunk", 0, None, seconds=10), Pace()),
        (running("index", 65, 65, seconds=5), Pace("passages", 13.0, 0)),
        (Job(state="queued", stage="queued", done=0), Pace()),
        (Job(state="succeeded", stage="done", done=9, total=9), Pace()),
    ],
)
def test_the_pace_is_told_once_it_is_known(job: Job, pace: Pace) -> None:
    """Nothing is guessed: without progress, or without an end, there is no number."""
    assert pace_of(job) == pace


def test_each_stage_is_timed_by_itself(
    session: Session, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading slowly does not make embedding look slow: time begins anew with each stage."""
    clock = 1_000_000
    monkeypatch.setattr(jobs, "now_ms", lambda: clock)
    job = submit()
    held = jobs.claim(session, job.id)
    assert held is not None
    clock += 60_000
    jobs.progress(session, held, stage="parse", done=6, total=12)
    session.refresh(job)
    assert pace_of(job) == Pace("pages", 0.1, 60)
    jobs.progress(session, held, stage="embed", total=100)
    clock += 1_000
    jobs.progress(session, held, stage="embed", done=20, total=100)
    session.refresh(job)
    assert pace_of(job) == Pace("passages", 20.0, 4)
    jobs.finish(session, held, "succeeded", passages=100)
    session.refresh(job)
    assert job.stage_since is None
