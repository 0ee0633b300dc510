"""Nothing is looked up or contacted outside: not by importing, and not by any process that we start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sealed_namespace import Attempt, run_in_sealed_namespace, sealing_problem

ROOT = Path(__file__).resolve().parents[2]

# Imports everything that is ours and the heavy libraries beneath; the tripwire writes each attempt down.
IMPORT_EVERYTHING = """
import importlib, json, pkgutil
from infra.offline import close_phone_lines, install_tripwire
close_phone_lines()
attempts = []
install_tripwire(lambda kind, target: attempts.append([kind, target]))
for library in ("torch", "sentence_transformers", "llama_index.core", "qdrant_client", "qdrant_edge",
                "openai", "xllamacpp", "celery", "fastapi", "workflows"):
    importlib.import_module(library)
ours = []
for package in ("infra", "agents", "ingest", "services"):
    top = importlib.import_module(package)
    ours += [module.name for module in pkgutil.walk_packages(top.__path__, package + ".")]
# Alembic runs its scripts itself; outside it they cannot be imported. The parsing child comes last: it
# makes numpy unavailable to its whole process.
ours = [name for name in ours if ".migrations" not in name and not name.endswith("__main__")]
for name in sorted(ours, key=lambda name: name.endswith(".child")):
    importlib.import_module(name)
print(json.dumps({"attempts": attempts, "imported": ours}))
"""

# 203.0.113.1 is reserved for documentation (RFC 5737). libc is called directly, past every Python hook.
CALL_BY_LIBC = """
import ctypes, socket, struct
libc = ctypes.CDLL(None)
sock = libc.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)
family, port = struct.pack("=H", socket.AF_INET), struct.pack("!H", 443)
place = family + port + socket.inet_aton("203.0.113.1") + bytes(8)
libc.connect(sock, place, len(place))
"""


def test_importing_everything_contacts_nobody():
    """All our modules, and the libraries beneath, import without a look-up or a connection."""
    found = json.loads(run_python(IMPORT_EVERYTHING).splitlines()[-1])
    assert {"infra.network", "agents.answer", "services.app"} <= set(found["imported"])
    assert found["attempts"] == []


def test_a_planted_call_trips_the_wire():
    """The import test would notice: a look-up and a connection of Python's own are both written down."""
    opening, _rest = IMPORT_EVERYTHING.split("for library", 1)
    assert json.loads(run_python(opening + PLANTED_IN_PYTHON)) == [
        ["lookup", "name"],
        ["connect", "public IPv4"],
    ]


PLANTED_IN_PYTHON = """
import socket
try:
    socket.getaddrinfo("planted.invalid", 443)
except OSError:
    pass
with socket.socket() as planted:
    planted.setblocking(False)
    planted.connect_ex(("203.0.113.1", 443))
print(json.dumps(attempts))
"""


def run_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sealed():
    problem = sealing_problem()
    if problem:
        pytest.skip(f"sealed namespace: {problem}")
    return run_in_sealed_namespace


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (CALL_BY_LIBC, Attempt("tcp", "203.0.113.1", 443)),
        (
            "from socket import *; socket(AF_INET6, SOCK_DGRAM).sendto(b'x', ('2001:db8::1', 9))",
            Attempt("udp", "2001:db8::1", 9),
        ),
        (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', '''" + CALL_BY_LIBC + "'''])",
            Attempt("tcp", "203.0.113.1", 443),
        ),
    ],
    ids=["libc", "ipv6-datagram", "grandchild"],
)
def test_the_sink_catches_a_planted_call(sealed, program, expected):
    """Native code, IPv6 and children of children do not escape the namespace."""
    run = sealed([sys.executable, "-W", "ignore", "-c", program])
    assert run.returncode == 0, run.output
    assert expected in run.attempts


def test_the_sink_catches_a_planted_look_up(sealed):
    """Asking a name server is an attempt, even where the name server is on loopback."""
    program = "import socket\ntry: socket.getaddrinfo('planted.example.org', 443)\nexcept OSError: pass"
    run = sealed([sys.executable, "-c", program])
    assert run.returncode == 0, run.output
    assert 53 in {attempt.port for attempt in run.attempts}


def test_talk_within_the_namespace_is_no_attempt(sealed):
    """Loopback works inside and is not reported, so that a server and its client can be tested there."""
    program = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client, server.accept()[0] as seat:
        client.sendall(b"hello"); assert seat.recv(5) == b"hello"
"""
    run = sealed([sys.executable, "-c", program])
    assert (run.returncode, run.attempts) == (0, []), run.output


def test_importing_everything_sends_no_packet(sealed):
    """What the tripwire cannot see, native code and children, stays silent as well."""
    run = sealed([sys.executable, "-c", IMPORT_EVERYTHING], cwd=ROOT)
    assert run.returncode == 0, run.output
    assert run.attempts == []
