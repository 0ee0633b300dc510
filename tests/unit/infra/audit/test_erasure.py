"""Erasing a person: what goes from every store, what stays, and what the certificate proves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from infra import accounts
from infra.access import EVERYONE, Principal, Role, scope_of
from infra.audit import content as contents
from infra.audit.content import ContentErased
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.removal.erasure import (
    ErasureWish,
    begin_erasure,
    erase,
    erasure_of_subject,
    finish_erasure,
    finish_unfinished,
    list_erasures,
)
from infra.audit.removal.holds import LegalHoldStands, lift_hold, place_hold
from infra.audit.verify import Verdict
from infra.conversations import KeptTurn, add_turns, create_conversation, share_conversation
from infra.database import Database
from infra.database.search_files import count_in
from infra.database.tables import (
    AccessEpoch,
    AuditContent,
    AuditSubject,
    Conversation,
    ConversationShare,
    Erasure,
    Feedback,
    Group,
    LegalHold,
    SubjectKey,
    User,
    WebSession,
)
from infra.database.traces import database_files, empty_write_ahead_log, occurrences
from infra.errors import AuditUnavailable, InvalidInput, NotFound, NotPermitted
from infra.keys import MasterKey

MakeEvent = Callable[..., Event]
QUESTION = b"How many days of notice does the contract ask for?"
ADMIN = Principal(user_id="admin", kind="user", roles=frozenset({Role.ADMIN}), auth_method="session")
ALICE_WISH = ErasureWish(user_id="alice")


@pytest.fixture(autouse=True)
def people(database: Database) -> None:
    """Give alice, bob and an administrator accounts."""
    with database.write() as session:
        session.execute(insert(AccessEpoch).values(id=1, epoch=0))
        session.add(Group(id=EVERYONE, name="Everyone", created_at=1))
        for name, role in (("alice", "employee"), ("bob", "employee"), ("admin", "admin")):
            email = f"{name}@example.org"
            session.add(User(id=name, kind="user", name=name, email=email, roles=[role], created_at=1))


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def keep_conversation(database: Database, master_key: MasterKey, owner: Principal, shared_with: str) -> None:
    """Keep a conversation with two turns, shared with somebody."""
    with database.write() as session:
        made = create_conversation(session, master_key, owner=owner.principal_id, title="")
        turns = [KeptTurn("user", "Who may see this?"), KeptTurn("user", "And this?")]
        add_turns(session, scope_of(owner), made.id, owner.principal_id, master_key, turns)
        share_conversation(session, made, shared_with)


# --- what goes, what stays ------------------------------------------------------------------------


def test_erasure_takes_the_content_and_leaves_the_chain(
    ledger: Ledger, database: Database, event: MakeEvent, bob: Principal
) -> None:
    """Alice's words and key are gone, bob's stay, and the log verifies before and after it is sealed."""
    mine = ledger.record(event(), QUESTION)
    theirs = ledger.record(event(actor=ledger.identify(bob)), b"bob asks")
    ledger.sealer.seal_all()
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    with pytest.raises(ContentErased):
        ledger.reader.read_content(mine.id)
    assert ledger.reader.read_content(theirs.id) == b"bob asks"
    for _ in range(2):
        report = ledger.verify()
        assert (report.verdict, report.contents_erased, report.contents_matched) == (Verdict.SOUND, 1, 1)
        ledger.sealer.seal_all()


def test_the_record_names_the_former_subject_and_nobody(
    ledger: Ledger, event: MakeEvent, alice: Principal
) -> None:
    """`subject.erased` is about the old subject id; neither account nor reason can be read from it."""
    former = ledger.identify(alice)
    made = erase(ledger, replace(ALICE_WISH, reason="alice has left"), by=ADMIN, corr="r")
    found = ledger.reader.event(made["event"])
    assert found.leaf is not None
    assert found.leaf.res is not None
    assert (found.leaf.type, found.leaf.res.id) == ("subject.erased", former.sub)
    assert found.leaf.actor.sub == ledger.identify(ADMIN).sub
    assert b"alice" not in found.raw
    assert json.loads(ledger.reader.read_content(made["event"])) == {"reason": "alice has left"}
    assert "alice" not in json.dumps(made)


def test_who_is_still_here_gets_a_new_subject(ledger: Ledger, alice: Principal) -> None:
    """Nothing links what somebody does after their erasure with what they did before."""
    former = ledger.identify(alice)
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert ledger.identify(alice).sub != former.sub


def test_the_certificate_counts_each_store(
    ledger: Ledger,
    database: Database,
    master_key: MasterKey,
    event: MakeEvent,
    alice: Principal,
    bob: Principal,
) -> None:
    """Contents, conversations with turns and shares, feedback: counted, gone, and bob's are left alone."""
    for _ in range(3):
        ledger.record(event(), QUESTION)
    keep_conversation(database, master_key, alice, bob.principal_id)
    keep_conversation(database, master_key, bob, alice.principal_id)
    keep_conversation(database, master_key, bob, EVERYONE)
    with database.write() as session:
        for who in (alice, bob):
            session.add(Feedback(answer_id="a", principal=who.principal_id, verdict="good", created_at=1))
    made = erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert made["removed"] == {
        "subject_mapping": 1,
        "subject_keys": 1,
        "recorded_contents": 3,
        "conversations": 1,
        "conversation_turns": 2,
        "conversation_shares": 2,
        "feedback": 1,
        "content_permissions": 0,
        "lifted_holds": 0,
        "account_rows": 0,
    }
    assert set(made["search"]["found"].values()) == {0}
    left = [count(database, table) for table in (Conversation, ConversationShare, Feedback, AuditContent)]
    assert left == [2, 1, 1, 0]


def test_searching_finds_what_was_not_removed(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """The proof can fail: a key that came back after the first step shows in the certificate."""
    ledger.record(event(), QUESTION)
    begun = begin_erasure(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert begun.destroyed is not None
    with database.write() as session:
        subject = json.loads(session.get_one(Erasure, begun.id).certificate)["subject"]
        row = SubjectKey(key_id="back", subject_id=subject, wrapped_key=begun.destroyed.wrapped)
        session.add(row)
        session.add(
            Conversation(
                id="c", owner="user:alice", wrapped_key=b"", sealed_title=b"", created_at=1, updated_at=1
            )
        )
    made = finish_erasure(database, begun.id, begun)
    assert (made["search"]["found"]["subject_keys"], made["search"]["found"]["conversations"]) == (1, 1)
    assert made["search"]["disk"]["key_found"] == 1


def test_more_contents_than_one_transaction_deletes(
    ledger: Ledger, database: Database, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sealed bytes go in small transactions, until none is left."""
    monkeypatch.setattr("infra.audit.removal.erasure.BATCH", 3)
    for _ in range(7):
        ledger.record(event(), QUESTION)
    made = erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert made["removed"]["recorded_contents"] == 7
    assert count(database, AuditContent) == 0


# --- asking for it --------------------------------------------------------------------------------


def test_a_subject_can_be_named_instead_of_an_account(
    ledger: Ledger, event: MakeEvent, alice: Principal
) -> None:
    """The record shows subject ids; the second time, the certificate of the first is the answer."""
    ledger.record(event(), QUESTION)
    wish = ErasureWish(subject_id=ledger.identify(alice).sub)
    made = erase(ledger, wish, by=ADMIN, corr="r")
    assert made["removed"]["recorded_contents"] == 1
    assert erase(ledger, wish, by=ADMIN, corr="r2") == made
    with ledger.database.read() as session:
        known = erasure_of_subject(session, wish.subject_id or "")
        assert known is not None
        assert [row.id for row in list_erasures(session)] == [known.id] == [made["id"]]


def test_erasing_an_account_again_changes_nothing(ledger: Ledger, event: MakeEvent) -> None:
    """The second certificate counts nothing and names no subject."""
    ledger.record(event(), QUESTION)
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    again = erase(ledger, ALICE_WISH, by=ADMIN, corr="r2")
    assert (again["subject"], set(again["removed"].values())) == (None, {0})
    assert ledger.verify().is_sound


@pytest.mark.parametrize("wish", [ErasureWish(user_id="nobody"), ErasureWish(subject_id="nobody")])
def test_nobody_is_not_found(ledger: Ledger, wish: ErasureWish) -> None:
    """An unknown account or subject is the same answer as one that is gone."""
    with pytest.raises(NotFound):
        erase(ledger, wish, by=ADMIN, corr="r")


@pytest.mark.parametrize("wish", [ErasureWish(), ErasureWish(user_id="alice", subject_id="alice")])
def test_a_wish_names_one(ledger: Ledger, wish: ErasureWish) -> None:
    """A user or a subject: neither none nor both, which could be two people."""
    with pytest.raises(InvalidInput):
        erase(ledger, wish, by=ADMIN, corr="r")


def test_nobody_erases_themselves(ledger: Ledger, database: Database) -> None:
    """An administrator cannot take what they did off the record."""
    ledger.identify(ADMIN)
    with pytest.raises(NotPermitted):
        erase(ledger, ErasureWish(user_id="admin"), by=ADMIN, corr="r")
    assert count(database, AuditSubject) == 1


@pytest.mark.parametrize("covered", ["user:alice", None])
def test_a_hold_forbids_erasure(
    ledger: Ledger, database: Database, event: MakeEvent, covered: str | None
) -> None:
    """While a hold covers her, nothing of alice goes; once it is lifted, everything does, its reason too."""
    mine = ledger.record(event(), QUESTION)
    with database.write() as session:
        hold = place_hold(session, covered, "litigation")
    with pytest.raises(LegalHoldStands):
        erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert ledger.reader.read_content(mine.id) == QUESTION
    assert count(database, Erasure) == 0
    with database.write() as session:
        lift_hold(session, hold.id)
    made = erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert made["removed"]["recorded_contents"] == 1
    assert count(database, LegalHold) == (0 if covered else 1)


def test_a_hold_on_somebody_else_forbids_nothing(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """Alice can be erased while bob's data is held."""
    ledger.record(event(), QUESTION)
    with database.write() as session:
        place_hold(session, "user:bob", "litigation")
    assert erase(ledger, ALICE_WISH, by=ADMIN, corr="r")["removed"]["recorded_contents"] == 1


def test_the_account_goes_too_when_asked(ledger: Ledger, database: Database) -> None:
    """Name, address and sign-ins are gone; the closed row stays, because files name it by its id."""
    with database.write() as session:
        token = accounts.open_session(session, "alice", hours=1)
    made = erase(ledger, replace(ALICE_WISH, is_account_too=True), by=ADMIN, corr="r")
    assert made["removed"]["account_rows"] == 2
    with database.read() as session:
        user = session.get_one(User, "alice")
        assert (user.name, user.email, user.password_hash) == ("erased account", None, None)
        assert user.disabled_at is not None
        assert accounts.principal_of_session(session, token) is None
    assert count(database, WebSession) == 0


def test_without_being_asked_the_account_stays(ledger: Ledger, database: Database) -> None:
    """Erasing what was recorded does not sign anybody out."""
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    with database.read() as session:
        assert session.get_one(User, "alice").email == "alice@example.org"


# --- at the same time, and after a crash ----------------------------------------------------------


def test_an_answer_under_way_is_refused_at_once(ledger: Ledger, alice: Principal, event: MakeEvent) -> None:
    """What was asked under the old subject ends with an error, not with a hang, a new key or a content."""
    under_way = event(EventType.ANSWER_SEGMENT, stage=Stage.SEGMENT, actor=ledger.identify(alice))
    ledger.record(under_way, b"the first sentence")
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    with pytest.raises(AuditUnavailable):
        ledger.record(under_way, b"the second sentence")
    assert count(ledger.database, AuditContent) == 0
    ledger.record(event(actor=ledger.identify(alice)), b"a new question")
    assert ledger.verify().is_sound


def test_many_at_once(ledger: Ledger, database: Database) -> None:
    """People who ask while they are erased leave no content without a key, and the log is sound."""
    crowd = [Principal(user_id=f"p{n}", kind="user", roles=frozenset({Role.EMPLOYEE})) for n in range(8)]
    with database.write() as session:
        for one in crowd:
            session.add(User(id=one.user_id, kind="user", name="p", roles=["employee"], created_at=1))

    def ask(one: Principal) -> None:
        for _ in range(10):
            asked = Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, "r", ledger.identify(one))
            try:
                ledger.record(asked, QUESTION)
            except AuditUnavailable:
                continue

    askers = [threading.Thread(target=ask, args=(one,)) for one in crowd]
    for asker in askers:
        asker.start()
    for one in crowd:
        erase(ledger, ErasureWish(user_id=one.user_id), by=ADMIN, corr="r")
    for asker in askers:
        asker.join(30)
        assert not asker.is_alive()
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    with database.read() as session:
        keys = set(session.scalars(select(SubjectKey.key_id)))
        assert set(session.scalars(select(AuditContent.key_id))) <= keys


def test_a_crash_after_the_first_step_leaves_nothing_readable(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """From the first commit on the key is gone; the next run removes the bytes and completes the proof."""
    mine = ledger.record(event(), QUESTION)
    begun = begin_erasure(ledger, ALICE_WISH, by=ADMIN, corr="r")
    assert count(database, AuditContent) == 1
    with pytest.raises(ContentErased):
        ledger.reader.read_content(mine.id)
    assert ledger.verify().is_sound
    assert finish_unfinished(database) == 1
    assert count(database, AuditContent) == 0
    with database.read() as session:
        certificate = json.loads(session.get_one(Erasure, begun.id).certificate)
    assert set(certificate["search"]["found"].values()) == {0}
    assert finish_unfinished(database) == 0


# --- told apart from tampering --------------------------------------------------------------------


def test_a_content_that_somebody_took_is_missing(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """A row that was deleted by hand is not explained by anything on the record."""
    taken = ledger.record(event(), QUESTION)
    ledger.sealer.seal_all()
    with database.write() as session:
        session.execute(delete(AuditContent).where(AuditContent.event_id == taken.id))
    assert ledger.verify().verdict is Verdict.INCOMPLETE


def test_a_key_that_somebody_took_is_missing(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """Destroying a key without a record is no erasure, whether the contents go as well or not."""
    ledger.record(event(), QUESTION)
    ledger.sealer.seal_all()
    with database.write() as session:
        session.execute(delete(SubjectKey))
    assert ledger.verify().verdict is Verdict.INCOMPLETE
    with database.write() as session:
        session.execute(delete(AuditContent))
    assert ledger.verify().verdict is Verdict.INCOMPLETE


def test_an_erasure_explains_its_own_subject_only(
    ledger: Ledger, database: Database, event: MakeEvent, bob: Principal
) -> None:
    """With alice erased, a content of bob's that is gone is still missing."""
    ledger.record(event(), QUESTION)
    ledger.record(event(actor=ledger.identify(bob)), QUESTION)
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    ledger.sealer.seal_all()
    assert ledger.verify().is_sound
    with database.write() as session:
        session.execute(delete(AuditContent))
    assert ledger.verify().verdict is Verdict.INCOMPLETE


# --- on the disk ----------------------------------------------------------------------------------


def test_the_key_is_nowhere_on_the_disk(ledger: Ledger, database: Database, event: MakeEvent) -> None:
    """The certificate looked through database and log for the key as it was stored; before, it was there."""
    ledger.record(event(), QUESTION)
    with database.read() as session:
        wrapped = session.scalars(select(SubjectKey.wrapped_key)).one()
    files = database_files(database)
    assert occurrences(files, wrapped)[0] > 0
    made = erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    disk = made["search"]["disk"]
    assert (disk["log_emptied"], disk["key_found"]) == (True, 0)
    assert disk["searched_bytes"] >= sum(file.stat().st_size for file in files[:1])
    assert occurrences(database_files(database), wrapped)[0] == 0


def test_a_copy_that_belongs_to_no_row_is_overwritten(ledger: Ledger, database: Database) -> None:
    """Rebuilding a page can leave copies of its rows, which no deletion reaches; they go with the account.

    Where SQLite leaves them is its own affair, so the copy is planted: a row deleted without `secure_delete`.
    """
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("INSERT INTO choices VALUES ('planted', 'alice@example.org', 1)")
        connection.exec_driver_sql("DELETE FROM choices")
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    assert empty_write_ahead_log(database)
    # One in the row, one in the index of addresses, and the copy.
    assert occurrences(database_files(database), b"alice@example.org")[0] == 3
    erase(ledger, replace(ALICE_WISH, is_account_too=True), by=ADMIN, corr="r")
    assert occurrences(database_files(database), b"alice@example.org")[0] == 0


def test_a_reader_delays_the_emptying_of_the_log(database: Database) -> None:
    """While somebody reads an older moment, the log cannot be emptied, and that is said."""
    with database.read() as session:
        session.scalars(select(User)).all()
        with database.write() as other:
            other.execute(update(User).values(name="changed"))
        assert empty_write_ahead_log(database, patience_s=0.1) is False
    assert empty_write_ahead_log(database) is True


def test_an_occurrence_across_two_windows_is_found(tmp_path: Path) -> None:
    """A needle is found wherever it lies, and counted once."""
    for start in range(20):
        file = tmp_path / f"{start}"
        file.write_bytes(b"." * start + b"needle" + b"." * 9)
        for window in (1, 4, 8, 100):
            assert count_in(file, b"needle", window) == (1, start + 15)


ANOTHER_PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE IF NOT EXISTS visits (at INTEGER)")
connection.execute("INSERT INTO visits VALUES (1)")
connection.commit()
connection.close()
"""


def test_the_search_leaves_the_locks_of_the_database_alone(
    ledger: Ledger, database: Database, event: MakeEvent
) -> None:
    """Another program that comes and goes afterwards does not take the database for abandoned and ruin it."""
    ledger.record(event(), QUESTION)
    erase(ledger, ALICE_WISH, by=ADMIN, corr="r")
    file = str(database_files(database)[0])
    for _ in range(3):
        subprocess.run([sys.executable, "-c", ANOTHER_PROGRAM, file], check=True, timeout=60)
        ledger.record(event(actor=ledger.identify(ADMIN)))
    assert Path(f"{file}-wal").exists()
    with database.read() as session:
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        assert session.scalar(text("SELECT count(*) FROM visits")) == 3


def test_a_subject_without_a_key_has_nothing_to_destroy(database: Database) -> None:
    """A mapping whose key row is gone is removed all the same."""
    with database.write() as session:
        session.add(AuditSubject(subject_id="s", principal="user:carol"))
    with database.write() as session:
        assert contents.destroy_key(session, "s") is None
    assert count(database, AuditSubject) == 0
