"""A whole server with a witness process and a SIEM: cosigned, forwarded, and answering when both are gone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from infra.audit.witness.cosignature import verify_cosignature
from infra.audit.witness.cosigned import cosigned_head
from infra.audit.witness.witness import WitnessFolder
from infra.database import Database
from infra.stores import open_database, open_ledger
from tests.directory_servers import Authority
from tests.serving import ROOT, Server


@contextmanager
def running(*module_and_arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module in a process of its own, once it has printed its first line."""
    program = [sys.executable, "-m", *module_and_arguments]
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until_ready_says(server: Server, **expected: str) -> None:
    """Wait until `/readyz` has these states; fails after sixty seconds."""
    deadline = time.monotonic() + 60
    while True:
        answer = httpx2.get(f"{server.url}/readyz", timeout=10)
        assert answer.status_code == 200, "what is away outside never makes the server unready"
        found = {name: answer.json()[name] for name in expected}
        if found == expected:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder."""
    (tmp_path / "data").mkdir(mode=0o700)
    return tmp_path / "data"


def record_key(server: Server) -> str:
    """Return the key of a server's record before its first start: its name is made with the database."""
    database, master_key = open_database(server.settings())
    ledger = open_ledger(server.settings(), database, master_key)
    ledger.close()
    database.close()
    return ledger.verifier_key


def test_a_server_is_cosigned_and_forwarded_and_does_not_depend_on_it(
    make_server: Callable[..., Server], data_dir: Path, tmp_path: Path
):
    """The newest checkpoint is cosigned, the record at the SIEM, and without both the server stays ready."""
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1")
    witness_port, siem_port = free_port(), free_port()
    folder = WitnessFolder.create(tmp_path / "witness", "witness.example/w1")
    key = folder.cosigner().key
    received = tmp_path / "received.log"
    server = make_server(
        data_dir,
        witnesses=json.dumps([{"url": f"http://127.0.0.1:{witness_port}", "key": str(key)}]),
        syslog_url=f"syslog+tls://127.0.0.1:{siem_port}",
        syslog_ca_file=str(authority.ca_file),
    )
    log_key = record_key(server)
    listen = f"127.0.0.1:{witness_port}"
    witness = ("services.cli", "witness", "serve", "--dir", str(folder.path), "--listen", listen)
    siem = ("tests.syslog_receiver", str(received), str(siem_port), str(certificate.certificate))
    with running(*witness, "--log", log_key), running(*siem, str(certificate.key)):
        server.start()
        wait_until_ready_says(server, witnesses="reached", forwarding="reached")
        wait_until_received(received, " server.start ")
    # Both are gone; what happens now stays waiting for them.
    httpx2.get(f"{server.url}/v1/files", timeout=10)
    wait_until_ready_says(server, witnesses="unreachable", forwarding="unreachable")
    server.stop()
    indices = [json.loads(line[line.index("{") :])["metadata"]["sequence"] for line in _lines(received)]
    assert list(dict.fromkeys(indices)) == list(range(len(set(indices))))
    database = Database(f"sqlite:///{data_dir / 'strongroom.sqlite3'}")
    with database.read() as session:
        assert verify_cosignature(cosigned_head(session) or "", key) > 0
    database.close()


def wait_until_received(received: Path, part: str) -> None:
    """Wait until a message with this part has arrived."""
    deadline = time.monotonic() + 30
    while not any(part in line for line in _lines(received)):
        assert time.monotonic() < deadline, f"no message with {part!r} arrived"
        time.sleep(0.1)


def _lines(received: Path) -> list[str]:
    return received.read_text().splitlines()
