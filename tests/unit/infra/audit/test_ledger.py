"""Recording, sealing, recovery, receipts and erasure, on a real database."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text, update
from structlog.testing import capture_logs

from infra.access import Principal, scope_of
from infra.audit.checkpoint import VerifierKey, verify_checkpoint
from infra.audit.content import ContentBroken
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, LeafInvalid, LeafTooLarge, parse
from infra.audit.ledger import Ledger
from infra.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from infra.audit.records import LedgerDamaged
from infra.audit.sequencer import SEAL_BATCH, Sequencer
from infra.audit.verify import Verdict
from infra.database import Database
from infra.database.tables import AuditContent, AuditInbox, AuditNode, AuditSubject, SubjectKey
from infra.errors import AuditUnavailable, InvalidInput, NotFound

MakeEvent = Callable[..., Event]
QUESTION = b"How many days of notice does the contract ask for?"


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


# --- recording ------------------------------------------------------------------------------------


def test_a_recorded_event_has_id_time_and_source(ledger: Ledger, event: MakeEvent) -> None:
    """The ledger fills in what the caller cannot be trusted with."""
    before = time.time_ns() // 1_000_000
    recorded = ledger.record(event(outcome="answered"))
    leaf = parse(recorded.leaf)
    assert (leaf.id, leaf.time, leaf.src) == (recorded.id, recorded.time, "one")
    assert before <= leaf.time <= time.time_ns() // 1_000_000
    assert recorded.leaf_hash == leaf_hash(recorded.leaf)
    assert leaf.outcome == "answered"


def test_an_event_stands_exactly_when_the_callers_transaction_does(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """A rolled-back business transaction leaves no record, and no content."""
    with pytest.raises(ZeroDivisionError), database.write() as session:
        ledger.record_in(session, event(), QUESTION)
        raise ZeroDivisionError
    assert (count(database, AuditInbox), count(database, AuditContent)) == (0, 0)
    with database.write() as session:
        ledger.record_in(session, event(), QUESTION)
    assert (count(database, AuditInbox), count(database, AuditContent)) == (1, 1)


def test_a_held_writer_lock_is_an_error_within_the_timeout(
    open_ledger: Callable[..., Ledger], database: Database, event: MakeEvent
) -> None:
    """Another thread's long transaction means audit_unavailable, not a hang, and no late record."""
    hasty = open_ledger(timeout_s=0.3)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(5)
        began = time.monotonic()
        with pytest.raises(AuditUnavailable), capture_logs():
            hasty.record(event())
        assert time.monotonic() - began < 2.0
    finally:
        release.set()
        holder.join()
    hasty.close()
    assert count(database, AuditInbox) == 0


def test_another_process_that_holds_sqlite_is_an_error_within_the_timeout(
    open_ledger: Callable[..., Ledger], database: Database, event: MakeEvent
) -> None:
    """SQLite's own busy wait of 30 seconds does not become the caller's wait."""
    hasty = open_ledger(timeout_s=0.3)
    made = event()
    with database.engine.connect() as other:
        other.execute(text("BEGIN IMMEDIATE"))
        began = time.monotonic()
        with pytest.raises(AuditUnavailable):
            hasty.record(made)
        assert time.monotonic() - began < 2.0
        other.rollback()


def test_a_failing_database_is_audit_unavailable(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """Every way of recording fails closed, and the probe says so."""
    made = event()
    assert ledger.healthy()
    with database.write() as session:
        session.execute(text("DROP TABLE audit_inbox"))
    with pytest.raises(AuditUnavailable), capture_logs():
        ledger.record(made)
    with pytest.raises(AuditUnavailable), database.write() as session:
        ledger.record_in(session, made)
    assert not ledger.healthy()


def test_a_closed_ledger_refuses(ledger: Ledger, event: MakeEvent) -> None:
    """After close nothing is taken any more."""
    made = event()
    ledger.close()
    with pytest.raises(AuditUnavailable):
        ledger.record(made)


def test_a_bad_event_is_refused_alone(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """One caller's impossible event does not take the others' in the same transaction with it."""
    events = [event(), event(outcome="x" * 20_000), event(corr="white space"), event()]
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(ledger.record, made) for made in events]
        errors = [type(result.exception()) for result in results]
    assert errors == [type(None), LeafTooLarge, LeafInvalid, type(None)]
    assert count(database, AuditInbox) == 2


def test_eight_threads_lose_and_double_nothing(ledger: Ledger, event: MakeEvent) -> None:
    """400 records of eight threads are each in the log exactly once while the sequencer runs."""
    made = event()
    sequencer = Sequencer(ledger.sealer, interval_s=0.01)
    sequencer.start()
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: ledger.record(made).id, range(400)))
    sequencer.stop()
    logged = [row.id for row in ledger.reader.events(limit=1000)]
    assert sorted(logged) == sorted(ids)
    assert len(set(ids)) == 400
    report = ledger.verify()
    assert (report.verdict, report.checked, report.unsealed) == (Verdict.SOUND, 400, 0)


# --- who ------------------------------------------------------------------------------------------


def test_an_actor_is_a_random_id_and_the_hash_of_what_they_may_read(
    ledger: Ledger, database: Database, alice: Principal, bob: Principal
) -> None:
    """The same person keeps their id, another has another, and no record holds a name."""
    actor = ledger.identify(alice)
    assert ledger.identify(alice) == actor
    with database.write() as session:
        assert ledger.actor_for(session, alice) == actor
        other = ledger.actor_for(session, bob)
    assert (actor.kind, actor.auth, actor.sess) == ("user", "password", alice.session_hash)
    assert actor.pset == scope_of(alice).principal_set_hash
    assert other.sub != actor.sub
    assert other.sess is None
    recorded = ledger.record(Event(type=EventType.SIGNIN_OK, stage=Stage.SINGLE, corr="r", actor=actor))
    assert b"alice" not in recorded.leaf


def test_many_first_appearances_at_once_are_one_person(
    ledger: Ledger, database: Database, alice: Principal
) -> None:
    """Concurrent first requests of one person share one subject id and one key."""
    with ThreadPoolExecutor(8) as pool:
        actors = set(pool.map(lambda _: ledger.identify(alice), range(16)))
    assert len(actors) == 1
    assert (count(database, AuditSubject), count(database, SubjectKey)) == (1, 1)


# --- sealing --------------------------------------------------------------------------------------


def test_sealing_orders_by_id_and_signs(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """Waiting records get places in the order of their ids, and the new head is signed."""
    assert ledger.sealer.seal() is None
    assert ledger.proofs.checkpoint() is None
    ids = [ledger.record(event()).id for _ in range(5)]
    checkpoint = ledger.sealer.seal()
    assert checkpoint is not None
    assert (
        verify_checkpoint(ledger.proofs.checkpoint() or "", VerifierKey.parse(ledger.verifier_key))
        == checkpoint
    )
    assert [(row.index, row.id) for row in ledger.reader.events()] == list(enumerate(sorted(ids)))
    assert count(database, AuditInbox) == 0
    assert ledger.sealer.seal() is None


def test_a_large_backlog_is_sealed_in_batches(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """More than one batch takes several transactions, each with its own checkpoint."""
    made = event()
    with database.write() as session:
        for _ in range(SEAL_BATCH + 3):
            ledger.record_in(session, made)
    first = ledger.sealer.seal()
    last = ledger.sealer.seal_all()
    assert first is not None
    assert last is not None
    assert (first.size, last.size) == (SEAL_BATCH, SEAL_BATCH + 3)
    proof = [base64.b64decode(hashed) for hashed in ledger.proofs.consistency(first.size)]
    assert verify_consistency(first.size, last.size, proof, first.root, last.root)
    with pytest.raises(InvalidInput):
        ledger.proofs.consistency(5, SEAL_BATCH + 4)
    assert list(ledger.reader.leaves()) == [row.raw for row in ledger.reader.events(limit=1000)]
    assert ledger.verify().checked == SEAL_BATCH + 3


def test_records_left_by_a_crash_are_sealed_by_the_next_start(
    open_ledger: Callable[..., Ledger], event: MakeEvent
) -> None:
    """What was durable in the inbox when a process died is in the log after the next one starts."""
    recorded = open_ledger("one").record(event())
    again = open_ledger("one")
    again.sealer.recover()
    assert again.reader.events()[0].id == recorded.id


def test_nothing_is_signed_on_top_of_damage(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """A log that contradicts its last checkpoint is not extended; the records wait in the inbox."""
    for _ in range(4):
        ledger.record(event())
    ledger.sealer.seal()
    with database.write() as session:
        session.execute(update(AuditNode).where(AuditNode.level == 2).values(hash=b"\0" * 32))
    ledger.record(event())
    with pytest.raises(LedgerDamaged):
        ledger.sealer.seal()
    assert count(database, AuditInbox) == 1


def test_the_sequencer_outlives_a_failing_database(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """It logs, waits, and seals what waits once the database is back."""
    ledger.record(event())
    with database.write() as session:
        session.execute(text("ALTER TABLE audit_nodes RENAME TO hidden"))
    sequencer = Sequencer(ledger.sealer, interval_s=0.01, retry_s=0.01)
    with capture_logs() as logs:
        sequencer.start()
        until = time.monotonic() + 10
        while not logs and time.monotonic() < until:
            time.sleep(0.01)
        with database.write() as session:
            session.execute(text("ALTER TABLE hidden RENAME TO audit_nodes"))
        while not ledger.reader.events() and time.monotonic() < until:
            time.sleep(0.01)
        sequencer.stop()
    assert logs[0]["event"] == "ledger.seal_failed"
    assert len(ledger.reader.events()) == 1


def test_the_sequencer_seals_a_last_time_when_it_stops(ledger: Ledger, event: MakeEvent) -> None:
    """What was recorded before the stop has its place after it."""
    sequencer = Sequencer(ledger.sealer, interval_s=60)
    sequencer.start()
    recorded = ledger.record(event())
    sequencer.stop()
    assert ledger.reader.event(recorded.id).index == 0


# --- recovery -------------------------------------------------------------------------------------


def test_recovery_closes_what_was_left_open(open_ledger: Callable[..., Ledger], event: MakeEvent) -> None:
    """Only the question without an end is closed, as unknown, and only once."""
    before = open_ledger("one")
    before.record(event(EventType.ANSWER_ASKED, stage=Stage.START, corr="done"))
    before.record(event(EventType.ANSWER_FINISHED, stage=Stage.END, corr="done", outcome="answered"))
    before.record(event(EventType.ANSWER_ASKED, stage=Stage.START, corr="lost"))
    before.record(event(EventType.ANSWER_GENERATED, stage=Stage.START, corr="lost"))
    before.record(event(EventType.ANSWER_GENERATED, stage=Stage.END, corr="lost"))
    before.record(event(EventType.FILE_PARSED, stage=Stage.START, corr="job"))
    after = open_ledger("one")
    assert after.sealer.recover() == 2
    closed = [row.leaf for row in after.reader.events() if row.leaf and row.leaf.outcome == "unknown"]
    assert [(leaf.type, leaf.stage, leaf.corr, leaf.actor) for leaf in closed] == [
        ("answer.finished", Stage.END, "lost", SYSTEM),
        ("file.parsed", Stage.END, "job", SYSTEM),
    ]
    assert open_ledger("one").sealer.recover() == 0
    assert after.verify().is_sound


def test_recovery_counts_repeated_request_ids(open_ledger: Callable[..., Ledger], event: MakeEvent) -> None:
    """Two starts under one request id need two ends."""
    before = open_ledger("one")
    for stage in (Stage.START, Stage.START, Stage.END):
        before.record(event(EventType.FILE_PARSED, stage=stage, corr="twice"))
    assert open_ledger("one").sealer.recover() == 1


def test_recovery_leaves_other_replicas_alone(open_ledger: Callable[..., Ledger], event: MakeEvent) -> None:
    """Another server's question is still being answered."""
    open_ledger("two").record(event(EventType.ANSWER_ASKED, stage=Stage.START, corr="theirs"))
    assert open_ledger("one").sealer.recover() == 0
    assert open_ledger("two").sealer.recover() == 1


# --- reading --------------------------------------------------------------------------------------


def test_a_receipt_proves_its_event(ledger: Ledger, event: MakeEvent) -> None:
    """Before sealing it names the leaf hash; afterwards it proves the place against a signed head."""
    recorded = [ledger.record(event()) for _ in range(7)][4]
    waiting = {"id": recorded.id, "leaf_hash": recorded.leaf_hash.hex(), "sealed": False}
    assert ledger.proofs.receipt(recorded.id) == waiting
    ledger.sealer.seal()
    receipt = ledger.proofs.receipt(recorded.id)
    head = verify_checkpoint(receipt["checkpoint"], VerifierKey.parse(ledger.verifier_key))
    proof = [base64.b64decode(hashed) for hashed in receipt["proof"]]
    assert verify_inclusion(recorded.leaf_hash, receipt["index"], head.size, proof, head.root)
    assert receipt["size"] == head.size
    assert receipt["tlog_proof"] == "\n".join(
        ["c2sp.org/tlog-proof@v1", f"index {receipt['index']}", *receipt["proof"], "", receipt["checkpoint"]]
    )
    with pytest.raises(NotFound):
        ledger.proofs.receipt("no such event")


def test_events_are_read_in_pages_both_ways(ledger: Ledger, event: MakeEvent) -> None:
    """Pages go forwards and backwards, and a request's records are found together."""
    for number in range(6):
        ledger.record(event(corr=f"request-{number % 2}"))
    ledger.sealer.seal()
    assert [row.index for row in ledger.reader.events(1, 2)] == [2, 3]
    assert [row.index for row in ledger.reader.events(before_index=4, limit=2, newest_first=True)] == [3, 2]
    assert [row.index for row in ledger.reader.events(corr="request-1")] == [1, 3, 5]


def test_checkpoints_are_listed_by_size(ledger: Ledger, event: MakeEvent) -> None:
    """Each sealing leaves its checkpoint."""
    for _ in range(3):
        ledger.record(event())
        ledger.sealer.seal()
    sizes = [note.split("\n")[1] for note in ledger.proofs.checkpoints(after_size=1)]
    assert sizes == ["2", "3"]


# --- content --------------------------------------------------------------------------------------


def test_content_is_encrypted_and_comes_back(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """The plaintext is in no column; the leaf proves the sealed bytes; reading gives it back."""
    recorded = ledger.record(event(EventType.ANSWER_ASKED, stage=Stage.START), QUESTION)
    reference = parse(recorded.leaf).content
    with database.read() as session:
        row = session.get(AuditContent, recorded.id)
        assert row is not None
        assert reference is not None
        assert QUESTION not in row.sealed
        assert QUESTION not in recorded.leaf
        assert hashlib.sha256(row.sealed).hexdigest() == reference.sha256
        assert (row.key_id, len(QUESTION)) == (reference.key, reference.len)
    assert ledger.reader.read_content(recorded.id) == QUESTION
    ledger.sealer.seal()
    assert ledger.reader.read_content(recorded.id) == QUESTION


def test_equal_contents_cannot_be_recognised(ledger: Ledger, event: MakeEvent) -> None:
    """The commitment is salted: nobody finds a short question by hashing guesses."""
    leaves = [parse(ledger.record(event(), b"yes").leaf) for _ in range(2)]
    commitments = {leaf.content.commit for leaf in leaves if leaf.content}
    assert len(commitments) == 2
    assert hashlib.sha256(b"yes").hexdigest() not in commitments


def test_changed_content_is_not_returned(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """Sealed bytes of another event do not pass for this one's."""
    first, second = (ledger.record(event(), word) for word in (b"one", b"two"))
    with database.write() as session:
        other = session.get_one(AuditContent, second.id).sealed
        session.get_one(AuditContent, first.id).sealed = other
    with pytest.raises(ContentBroken):
        ledger.reader.read_content(first.id)


def test_an_event_without_content_has_none(ledger: Ledger, event: MakeEvent) -> None:
    """That is said as not found, like an event that does not exist."""
    with pytest.raises(NotFound):
        ledger.reader.read_content(ledger.record(event()).id)


def test_content_needs_a_registered_subject(ledger: Ledger, database: Database) -> None:
    """No key is made on the way: it would outlive an erasure. The record is refused as a whole."""
    nobody = Event(type=EventType.ANSWER_ASKED, stage=Stage.START, corr="r", actor=SYSTEM)
    with pytest.raises(AuditUnavailable):
        ledger.record(nobody, b"question")
    assert (count(database, AuditInbox), count(database, AuditContent)) == (0, 0)
