"""The check finds every change, says where, and needs nothing but leaves, a checkpoint and a key."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from infra.audit.checkpoint import Checkpoint, Signer, sign_checkpoint
from infra.audit.event_types import Stage
from infra.audit.leaf import SYSTEM, Event, Leaf, canonical
from infra.audit.ledger import Ledger
from infra.audit.merkle import EMPTY_ROOT, leaf_hash, root
from infra.audit.records import InboxSeal
from infra.audit.verify import Report, Verdict, verify_log
from infra.database import Database
from infra.database.tables import (
    AuditCheckpoint,
    AuditContent,
    AuditInbox,
    AuditLeaf,
    AuditLookup,
    AuditNode,
    AuditPassage,
    Base,
)
from infra.keys import MasterKey

MakeEvent = Callable[..., Event]
Tamper = Callable[[Session, random.Random], int]
Rows = dict[type[Base], list[dict[str, Any]]]
SIGNER = Signer("log.example/test", b"\x01" * 32)
KEY = str(SIGNER.verifier_key)
SIZE = 23


def make_leaf(number: int) -> bytes:
    return canonical(
        Leaf(
            id=f"01936d2e-7c00-7000-8000-{number:012x}",
            type="search.performed",
            stage=Stage.SINGLE,
            corr=f"request-{number}",
            time=1_795_000_000_000 + number,
            src="one",
            actor=SYSTEM,
        )
    )


LEAVES = [make_leaf(number) for number in range(SIZE)]


def head(leaves: list[bytes], signer: Signer = SIGNER) -> str:
    name = signer.verifier_key.name
    return sign_checkpoint(Checkpoint(name, len(leaves), root(map(leaf_hash, leaves))), signer)


# --- a copy of the log ----------------------------------------------------------------------------


def test_a_sound_copy_is_sound() -> None:
    """The leaves that were signed are sound, with every earlier checkpoint agreeing."""
    earlier = [head(LEAVES[:size]) for size in range(SIZE + 1)]
    report = verify_log(iter(LEAVES), head(LEAVES), KEY, earlier_notes=earlier)
    assert report.verdict is Verdict.SOUND
    assert (report.size, report.checked, report.checkpoints) == (SIZE, SIZE, SIZE + 1)
    assert report.root == root(map(leaf_hash, LEAVES))


def test_an_empty_log_is_sound() -> None:
    """The log before its first record has a checkpoint too."""
    assert verify_log([], head([]), KEY).is_sound


def test_the_exit_codes_are_fixed() -> None:
    """Scripts rely on the numbers."""
    assert [verdict.value for verdict in Verdict] == [0, 1, 2, 3, 4]


def changed(chance: random.Random) -> tuple[str, list[bytes]]:
    """Return one way of tampering with LEAVES, and its result."""
    leaves = list(LEAVES)
    first, second = chance.sample(range(SIZE), 2)
    way = chance.choice(["edit", "flip", "delete", "swap", "cut", "insert", "append", "replace"])
    if way == "edit":
        leaves[first] = make_leaf(first + 1000)
    elif way == "flip":
        data = bytearray(leaves[first])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        leaves[first] = bytes(data)
    elif way == "delete":
        del leaves[first]
    elif way == "swap":
        leaves[first], leaves[second] = leaves[second], leaves[first]
    elif way == "cut":
        del leaves[first:]
    elif way == "insert":
        leaves.insert(first, make_leaf(first + 1000))
    elif way == "append":
        leaves.append(make_leaf(SIZE))
    else:
        leaves[first] = leaves[second]
    return way, leaves


@pytest.mark.parametrize("seed", range(200))
def test_every_change_to_a_copy_is_found(seed: int) -> None:
    """Edits, flipped bits, deletions, swaps, cuts and insertions: none passes, and losses are named so."""
    way, leaves = changed(random.Random(seed))
    report = verify_log(leaves, head(LEAVES), KEY)
    expected = Verdict.INCOMPLETE if way in ("delete", "cut") else Verdict.TAMPERED
    assert report.verdict is expected
    assert report.sentence


def test_a_rewritten_history_does_not_agree_with_an_earlier_checkpoint() -> None:
    """Even the owner of the key cannot change what was signed before and kept."""
    rewritten = [make_leaf(1000), *LEAVES[1:]]
    report = verify_log(rewritten, head(rewritten), KEY, earlier_notes=[head(LEAVES[:5])])
    assert report.verdict is Verdict.TAMPERED
    assert "records 0 to 4" in report.sentence


def test_a_rolled_back_log_is_shorter_than_a_kept_checkpoint() -> None:
    """A genuine old state, presented as the newest, lacks what a kept checkpoint speaks for."""
    report = verify_log(LEAVES[:9], head(LEAVES[:9]), KEY, earlier_notes=[head(LEAVES)])
    assert report.verdict is Verdict.INCOMPLETE


def test_another_key_is_untrusted() -> None:
    """A log signed by somebody else proves nothing, whatever its name."""
    impostor = Signer("log.example/test", b"\x02" * 32)
    assert verify_log(LEAVES, head(LEAVES, impostor), KEY).verdict is Verdict.UNTRUSTED_KEY


def test_a_changed_checkpoint_is_tampered() -> None:
    """A signature that does not fit its text is not merely unknown."""
    note = head(LEAVES).replace(f"\n{SIZE}\n", f"\n{SIZE - 1}\n")
    assert verify_log(LEAVES[:-1], note, KEY).verdict is Verdict.TAMPERED


@pytest.mark.parametrize(("note", "key"), [("nonsense", KEY), (head(LEAVES), "nonsense"), ("", "")])
def test_nonsense_is_unreadable(note: str, key: str) -> None:
    """A checkpoint or key in no known format is said to be just that."""
    assert verify_log(LEAVES, note, key).verdict is Verdict.UNREADABLE


def test_a_record_of_a_later_version_is_unreadable_and_not_tampered() -> None:
    """A genuine leaf that this program cannot read is told apart from a changed one."""
    newer = [*LEAVES[:3], b'{"v":2}', *LEAVES[3:]]
    report = verify_log(newer, head(newer), KEY)
    assert (report.verdict, report.first_bad) == (Verdict.UNREADABLE, 3)


def test_memory_does_not_grow_with_the_log() -> None:
    """A log many times larger than the memory that checking it takes is checked while it is read."""
    count = 2000
    note = sign_checkpoint(
        Checkpoint(SIGNER.verifier_key.name, count, root(leaf_hash(make_leaf(n)) for n in range(count))),
        SIGNER,
    )
    verify_log(LEAVES, head(LEAVES), KEY)
    tracemalloc.start()
    report = verify_log((make_leaf(number) for number in range(count)), note, KEY)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.is_sound
    assert peak < count * len(LEAVES[0]) / 4


def test_the_verifier_runs_without_the_server() -> None:
    """Importing it loads no database, no settings and no web framework."""
    code = (
        "import sys, infra.audit.verify; "
        "print([name for name in ('sqlalchemy', 'pydantic_settings', 'fastapi', 'infra.settings', "
        "'infra.database') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert done.stdout.strip() == "[]"


# --- the log in the database ----------------------------------------------------------------------


@pytest.fixture
def filled(ledger: Ledger, event: MakeEvent) -> Ledger:
    """A ledger with SIZE records, every third with content, sealed in three steps."""
    for number in range(SIZE):
        ledger.record(event(corr=f"request-{number}"), b"content" if number % 3 == 0 else None)
        if number in (6, 15):
            ledger.sealer.seal()
    ledger.sealer.seal()
    return ledger


def test_the_stored_log_is_sound(filled: Ledger, event: MakeEvent) -> None:
    """Leaves, nodes, checkpoints and contents agree; what is not sealed yet is counted."""
    filled.record(event())
    report = filled.verify()
    assert report == Report(
        verdict=Verdict.SOUND,
        sentence=f"All {SIZE} records are as they were signed.",
        first_bad=None,
        size=SIZE,
        checked=SIZE,
        checkpoints=2,
        root=report.root,
        contents_matched=8,
        unsealed=1,
    )


def test_a_ledger_without_records_is_sound(ledger: Ledger) -> None:
    """Nothing recorded, nothing wrong."""
    report = ledger.verify()
    assert (report.verdict, report.size, report.root) == (Verdict.SOUND, 0, EMPTY_ROOT)


def _edit(session: Session, chance: random.Random) -> int:
    index = chance.randrange(SIZE)
    row = session.get_one(AuditLeaf, index)
    row.leaf = row.leaf.replace(b'"epoch":3', b'"epoch":4')
    return index


def _edit_with_its_hash(session: Session, chance: random.Random) -> int:
    index = _edit(session, chance)
    edited = leaf_hash(session.get_one(AuditLeaf, index).leaf)
    session.get_one(AuditNode, (0, index)).hash = edited
    return index


def _flip(session: Session, chance: random.Random) -> int:
    index = chance.randrange(SIZE)
    row = session.get_one(AuditLeaf, index)
    data = bytearray(row.leaf)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    row.leaf = bytes(data)
    return index


def _remove(session: Session, chance: random.Random) -> int:
    index = chance.randrange(SIZE)
    session.execute(delete(AuditLeaf).where(AuditLeaf.index == index))
    return index


def _swap(session: Session, chance: random.Random) -> int:
    first, second = sorted(chance.sample(range(SIZE), 2))
    rows = [session.get_one(AuditLeaf, index) for index in (first, second)]
    values = [(row.id, row.corr, row.leaf) for row in rows]
    for row in rows:
        session.delete(row)
    session.flush()
    for index, (id_, corr, leaf) in zip((first, second), reversed(values), strict=True):
        session.add(AuditLeaf(index=index, id=id_, corr=corr, leaf=leaf))
    return first


def _renumber(session: Session, chance: random.Random) -> int:
    index = chance.randrange(SIZE)
    session.execute(delete(AuditLeaf).where(AuditLeaf.index == index))
    for later in range(index + 1, SIZE):
        session.execute(update(AuditLeaf).where(AuditLeaf.index == later).values(index=later - 1))
    return index


def _cut(session: Session, chance: random.Random) -> int:
    index = chance.randrange(SIZE)
    session.execute(delete(AuditLeaf).where(AuditLeaf.index >= index))
    return index


def _append(session: Session, _chance: random.Random) -> int:
    data = make_leaf(999)
    session.execute(insert(AuditLeaf).values(index=SIZE, id="x", corr="x", leaf=data))
    return SIZE


def _misfile(session: Session, chance: random.Random) -> int:
    index = chance.randrange(SIZE)
    session.get_one(AuditLeaf, index).corr = "request-hidden"
    return index


def _change_content(session: Session, chance: random.Random) -> int:
    index = chance.choice(range(0, SIZE, 3))
    event_id = session.get_one(AuditLeaf, index).id
    row = session.get_one(AuditContent, event_id)
    row.sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
    return index


def _lose_content(session: Session, chance: random.Random) -> int:
    index = chance.choice(range(0, SIZE, 3))
    session.delete(session.get_one(AuditContent, session.get_one(AuditLeaf, index).id))
    return index


WAYS = [
    _edit, _edit_with_its_hash, _flip, _remove, _swap, _renumber, _cut, _append, _misfile,
    _change_content, _lose_content,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_change_to_the_stored_log_is_found(filled: Ledger, database: Database, way: Tamper) -> None:
    """Twenty seeded places for each way of tampering: none passes, and the place is named."""
    with database.read() as session:
        before = _snapshot(session)
    for seed in range(20):
        with database.write() as session:
            index = way(session, random.Random(seed))
        report = filled.verify()
        assert not report.is_sound, (way, seed)
        # A hash changed along with its record shows in the subtree or checkpoint above it.
        slack = 7 if way is _edit_with_its_hash else 0
        assert report.first_bad is not None
        assert index - slack <= report.first_bad <= index
        with database.write() as session:
            _restore(session, before)
    assert filled.verify().is_sound


TABLES: tuple[type[Base], ...] = (AuditLeaf, AuditNode, AuditContent, AuditCheckpoint)


def _snapshot(session: Session) -> Rows:
    return {
        table: [dict(row) for row in session.execute(select(table.__table__)).mappings()] for table in TABLES
    }


def _restore(session: Session, rows: Rows) -> None:
    for table, kept in rows.items():
        session.execute(delete(table))
        session.execute(insert(table), kept)


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE audit_nodes SET hash = zeroblob(32) WHERE level = 0 AND "index" = 4',
        "UPDATE audit_nodes SET hash = zeroblob(32) WHERE level = 3",
        "DELETE FROM audit_nodes WHERE level = 2",
        "INSERT INTO audit_nodes VALUES (7, 0, zeroblob(32))",
        "DELETE FROM audit_checkpoints",
        "DELETE FROM audit_checkpoints WHERE size = 23",
        "UPDATE audit_checkpoints SET note = replace(note, '7', '8') WHERE size = 7",
        "UPDATE audit_checkpoints SET size = 8 WHERE size = 7",
        "UPDATE audit_checkpoints SET note = 'x' WHERE size = 23",
    ],
)
def test_changed_nodes_and_checkpoints_are_found(filled: Ledger, database: Database, statement: str) -> None:
    """Not only the leaves: what proofs and heads are made of is checked as well."""
    with database.write() as session:
        session.execute(text(statement))
    assert not filled.verify().is_sound


def test_a_consistent_roll_back_is_found_with_a_kept_checkpoint(filled: Ledger, database: Database) -> None:
    """Leaves, nodes and checkpoints cut back together look genuine, unless somebody kept a checkpoint."""
    kept = filled.proofs.checkpoint()
    with database.write() as session:
        session.execute(delete(AuditLeaf).where(AuditLeaf.index >= 16))
        session.execute(delete(AuditLookup).where(AuditLookup.index >= 16))
        session.execute(delete(AuditPassage).where(AuditPassage.index >= 16))
        session.execute(delete(AuditCheckpoint).where(AuditCheckpoint.size > 16))
        for node in session.scalars(select(AuditNode)):
            if (node.index + 1) << node.level > 16:
                session.delete(node)
    assert filled.verify().is_sound
    assert filled.verify(kept_note=kept).verdict is Verdict.INCOMPLETE
    with database.write() as session:
        session.execute(delete(AuditCheckpoint))
    assert filled.verify(kept_note=kept).verdict is Verdict.INCOMPLETE


def test_a_kept_checkpoint_of_the_same_log_agrees(filled: Ledger, event: MakeEvent) -> None:
    """What an auditor kept is an earlier state of today's log."""
    kept = filled.proofs.checkpoint()
    filled.record(event())
    filled.sealer.seal()
    assert filled.verify(kept_note=kept).is_sound


def test_an_unreadable_inbox_row_is_sealed_and_pointed_at(
    ledger: Ledger, database: Database, event: MakeEvent, master_key: MasterKey
) -> None:
    """What a newer server wrote does not stop the log; the check names the record."""
    for _ in range(3):
        ledger.record(event())
    with database.write() as session:
        newest = session.scalars(select(AuditInbox).order_by(AuditInbox.id.desc())).first()
        assert newest is not None
        newest.leaf, newest.mac = b"newer", InboxSeal(master_key).mac(newest.id, b"newer")
    ledger.sealer.seal()
    report = ledger.verify()
    assert (report.verdict, report.first_bad) == (Verdict.UNREADABLE, 2)
