"""`strongroom audit export`, `verify` and `verify-receipt` on a real data folder: what they end with."""

from __future__ import annotations

import base64
import datetime
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from infra.audit.checkpoint import Checkpoint, VerifierKey, read_checkpoint, sign_checkpoint
from infra.audit.event_types import EventType
from infra.audit.ledger import Ledger
from infra.audit.proofs.receipts import AnswerRecords
from infra.audit.removal.retention import DAY_MS, prune
from infra.audit.witness.cosignature import Cosigner
from infra.audit.witness.cosignature_store import store_cosignature
from infra.clock import now_ms
from infra.database.tables import AuditLeaf
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from services.cli.audit import audit
from services.cli.terminal import plain
from tests.made_record import fill


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """The record of a data folder, with some answers."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    database, master_key = open_database(settings)
    opened = open_ledger(settings, database, master_key)
    fill(opened, 60)
    yield opened
    opened.close()
    database.close()


@pytest.fixture(scope="module")
def data_dir(ledger: Ledger) -> str:
    """The folder, as the command line names it."""
    return str(Path(ledger.database.url.removeprefix("sqlite:///")).parent)


@pytest.fixture
def bundle(data_dir: str, tmp_path: Path) -> Path:
    """A bundle that the command made."""
    out = tmp_path / "bundle"
    assert run("export", "--out", str(out), "--data-dir", data_dir).exit_code == 0
    return out


@pytest.fixture
def receipt(ledger: Ledger, tmp_path: Path) -> Path:
    """A file with a receipt."""
    with ledger.database.read() as session:
        document = AnswerRecords(session, "answer-3").receipt(ledger.verifier_key)
    (tmp_path / "receipt.json").write_text(json.dumps(document))
    return tmp_path / "receipt.json"


def run(*words: str) -> Result:
    return CliRunner().invoke(audit, list(words))


def test_an_export_verifies_with_the_key_that_it_prints(
    ledger: Ledger, data_dir: str, tmp_path: Path
) -> None:
    """The command that it suggests is the one that works."""
    out = tmp_path / "bundle"
    made = run("export", "--out", str(out), "--data-dir", data_dir, "--json")
    facts = json.loads(made.stdout)
    assert (facts["out"], facts["first"], facts["verifier_key"]) == (str(out), 0, ledger.verifier_key)
    checked = run("verify", str(out), "--key", facts["verifier_key"], "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["result"] == "sound"


def test_an_export_is_on_the_record(ledger: Ledger, bundle: Path) -> None:
    """By the server itself, since nobody is known at a command line; with the records that left."""
    ledger.sealer.seal_all()
    exported = [event.leaf for event in ledger.reader.events(limit=500, newest_first=True)]
    leaf = next(leaf for leaf in exported if leaf and leaf.type == EventType.AUDIT_EXPORTED)
    end = json.loads((bundle / "manifest.json").read_text())["end"]
    assert leaf.actor.kind == "system"
    assert leaf.res is not None
    assert leaf.res.id == f"0-{end - 1}"


@pytest.mark.parametrize(
    "words", [("--from", "x"), ("--to", "2026-99-99"), ("--from", "2", "--to", "1"), ("--from", "2999-01-01")]
)
def test_a_nonsense_range_makes_no_folder(data_dir: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Neither the folder nor a record of an export that never was."""
    out = tmp_path / "out"
    assert run("export", "--out", str(out), "--data-dir", data_dir, *words).exit_code != 0
    assert not out.exists()


def test_an_export_needs_a_record(tmp_path: Path) -> None:
    """A mistyped data folder is not created."""
    missing = tmp_path / "missing"
    assert run("export", "--out", str(tmp_path / "out"), "--data-dir", str(missing)).exit_code != 0
    assert not missing.exists()


def test_the_sentence_without_a_key_is_plain(bundle: Path) -> None:
    """Somebody who reads one line learns what it is worth."""
    checked = run("verify", str(bundle))
    assert checked.exit_code == 0
    assert "came with the bundle" in checked.stdout


def test_keys_and_checkpoints_come_from_files(ledger: Ledger, bundle: Path, tmp_path: Path) -> None:
    """What was kept lies in files; a word with a `+` is the key itself."""
    (tmp_path / "key").write_text(f"{ledger.verifier_key}\n")
    (tmp_path / "kept").write_text(ledger.proofs.checkpoints()[0])
    words = ("verify", str(bundle), "--key", str(tmp_path / "key"), "--kept", str(tmp_path / "kept"))
    assert run(*words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--key", "other+00000000+AAAA"), 4),
        (("--key", "/nonexistent"), 4),
        (("--key", "/"), 4),
        (("--kept", "/nonexistent"), 4),
        (("--witness-key", "x+y+z"), 4),
        (("--witness-key", "witness.example/w+5d6dbf0e+AAAA"), 4),
        (("--witness-key", "w" * 255 + "+5d6dbf0e+AAAA"), 4),
        (("--key", "k" * 5000 + "+5d6dbf0e+AAAA"), 4),
        (("--key", "\udcffx+5d6dbf0e+AAAA"), 4),
        (("--kept", "/nonexistent/\udcff"), 4),
    ],
)
def test_what_cannot_be_read_ends_with_4(bundle: Path, words: tuple[str, ...], code: int) -> None:
    """No traceback, and never a verdict on what was not looked at."""
    checked = run("verify", str(bundle), *words)
    assert checked.exit_code == code
    assert checked.exception is None or isinstance(checked.exception, SystemExit)
    # Each of them is foreseen, and told in words of its own.
    assert "unexpected" not in checked.output


def test_each_verdict_is_an_exit_code(bundle: Path) -> None:
    """Tampered with is 1, missing is 2, another key is 3, nothing to look at is 4."""
    foreign = "strongroom/ledger+3b2e4d1c+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    assert run("verify", str(bundle), "--key", _with_right_id(foreign)).exit_code == 3
    text = (bundle / "ocsf.jsonl").read_text()
    (bundle / "ocsf.jsonl").write_text(text.replace("answer-3", "answer-4", 1))
    assert run("verify", str(bundle)).exit_code == 1
    (bundle / "ocsf.jsonl").unlink()
    assert run("verify", str(bundle)).exit_code == 2
    assert run("verify", str(bundle / "nothing")).exit_code == 4


def test_an_archive_is_checked_as_it_came(ledger: Ledger, bundle: Path, tmp_path: Path) -> None:
    """The tar that the server sends, with the verdicts of a folder; what is no archive ends with 4."""
    archive = tmp_path / "bundle.tar"
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as made:
        made.add(bundle, "strongroom-record-0-59")
    assert run("verify", str(archive), "--key", ledger.verifier_key).exit_code == 0
    whole = archive.read_bytes()
    archive.write_bytes(whole[:5000])
    assert run("verify", str(archive)).exit_code == 2
    for nonsense in (b"", b"nonsense", whole[:700] + b"nonsense" + whole[708:]):
        archive.write_bytes(nonsense)
        told = run("verify", str(archive))
        assert told.exit_code == 4
        assert "unexpected" not in told.output


def _with_right_id(text: str) -> str:
    name, _, encoded = text.split("+", 2)
    return str(VerifierKey(name, base64.b64decode(encoded)[1:]))


def test_the_data_folder_itself_is_checked_with_a_kept_key(ledger: Ledger, data_dir: str) -> None:
    """The log's own key is trusted by default; one that was kept shows whether it was replaced."""
    words = ("verify", "--data-dir", data_dir)
    assert run(*words).exit_code == 0
    assert run(*words, "--key", ledger.verifier_key).exit_code == 0
    other = _with_right_id("strongroom/ledger+00000000+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")
    assert run(*words, "--key", other).exit_code == 3


def test_a_witness_that_never_cosigned_is_missed(data_dir: str) -> None:
    """A record without the cosignature that somebody counts on is not trusted."""
    key = str(Cosigner("witness.example/w", b"\x0b" * 32).key)
    assert run("verify", "--data-dir", data_dir, "--witness-key", key).exit_code == 3


WITNESS = Cosigner("witness.example/w", b"\x0b" * 32)


@contextmanager
def made_record(folder: Path) -> Iterator[Ledger]:
    """Yield the ledger of a new data folder."""
    settings = Settings(data_dir=folder)
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    try:
        yield ledger
    finally:
        ledger.close()
        database.close()


def cosign(ledger: Ledger, at_s: int) -> int:
    """Store a cosignature of the newest checkpoint; returns its size."""
    note = ledger.proofs.checkpoint() or ""
    with ledger.database.write() as session:
        store_cosignature(
            session, read_checkpoint(note).size, WITNESS.key.name, WITNESS.cosign(note, at_s=at_s)
        )
    return read_checkpoint(note).size


def test_a_cosigned_record_says_what_is_covered(tmp_path: Path) -> None:
    """How many records, until when, and that what comes later is not."""
    with made_record(tmp_path) as ledger:
        fill(ledger, 5)
        at_s = now_ms() // 1000 - 10
        size = cosign(ledger, at_s)
    words = ("verify", "--data-dir", str(tmp_path), "--witness-key", str(WITNESS.key))
    told = run(*words)
    assert told.exit_code == 0
    when = datetime.datetime.fromtimestamp(at_s, datetime.UTC).isoformat()
    assert f"{WITNESS.key.name} cosigned {size} records at {when}" in told.stdout
    assert "later records are not covered" in told.stdout
    expected = [{"witness": WITNESS.key.name, "size": size, "at": when}]
    assert json.loads(run(*words, "--json").stdout)["cosigned"] == expected


@pytest.mark.parametrize(("minutes", "code"), [(55, 0), (70, 3), (60 * 24 * 7, 3)])
def test_a_record_that_no_witness_saw_lately_is_not_trusted(tmp_path: Path, minutes: int, code: int) -> None:
    """A database that was put back as a whole still has the cosignature of that day."""
    with made_record(tmp_path) as ledger:
        fill(ledger, 5)
        cosign(ledger, now_ms() // 1000 - 60 * minutes)
    words = ("verify", "--data-dir", str(tmp_path), "--witness-key", str(WITNESS.key), "--json")
    told = run(*words)
    assert told.exit_code == code
    answer = json.loads(told.stdout)
    assert answer["cosigned"][0]["size"] == answer["size"]
    assert ("more than an hour ago" in answer["message"]) is (code == 3)


def test_a_cosignature_of_no_calendar_is_told(tmp_path: Path) -> None:
    """A witness can sign any number of seconds."""
    with made_record(tmp_path) as ledger:
        fill(ledger, 5)
        cosign(ledger, 2**62)
    told = run("verify", "--data-dir", str(tmp_path), "--witness-key", str(WITNESS.key))
    assert told.exit_code == 0
    assert f"second {2**62}" in told.stdout


@pytest.mark.parametrize(("size", "code"), [(128, 2), (256, 0), (300, 0)])
def test_a_kept_checkpoint_of_pruned_records_is_not_passed_over(tmp_path: Path, size: int, code: int) -> None:
    """Below the cut nothing is left to compare it with; at the cut and after it is compared."""
    data = tmp_path / "data"
    data.mkdir()
    with made_record(data) as ledger:
        fill(ledger, 300, seal_every=128)
        notes = {read_checkpoint(note).size: note for note in ledger.proofs.checkpoints()}
        other = sign_checkpoint(Checkpoint(ledger.signer.verifier_key.name, size, bytes(32)), ledger.signer)
        prune(ledger, {"records": 1}, corr="p", at_ms=now_ms() + 2 * DAY_MS)
        ledger.sealer.seal_all()
    (tmp_path / "kept").write_text(notes[size])
    words = ("verify", "--data-dir", str(data), "--json")
    checked = run(*words, "--kept", str(tmp_path / "kept"))
    assert (checked.exit_code, json.loads(checked.stdout)["minimum"]) == (code, 256)
    # Another history under the same key is never sound.
    (tmp_path / "other").write_text(other)
    assert run(*words, "--kept", str(tmp_path / "other")).exit_code == (code or 1)
    assert run(*words).exit_code == 0


def test_a_damaged_data_folder_is_tampered_with(tmp_path: Path) -> None:
    """The live check and its exit code."""
    settings = Settings(data_dir=tmp_path)
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    fill(ledger, 5)
    with database.write() as session:
        session.execute(update(AuditLeaf).where(AuditLeaf.index == 2).values(leaf=b"{}"))
    ledger.close()
    database.close()
    assert run("verify", "--data-dir", str(tmp_path)).exit_code == 1


def test_a_receipt_is_checked_and_explained(ledger: Ledger, receipt: Path) -> None:
    """The verdict, and who, which passages and which model it covers."""
    checked = run("verify-receipt", str(receipt), "--key", ledger.verifier_key)
    assert checked.exit_code == 0
    for said in ("6f1c9f3e", "ab" * 32, "ef" * 32, "answered"):
        assert said in checked.stdout.replace("\n", "")


def test_a_receipt_that_is_not_sound_is_not_explained(receipt: Path) -> None:
    """What nothing vouches for is not shown as if something did."""
    receipt.write_text(receipt.read_text().replace("acl-v1", "acl-v2"))
    checked = run("verify-receipt", str(receipt), "--json")
    assert checked.exit_code == 1
    assert json.loads(checked.stdout)["covers"] is None


@pytest.mark.parametrize("text", ["", "x", "{}", "[]"])
def test_no_receipt_ends_with_4(tmp_path: Path, text: str) -> None:
    """A file that was given by mistake, and one that is not there."""
    (tmp_path / "file").write_text(text)
    assert run("verify-receipt", str(tmp_path / "file")).exit_code == 4
    assert run("verify-receipt", str(tmp_path / "missing")).exit_code == 4


def test_what_is_no_text_is_printed_escaped() -> None:
    """A file's name may be no UTF-8; standard output would refuse it."""
    assert plain("a\udcffb") == "a\\udcffb"


@pytest.mark.parametrize("name", ["answer", "verifier_key"])
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_half_a_character_has_a_verdict(receipt: Path, name: str, words: tuple[str, ...]) -> None:
    """JSON can hold what no terminal can print; the verdict is printed all the same."""
    document = json.loads(receipt.read_text())
    document[name] = "\ud800" + document[name]
    receipt.write_text(json.dumps(document))
    checked = run("verify-receipt", str(receipt), *words)
    assert checked.exit_code == (1 if name == "answer" else 4)
    assert checked.stdout


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(36, "x"), ValueError("x"), RecursionError()])
@pytest.mark.parametrize("command", ["check_bundle", "check_receipt"])
def test_whatever_goes_wrong_is_no_verdict(
    receipt: Path, monkeypatch: pytest.MonkeyPatch, command: str, error: Exception
) -> None:
    """A mistake of ours ends with 4: 1 would say that somebody tampered with the record."""

    def fail(*_of: object, **_with: object) -> int:
        raise error

    monkeypatch.setattr(f"services.cli.audit_checks.{command}", fail)
    name = "verify" if command == "check_bundle" else "verify-receipt"
    assert run(name, str(receipt)).exit_code == 4
