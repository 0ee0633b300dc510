"""Exported bundles: what they hold, that they are checked alone, and that each verdict is the right one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, text, update

from infra.audit.bundles.bundle import verify_bundle
from infra.audit.bundles.export import MOST_CHECKPOINTS, plan_export, write_bundle
from infra.audit.bundles.tiles import TileDamaged, decode_entries
from infra.audit.checkpoint import Signer, read_checkpoint
from infra.audit.forwarding.ocsf import ocsf_event
from infra.audit.leaf import parse
from infra.audit.ledger import Ledger
from infra.audit.proofs.tlog_proof import ConsistencyProof, InclusionProof
from infra.audit.records import LedgerDamaged
from infra.audit.stored_log import MINIMUM
from infra.audit.verify import Verdict
from infra.audit.witness.cosignature import Cosigner
from infra.audit.witness.witnessed import Cosigned
from infra.clock import now_ms
from infra.database.tables import (
    AuditCheckpoint,
    AuditCosignature,
    AuditLeaf,
    AuditLookup,
    AuditMark,
    AuditNode,
)
from infra.errors import Conflict, InvalidInput
from tests.made_record import WITNESS_SEED, export, fill, made_ledger

SIZE = 600
WITNESS = Cosigner("witness.example/w", WITNESS_SEED)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A record of SIZE entries that no test changes."""
    with made_ledger(tmp_path_factory.mktemp("made") / "ledger.sqlite3") as made:
        fill(made, SIZE)
        yield made


@pytest.fixture(scope="module")
def whole(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of all of it that no test changes."""
    return export(ledger, tmp_path_factory.mktemp("whole") / "bundle")


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def verdict(folder: Path, ledger: Ledger | None = None) -> Verdict:
    return verify_bundle(folder, key=ledger.verifier_key if ledger else None).verdict


# --- what is in it --------------------------------------------------------------------------------


def test_a_bundle_of_everything_is_sound(ledger: Ledger, whole: Path) -> None:
    """All records, every earlier checkpoint, and the root that the server signed."""
    report = verify_bundle(whole, key=ledger.verifier_key)
    assert (report.verdict, report.sentence) == (
        Verdict.SOUND,
        f"All {SIZE} records are as they were signed.",
    )
    assert (report.first, report.end, report.size, report.checked) == (0, SIZE, SIZE, SIZE)
    assert report.checkpoints == SIZE // 50 - 1
    assert report.root == read_checkpoint(ledger.proofs.checkpoint() or "").root


def test_without_a_key_the_sentence_says_what_that_is_worth(whole: Path) -> None:
    """The bundle's own key shows that it agrees with itself, and that is said."""
    report = verify_bundle(whole)
    assert (report.verdict, report.own_key) == (Verdict.SOUND, True)
    assert "came with the bundle" in report.sentence


def test_the_tiles_are_where_the_public_layout_has_them(whole: Path) -> None:
    """C2SP tlog-tiles: entries and hashes in 256s, the last one partial, the levels above."""
    found = {str(path.relative_to(whole)) for path in (whole / "tile").rglob("*") if path.is_file()}
    assert found == {
        *(f"tile/{kind}/{name}" for kind in ("entries", "0") for name in ("000", "001", "002.p/88")),
        "tile/1/000.p/2",
    }


def test_the_lines_are_the_records(ledger: Ledger, whole: Path) -> None:
    """`leaves.jsonl` and the entry bundles hold the stored bytes; `ocsf.jsonl` what they mean to a SIEM."""
    stored = list(ledger.reader.leaves())
    assert (whole / "leaves.jsonl").read_bytes() == b"".join(leaf + b"\n" for leaf in stored)
    assert decode_entries((whole / "tile/entries/001").read_bytes(), 256) == stored[256:512]
    events = [json.loads(line) for line in (whole / "ocsf.jsonl").read_text().splitlines()]
    assert events == [
        ocsf_event(parse(leaf), index=index, log_name=ledger.origin) for index, leaf in enumerate(stored)
    ]


def test_the_proofs_verify_by_themselves(ledger: Ledger, whole: Path) -> None:
    """First and last record, and each checkpoint from the one before it."""
    key, stored = ledger.signer.verifier_key, list(ledger.reader.leaves())
    for path in (whole / "proofs").glob("*.tlog-proof"):
        proof = InclusionProof.parse(path.read_text())
        proof.verify(stored[proof.index], key)
    sizes = [*range(50, SIZE, 50), SIZE]
    for first, second in pairwise(sizes):
        text = (whole / f"proofs/{first:016}-{second:016}.consistency").read_text()
        older = read_checkpoint((whole / f"checkpoints/{first:016}").read_text())
        assert ConsistencyProof.parse(text).verify(older, key).size == second


@pytest.mark.parametrize(
    ("start", "stop", "first", "end"),
    [("0", "0", 0, 256), ("300", "310", 256, 512), ("255", "256", 0, 512), ("599", None, 512, 600)],
)
def test_a_part_is_checked_alone(
    ledger: Ledger, tmp_path: Path, start: str, stop: str | None, first: int, end: int
) -> None:
    """Whole entry bundles around what was asked for, with the hashes that lead to the root."""
    report = verify_bundle(export(ledger, tmp_path / "part", start, stop), key=ledger.verifier_key)
    assert (report.verdict, report.first, report.end) == (Verdict.SOUND, first, end)
    assert report.sentence == f"The records {first} to {end - 1} of {SIZE} are as they were signed."
    assert report.checked == end - first


def test_days_and_moments_choose_by_the_servers_clock(tmp_path: Path) -> None:
    """A day counts to its end; a moment is the record of that time and those around it."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, SIZE)
        with ledger.database.write() as session:
            for index, day in ((0, "2026-03-01"), (256, "2026-03-02"), (512, "2026-03-03")):
                session.execute(
                    update(AuditLookup)
                    .where(AuditLookup.index >= index)
                    .values(time=_ms(f"{day}T12:00:00+00:00"))
                )
        with ledger.database.read() as session:
            assert plan_export(session, "2026-03-02", "2026-03-02").cut.first == 256
            assert plan_export(session, "2026-03-02", "2026-03-02").cut.end == 512
            assert plan_export(session, "2026-03-02T12:00:01Z", None).cut.first == 512
            assert plan_export(session, None, "2026-03-02T13:00:00+02:00").cut.end == 256


def _ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "stop", "param"),
    [
        ("yesterday", None, "from"),
        (None, "2026-13-01", "to"),
        (None, "2026-02-30", "to"),
        ("2026-03-01T12:00", None, "from"),
        ("-1", None, "from"),
        ("1e3", None, "from"),
        ("20260301T120000Z", None, "from"),
        ("600", None, "to"),
        ("10", "9", "to"),
        ("2999-01-01", None, "to"),
        (None, "1999-01-01", "to"),
        ("٣", None, "from"),
    ],
)
def test_a_nonsense_range_is_refused(ledger: Ledger, start: str | None, stop: str | None, param: str) -> None:
    """Neither date nor number, the wrong way round, or before and after everything."""
    with ledger.database.read() as session, pytest.raises(InvalidInput) as refused:
        plan_export(session, start, stop)
    assert refused.value.param == param


def test_nothing_is_exported_before_the_first_record(tmp_path: Path) -> None:
    """There is no checkpoint to prove anything against."""
    with (
        made_ledger(tmp_path / "empty.sqlite3") as empty,
        empty.database.read() as session,
        pytest.raises(Conflict),
    ):
        plan_export(session)


def test_many_checkpoints_are_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle carries a bounded number of earlier checkpoints, spread over the log."""
    monkeypatch.setattr("infra.audit.bundles.export.MOST_CHECKPOINTS", 5)
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 69, seal_every=3)
        out = export(ledger, tmp_path / "out")
        kept = sorted(int(path.name) for path in (out / "checkpoints").iterdir())
        assert kept == [15, 30, 45, 60]
        assert verify_bundle(out, key=ledger.verifier_key).is_sound
    assert MOST_CHECKPOINTS == 1000


# --- where it goes --------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """Neither mixed into other files nor written over them."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(Conflict):
        export(ledger, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_an_empty_folder_is_taken(ledger: Ledger, tmp_path: Path) -> None:
    """Somebody who made the folder first is not turned away."""
    (tmp_path / "out").mkdir()
    assert verdict(export(ledger, tmp_path / "out"), ledger) is Verdict.SOUND


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    """A record that is missing from the database ends the export, and no half of a bundle stays."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 60)
        with ledger.database.write() as session:
            session.execute(delete(AuditLeaf).where(AuditLeaf.index == 30))
        with pytest.raises(LedgerDamaged):
            export(ledger, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("l.sqlite3")] == []


@pytest.mark.parametrize("value", ["text", b"x" * 70_000])
def test_a_damaged_store_is_no_traceback(tmp_path: Path, value: object) -> None:
    """SQLite keeps whatever somebody writes into it; the export says that the ledger is damaged."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 5)
        with ledger.database.write() as session:
            session.execute(text('UPDATE audit_leaves SET leaf = :value WHERE "index" = 2'), {"value": value})
        with pytest.raises((LedgerDamaged, TileDamaged)):
            export(ledger, tmp_path / "out")


def test_what_is_recorded_meanwhile_changes_nothing(tmp_path: Path) -> None:
    """The bundle is of one moment, although the server goes on while it is written."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 300)
        out = tmp_path / "out"
        with ledger.database.read() as session:
            plan = plan_export(session)
            write_bundle(session, plan, ledger.signer, out, lambda _done, _total: fill(ledger, 10))
        report = verify_bundle(out, key=ledger.verifier_key)
        assert (report.verdict, report.size) == (Verdict.SOUND, 300)


# --- whom to believe ------------------------------------------------------------------------------


def test_another_key_is_not_trusted(whole: Path) -> None:
    """The auditor's key decides, whatever key the bundle brought."""
    other = Signer("log.example/made", b"\x09" * 32).verifier_key
    assert verify_bundle(whole, key=str(other)).verdict is Verdict.UNTRUSTED_KEY


def test_a_bundle_signed_anew_is_not_trusted(ledger: Ledger, tmp_path: Path) -> None:
    """A forger with a key of their own convinces nobody who kept the log's."""
    with made_ledger(tmp_path / "l.sqlite3", seed=b"\x07" * 32) as forger:
        fill(forger, 60)
        out = export(forger, tmp_path / "out")
    assert verdict(out) is Verdict.SOUND
    assert verdict(out, ledger) is Verdict.UNTRUSTED_KEY


def test_a_kept_checkpoint_must_agree(ledger: Ledger, whole: Path) -> None:
    """An earlier state of this log agrees; a later one is missing; another log's is not signed by its key."""
    key = ledger.verifier_key
    earlier = ledger.proofs.checkpoints()[3]
    assert verify_bundle(whole, key=key, kept_note=earlier).verdict is Verdict.SOUND
    grown = ledger.signer.sign("log.example/made\n601\n" + "A" * 43 + "=\n")
    assert verify_bundle(whole, key=key, kept_note=grown).verdict is Verdict.INCOMPLETE
    forked = ledger.signer.sign("log.example/made\n200\n" + "A" * 43 + "=\n")
    assert verify_bundle(whole, key=key, kept_note=forked).verdict is Verdict.TAMPERED
    stranger = Signer("log.example/made", b"\x01" * 32).sign("log.example/made\n200\n" + "A" * 43 + "=\n")
    assert verify_bundle(whole, key=key, kept_note=stranger).verdict is Verdict.UNTRUSTED_KEY
    assert verify_bundle(whole, key=key, kept_note="nonsense").verdict is Verdict.UNREADABLE


def test_a_kept_checkpoint_outside_the_part_is_said_to_be(ledger: Ledger, tmp_path: Path) -> None:
    """A part that does not reach the kept checkpoint's records cannot be compared with it."""
    part = export(ledger, tmp_path / "part", "256", "511")
    notes = {read_checkpoint(note).size: note for note in ledger.proofs.checkpoints()}
    for size, expected in ((100, Verdict.INCOMPLETE), (300, Verdict.SOUND), (600, Verdict.SOUND)):
        report = verify_bundle(part, key=ledger.verifier_key, kept_note=notes[size])
        assert report.verdict is expected, size


def test_a_witness_must_have_cosigned(ledger: Ledger, whole: Path, tmp_path: Path) -> None:
    """With its line the bundle is sound; without it, or with another's, it is not trusted."""
    note = ledger.proofs.checkpoint() or ""
    line = WITNESS.cosign(note, at_s=1_795_000_000)
    key, ours = ledger.verifier_key, [str(WITNESS.key)]
    assert verify_bundle(whole, key=key, witness_keys=ours).verdict is Verdict.UNTRUSTED_KEY
    row = {"size": SIZE, "witness": WITNESS.key.name, "line": line, "created_at": now_ms()}
    with ledger.database.write() as session:
        session.execute(insert(AuditCosignature).values(row))
    try:
        cosigned = export(ledger, tmp_path / "cosigned")
    finally:
        with ledger.database.write() as session:
            session.execute(delete(AuditCosignature))
    assert (cosigned / "checkpoint").read_text() == note + line
    report = verify_bundle(cosigned, key=key, witness_keys=ours)
    assert report.verdict is Verdict.SOUND
    assert report.cosigned == (Cosigned(WITNESS.key.name, SIZE, 1_795_000_000),)
    other = str(Cosigner("witness.example/w", b"\x0c" * 32).key)
    assert verify_bundle(cosigned, key=key, witness_keys=[*ours, other]).verdict is Verdict.UNTRUSTED_KEY
    assert verify_bundle(cosigned, key=key, witness_keys=["x"]).verdict is Verdict.UNREADABLE


def test_a_cosigned_checkpoint_that_is_hardly_older_is_preferred(tmp_path: Path) -> None:
    """Witnesses need a moment; a bundle waits for the newest records rather than for their signature."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 100)
        line = WITNESS.cosign(ledger.proofs.checkpoints()[0], at_s=1_795_000_000)
        row = {"size": 50, "witness": WITNESS.key.name, "line": line, "created_at": now_ms()}
        with ledger.database.write() as session:
            session.execute(insert(AuditCosignature).values(row))
        with ledger.database.read() as session:
            assert plan_export(session).cut.size == 50
        with ledger.database.write() as session:
            old = AuditCheckpoint.created_at - 61_000
            session.execute(update(AuditCheckpoint).where(AuditCheckpoint.size == 50).values(created_at=old))
        with ledger.database.read() as session:
            assert plan_export(session).cut.size == 100


# --- a pruned log ---------------------------------------------------------------------------------


def test_a_pruned_log_is_exported_and_checked(tmp_path: Path) -> None:
    """Records below the minimum are gone; the hashes that stand for them are in the bundle."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, SIZE)
        prune(ledger, 512)
        out = export(ledger, tmp_path / "out")
        report = verify_bundle(out, key=ledger.verifier_key)
        assert (report.verdict, report.minimum, report.first) == (Verdict.SOUND, 512, 512)
        assert "retention" in report.sentence
        assert not (out / "tile/1").exists()
        (out / "pruned").write_text("A" * 43 + "=\n")
        assert verdict(out, ledger) is Verdict.TAMPERED


@pytest.mark.parametrize(("size", "expected"), [(128, Verdict.INCOMPLETE), (256, Verdict.SOUND)])
def test_a_kept_checkpoint_at_the_cut_is_compared(tmp_path: Path, size: int, expected: Verdict) -> None:
    """One of exactly what was pruned agrees with what stands for it; others find nothing."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 300, seal_every=128)
        kept = next(note for note in ledger.proofs.checkpoints() if read_checkpoint(note).size == size)
        prune(ledger, 256)
        out = export(ledger, tmp_path / "out")
        assert verify_bundle(out, key=ledger.verifier_key, kept_note=kept).verdict is expected


def prune(ledger: Ledger, minimum: int) -> None:
    """Remove what pruning removes: records below `minimum` and all but the largest subtrees of them."""
    kept = {(level, (minimum >> level) - 1) for level in range(20) if minimum >> level & 1}
    with ledger.database.write() as session:
        session.execute(delete(AuditLeaf).where(AuditLeaf.index < minimum))
        for level in range(20):
            gone = delete(AuditNode).where(AuditNode.level == level, AuditNode.index < minimum >> level)
            keep = [index for at, index in kept if at == level]
            session.execute(gone.where(AuditNode.index.not_in(keep)))
        session.execute(insert(AuditMark).values(name=MINIMUM, index=minimum))


# --- damage ---------------------------------------------------------------------------------------

Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda b: (b / "tile/entries/001").unlink(), Verdict.INCOMPLETE),
        (lambda b: (b / "tile/0/000").unlink(), Verdict.INCOMPLETE),
        (lambda b: (b / "tile/1/000.p/2").unlink(), Verdict.INCOMPLETE),
        (lambda b: (b / "leaves.jsonl").unlink(), Verdict.INCOMPLETE),
        (lambda b: (b / "manifest.json").unlink(), Verdict.INCOMPLETE),
        (lambda b: (b / "checkpoint").unlink(), Verdict.INCOMPLETE),
        (lambda b: (b / "key.vkey").unlink(), Verdict.INCOMPLETE),
        (lambda b: shutil.rmtree(b / "proofs"), Verdict.INCOMPLETE),
        (lambda b: (b / "extra").write_text("x"), Verdict.TAMPERED),
        (lambda b: (b / "tile/0/003").write_bytes(bytes(8192)), Verdict.TAMPERED),
        (lambda b: (b / "tile/0/000").write_bytes(bytes(8192)), Verdict.TAMPERED),
        (lambda b: (b / "tile/0/000").write_bytes(bytes(8191)), Verdict.TAMPERED),
        (lambda b: (b / "tile/entries/000").write_bytes(b""), Verdict.TAMPERED),
        (lambda b: (b / "tile/entries/000").write_bytes(bytes(20_000_000)), Verdict.UNREADABLE),
        (lambda b: (b / "leaves.jsonl").write_bytes(b""), Verdict.TAMPERED),
        (lambda b: (b / "ocsf.jsonl").write_bytes(b"{}\n"), Verdict.TAMPERED),
        (lambda b: (b / "checkpoint").write_text("x"), Verdict.UNREADABLE),
        (lambda b: (b / "checkpoint").write_bytes(b"\xff\xfe"), Verdict.UNREADABLE),
        (lambda b: (b / "key.vkey").write_text("x"), Verdict.UNREADABLE),
        (lambda b: (b / "manifest.json").write_text("{}"), Verdict.TAMPERED),
        (lambda b: (b / "manifest.note").write_text(""), Verdict.UNREADABLE),
        (lambda b: (b / "proofs" / f"{0:016}.tlog-proof").write_text("x"), Verdict.UNREADABLE),
        (lambda b: (b / "checkpoint").rename(b / "tile/checkpoint"), Verdict.INCOMPLETE),
        (lambda b: [(b / "ocsf.jsonl").unlink(), (b / "ocsf.jsonl").mkdir()], Verdict.INCOMPLETE),
        (lambda b: [(b / "ocsf.jsonl").unlink(), os.mkfifo(b / "ocsf.jsonl")], Verdict.UNREADABLE),
        (
            lambda b: [(b / "ocsf.jsonl").unlink(), (b / "ocsf.jsonl").symlink_to("/dev/zero")],
            Verdict.UNREADABLE,
        ),
        (shutil.rmtree, Verdict.UNREADABLE),
        (lambda b: [shutil.rmtree(b), b.write_text("x")], Verdict.UNREADABLE),
        (lambda b: [shutil.rmtree(b), b.mkdir()], Verdict.UNREADABLE),
    ],
)
def test_damage_has_its_verdict(bundle: Path, ledger: Ledger, spoil: Spoil, expected: Verdict) -> None:
    """Missing is incomplete, changed is tampered with, nonsense is unreadable; nothing is a traceback."""
    spoil(bundle)
    assert verdict(bundle, ledger) is expected
    assert verdict(bundle) is not Verdict.SOUND


def test_the_changed_record_is_named(bundle: Path, ledger: Ledger) -> None:
    """An auditor learns which record it is, not only that one is."""
    path = bundle / "tile/entries/001"
    entries = path.read_bytes()
    path.write_bytes(entries.replace(b'"c-301-1"', b'"c-301-9"'))
    report = verify_bundle(bundle, key=ledger.verifier_key)
    assert (report.verdict, report.first_bad) == (Verdict.TAMPERED, 301)


def test_a_bundle_cut_short_by_somebody_else_is_not_taken_for_a_part(bundle: Path, ledger: Ledger) -> None:
    """Without the manifest's signature, records cut off the end would leave a sound smaller bundle."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    shortened = manifest | {"end": 512, "records": 512}
    (bundle / "manifest.json").write_text(json.dumps(shortened, sort_keys=True, separators=(",", ":")) + "\n")
    shutil.rmtree(bundle / "tile/entries/002.p")
    assert verdict(bundle, ledger) is Verdict.TAMPERED


def test_a_made_up_size_is_no_endless_walk(bundle: Path, ledger: Ledger) -> None:
    """A manifest that its own key signed may state any size; the first missing tile ends the check."""
    huge = json.loads((bundle / "manifest.json").read_text()) | {"size": 2**53 - 1}
    data = json.dumps(huge, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    (bundle / "manifest.json").write_bytes(data)
    note = ledger.signer.sign(f"strongroom-bundle/1\n{hashlib.sha256(data).hexdigest()}\n")
    (bundle / "manifest.note").write_text(note)
    assert verdict(bundle, ledger) in (Verdict.INCOMPLETE, Verdict.UNREADABLE)


def test_a_bundle_is_checked_without_the_server() -> None:
    """Importing the checks loads no database, no settings and no web framework."""
    code = (
        "import sys, infra.audit.bundles.bundle, infra.audit.proofs.receipt, services.cli.audit_checks; "
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
