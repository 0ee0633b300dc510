"""Whoever can write to the database, and holds no key, gets nothing signed and removes nothing unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from infra.access import Principal
from infra.audit.content import ContentBroken, subject_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Leaf, Resource, canonical
from infra.audit.ledger import Ledger
from infra.audit.records import InboxSeal, LedgerDamaged
from infra.audit.removal.holds import (
    LegalHoldStands,
    hold_resource,
    lift_hold,
    place_hold,
    refuse_while_held,
    standing_holds,
)
from infra.audit.removal.removals import REPEATED, pruned_contents
from infra.audit.removal.retention import _remove_before
from infra.audit.removal.retention_classes import RetentionClass
from infra.audit.verify import Verdict
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import (
    AuditContent,
    AuditCosignature,
    AuditInbox,
    AuditLeaf,
    AuditMark,
    AuditSubject,
    Base,
    LegalHold,
    SubjectKey,
)
from infra.errors import AuditUnavailable
from infra.keys import MasterKey

MakeEvent = Callable[..., Event]
QUESTION = b"Who signed the contract?"


def forged(kind: EventType, res: Resource, outcome: str = "ok") -> dict[str, Any]:
    """Return a row of the inbox as somebody writes it who knows the format, and no key."""
    leaf = Leaf(
        id=new_id(),
        type=kind.value,
        stage=Stage.SINGLE,
        corr="forged",
        time=now_ms(),
        src="one",
        actor=SYSTEM,
        res=res,
        outcome=outcome,
    )
    return {"id": leaf.id, "leaf": canonical(leaf), "mac": b"\0" * 32}


def put(database: Database, row: dict[str, Any]) -> None:
    with database.write() as session:
        session.execute(insert(AuditInbox).values(row))


def count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def say(ledger: Ledger, kind: EventType, res: Resource, outcome: str = "ok") -> None:
    """Put a genuine record about a removal or a hold into the log."""
    ledger.record(Event(kind, Stage.SINGLE, "c", SYSTEM, res=res, outcome=outcome))
    ledger.sealer.seal_all()


# --- the inbox ------------------------------------------------------------------------------------


def test_a_forged_erasure_explains_nothing(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """Contents that were taken away stay missed, although a row of the inbox says that they were erased."""
    asked = event()
    ledger.record(asked, QUESTION)
    ledger.sealer.seal_all()
    with database.write() as session:
        session.execute(delete(AuditContent))
    put(database, forged(EventType.SUBJECT_ERASED, Resource("subject", asked.actor.sub)))
    report = ledger.verify()
    assert (report.verdict, report.contents_erased) == (Verdict.TAMPERED, 0)


def test_a_forged_pruning_is_not_sealed(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """No signature makes it genuine: nothing is sealed while it is there, and the check names it."""
    ledger.record(event())
    ledger.sealer.seal_all()
    row = forged(EventType.AUDIT_PRUNED, Resource("record", "log"), "256")
    put(database, row)
    with pytest.raises(LedgerDamaged):
        ledger.sealer.seal_all()
    report = ledger.verify()
    assert (count(database, AuditLeaf), report.verdict) == (1, Verdict.TAMPERED)
    assert row["id"] in report.sentence


def test_a_record_that_is_changed_while_it_waits_is_not_sealed(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """Its bytes are no longer those that a server wrote."""
    made = ledger.record(event())
    with database.write() as session:
        session.execute(update(AuditInbox).values(leaf=made.leaf.replace(b"request-1", b"request-2")))
    assert ledger.verify().verdict is Verdict.TAMPERED
    with pytest.raises(LedgerDamaged):
        ledger.sealer.seal_all()
    assert (count(database, AuditInbox), count(database, AuditLeaf)) == (1, 0)


def test_a_record_under_another_id_is_not_authentic(master_key: MasterKey) -> None:
    """The id is bound as well as the bytes, and so is the master key."""
    inbox = InboxSeal(master_key)
    mac = inbox.mac("one", b"{}")
    assert inbox.is_authentic("one", b"{}", mac)
    assert not inbox.is_authentic("two", b"{}", mac)
    assert not inbox.is_authentic("one", "{}", mac)
    assert not InboxSeal(MasterKey(b"\x2b" * 32)).is_authentic("one", b"{}", mac)


def test_a_sealed_record_that_is_put_back_is_tampering(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """What was authentic once has its place already."""
    ledger.record(event())
    with database.read() as session:
        row = dict(session.execute(select(AuditInbox.id, AuditInbox.leaf, AuditInbox.mac)).one()._mapping)
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    put(database, row)
    assert ledger.verify().verdict is Verdict.TAMPERED


# --- whose key it is ------------------------------------------------------------------------------


def test_swapped_people_are_found(
    ledger: Ledger, database: Database, event: MakeEvent, alice: Principal, bob: Principal
) -> None:
    """Nobody can be made to have asked what somebody else asked, and nothing more is recorded so."""
    hers, his = ledger.identify(alice), ledger.identify(bob)
    ledger.record(event(actor=hers), QUESTION)
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    with database.write() as session:
        for subject, principal in ((hers.sub, "user:x"), (his.sub, "user:alice"), (hers.sub, "user:bob")):
            rename = update(AuditSubject).where(AuditSubject.subject_id == subject)
            session.execute(rename.values(principal=principal))
    assert ledger.verify().verdict is Verdict.TAMPERED
    with pytest.raises(AuditUnavailable):
        ledger.record(event(actor=hers), QUESTION)


def test_a_key_without_its_person_is_tampering(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """An erasure takes both."""
    ledger.record(event(), QUESTION)
    ledger.sealer.seal_all()
    with database.write() as session:
        session.execute(delete(AuditSubject))
    assert ledger.verify().verdict is Verdict.TAMPERED


@pytest.mark.parametrize("wrapped", [b"\0", b"\0" * 60, b""])
def test_a_key_that_does_not_open_is_tampering(
    ledger: Ledger, database: Database, event: MakeEvent, wrapped: bytes
) -> None:
    """A content whose key was overwritten is lost like one that was deleted; who reads it is told so."""
    made = ledger.record(event(), QUESTION)
    ledger.sealer.seal_all()
    with database.write() as session:
        session.execute(update(SubjectKey).values(wrapped_key=wrapped))
    assert ledger.verify().verdict is Verdict.TAMPERED
    with pytest.raises(ContentBroken):
        ledger.reader.read_content(made.id)


# --- holds ----------------------------------------------------------------------------------------


def hold(ledger: Ledger, master_key: MasterKey, principal_id: str | None) -> tuple[str, str | None]:
    """Place a hold on the record; returns its id and the subject that it covers."""
    with ledger.database.write() as session:
        placed = place_hold(session, principal_id, "litigation")
        subject = subject_of(session, principal_id, master_key) if principal_id else None
        res = hold_resource(placed.id, subject)
        ledger.record_in(session, Event(EventType.HOLD_PLACED, Stage.SINGLE, "h", SYSTEM, res=res))
    ledger.sealer.seal_all()
    return placed.id, subject


def lift_in_table(session: Session) -> None:
    session.execute(update(LegalHold).values(lifted_at=1))


@pytest.mark.parametrize("is_row_gone", [False, True])
def test_a_hold_stands_while_the_record_says_so(
    ledger: Ledger, database: Database, master_key: MasterKey, is_row_gone: bool
) -> None:
    """Its row in the table may say that it was lifted, or be gone."""
    hold(ledger, master_key, "user:alice")
    with database.write() as session:
        session.execute(delete(LegalHold)) if is_row_gone else lift_in_table(session)
        with pytest.raises(LegalHoldStands):
            refuse_while_held(session, "user:alice")
        refuse_while_held(session, "user:bob")
        assert standing_holds(session)


def test_a_hold_on_everybody_stands_while_the_record_says_so(
    ledger: Ledger, database: Database, master_key: MasterKey
) -> None:
    """It covers also whom the record does not know yet."""
    hold(ledger, master_key, None)
    with database.write() as session:
        lift_in_table(session)
        assert standing_holds(session).covers("user:tomorrow")


def test_a_hold_that_is_lifted_on_the_record_is_over(
    ledger: Ledger, database: Database, master_key: MasterKey
) -> None:
    """Also while that record waits for its place."""
    hold_id, subject = hold(ledger, master_key, "user:alice")
    with database.write() as session:
        lift_hold(session, hold_id)
        res = hold_resource(hold_id, subject)
        ledger.record_in(session, Event(EventType.HOLD_LIFTED, Stage.SINGLE, "h", SYSTEM, res=res))
        assert not standing_holds(session)


def test_an_erasure_under_a_hold_explains_nothing(
    ledger: Ledger, database: Database, master_key: MasterKey, event: MakeEvent
) -> None:
    """Nor does one that is only repeated once the hold is lifted; a real one, later, does."""
    ledger.record(event(), QUESTION)
    hold_id, subject = hold(ledger, master_key, "user:alice")
    assert subject is not None
    say(ledger, EventType.SUBJECT_ERASED, Resource("subject", subject))
    with database.write() as session:
        for table in (AuditContent, SubjectKey, AuditSubject):
            session.execute(delete(table))
    assert ledger.verify().verdict is Verdict.INCOMPLETE
    say(ledger, EventType.HOLD_LIFTED, hold_resource(hold_id, subject))
    say(ledger, EventType.SUBJECT_ERASED, Resource("subject", subject), REPEATED)
    assert ledger.verify().verdict is Verdict.INCOMPLETE
    say(ledger, EventType.SUBJECT_ERASED, Resource("subject", subject))
    assert ledger.verify().is_sound


@pytest.mark.parametrize("is_lifted", [False, True])
def test_records_are_not_pruned_under_a_hold(
    ledger: Ledger, master_key: MasterKey, event: MakeEvent, is_lifted: bool
) -> None:
    """Any hold forbids it, because a segment holds everybody's records."""
    with ledger.database.write() as session:
        for _ in range(300):
            ledger.record_in(session, event())
    hold_id, subject = hold(ledger, master_key, "user:bob")
    if is_lifted:
        say(ledger, EventType.HOLD_LIFTED, hold_resource(hold_id, subject))
    say(ledger, EventType.AUDIT_PRUNED, Resource("record", "log"), "256")
    with ledger.database.write() as session:
        _remove_before(session, 256)
    assert ledger.verify().verdict is (Verdict.SOUND if is_lifted else Verdict.TAMPERED)


def test_a_removal_that_waits_under_a_hold_that_waits_explains_nothing(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """What waits is taken in the order in which it will be sealed."""
    asked = event(EventType.SEARCH_PERFORMED)
    ledger.record(asked, QUESTION)
    ledger.sealer.seal_all()
    pruning = pruned_contents(RetentionClass("searches"), now_ms() + 60_000)
    for kind, res in (
        (EventType.HOLD_PLACED, hold_resource("h", asked.actor.sub)),
        (EventType.CONTENT_PRUNED, pruning),
    ):
        ledger.record(Event(kind, Stage.SINGLE, "c", SYSTEM, res=res))
    with database.write() as session:
        session.execute(delete(AuditContent))
    assert (count(database, AuditInbox), ledger.verify().verdict) == (2, Verdict.INCOMPLETE)
    ledger.sealer.seal_all()
    assert ledger.verify().verdict is Verdict.INCOMPLETE


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_cosignature_beyond_the_end_says_that_it_was_cut_off(
    ledger: Ledger, database: Database, event: MakeEvent, beyond: int
) -> None:
    """A witness saw more records than there are."""
    ledger.record(event())
    ledger.sealer.seal_all()
    with database.write() as session:
        row = {"size": 1 + beyond, "witness": "w", "line": "-", "created_at": 1}
        session.execute(insert(AuditCosignature).values(row))
    report = ledger.verify()
    assert report.verdict is (Verdict.INCOMPLETE if beyond else Verdict.SOUND)
    assert report.first_bad == (1 if beyond else None)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_forwarding_mark_beyond_the_end_says_that_it_was_cut_off(
    ledger: Ledger, database: Database, event: MakeEvent, beyond: int
) -> None:
    """A receiver was sent more records than there are; other marks are no such sign."""
    ledger.record(event())
    ledger.sealer.seal_all()
    with database.write() as session:
        session.merge(AuditMark(name="forward:syslog", index=1 + beyond))
        session.merge(AuditMark(name="pulse:one", index=now_ms()))
    assert ledger.verify().verdict is (Verdict.INCOMPLETE if beyond else Verdict.SOUND)
