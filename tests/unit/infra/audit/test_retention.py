"""Retention: what goes when its days are over, what a hold keeps, and what pruning leaves provable."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update

from infra.access import Principal
from infra.audit.checkpoint import VerifierKey, verify_checkpoint
from infra.audit.content import ContentErased
from infra.audit.event_types import EventType, Stage
from infra.audit.forwarding.forwarding import MARK
from infra.audit.leaf import SYSTEM, Event, Retrieved
from infra.audit.ledger import Ledger
from infra.audit.merkle import CompactRange, leaf_hash, node_count, verify_inclusion
from infra.audit.records import InboxSeal
from infra.audit.removal import retention
from infra.audit.removal.holds import hold_resource, lift_hold, place_hold
from infra.audit.removal.removals import recorded_removals
from infra.audit.removal.retention import DAY_MS, Outside, prune, prune_records
from infra.audit.removal.retention_classes import RetentionClass, class_of
from infra.audit.stored_log import SEGMENT, RecordsPruned, minimum_index, stored_nodes
from infra.audit.verify import Verdict
from infra.audit.witness.cosignature_store import store_cosignature
from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import (
    AuditContent,
    AuditInbox,
    AuditLeaf,
    AuditLookup,
    AuditMark,
    AuditNode,
    AuditPassage,
)
from infra.keys import MasterKey

MakeEvent = Callable[..., Event]
QUESTION = b"How many days of notice does the contract ask for?"
ALL = {kind.value: 1 for kind in RetentionClass}


def in_days(days: float) -> int:
    """Return a moment that many days from now, in UTC milliseconds."""
    return now_ms() + round(days * DAY_MS)


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def record_many(ledger: Ledger, event: Event, times: int) -> None:
    """Record and seal an event many times, in one transaction."""
    with ledger.database.write() as session:
        for _ in range(times):
            ledger.record_in(session, event)
    ledger.sealer.seal_all()


def outcomes(ledger: Ledger, kind: EventType) -> list[str | None]:
    """Return the outcomes of all sealed records of a type."""
    ledger.sealer.seal_all()
    events = ledger.reader.events(limit=10_000)
    return [event.leaf.outcome for event in events if event.leaf and event.leaf.type == kind]


def hold(ledger: Ledger, principal: Principal | None) -> str:
    """Place a hold on the record, as the service does; returns its id."""
    with ledger.database.write() as session:
        placed = place_hold(session, principal.principal_id if principal else None, "litigation")
        subject = ledger.actor_for(session, principal).sub if principal else None
        about = Event(EventType.HOLD_PLACED, Stage.SINGLE, "h", SYSTEM, res=hold_resource(placed.id, subject))
        ledger.record_in(session, about)
        return placed.id


def lift(ledger: Ledger, hold_id: str, subject: str | None) -> None:
    """Lift a hold on the record, as the service does."""
    with ledger.database.write() as session:
        lift_hold(session, hold_id)
        about = Event(EventType.HOLD_LIFTED, Stage.SINGLE, "h", SYSTEM, res=hold_resource(hold_id, subject))
        ledger.record_in(session, about)


# --- contents -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("answer.asked", RetentionClass.ANSWERS),
        ("feedback.given", RetentionClass.ANSWERS),
        ("search.performed", RetentionClass.SEARCHES),
        ("suggestions.read", RetentionClass.SEARCHES),
        ("account.changed", RetentionClass.ADMINISTRATION),
        ("something.new", RetentionClass.ADMINISTRATION),
    ],
)
def test_each_type_has_a_class(kind: str, expected: RetentionClass) -> None:
    """A type that is not known yet is kept as long as administration, never shorter by accident."""
    assert class_of(kind) is expected


def test_contents_go_by_class_and_age(ledger: Ledger, event: MakeEvent) -> None:
    """Searches are kept for ten days and answers for thirty: after twenty, the searches are gone."""
    searched = ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    asked = ledger.record(event(EventType.ANSWER_SEGMENT), QUESTION)
    ledger.sealer.seal_all()
    done = prune(ledger, {"searches": 10, "answers": 30}, corr="p", at_ms=in_days(20))
    assert done.contents == {"answers": 0, "searches": 1}
    with pytest.raises(ContentErased):
        ledger.reader.read_content(searched.id)
    assert ledger.reader.read_content(asked.id) == QUESTION
    report = ledger.verify()
    assert (report.verdict, report.contents_erased, report.contents_matched) == (Verdict.SOUND, 1, 1)


@pytest.mark.parametrize("days", [{}, {"searches": 0, "records": 0}])
def test_nothing_goes_by_default(ledger: Ledger, event: MakeEvent, days: dict[str, int]) -> None:
    """No days, or 0, keeps everything for ever; nothing is written about it either."""
    ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.sealer.seal_all()
    done = prune(ledger, days, corr="p", at_ms=in_days(10_000))
    assert (sum(done.contents.values()), done.records, done.minimum) == (0, 0, 0)
    assert outcomes(ledger, EventType.CONTENT_PRUNED) == []


def test_pruning_is_on_the_record_with_its_count(ledger: Ledger, event: MakeEvent) -> None:
    """It has a beginning, which explains what is gone, and an end, which counts it."""
    for _ in range(3):
        ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.sealer.seal_all()
    prune(ledger, {"searches": 1}, corr="p", at_ms=in_days(2))
    assert outcomes(ledger, EventType.CONTENT_PRUNED) == [None, "3 destroyed"]
    assert ledger.verify().is_sound


def test_a_run_takes_more_than_one_transaction(
    ledger: Ledger, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contents go in small transactions; one pair of records tells about all of them."""
    monkeypatch.setattr(retention, "WINDOW", 2)
    for number in range(7):
        kind = EventType.SEARCH_PERFORMED if number % 3 else EventType.ANSWER_SEGMENT
        ledger.record(event(kind), QUESTION)
    ledger.sealer.seal_all()
    assert prune(ledger, {"searches": 1}, corr="p", at_ms=in_days(2)).contents == {"searches": 4}
    assert len(outcomes(ledger, EventType.CONTENT_PRUNED)) == 2
    assert ledger.verify().is_sound


def test_a_young_content_that_is_gone_was_taken(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """Pruning explains what was old enough, and of its class; whatever else is missing was taken."""
    ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    asked = ledger.record(event(EventType.ANSWER_SEGMENT), QUESTION)
    ledger.sealer.seal_all()
    prune(ledger, {"searches": 1}, corr="p", at_ms=in_days(2))
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    with database.write() as session:
        session.execute(delete(AuditContent).where(AuditContent.event_id == asked.id))
    assert ledger.verify().verdict is Verdict.INCOMPLETE


def test_a_content_from_after_the_cut_that_is_gone_was_taken(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """The record of the pruning says up to which time it reached."""
    ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.sealer.seal_all()
    prune(ledger, {"searches": 1}, corr="p", at_ms=now_ms() + DAY_MS)
    young = ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    with database.write() as session:
        session.execute(delete(AuditContent).where(AuditContent.event_id == young.id))
    assert ledger.verify().verdict is Verdict.INCOMPLETE


# --- holds ----------------------------------------------------------------------------------------


def test_a_hold_keeps_the_contents_that_it_covers(
    ledger: Ledger, event: MakeEvent, alice: Principal, bob: Principal
) -> None:
    """Alice's content stays while bob's goes; once the hold is lifted, the next run takes hers."""
    mine = ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.record(event(EventType.SEARCH_PERFORMED, actor=ledger.identify(bob)), QUESTION)
    hold_id = hold(ledger, alice)
    ledger.sealer.seal_all()
    assert prune(ledger, ALL, corr="p", at_ms=in_days(2)).contents["searches"] == 1
    assert ledger.reader.read_content(mine.id) == QUESTION
    lift(ledger, hold_id, ledger.identify(alice).sub)
    assert prune(ledger, ALL, corr="p", at_ms=in_days(3)).contents["searches"] == 1
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound


def test_a_hold_on_everybody_keeps_everything(ledger: Ledger, event: MakeEvent) -> None:
    """Nothing is destroyed, and nothing is written about it."""
    ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    hold(ledger, None)
    ledger.sealer.seal_all()
    assert prune(ledger, ALL, corr="p", at_ms=in_days(2)).contents["searches"] == 0
    assert outcomes(ledger, EventType.CONTENT_PRUNED) == []


@pytest.mark.parametrize("covers_everybody", [False, True])
def test_the_check_finds_what_was_pruned_under_a_hold(
    ledger: Ledger,
    database: Database,
    event: MakeEvent,
    alice: Principal,
    bob: Principal,
    covers_everybody: bool,
) -> None:
    """A content that went while a hold covered it was taken: the record of a pruning does not excuse it."""
    mine = ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.sealer.seal_all()
    hold(ledger, None if covers_everybody else alice)
    ledger.sealer.seal_all()
    before = str(in_days(1))
    what = retention.pruned_contents(RetentionClass.SEARCHES, int(before))
    ledger.record(Event(EventType.CONTENT_PRUNED, Stage.SINGLE, "p", SYSTEM, res=what))
    ledger.sealer.seal_all()
    with database.write() as session:
        session.execute(delete(AuditContent).where(AuditContent.event_id == mine.id))
    assert ledger.verify().verdict is Verdict.INCOMPLETE


def test_a_hold_that_is_lifted_while_pruning_runs_still_counts(
    ledger: Ledger, event: MakeEvent, alice: Principal, bob: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held when the run began is left to the next one, so that the record stays true."""
    monkeypatch.setattr(retention, "WINDOW", 1)
    ledger.record(event(EventType.SEARCH_PERFORMED, actor=ledger.identify(bob)), QUESTION)
    ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    hold_id = hold(ledger, alice)
    ledger.sealer.seal_all()
    found, calls = retention._sealed_contents, 0

    def lifting(*of: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            lift(ledger, hold_id, ledger.identify(alice).sub)
        return found(*of)

    monkeypatch.setattr(retention, "_sealed_contents", lifting)
    assert prune(ledger, {"searches": 1}, corr="p", at_ms=in_days(2)).contents == {"searches": 1}
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound


# --- records --------------------------------------------------------------------------------------


@pytest.fixture
def long_log(ledger: Ledger, event: MakeEvent) -> Ledger:
    """A log of some segments, sealed in pieces that do not end where segments do."""
    with ledger.database.write() as session:
        for number in range(SEGMENT * 3 + 40):
            passage = Retrieved(doc="d", ver=f"v{number % 5}", chunk="c", hash="ab" * 32, rank=1)
            with_content = QUESTION if number % 100 == 0 else None
            ledger.record_in(session, event(corr=f"r{number}", ret=(passage,)), with_content)
    ledger.sealer.seal_all()
    return ledger


def sealed_size(ledger: Ledger) -> int:
    note = ledger.proofs.checkpoint()
    return verify_checkpoint(note or "", VerifierKey.parse(ledger.verifier_key)).size


def test_pruning_takes_whole_segments(long_log: Ledger, database: Database) -> None:
    """Leaves, look-ups, passages, contents and inner hashes before the minimum are gone."""
    size = sealed_size(long_log)
    done = prune(long_log, {"records": 1}, corr="p", at_ms=in_days(2))
    assert (done.records, done.minimum, done.is_held) == (SEGMENT * 3, SEGMENT * 3, False)
    for table in (AuditLeaf, AuditLookup, AuditPassage):
        with database.read() as session:
            assert session.scalar(select(func.min(table.index))) == SEGMENT * 3
    assert count(database, AuditContent) == 1
    # 768 records are the two complete subtrees of 512 and 256 records.
    assert count(database, AuditNode) == node_count(size) - node_count(SEGMENT * 3) + 2
    report = long_log.verify()
    assert (report.verdict, report.checked) == (Verdict.SOUND, size - SEGMENT * 3)
    assert outcomes(long_log, EventType.AUDIT_PRUNED) == [str(SEGMENT * 3)]


def test_what_is_left_can_be_proved(long_log: Ledger) -> None:
    """Receipts of remaining records verify, also as the log grows, and after it was pruned again."""
    kept = [event.id for event in long_log.reader.events(SEGMENT * 3 - 1, 100)]
    for at in (SEGMENT, SEGMENT * 3):
        with long_log.database.write() as session:
            retention._remove_before(session, at)
        for event_id in kept[:: 7 if at == SEGMENT else 1]:
            receipt = long_log.proofs.receipt(event_id)
            root = verify_checkpoint(receipt["checkpoint"], VerifierKey.parse(long_log.verifier_key)).root
            proof = [b64decode(hashed) for hashed in receipt["proof"]]
            leaf = leaf_hash(long_log.reader.event(event_id).raw)
            assert verify_inclusion(leaf, receipt["index"], receipt["size"], proof, root)


def test_the_log_goes_on_after_pruning(long_log: Ledger, event: MakeEvent) -> None:
    """New records are sealed on top, and recovery reads back no further than the minimum."""
    prune(long_log, {"records": 1}, corr="p", at_ms=in_days(2))
    size = sealed_size(long_log)
    for number in range(5):
        long_log.record(event(EventType.ANSWER_ASKED, stage=Stage.START, corr=f"open{number}"))
    assert long_log.sealer.recover() == 5
    assert sealed_size(long_log) > size
    assert long_log.verify().is_sound


@pytest.mark.parametrize("step", range(SEGMENT, SEGMENT * 4, SEGMENT))
def test_every_root_can_be_made_from_what_is_kept(database: Database, step: int) -> None:
    """Pruning in steps keeps exactly the hashes that stand for the removed part."""
    whole, size = CompactRange(), SEGMENT * 4 + 3
    with database.write() as session:
        for number in range(size):
            nodes = whole.append(leaf_hash(str(number).encode()))
            session.execute(insert(AuditNode), [vars(node) for node in nodes])
    with database.write() as session:
        for at in range(SEGMENT, step + 1, SEGMENT):
            retention._remove_before(session, at)
    with database.read() as session:
        assert CompactRange.load(size, stored_nodes(session)).root() == whole.root()
        total = session.scalar(select(func.count()).select_from(AuditNode))
    assert total == node_count(size) - node_count(step) + step.bit_count()


def test_a_proof_over_pruned_records_is_refused(long_log: Ledger) -> None:
    """It says that they were pruned, instead of that the ledger is damaged."""
    prune(long_log, {"records": 1}, corr="p", at_ms=in_days(2))
    with pytest.raises(RecordsPruned):
        long_log.proofs.consistency(100)


def test_a_log_is_never_pruned_to_nothing(ledger: Ledger, event: MakeEvent) -> None:
    """The newest record stays, or the log would not know its size any more."""
    record_many(ledger, event(), SEGMENT)
    done = prune(ledger, {"records": 1}, corr="p", at_ms=in_days(2))
    assert (done.records, done.minimum) == (0, 0)


def test_only_what_is_old_goes(long_log: Ledger) -> None:
    """A segment with one young record stays whole."""
    with long_log.database.write() as session:
        session.execute(update(AuditLookup).where(AuditLookup.index == 300).values(time=in_days(5)))
    assert prune_records(long_log, in_days(1), corr="p") == (SEGMENT, False)


def test_what_was_not_forwarded_yet_stays(long_log: Ledger, database: Database) -> None:
    """A receiver that is away loses nothing to retention: only whole segments before its cursor go."""
    siem = Outside(is_forwarded=True)
    assert prune_records(long_log, in_days(1), corr="p", outside=siem) == (0, False)
    with database.write() as session:
        session.merge(AuditMark(name=MARK, index=SEGMENT + 3))
    assert prune_records(long_log, in_days(1), corr="p", outside=Outside(is_forwarded=True)) == (
        SEGMENT,
        False,
    )
    assert long_log.verify().is_sound


def test_what_a_witness_has_not_seen_yet_stays(long_log: Ledger, database: Database) -> None:
    """A witness that lags can still be shown that the log grew from what it saw."""
    outside = Outside(witnesses=("witness.example/w1", "witness.example/w2"))
    with database.write() as session:
        store_cosignature(session, 2 * SEGMENT, "witness.example/w1", "— w1\n")
    assert prune_records(long_log, in_days(1), corr="p", outside=outside) == (0, False)
    with database.write() as session:
        store_cosignature(session, SEGMENT + 1, "witness.example/w2", "— w2\n")
    assert prune_records(long_log, in_days(1), corr="p", outside=outside) == (SEGMENT, False)


def test_any_hold_forbids_pruning_records(long_log: Ledger, bob: Principal) -> None:
    """A segment holds everybody's records, so that a hold on one person keeps all of them."""
    hold(long_log, bob)
    done = prune(long_log, {"records": 1}, corr="p", at_ms=in_days(2))
    assert (done.records, done.is_held, done.minimum) == (0, True, 0)


def test_pruning_goes_on_where_it_stopped(long_log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold in the middle of a run stops it between two transactions; the log is sound at each."""
    monkeypatch.setattr(retention, "PRUNED_AT_ONCE", SEGMENT)
    remove, hold_ids = retention._remove_before, []

    def removing(session: Any, minimum: int) -> None:
        remove(session, minimum)
        if not hold_ids:
            hold_ids.append(place_hold(session, None, "litigation").id)

    monkeypatch.setattr(retention, "_remove_before", removing)
    assert prune_records(long_log, in_days(1), corr="p") == (SEGMENT, True)
    long_log.sealer.seal_all()
    assert long_log.verify().is_sound
    with long_log.database.write() as session:
        lift_hold(session, hold_ids[0])
    assert prune_records(long_log, in_days(1), corr="p") == (SEGMENT * 2, False)
    long_log.sealer.seal_all()
    assert long_log.verify().is_sound


def test_records_that_somebody_cut_off_are_no_pruning(long_log: Ledger) -> None:
    """Removing a segment as pruning does, without the record of it, is tampering."""
    with long_log.database.write() as session:
        retention._remove_before(session, SEGMENT)
    report = long_log.verify()
    assert (report.verdict, "pruned" in report.sentence) == (Verdict.TAMPERED, True)


def test_more_than_the_record_allows_is_tampering(long_log: Ledger) -> None:
    """The record of a pruning names the first record that is left, and one segment more is one too many."""
    prune_records(long_log, in_days(1), corr="p")
    long_log.sealer.seal_all()
    with long_log.database.read() as session:
        assert recorded_removals(session).minimum == minimum_index(session) == SEGMENT * 3
    with long_log.database.write() as session:
        session.execute(update(AuditMark).values(index=SEGMENT * 2))
    assert long_log.verify().verdict is Verdict.TAMPERED


def test_a_missing_hash_of_the_pruned_part_is_found(long_log: Ledger) -> None:
    """Without one of the hashes that stand for pruned records, nothing can be proved, and that is said."""
    prune_records(long_log, in_days(1), corr="p")
    long_log.sealer.seal_all()
    with long_log.database.write() as session:
        session.execute(delete(AuditNode).where(AuditNode.level == 9, AuditNode.index == 0))
    assert long_log.verify().verdict is Verdict.TAMPERED


def test_a_changed_hash_of_the_pruned_part_is_found(long_log: Ledger) -> None:
    """The root that was signed is made from it."""
    prune_records(long_log, in_days(1), corr="p")
    long_log.sealer.seal_all()
    with long_log.database.write() as session:
        session.execute(update(AuditNode).where(AuditNode.level == 9).values(hash=b"\0" * 32))
    assert long_log.verify().verdict is Verdict.TAMPERED


# --- the rows that records are found by -----------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        update(AuditLookup).where(AuditLookup.index == 7).values(sub="somebody else"),
        update(AuditLookup).where(AuditLookup.index == 7).values(outcome="fine"),
        delete(AuditLookup).where(AuditLookup.index == 7),
        delete(AuditPassage).where(AuditPassage.index == 7),
        insert(AuditPassage).values(doc="other", ver="v", index=7),
        insert(AuditPassage).values(doc="other", ver="v", index=10_000),
        insert(AuditLookup).values(index=10_000, type="t", sub="s", time=1),
    ],
)
def test_a_changed_look_up_row_is_tampering(ledger: Ledger, event: MakeEvent, change: Any) -> None:
    """Whoever hides a record from being found is found, though leaves and hashes are as they were."""
    record_many(ledger, event(), 20)
    assert ledger.verify().is_sound
    with ledger.database.write() as session:
        session.execute(change)
    report = ledger.verify()
    assert (report.verdict, report.sentence.startswith("An index row differs")) == (Verdict.TAMPERED, True)


def test_a_look_up_row_of_an_unreadable_record_is_tampering(
    ledger: Ledger, database: Database, event: MakeEvent, master_key: MasterKey
) -> None:
    """A record that cannot be read has no rows; one that claims to be about it was made up."""
    ledger.record(event())
    with database.write() as session:
        mac = InboxSeal(master_key).mac("ffffffff-0000-7000-8000-000000000000", b"{}")
        session.execute(
            insert(AuditInbox).values(id="ffffffff-0000-7000-8000-000000000000", leaf=b"{}", mac=mac)
        )
    ledger.sealer.seal_all()
    assert ledger.verify().verdict is Verdict.UNREADABLE
    with database.write() as session:
        session.execute(insert(AuditLookup).values(index=1, type="t", sub="s", time=1))
    assert ledger.verify().verdict is Verdict.TAMPERED


def test_reading_a_pruned_content_says_that_it_is_gone(ledger: Ledger, event: MakeEvent) -> None:
    """A content that is read after its retention says that it is gone, not that the record is broken."""
    mine = ledger.record(event(EventType.SEARCH_PERFORMED), QUESTION)
    ledger.sealer.seal_all()
    prune(ledger, {"searches": 1}, corr="p", at_ms=in_days(2))
    with pytest.raises(ContentErased):
        ledger.reader.read_content(mine.id)
