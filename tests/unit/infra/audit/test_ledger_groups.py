"""Records that share a transaction: what they cost together, and that each stands or falls alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event as listening
from sqlalchemy import func, select, update

from infra.access import Principal
from infra.audit.leaf import Event, parse
from infra.audit.ledger import Ledger
from infra.audit.records import RecordedEvent
from infra.database import Database
from infra.database.tables import AuditContent, AuditInbox, SubjectKey
from infra.errors import AuditUnavailable

MakeEvent = Callable[..., Event]
CALLERS = 24


@contextmanager
def held_writer(database: Database) -> Iterator[None]:
    """Hold SQLite's one writer, so that whoever records meanwhile gathers behind it."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    try:
        yield
    finally:
        release.set()
        holder.join()


def recorded_together(
    ledger: Ledger, pool: ThreadPoolExecutor, events: list[tuple[Event, bytes | None]]
) -> list[Future[RecordedEvent]]:
    """Record each event in a thread of its own, all of them while nobody can write."""
    begun = threading.Barrier(len(events) + 1)

    def record(made: Event, content: bytes | None) -> RecordedEvent:
        begun.wait(5)
        return ledger.record(made, content)

    with held_writer(ledger.database):
        results = [pool.submit(record, made, content) for made, content in events]
        begun.wait(5)
        waiting = ledger._commits
        with waiting._changed:
            # The writer's thread took the first ones, and waits with them for the lock.
            waiting._changed.wait_for(lambda: len(waiting._waiting) >= len(events) // 2, 0.5)
    return results


def test_a_group_is_written_with_one_statement_a_table(
    ledger: Ledger, event: MakeEvent, alice: Principal, bob: Principal
) -> None:
    """Twenty-four callers behind one lock cost a few statements, not some for each."""
    actors = [ledger.identify(who) for who in (alice, bob)]
    events = [(event(actor=actors[n % 2]), f"words {n}".encode()) for n in range(CALLERS)]
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    listening.listen(ledger.database.engine, "before_cursor_execute", note)
    with ThreadPoolExecutor(CALLERS) as pool:
        results = recorded_together(ledger, pool, events)
        recorded = [result.result() for result in results]
    listening.remove(ledger.database.engine, "before_cursor_execute", note)
    inserts = [statement for statement in statements if statement.startswith("INSERT")]
    keys = [statement for statement in statements if "subject_keys" in statement]
    assert 2 <= len(inserts) < CALLERS
    assert 1 <= len(keys) < CALLERS // 2
    for number, made in enumerate(recorded):
        assert ledger.reader.read_content(made.id) == f"words {number}".encode()
        assert parse(made.leaf).actor == actors[number % 2]


def test_a_key_that_does_not_open_refuses_its_own_records_alone(
    ledger: Ledger, database: Database, event: MakeEvent, alice: Principal, bob: Principal
) -> None:
    """One person's damaged key stops neither other people nor records without content."""
    hers, his = (ledger.identify(who) for who in (alice, bob))
    with database.write() as session:
        damaged = update(SubjectKey).where(SubjectKey.subject_id == hers.sub)
        session.execute(damaged.values(wrapped_key=b"\0" * 60))
    events = [(event(actor=hers), b"lost"), (event(actor=his), b"kept"), (event(actor=hers), None)]
    with ThreadPoolExecutor(len(events)) as pool:
        results = recorded_together(ledger, pool, events)
        errors = [type(result.exception()) for result in results]
    assert errors == [AuditUnavailable, type(None), type(None)]
    with database.write() as session, pytest.raises(AuditUnavailable):
        ledger.record_in(session, event(actor=hers), b"lost as well")
    with database.read() as session:
        rows = [
            session.scalar(select(func.count()).select_from(table)) for table in (AuditInbox, AuditContent)
        ]
    assert rows == [2, 1]
