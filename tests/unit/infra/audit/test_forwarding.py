"""Forwarding to a real TLS syslog receiver: form of the messages, and nothing lost whoever is killed."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.audit.event_types import EventType
from infra.audit.forwarding.forwarding import MARK, Forwarding
from infra.audit.forwarding.syslog import ReceiverLost, SyslogReceiver, framed, syslog_message
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.records import LoggedEvent
from infra.database.tables import AuditMark
from infra.errors import AddressRefused, ConfigurationError
from tests.directory_servers import Authority, Certificate

ROOT = Path(__file__).resolve().parents[4]
# RFC 5424 §6: header, one element of structured data, and the rest.
MESSAGE = re.compile(
    r"<(?P<pri>[1-9][0-9]{0,2})>1 (?P<time>\S+) (?P<host>\S+) strongroom - (?P<msgid>\S+) "
    r'\[strongroom@32473 index="(?P<index>[0-9]+)" id="(?P<id>[^"]+)" log="(?P<log>[^"]+)"\] (?P<json>\{.*\})'
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private certificate authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    """The receiver's certificate."""
    return authority.issue("127.0.0.1", "localhost")


@pytest.fixture
def port() -> int:
    """A free port that the receiver keeps across its restarts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free: int = listener.getsockname()[1]
        return free


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the receiver writes."""
    return tmp_path / "received.log"


@pytest.fixture
def receiver(authority: Authority, port: int) -> SyslogReceiver:
    """The receiver as the settings describe it."""
    return SyslogReceiver.at(f"syslog+tls://127.0.0.1:{port}", ca_file=authority.ca_file, timeout_s=5.0)


@pytest.fixture
def run(certificate: Certificate, port: int, file: Path) -> Callable[..., object]:
    """Run the receiver on its port and file until the block ends."""

    @contextmanager
    def _run(*flags: str, shown: Certificate = certificate) -> Iterator[subprocess.Popen[str]]:
        program = [sys.executable, "-m", "tests.syslog_receiver", str(file), str(port)]
        process = subprocess.Popen(
            [*program, str(shown.certificate), str(shown.key), *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(port)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    return _run


def received(file: Path) -> list[int]:
    """Return the indices of the messages that the receiver wrote, in order."""
    if not file.exists():
        return []
    matches = [MESSAGE.fullmatch(line) for line in file.read_text().splitlines()]
    assert all(matches)
    return [int(match["index"]) for match in matches if match]


def in_order(indices: list[int]) -> list[int]:
    """Return each index where it came first: what a receiver keeps that drops repetitions."""
    return list(dict.fromkeys(indices))


def write(ledger: Ledger, event: Callable[..., Event], count: int) -> int:
    """Write and seal records; returns how many there are."""
    for _ in range(count):
        ledger.record(event())
    ledger.sealer.seal_all()
    return len(ledger.reader.events(limit=100_000))


def cursor(ledger: Ledger) -> int:
    """Return the stored cursor."""
    with ledger.database.read() as session:
        mark = session.get(AuditMark, MARK)
        return mark.index if mark else 0


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fails after twenty seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_records_arrive_as_rfc_5424_messages_with_ocsf(ledger, event, receiver, run, file):
    """Header, structured data and JSON are what the standards ask for, and lead back to the record."""
    write(ledger, event, 3)
    with run():
        assert Forwarding(ledger, receiver).forward() == 3
    match = MESSAGE.fullmatch(file.read_text().splitlines()[1])
    assert match is not None
    record = ledger.reader.events(0, 1)[0]
    assert (match["index"], match["id"], match["log"]) == ("1", record.id, "log.example/test")
    assert (match["pri"], match["host"], match["msgid"]) == ("110", "one", "search.performed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", match["time"])
    ocsf = json.loads(match["json"])
    assert (ocsf["class_uid"], ocsf["metadata"]["sequence"]) == (6005, 1)
    assert ocsf["metadata"]["uid"] == record.id


def test_the_cursor_survives_a_restart(ledger, event, receiver, run, file):
    """A forwarder that is started again goes on where the last one was confirmed."""
    with run():
        write(ledger, event, 3)
        Forwarding(ledger, receiver).forward()
        write(ledger, event, 2)
        Forwarding(ledger, receiver).forward()
        assert Forwarding(ledger, receiver).forward() == 0
    assert received(file) == [0, 1, 2, 3, 4]
    assert cursor(ledger) == 5


def test_a_receiver_that_ends_without_a_word_is_understood(ledger, event, receiver, run, file):
    """A receiver that closes in order but sends no close_notify has confirmed, too."""
    write(ledger, event, 40)
    with run("--bare"):
        Forwarding(ledger, receiver).forward()
    assert received(file) == list(range(40))
    assert cursor(ledger) == 40


@pytest.mark.parametrize("flags", [(), ("--bare",)])
def test_a_receiver_that_is_killed_loses_nothing(ledger, event, receiver, run, file, flags):
    """Killed in the middle of a batch again and again, the receiver gets every record, in order."""
    total = write(ledger, event, 300)
    forwarding = Forwarding(ledger, receiver)
    for die_after in (0, 57, 299):
        with run("--die-after", str(die_after), *flags) as process:
            with pytest.raises(ReceiverLost):
                forwarding.forward()
            process.wait(10)
        assert cursor(ledger) == 0
    with run(*flags):
        assert forwarding.forward() == total
    assert in_order(received(file)) == list(range(total))


def test_a_running_forwarder_survives_kills_and_restarts(ledger, event, receiver, run, file):
    """While records are written and the receiver comes and goes, nothing is lost or reordered."""
    forwarding = Forwarding(ledger, receiver, interval_s=0.02)
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            write(ledger, event, 5)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    forwarding.start()
    try:
        for die_after in (3, 20, 1):
            with run("--die-after", str(die_after)) as process:
                process.wait(20)
        with run():
            stop.set()
            writer.join()
            wait_for(lambda: cursor(ledger) == write(ledger, event, 0))
    finally:
        stop.set()
        writer.join()
        forwarding.stop()
    total = len(ledger.reader.events(limit=100_000))
    # What it wrote itself, about the receiver's loss and return, may have come after the last look.
    assert in_order(received(file)) == list(range(len(in_order(received(file)))))
    assert len(in_order(received(file))) >= cursor(ledger)
    assert cursor(ledger) <= total


def test_a_killed_forwarder_sends_again_what_was_not_confirmed(
    ledger, event, receiver, run, file, monkeypatch
):
    """When the forwarder dies before it stored its cursor, the next one repeats rather than skips."""
    write(ledger, event, 10)
    with run():
        dying = Forwarding(ledger, receiver)
        monkeypatch.setattr(dying, "_move", _die)
        with pytest.raises(KeyboardInterrupt):
            dying.forward()
        write(ledger, event, 2)
        Forwarding(ledger, receiver).forward()
    assert received(file) == [*range(10), *range(12)]


def _die(_index: int) -> None:
    raise KeyboardInterrupt


def test_more_than_one_read_goes_over_one_connection(ledger, event, receiver, run, file, monkeypatch):
    """A long backlog is read in pieces, and sent in order."""
    monkeypatch.setattr("infra.audit.forwarding.forwarding.READ_AT_ONCE", 7)
    monkeypatch.setattr("infra.audit.forwarding.forwarding.WINDOW", 20)
    total = write(ledger, event, 50)
    with run():
        forwarding = Forwarding(ledger, receiver)
        assert [forwarding.forward() for _ in range(4)] == [21, 21, 8, 0]
    assert received(file) == list(range(total))


def test_a_lost_receiver_is_recorded_once_and_its_return_as_well(ledger, event, receiver, run, file):
    """However often it is tried, the record has one line for the loss and one for the return."""
    write(ledger, event, 1)
    forwarding = Forwarding(ledger, receiver, interval_s=0.01)
    forwarding.start()
    try:
        wait_for(lambda: forwarding.status.state == "unreachable")
        time.sleep(0.3)
        with run():
            wait_for(lambda: forwarding.status.state == "reached")
            wait_for(lambda: len(_said(ledger)) == 2)
            forwarding.stop()
    finally:
        forwarding.stop()
    assert _said(ledger) == ["unreachable: connect: ConnectionRefusedError", "reached"]


def _said(ledger: Ledger) -> list[str | None]:
    ledger.sealer.seal_all()
    leaves = [record.leaf for record in ledger.reader.events(limit=1000)]
    return [leaf.outcome for leaf in leaves if leaf and leaf.type == EventType.AUDIT_FORWARDED]


def test_a_cursor_beyond_the_record_is_no_delivery(ledger, event, receiver, run, file):
    """A cursor that somebody moved past the end sends nothing, is unreachable, and is on the record once."""
    write(ledger, event, 3)
    with ledger.database.write() as session:
        session.add(AuditMark(name=MARK, index=1000))
    forwarding = Forwarding(ledger, receiver, interval_s=0.01)
    with run():
        forwarding.start()
        try:
            wait_for(lambda: forwarding.status.state == "unreachable")
            wait_for(lambda: _said(ledger) != [])
            time.sleep(0.2)
        finally:
            forwarding.stop()
    assert _said(ledger) == ["unreachable: the cursor is beyond the end of the record"]
    assert received(file) == []
    assert forwarding.status.state == "unreachable"


@pytest.mark.parametrize("count", [0, 3])
def test_a_cursor_at_the_end_is_in_order(ledger, event, receiver, count):
    """Everything is forwarded, and nothing is new: also of a record that is still empty."""
    write(ledger, event, count)
    with ledger.database.write() as session:
        session.add(AuditMark(name=MARK, index=count))
    assert Forwarding(ledger, receiver).forward() == 0


def test_forwarding_does_not_feed_itself(ledger, event, receiver, run, file):
    """With nothing else going on, a connected forwarder writes no records and sends none."""
    write(ledger, event, 2)
    forwarding = Forwarding(ledger, receiver, interval_s=0.01)
    with run():
        forwarding.start()
        wait_for(lambda: cursor(ledger) == 2)
        for _ in range(10):
            ledger.sealer.seal_all()
            time.sleep(0.02)
        forwarding.stop()
    assert received(file) == [0, 1]


def test_records_are_written_while_the_receiver_hangs(ledger, event, authority, port):
    """A receiver that takes the connection and says nothing delays no record."""
    slow = SyslogReceiver.at(f"syslog+tls://127.0.0.1:{port}", ca_file=authority.ca_file, timeout_s=0.5)
    with socket.create_server(("127.0.0.1", port)):
        forwarding = Forwarding(ledger, slow, interval_s=0.01)
        write(ledger, event, 1)
        forwarding.start()
        began = time.monotonic()
        write(ledger, event, 50)
        assert time.monotonic() - began < 3.0
        forwarding.stop()


# --- who the receiver is --------------------------------------------------------------------------


def test_an_unknown_authority_is_refused(ledger, event, run, port, file):
    """Without its authority the receiver's certificate is not believed, and nothing is sent."""
    write(ledger, event, 1)
    stranger = SyslogReceiver.at(f"syslog+tls://127.0.0.1:{port}")
    with run(), pytest.raises(ReceiverLost, match="unable to get local issuer certificate"):
        Forwarding(ledger, stranger).forward()
    assert received(file) == []


@pytest.mark.parametrize("wrong", ["name", "expired"])
def test_a_wrong_certificate_is_refused(ledger, event, receiver, authority, run, file, wrong):
    """A certificate for another host, or one that is over, is not believed."""
    write(ledger, event, 1)
    shown = authority.issue("127.0.0.2") if wrong == "name" else authority.issue("127.0.0.1", expired=True)
    with run(shown=shown), pytest.raises(ReceiverLost):
        Forwarding(ledger, receiver).forward()
    assert received(file) == []


def test_a_receiver_may_ask_who_we_are(ledger, event, authority, run, port, file):
    """Where the receiver asks, our certificate is shown; without one nothing arrives."""
    write(ledger, event, 1)
    ours = authority.issue("strongroom.example.internal")
    url = f"syslog+tls://localhost:{port}"
    known = SyslogReceiver.at(
        url, ca_file=authority.ca_file, certificate_file=ours.certificate, key_file=ours.key
    )
    unknown = SyslogReceiver.at(url, ca_file=authority.ca_file)
    with run("--ask", str(authority.ca_file)):
        with pytest.raises(ReceiverLost):
            Forwarding(ledger, unknown).forward()
        assert Forwarding(ledger, known).forward() == 1
    assert received(file) == [0]


@pytest.mark.parametrize(
    "url",
    [
        "syslog+tls://8.8.8.8:6514",
        "syslog+tls://siem.example.org",
        "syslog+tls://169.254.169.254",
        "syslog+tls://user@127.0.0.1",
        "syslog+tls://127.0.0.1/path",
        "syslog+tls://127.0.0.1:99999",
        "syslog+tls://",
        "syslog://127.0.0.1",
        "https://127.0.0.1",
        "syslog+tls://[::1",
        "",
    ],
)
def test_only_tls_to_private_addresses(url):
    """Anything but TLS to a host of the private network stops the server at its start."""
    with pytest.raises(ConfigurationError, match="STRONGROOM_SYSLOG_URL"):
        SyslogReceiver.at(url)


def test_the_port_has_a_default():
    """Without a port it is the one assigned to syslog over TLS; IPv6 addresses are understood."""
    found = SyslogReceiver.at("syslog+tls://[fd12::1]")
    assert (found.host, found.port) == ("fd12::1", 6514)


def test_a_name_that_leads_outside_is_refused(monkeypatch):
    """A listed name that resolves to a public address is not connected to."""
    found = SyslogReceiver.at("syslog+tls://siem", allowed_hosts=["siem"])
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 6514))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: public)
    with pytest.raises(AddressRefused):
        found.connect()


@pytest.mark.parametrize("name", ["ca_file", "certificate_file"])
def test_an_unusable_certificate_file_stops_the_start(tmp_path, name):
    """A missing or broken PEM file is a sentence about the setting."""
    broken = tmp_path / "broken.pem"
    for step in ("missing", "broken"):
        if step == "broken":
            broken.write_text("not a certificate")
        with pytest.raises(ConfigurationError, match="certificate or key"):
            SyslogReceiver.at("syslog+tls://127.0.0.1", **{name: broken})


# --- the form of a message ------------------------------------------------------------------------


def test_frames_carry_the_length_in_bytes():
    """The count in front is of octets, as RFC 5425 has it."""
    assert framed("é".encode()) == b"2 \xc3\xa9"


def test_a_record_in_no_known_format_is_passed_on():
    """An unreadable record is told by its place and id, and stops nobody behind it."""
    message = syslog_message(LoggedEvent("id-1", 7, None, b"\x00")).decode()
    match = MESSAGE.fullmatch(message)
    assert match is not None
    assert (match["index"], match["id"], match["msgid"]) == ("7", "id-1", "unreadable")


def test_messages_are_ascii_whatever_the_record_holds(ledger, event):
    """Characters outside ASCII are escaped, so no byte order mark is needed; the header stays printable."""
    ledger.record(event(outcome="naïve “quotes” \u2028 ]"))
    ledger.sealer.seal_all()
    message = syslog_message(ledger.reader.events()[0])
    assert message.isascii()
    match = MESSAGE.fullmatch(message.decode())
    assert match is not None
    assert json.loads(match["json"])["status_detail"] == "naïve “quotes” \u2028 ]"


def test_structured_data_is_escaped():
    """What would end a parameter is escaped."""
    message = syslog_message(LoggedEvent('a"]\\', 7, None, b"\x00")).decode()
    assert r'id="a\"\]\\"' in message


@pytest.mark.parametrize(
    ("event_type", "priority"),
    [(EventType.SEARCH_PERFORMED, 110), (EventType.SIGNIN_FAILED, 109), (EventType.NETWORK_BLOCKED, 107)],
)
def test_severity_becomes_priority(ledger, event, event_type, priority):
    """What asks for attention has a more severe priority; the facility is that of audit logs."""
    ledger.record(event(event_type, outcome="refused"))
    ledger.sealer.seal_all()
    assert syslog_message(ledger.reader.events()[0]).startswith(f"<{priority}>1 ".encode())
