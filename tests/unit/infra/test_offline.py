"""The switch table: set before imports, complete in the documentation; and the tripwire."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra import offline
from infra.network import PRIVATE_NETWORKS
from infra.offline import SWITCHES, BundledFolder, close_phone_lines

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clean_environment(monkeypatch):
    """Restore what `close_phone_lines` overwrites."""
    for switch in SWITCHES:
        monkeypatch.setenv(switch.name, "0")


def run(program: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_every_switch_overrules_the_environment(clean_environment):
    """A value that somebody exported does not keep a line open."""
    close_phone_lines()
    assert {
        switch.name: os.environ[switch.name] for switch in SWITCHES if os.environ[switch.name] == "0"
    } == {}
    for switch in SWITCHES:
        if isinstance(switch.value, str):
            assert os.environ[switch.name] == switch.value


def test_vocabularies_come_from_the_bundled_folder(clean_environment):
    """tiktoken and NLTK are pointed at a folder that holds files; an empty one would make them fetch."""
    close_phone_lines()
    for name in ("TIKTOKEN_CACHE_DIR", "NLTK_DATA"):
        assert any(Path(os.environ[name]).iterdir())


def test_a_missing_package_needs_no_switch():
    """Where the package is not installed there is no folder to point at, and no crash."""
    assert offline._resolved(BundledFolder("no_such_package", "data")) is None


def test_the_hub_library_sees_the_switches():
    """huggingface_hub, imported after the call, is offline and sends no telemetry, whatever was exported."""
    seen = run(
        "import os; os.environ['HF_HUB_OFFLINE'] = '0'\n"
        "from infra.offline import close_phone_lines; close_phone_lines()\n"
        "import json, huggingface_hub.constants as c\n"
        "print(json.dumps([c.HF_HUB_OFFLINE, c.HF_HUB_DISABLE_TELEMETRY]))"
    )
    assert seen == [True, True]


def test_the_module_brings_in_nothing_that_reads_switches():
    """Importing the table imports no third-party package: it must come before all of them."""
    seen = run(
        "import json, sys; before = set(sys.modules)\n"
        "import infra.offline\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(new - sys.stdlib_module_names - {'infra'})))"
    )
    assert seen == []


def test_the_documentation_has_the_same_table():
    """docs/nothing-leaves.md lists each switch with its value and reason, and no other."""
    text = (ROOT / "docs" / "nothing-leaves.md").read_text()
    documented = {
        name: (value, reason)
        for name, value, reason in re.findall(r"^\| `([A-Z_0-9]+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    }
    assert documented == {switch.name: (_in_words(switch.value), switch.reason) for switch in SWITCHES}


def test_the_documentation_names_every_private_range():
    """An operator reads there what may be contacted."""
    text = (ROOT / "docs" / "nothing-leaves.md").read_text()
    assert [str(network) for network in PRIVATE_NETWORKS if f"`{_shortly(network)}`" not in text] == []


def _shortly(network: object) -> str:
    return str(network).removesuffix("/128")


def _in_words(value: str | BundledFolder) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{value.folder}` inside the installed `{value.package}` package"


TRIPWIRE = """
import json, socket
from infra.offline import install_tripwire
attempts = []
install_tripwire(lambda kind, target: attempts.append([kind, target]), allowed_hosts=["vllm.internal"])
def quietly(call, *arguments):
    try: call(*arguments)
    except OSError: pass
def connect(family, place):
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        quietly(sock.connect, place)
{body}
print(json.dumps(attempts))
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("connect(socket.AF_INET, ('203.0.113.9', 443))", [["connect", "public IPv4"]]),
        ("connect(socket.AF_INET6, ('2001:db8::9', 443))", [["connect", "public IPv6"]]),
        ("connect(socket.AF_INET6, ('::ffff:203.0.113.9', 443))", [["connect", "public IPv4"]]),
        ("connect(socket.AF_INET, ('169.254.169.254', 80))", [["connect", "link-local"]]),
        ("quietly(socket.getaddrinfo, 'secret.invalid', 443)", [["lookup", "name"]]),
        ("quietly(socket.gethostbyname, 'secret.invalid')", [["lookup", "name"]]),
        (
            "with socket.socket(type=socket.SOCK_DGRAM) as s: quietly(s.sendto, b'x', ('203.0.113.9', 53))",
            [["send", "public IPv4"]],
        ),
    ],
)
def test_the_tripwire_reports_what_is_outside(body, expected):
    """Connections, datagrams and look-ups are reported by kind and class, without address or name."""
    assert run(TRIPWIRE.format(body=body)) == expected


def test_the_tripwire_is_silent_about_what_is_inside():
    """Loopback, Unix sockets, spelled-out addresses, localhost and listed names pass without a report."""
    body = """
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
quietly(socket.getaddrinfo, "203.0.113.9", 443)
quietly(socket.getaddrinfo, "localhost", 80)
quietly(socket.getaddrinfo, None, 80)
quietly(socket.getaddrinfo, "vllm.internal", 80)
connect(socket.AF_UNIX, "/nowhere.sock")
"""
    assert run(TRIPWIRE.format(body=body)) == []


def test_recording_an_attempt_does_not_trip_the_wire_again():
    """A recorder that opens a connection itself is called once, not for ever."""
    body = """
import sys
from infra.offline import install_tripwire
calls = []
def recorder(kind, target):
    calls.append(kind)
    connect(socket.AF_INET, ("203.0.113.9", 444))
install_tripwire(recorder)
connect(socket.AF_INET, ("203.0.113.9", 443))
attempts = calls
"""
    assert run(TRIPWIRE.format(body=body)) == ["connect"]
