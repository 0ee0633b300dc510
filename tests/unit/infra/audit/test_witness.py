"""A witness cosigns what grows, and nothing else: the protocol's answers, its memory, and races."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from infra.audit.checkpoint import Checkpoint, Signer, sign_checkpoint
from infra.audit.merkle import CompactRange, consistency_proof, leaf_hash
from infra.audit.witness.cosignature import verify_cosignature
from infra.audit.witness.http import witness_app
from infra.audit.witness.witness import (
    EVIDENCE_FOLDER,
    LARGEST_REQUEST,
    MOST_EVIDENCE,
    STATE_FILE,
    Witness,
    WitnessFolder,
)
from infra.errors import ConfigurationError, Conflict

ROOT = Path(__file__).resolve().parents[4]
LOG = Signer("log.example/test", bytes(32))
OTHER_LOG = Signer("log.example/other", b"\x01" * 32)
NOW_S = 1_700_000_000


class GrownLog:
    """A log in memory; `salt` makes another history of it."""

    def __init__(self, signer: Signer = LOG, salt: str = "") -> None:
        self.signer = signer
        self.salt = salt
        self.tree = CompactRange()
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.notes: dict[int, str] = {}

    def grow(self, size: int) -> GrownLog:
        """Add leaves up to `size`, and sign each state."""
        while self.tree.size < size:
            # The first leaves are common to all histories.
            salt = self.salt if self.tree.size >= 4 else ""
            for node in self.tree.append(leaf_hash(f"{salt}{self.tree.size}".encode())):
                self.nodes[node.level, node.index] = node.hash
            checkpoint = Checkpoint(self.signer.verifier_key.name, self.tree.size, self.tree.root())
            self.notes[self.tree.size] = sign_checkpoint(checkpoint, self.signer)
        return self

    def request(self, old: int, size: int) -> str:
        """Return what a log sends to a witness."""
        proof = consistency_proof(old, size, lambda level, index: self.nodes[level, index])
        return "\n".join(
            [f"old {old}", *(b64encode(hashed).decode() for hashed in proof), "", self.notes[size]]
        )


@pytest.fixture
def folder(tmp_path: Path) -> WitnessFolder:
    """A new witness."""
    return WitnessFolder.create(tmp_path / "witness", "witness.example/w1")


@pytest.fixture
def client(folder: WitnessFolder) -> TestClient:
    """That witness's HTTP interface; it watches one log."""
    return TestClient(witness_app(Witness(folder, [LOG.verifier_key], now_s=lambda: NOW_S)))


def ask(client: TestClient, body: str | bytes) -> tuple[int, str]:
    """Send one request; returns status and body."""
    answer = client.post("/add-checkpoint", content=body if isinstance(body, bytes) else body.encode())
    return answer.status_code, answer.text


def test_it_cosigns_a_log_that_grows(client, folder):
    """The first checkpoint and each continuation get a cosignature that verifies, with the witness's time."""
    log = GrownLog().grow(20)
    for old, new in [(0, 3), (3, 3), (3, 8), (8, 13), (13, 20)]:
        status, line = ask(client, log.request(old, new))
        assert status == 200
        assert verify_cosignature(log.notes[new] + line, folder.cosigner().key) == NOW_S


def test_another_old_size_is_a_conflict_that_tells_the_right_one(client):
    """A log that does not know where the witness stands learns it."""
    log = GrownLog().grow(9)
    ask(client, log.request(0, 5))
    answer = client.post("/add-checkpoint", content=log.request(4, 9).encode())
    assert (answer.status_code, answer.text) == (409, "5\n")
    assert answer.headers["content-type"] == "text/x.tlog.size"


def test_an_unknown_log_is_not_found(client):
    """A log that the witness was not told to watch gets 404."""
    log = GrownLog(OTHER_LOG).grow(2)
    assert ask(client, log.request(0, 2))[0] == 404


def test_a_checkpoint_by_a_wrong_key_is_forbidden(client):
    """Only the key that was given for a log speaks for it."""
    impostor = GrownLog(Signer(LOG.verifier_key.name, b"\x02" * 32)).grow(2)
    assert ask(client, impostor.request(0, 2))[0] == 403


def test_signatures_of_others_are_ignored(client):
    """Further signatures on a checkpoint, by keys that nobody knows, do no harm."""
    log = GrownLog().grow(2)
    text = log.notes[2].partition("\n\n")[0] + "\n"
    log.notes[2] += OTHER_LOG.sign(text).rpartition("\n\n")[2]
    assert ask(client, log.request(0, 2))[0] == 200


def test_an_old_size_above_the_checkpoint_is_malformed(client):
    """A log does not shrink: such a request is 400."""
    log = GrownLog().grow(5)
    body = log.request(2, 2).replace("old 2", "old 5")
    assert ask(client, body)[0] == 400


def test_a_second_history_is_refused_and_kept(client, folder):
    """A log that was rolled back and grew differently gets 422, and the witness keeps what it signed."""
    ask(client, GrownLog().grow(8).request(0, 8))
    body = GrownLog(salt="forged ").grow(12).request(8, 12)
    assert ask(client, body)[0] == 422
    kept = [file.read_text() for file in (folder.path / EVIDENCE_FOLDER).iterdir()]
    assert kept == [body]


def test_another_root_of_the_same_size_is_refused_and_kept(client, folder):
    """Two different checkpoints of one size are two histories: 409, and evidence."""
    ask(client, GrownLog().grow(8).request(0, 8))
    assert ask(client, GrownLog(salt="forged ").grow(8).request(8, 8)) == (409, "8\n")
    assert len(list((folder.path / EVIDENCE_FOLDER).iterdir())) == 1


def test_a_rolled_back_log_is_refused(client):
    """A log that is shorter than what the witness saw gets the size that it saw."""
    log = GrownLog().grow(8)
    ask(client, log.request(0, 8))
    assert ask(client, log.request(5, 6)) == (409, "8\n")


def test_a_proof_where_none_belongs_is_refused(client):
    """From nothing, and between equal sizes, the proof is empty."""
    log = GrownLog().grow(3)
    line = b64encode(bytes(32)).decode()
    assert ask(client, log.request(0, 3).replace("old 0\n", f"old 0\n{line}\n"))[0] == 422
    assert ask(client, log.request(0, 3))[0] == 200
    assert ask(client, log.request(3, 3).replace("old 3\n", f"old 3\n{line}\n"))[0] == 422


def test_lines_that_anybody_can_add_are_no_second_history(client, folder, capsys):
    """A replayed checkpoint with a made-up proof is no alarm, and takes no room from a real one."""
    log = GrownLog().grow(8)
    ask(client, log.request(0, 8))
    for number in range(MOST_EVIDENCE + 5):
        line = b64encode(number.to_bytes(32, "big")).decode()
        assert ask(client, log.request(8, 8).replace("old 8\n", f"old 8\n{line}\n"))[0] == 422
    assert not (folder.path / EVIDENCE_FOLDER).exists()
    assert "two_histories" not in "".join(capsys.readouterr())
    body = GrownLog(salt="forged ").grow(12).request(8, 12)
    assert ask(client, body)[0] == 422
    assert [file.read_text() for file in (folder.path / EVIDENCE_FOLDER).iterdir()] == [body]


def test_a_checkpoint_is_kept_once_however_it_is_sent(client, folder):
    """Requests that differ in what the log did not sign are one piece of evidence."""
    ask(client, GrownLog().grow(8).request(0, 8))
    genuine = GrownLog(salt="forged ").grow(12)
    for number in range(5):
        lines = b64encode(number.to_bytes(32, "big")).decode()
        assert ask(client, f"old 8\n{lines}\n\n{genuine.notes[12]}")[0] == 422
    assert len(list((folder.path / EVIDENCE_FOLDER).iterdir())) == 1


def test_a_refused_history_changes_nothing(client):
    """After a refusal the witness goes on with the log that it knows."""
    log = GrownLog().grow(12)
    ask(client, log.request(0, 8))
    ask(client, GrownLog(salt="forged ").grow(12).request(8, 12))
    assert ask(client, log.request(8, 12))[0] == 200


def test_evidence_does_not_fill_the_disk(folder):
    """A log that lies without end leaves a bounded number of files."""
    for number in range(MOST_EVIDENCE + 5):
        folder.keep_evidence(Checkpoint("log.example/test", number, bytes(32)), b"a request")
    assert len(list((folder.path / EVIDENCE_FOLDER).iterdir())) == MOST_EVIDENCE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"old 0\n",
        b"old 0\n\n",
        b"old -1\n\nx\n1\n\n",
        b"old 00\n\n" + GrownLog().grow(1).notes[1].encode(),
        b"old 0\n\n" + GrownLog().grow(1).notes[1].encode()[:-1],
        b"old 0\nnot base64\n\n" + GrownLog().grow(1).notes[1].encode(),
        b"old 0\nAAAA\n\n" + GrownLog().grow(1).notes[1].encode(),
        b"old 0\n" + b"A" * 43 * 64 + b"=\n\n",
        (b"old 0\n" + (b64encode(bytes(32)) + b"\n") * 64 + b"\n" + GrownLog().grow(1).notes[1].encode()),
        b"x" * (LARGEST_REQUEST + 1),
    ],
)
def test_malformed_requests_are_told_so(client, body):
    """What is no request of the protocol is 400, whatever is wrong with it."""
    assert ask(client, body)[0] == 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(position=st.integers(0, 10_000), change=st.binary(max_size=3))
def test_damaged_requests_are_never_a_failure(client, position, change):
    """A request with any bytes replaced is answered with one of the protocol's refusals, or cosigned."""
    body = bytearray(GrownLog().grow(6).request(0, 6).encode())
    position %= len(body)
    body[position : position + 1] = change
    assert ask(client, bytes(body))[0] in (200, 400, 403, 404, 409, 422)


def test_other_paths_and_methods_are_not_served(client):
    """There is one address and one method."""
    assert client.get("/add-checkpoint").status_code == 405
    assert client.get("/").status_code == 404


# --- memory ---------------------------------------------------------------------------------------


def test_it_remembers_across_restarts(folder):
    """A witness that is started again still refuses another history of what it saw."""
    Witness(folder, [LOG.verifier_key]).add_checkpoint(GrownLog().grow(8).request(0, 8).encode())
    again = TestClient(witness_app(Witness(folder, [LOG.verifier_key])))
    assert ask(again, GrownLog(salt="forged ").grow(12).request(8, 12))[0] == 422
    assert ask(again, GrownLog().grow(12).request(0, 12)) == (409, "8\n")


def test_what_it_cosigned_is_on_the_disk_before_it_answers(folder, monkeypatch):
    """When the disk refuses, nothing is cosigned and nothing counts as seen."""
    watching = Witness(folder, [LOG.verifier_key])
    client = TestClient(witness_app(watching))
    log = GrownLog().grow(8)
    before = (folder.path / STATE_FILE).read_text()
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", _no_space)
        assert ask(client, log.request(0, 8))[0] == 503
    assert (folder.path / STATE_FILE).read_text() == before
    assert ask(client, log.request(0, 5))[0] == 200


def _no_space(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "text", [None, "", "[]", '{"log.example/test": 5}', '{"log.example/test": "x"}', "\x00"]
)
def test_a_witness_without_its_memory_does_not_start(folder, text):
    """A lost or damaged memory stops it: signing on could confirm a second history."""
    if text is None:
        (folder.path / STATE_FILE).unlink()
    else:
        (folder.path / STATE_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match="missing or damaged"):
        Witness(folder, [LOG.verifier_key])


def test_a_memory_of_another_key_is_not_believed(folder):
    """A remembered checkpoint that none of the given keys signed stops it."""
    impostor = GrownLog(Signer(LOG.verifier_key.name, b"\x02" * 32)).grow(2)
    (folder.path / STATE_FILE).write_text(json.dumps({LOG.verifier_key.name: impostor.notes[2]}))
    with pytest.raises(ConfigurationError, match="not signed"):
        Witness(folder, [LOG.verifier_key])


def test_a_log_may_change_its_key(folder):
    """With both keys given, a log goes on under a new key."""
    new = Signer(LOG.verifier_key.name, b"\x03" * 32)
    old_log, new_log = GrownLog().grow(3), GrownLog(new).grow(6)
    client = TestClient(witness_app(Witness(folder, [LOG.verifier_key, new.verifier_key])))
    assert ask(client, old_log.request(0, 3))[0] == 200
    assert ask(client, new_log.request(3, 6))[0] == 200


def test_logs_are_watched_apart(folder):
    """Each log has a size of its own."""
    client = TestClient(witness_app(Witness(folder, [LOG.verifier_key, OTHER_LOG.verifier_key])))
    assert ask(client, GrownLog().grow(5).request(0, 5))[0] == 200
    assert ask(client, GrownLog(OTHER_LOG).grow(2).request(0, 2))[0] == 200


def test_a_witness_is_made_once(folder):
    """A second `init` never replaces a key or what was seen."""
    key = folder.cosigner().key
    with pytest.raises(Conflict):
        WitnessFolder.create(folder.path, "witness.example/w2")
    assert folder.cosigner().key == key


def test_its_key_is_for_its_user_alone(folder):
    """The private key's file is readable by its owner only."""
    assert {file.name: file.stat().st_mode & 0o077 for file in folder.path.iterdir()} == {
        "witness.key": 0,
        "checkpoints.json": 0,
    }


def test_a_folder_has_one_process(folder):
    """Two processes on one folder could each confirm another history."""
    with folder.claimed(), pytest.raises(Conflict), folder.claimed():
        pass


def test_a_folder_without_a_witness_is_told_so(tmp_path):
    """A wrong folder is a sentence, not a traceback."""
    with pytest.raises(ConfigurationError, match="no witness"):
        WitnessFolder(tmp_path).cosigner()


def test_it_runs_without_the_server_s_parts():
    """The command's modules bring in no database, no settings and no part of the server."""
    program = (
        "import sys, services.cli.witness, infra.audit.witness.witness, infra.audit.witness.http; "
        "print([name for name in sys.modules if name.startswith("
        "('infra.database', 'infra.settings', 'sqlalchemy', 'pydantic_settings', 'services.app', 'agents'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


# --- races ----------------------------------------------------------------------------------------


def test_parallel_requests_get_one_history(folder):
    """Of many histories sent at once exactly one is cosigned, however the threads run."""
    watching = Witness(folder, [LOG.verifier_key])
    histories = [GrownLog(salt=f"{number} ").grow(9) for number in range(12)]
    together = threading.Barrier(len(histories))

    def send(log: GrownLog) -> str | None:
        together.wait()
        try:
            return watching.add_checkpoint(log.request(0, 9).encode())
        except Exception as refusal:
            assert getattr(refusal, "status", None) == 409
            return None

    with ThreadPoolExecutor(len(histories)) as pool:
        lines = list(pool.map(send, histories))
    cosigned = [log for log, line in zip(histories, lines, strict=True) if line]
    assert len(cosigned) == 1
    assert folder.read_notes() == {LOG.verifier_key.name: cosigned[0].notes[9]}


def test_parallel_growth_never_goes_back(folder):
    """Requests of one log that race leave the largest checkpoint that was cosigned."""
    watching = Witness(folder, [LOG.verifier_key])
    log = GrownLog().grow(40)
    answered: list[int] = []

    def send(size: int) -> None:
        for old in (0, *range(1, 40)):
            if old <= size and _cosigned(watching, log.request(old, size)):
                answered.append(size)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, [5, 10, 15, 20, 25, 30, 35, 40]))
    note = folder.read_notes()[LOG.verifier_key.name]
    assert note == log.notes[max(answered)]


def _cosigned(watching: Witness, body: str) -> bool:
    try:
        watching.add_checkpoint(body.encode())
    except Exception as refusal:
        assert getattr(refusal, "status", None) == 409
        return False
    return True
