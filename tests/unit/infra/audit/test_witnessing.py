"""The server's side of witnesses: checkpoints shown, cosignatures kept, refusals told, absence survived."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from pydantic import ValidationError

from infra.access import Principal
from infra.audit.checkpoint import Signer, VerifierKey, read_checkpoint, verify_checkpoint
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.audit.ledger import Ledger
from infra.audit.verify import Finding, Verdict
from infra.audit.witness.address import WitnessAddress
from infra.audit.witness.cosignature import Cosigner, verify_cosignature
from infra.audit.witness.http import witness_app
from infra.audit.witness.witness import EVIDENCE_FOLDER, Witness, WitnessFolder
from infra.audit.witness.witnessed import require_cosignatures
from infra.audit.witness.witnessing import WitnessConversation, Witnessing
from infra.database import Database
from infra.database.tables import Base
from infra.errors import ConfigurationError
from infra.keys import MasterKey

ORIGIN = "log.example/test"


def open_at(file: Path) -> Ledger:
    """Open a ledger on a SQLite file; the same key each time."""
    database = Database(f"sqlite:///{file}")
    Base.metadata.create_all(database.engine)
    return Ledger(database, MasterKey(b"\x2a" * 32), origin=ORIGIN, source="one", timeout_s=5.0)


def close(ledger: Ledger) -> None:
    """Close a ledger and its database, so that the file can be copied."""
    ledger.close()
    ledger.database.close()


def grow(ledger: Ledger, records: int, *, corr: str = "request-1") -> int:
    """Write and seal records; returns the size of the log."""
    actor = ledger.identify(Principal(user_id="alice", kind="user", roles=frozenset()))
    what = Resource("answer", "a-1")
    for _ in range(records):
        ledger.record(Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, corr, actor, res=what))
    ledger.sealer.seal_all()
    return read_checkpoint(ledger.proofs.checkpoint() or "").size


@contextmanager
def serving(witness: Witness, port: int = 0) -> Iterator[str]:
    """Serve a witness in this process; yields its address."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(witness_app(witness), log_config=None, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fails after twenty seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of a few records."""
    ledger = open_at(tmp_path / "log.sqlite3")
    grow(ledger, 3)
    yield ledger
    close(ledger)


@pytest.fixture
def folder(tmp_path: Path) -> WitnessFolder:
    """A new witness."""
    return WitnessFolder.create(tmp_path / "witness", "witness.example/w1")


@pytest.fixture
def witness(folder: WitnessFolder, log: Ledger) -> Witness:
    """That witness, watching the log."""
    return Witness(folder, [VerifierKey.parse(log.verifier_key)])


@contextmanager
def talking(ledger: Ledger, folder: WitnessFolder, url: str) -> Iterator[WitnessConversation]:
    """Talk to a witness at `url`."""
    conversation = WitnessConversation(ledger, address(folder, url), ())
    try:
        yield conversation
    finally:
        conversation.close()


def address(folder: WitnessFolder, url: str) -> WitnessAddress:
    """Describe a witness as the settings do."""
    return WitnessAddress(url=url, key=str(folder.cosigner().key))


def outcomes(ledger: Ledger) -> list[str | None]:
    """Return what the record says about witnesses, oldest first."""
    ledger.sealer.seal_all()
    leaves = [event.leaf for event in ledger.reader.events(limit=1000)]
    return [leaf.outcome for leaf in leaves if leaf and leaf.type == EventType.CHECKPOINT_COSIGNED]


def test_the_newest_checkpoint_is_cosigned_and_served_with_it(log, witness, folder):
    """The cosignature is stored, and the checkpoint that the server hands out carries it."""
    with serving(witness) as url, talking(log, folder, url) as conversation:
        for _ in range(3):
            size = grow(log, 4)
            status = conversation.bring_up_to_date()
            assert (status.state, status.size) == ("reached", size)
            note = log.proofs.checkpoint() or ""
            assert abs(verify_cosignature(note, folder.cosigner().key) - time.time()) < 60
            assert verify_checkpoint(note, VerifierKey.parse(log.verifier_key)).size == size


def test_nothing_new_asks_for_nothing(log, witness, folder):
    """A checkpoint that is cosigned already is not sent again."""
    with serving(witness) as url, talking(log, folder, url) as conversation:
        conversation.bring_up_to_date()
    with talking(log, folder, url) as conversation:  # The witness is gone now.
        assert conversation.bring_up_to_date().state == "reached"


def test_a_witness_that_is_ahead_of_what_is_stored_is_caught_up_with(log, witness, folder):
    """A server that lost what it knew of the witness learns the size from it."""
    with serving(witness) as url, talking(log, folder, url) as conversation:
        conversation.bring_up_to_date()
        with log.database.write() as session:
            session.execute(Base.metadata.tables["audit_cosignatures"].delete())
        size = grow(log, 5)
        assert conversation.bring_up_to_date().size == size


def test_a_rolled_back_log_is_refused_by_the_witness(log, witness, folder, tmp_path):
    """After the database was put back to an older copy and grew differently, the witness refuses; loudly."""
    copy = tmp_path / "older.sqlite3"
    _copy_database(log, copy)
    with serving(witness) as url:
        grow(log, 6)
        with talking(log, folder, url) as conversation:
            assert conversation.bring_up_to_date().state == "reached"
        older = open_at(copy)
        with talking(older, folder, url) as conversation:
            grow(older, 1)
            shorter = conversation.bring_up_to_date()
            grow(older, 20, corr="forged")
            forged = conversation.bring_up_to_date()
        close(older)
    assert (shorter.state, shorter.reason) == (
        "refused",
        "the witness has seen more records than there are",
    )
    assert (forged.state, forged.reason) == ("refused", "the witness has seen another history")
    assert len(list((folder.path / EVIDENCE_FOLDER).iterdir())) == 1


def _copy_database(ledger: Ledger, to: Path) -> None:
    with ledger.database.engine.connect() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{to}'")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([Signer(ORIGIN, bytes(32)).verifier_key], "the witness expects another key of this log"),
        ([Signer("log.example/other", bytes(32)).verifier_key], "the witness does not watch this log"),
    ],
)
def test_a_witness_that_was_told_something_else_is_named(log, folder, keys, reason):
    """A wrong key or a wrong log at the witness is told in words that lead to the mistake."""
    with serving(Witness(folder, keys)) as url, talking(log, folder, url) as conversation:
        status = conversation.bring_up_to_date()
    assert (status.state, status.reason) == ("refused", reason)


def test_another_witness_at_the_address_is_not_believed(log, witness, folder, tmp_path):
    """A cosignature by another key than the configured one is not kept."""
    expected = WitnessFolder.create(tmp_path / "expected", "witness.example/w1")
    with serving(witness) as url, talking(log, expected, url) as conversation:
        status = conversation.bring_up_to_date()
    assert status.state == "refused"
    assert (log.proofs.checkpoint() or "").count("—") == 1


def test_a_false_cosignature_is_not_kept(log, folder, monkeypatch):
    """A line under the right name and key id that is not over this checkpoint is refused."""

    class Liar(Witness):
        def add_checkpoint(self, body: bytes) -> str:
            other = Signer(ORIGIN, bytes(32)).sign(f"{ORIGIN}\n1\n{'A' * 43}=\n")
            return folder.cosigner().cosign(other, at_s=1)

    liar = Liar(folder, [VerifierKey.parse(log.verifier_key)])
    with serving(liar) as url, talking(log, folder, url) as conversation:
        assert conversation.bring_up_to_date().reason == "signature_wrong"
    assert (log.proofs.checkpoint() or "").count("—") == 1


# --- the thread -----------------------------------------------------------------------------------


def test_losing_and_finding_a_witness_is_recorded_once_each(log, folder):
    """However often it is asked meanwhile, the record has one line for the loss and one for the return."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    at = address(folder, f"http://127.0.0.1:{port}")
    witnessing = Witnessing(log, [at], interval_s=0.02)
    witnessing.start()
    try:
        wait_for(lambda: witnessing.statuses()[0].state == "unreachable" and len(outcomes(log)) == 1)
        time.sleep(0.2)
        with serving(Witness(folder, [VerifierKey.parse(log.verifier_key)]), port):
            wait_for(lambda: len(outcomes(log)) == 2)
            wait_for(lambda: witnessing.statuses()[0].size >= 5)
    finally:
        witnessing.stop()
    assert outcomes(log) == ["unreachable: ConnectError", "reached"]


def test_writing_goes_on_while_a_witness_hangs(log, folder):
    """A witness that takes the connection and never answers delays no record."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = address(folder, f"http://127.0.0.1:{silent.getsockname()[1]}")
        witnessing = Witnessing(log, [at], interval_s=0.01, timeout_s=0.5)
        witnessing.start()
        began = time.monotonic()
        grow(log, 50)
        assert time.monotonic() - began < 3.0
    witnessing.stop()


def test_a_slow_witness_does_not_hold_up_another(log, folder, tmp_path):
    """Each witness has its own pace."""
    other = WitnessFolder.create(tmp_path / "other", "witness.example/w2")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        serving(Witness(other, [VerifierKey.parse(log.verifier_key)])) as url,
    ):
        hanging = address(folder, f"http://127.0.0.1:{silent.getsockname()[1]}")
        witnessing = Witnessing(log, [hanging, address(other, url)], interval_s=0.01, timeout_s=0.5)
        witnessing.start()
        wait_for(lambda: witnessing.statuses()[1].size >= 3)
    witnessing.stop()


@pytest.mark.parametrize("url", ["http://8.8.8.8:80", "http://witness.example.org", "ftp://127.0.0.1"])
def test_only_private_addresses_are_asked(log, folder, url):
    """A witness outside the private network stops the server at its start."""
    with pytest.raises(ConfigurationError, match="STRONGROOM_WITNESSES"):
        Witnessing(log, [address(folder, url)])


def test_two_witnesses_need_two_names(log, folder):
    """The same witness twice would look like two opinions."""
    at = address(folder, "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="twice"):
        Witnessing(log, [at, at])


def test_a_log_key_is_no_witness_key():
    """A verifier key of the wrong kind is refused with the settings."""
    log_key = str(Signer(ORIGIN, bytes(32)).verifier_key)
    with pytest.raises(ValidationError, match="not a witness's key"):
        WitnessAddress(url="http://127.0.0.1:1", key=log_key)


# --- the real command -----------------------------------------------------------------------------


@contextmanager
def command(*arguments: str) -> Iterator[str]:
    """Run `strongroom witness serve …`, away from any server's folder; yields its address."""
    program = [sys.executable, "-m", "services.cli", "witness", "serve", *arguments]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()


def test_a_rewritten_history_is_caught_by_a_real_witness(tmp_path):
    """A witness process refuses what an operator made of an older copy, also after it was restarted.

    The operator holds the master key, so the rewritten log verifies by itself; only the witness tells.
    """
    file = tmp_path / "log.sqlite3"
    log = open_at(file)
    grow(log, 5)
    copy = tmp_path / "older.sqlite3"
    _copy_database(log, copy)
    kept = WitnessFolder.create(tmp_path / "witness", "witness.example/w1")
    serve = ["--dir", str(kept.path), "--log", log.verifier_key, "--listen", "127.0.0.1:0"]
    with command(*serve) as url, talking(log, kept, url) as conversation:
        size = grow(log, 7)
        assert conversation.bring_up_to_date().size == size
    genuine = log.proofs.checkpoint() or ""
    close(log)
    shutil.copy(copy, file)
    for leftover in (Path(f"{file}-wal"), Path(f"{file}-shm")):
        leftover.unlink(missing_ok=True)

    forged = open_at(file)
    grow(forged, 30, corr="forged")
    assert forged.verify().is_sound
    with command(*serve) as url, talking(forged, kept, url) as conversation:
        assert conversation.bring_up_to_date().reason == "the witness has seen another history"
    with pytest.raises(Finding) as found:
        require_cosignatures(forged.proofs.checkpoint() or "", [str(kept.cosigner().key)])
    assert found.value.verdict is Verdict.UNTRUSTED_KEY
    assert kept.read_notes()[ORIGIN] == genuine.partition("— witness.example")[0]
    assert not forged.verify(kept_note=kept.read_notes()[ORIGIN]).is_sound
    close(forged)


def test_a_cosigner_of_that_name_alone_is_not_enough(log):
    """Two witnesses may share a name by mistake; their key ids differ, and so do their lines."""
    one, two = Cosigner("witness.example/w1", bytes(32)), Cosigner("witness.example/w1", b"\x01" * 32)
    note = log.proofs.checkpoint() or ""
    assert verify_cosignature(note + one.cosign(note, at_s=5) + two.cosign(note, at_s=7), two.key) == 7
