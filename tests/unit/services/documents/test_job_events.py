"""Following a job: the stream ends with the job, and with the right to see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from infra import accounts, documents, sharing
from infra.access import Principal, Role
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import AccessEpoch, ApiKey, Base, Document, Group, Job, User
from ingest import jobs
from services.documents import job_endpoints


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database in which a group may read a file of Ada's, whose job waits in the queue."""
    opened = Database(f"sqlite:///{tmp_path / 'events.sqlite3'}")
    Base.metadata.create_all(opened.engine)
    with opened.write() as session:
        session.add(AccessEpoch(id=1, epoch=1))
        session.add(
            User(id="ben", kind="user", name="Ben", roles=[Role.EMPLOYEE], compartments=[], created_at=0)
        )
        session.add(
            User(id="ada", kind="user", name="Ada", roles=[Role.EMPLOYEE], compartments=[], created_at=0)
        )
        session.add(Group(id="group:board", name="Board", created_at=0))
        session.flush()
        accounts.add_member(session, "group:board", "ben")
        document = documents.create_document(session, owner="user:ada", name="a.md")
        version = documents.add_version(
            session, document, version_id=new_id(), sha256="0" * 64, size=1, wrapped_key=b"k"
        )
        sharing.share(session, document, "group:board")
        jobs.submit(session, document_id=document.id, version_id=version.id, corr="c")
    yield opened
    opened.close()


def ben(database: Database) -> Principal:
    """Identify Ben by a key of his."""
    with database.write() as session:
        _, secret = accounts.create_key(session, "ben", "test")
        found = accounts.principal_of_key(session, secret)
    assert found is not None
    return found


def leave(session: Session) -> None:
    """Take Ben out of the group."""
    accounts.remove_member(session, "group:board", "ben")


def revoke(session: Session) -> None:
    """Withdraw Ben's key."""
    session.query(ApiKey).update({"revoked_at": 1})


def close(session: Session) -> None:
    """Close Ben's account."""
    accounts.set_disabled(session, session.get_one(User, "ben"), disabled=True)


def finish(session: Session) -> None:
    """End the job."""
    session.query(Job).update({"state": "succeeded"})


def rename(session: Session) -> None:
    """Change what the job shows, so that one who may see it is told."""
    session.query(Document).update({"name": "renamed.md"})


def told(database: Database, *changes: Callable[[Session], None]) -> list[dict[str, Any]]:
    """Follow the job as Ben while all of this happens at once; returns what he is told, to the end."""
    parts: Any = SimpleNamespace(database=database)
    principal = ben(database)

    async def follow() -> list[dict[str, Any]]:
        with database.read() as session:
            job_id = session.query(Job).one().id
        first = {"id": job_id, "state": "queued"}
        seen: list[dict[str, Any]] = []
        async for event in job_endpoints._changes(parts, principal, first):
            seen.append(json.loads(event["data"]))
            if len(seen) == 1:
                with database.write() as session:
                    for change in changes:
                        change(session)
        return seen

    return asyncio.run(asyncio.wait_for(follow(), 20))


def test_whoever_may_see_the_job_is_told_its_end(database: Database) -> None:
    """The last event has the final state, and the stream ends."""
    last = told(database, rename, finish)[-1]
    assert (last["filename"], last["state"]) == ("renamed.md", "succeeded")


@pytest.mark.parametrize("lose", [leave, revoke, close])
def test_who_may_not_see_the_job_any_more_is_told_nothing(
    database: Database, lose: Callable[[Session], None]
) -> None:
    """Out of the group, without the key, with a closed account: the stream ends before the next event."""
    assert len(told(database, rename, lose)) == 1
