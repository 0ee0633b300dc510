"""Syslog as SIEMs take it: RFC 5424 messages with an OCSF event each, over TLS (RFC 5425).

Syslog acknowledges nothing while a connection lasts. Its end does: a receiver that read our close_notify has
read all that came before it, and answers with its own (RFC 5425 §4.4) or at least ends the connection in
order. So what is sent counts as delivered when the connection that carried it was closed that way, and
everything of a connection that broke is sent again.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import socket
import ssl
import struct
import termios
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from infra.audit.forwarding.ocsf import LOG_NAME, ocsf_event
from infra.audit.records import LoggedEvent
from infra.errors import AddressRefused, ConfigurationError, StrongroomError
from infra.network import address_class, check_private_url, literal_address

PORT: Final = 6514
"""Assigned to syslog over TLS (RFC 5425 §4.1)."""
TIMEOUT_S: Final = 10.0
"""Longest wait for the receiver, in seconds: to connect, to take data, to end the connection."""
FACILITY: Final = 13
"""Log audit (RFC 5424 §6.2.1)."""
SEVERITIES: Final = {1: 6, 2: 5, 3: 4, 4: 3}
"""OCSF severity to syslog severity: informational, notice, warning, error."""
ENTERPRISE: Final = "strongroom@32473"
"""Names our structured data; 32473 is the number set aside for those without one (RFC 5612)."""
SENT_AT_ONCE: Final = 256 * 1024
"""Bytes that are gathered before they go to the network."""
LONGEST_MSGID: Final = 32
LONGEST_HOSTNAME: Final = 255


class ReceiverLost(StrongroomError):
    """The receiver cannot be reached, is not who it should be, or broke off: nothing counts as delivered."""

    code = "receiver_lost"


# --- messages (RFC 5424) --------------------------------------------------------------------------


def syslog_message(record: LoggedEvent, *, log_name: str = LOG_NAME) -> bytes:
    """Return a sealed record as one RFC 5424 message, its OCSF event as JSON in ASCII.

    A record in no known format is passed on by its id and index, so that it does not stop those after it.
    """
    index = record.index or 0
    data = f'[{ENTERPRISE} index="{index}" id="{_escaped(record.id)}" log="{_escaped(log_name)}"]'
    leaf = record.leaf
    if leaf is None:
        head = f"<{FACILITY * 8 + 3}>1 - - strongroom - unreadable"
        return f"{head} {data} {_json({'unreadable': record.id, 'sequence': index})}".encode()
    event = ocsf_event(leaf, index=index, log_name=log_name)
    priority = FACILITY * 8 + SEVERITIES[event["severity_id"]]
    host = _printable(leaf.src, LONGEST_HOSTNAME)
    head = f"<{priority}>1 {_timestamp(leaf.time)} {host} strongroom - {_printable(leaf.type, LONGEST_MSGID)}"
    return f"{head} {data} {_json(event)}".encode()


def framed(message: bytes) -> bytes:
    """Return a message with its length in front (RFC 5425 §4.3)."""
    return b"%d %b" % (len(message), message)


def _json(document: object) -> str:
    # In ASCII it is valid with and without the byte order mark that RFC 5424 asks for before UTF-8, and
    # which JSON readers do not expect.
    return json.dumps(document, separators=(",", ":"))


def _timestamp(time_ms: int) -> str:
    try:
        at = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError):
        return "-"  # The format's way to say that the time is not known.
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str, longest: int) -> str:
    """Return the field with printable ASCII only, as the header demands; `-` when nothing is left."""
    return "".join(character for character in text if "!" <= character <= "~")[:longest] or "-"


def _escaped(text: str) -> str:
    """Escape what ends a parameter of structured data (RFC 5424 §6.3.3)."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


# --- the receiver (RFC 5425) ----------------------------------------------------------------------


@dataclass(frozen=True)
class SyslogReceiver:
    """Where records go: a host of the private network that proves who it is."""

    host: str
    port: int
    context: ssl.SSLContext
    timeout_s: float = TIMEOUT_S

    @classmethod
    def at(
        cls,
        url: str,
        *,
        allowed_hosts: Collection[str] = (),
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> SyslogReceiver:
        """Describe the receiver at `syslog+tls://host[:port]`; contacts nobody yet.

        `allowed_hosts` are names beyond private addresses; `ca_file` is a private authority's certificate;
        the other two files are what we show if the receiver asks. Its certificate is always checked. Raises
        ConfigurationError.
        """
        host, port = _host_and_port(url, allowed_hosts)
        try:
            context = ssl.create_default_context()
            if ca_file is not None:
                context.load_verify_locations(ca_file)
            if certificate_file is not None:
                context.load_cert_chain(certificate_file, key_file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                "A certificate or key for STRONGROOM_SYSLOG_URL cannot be used.",
                hint="STRONGROOM_SYSLOG_CA_FILE, _CERTIFICATE_FILE and _KEY_FILE are PEM files.",
            ) from error
        return cls(host, port, context, timeout_s)

    def connect(self) -> SyslogConnection:
        """Connect and check its certificate; raises ReceiverLost or AddressRefused."""
        lost: ReceiverLost | None = None
        for address in self._addresses():
            try:
                return self._connect_to(address)
            except OSError as error:
                lost = _lost("connect", error)
        raise lost or ReceiverLost("The receiver's name has no address.")

    def _addresses(self) -> list[str]:
        """Resolve the name and check every address: the connection goes to what was checked."""
        if literal_address(self.host) is not None:
            return [self.host.strip("[]")]
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise _lost("look-up", error) from error
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        for address in addresses:
            kind = address_class(ipaddress.ip_address(address))
            if kind != "private":
                raise AddressRefused(f"The receiver's address is outside the private network ({kind}).")
        return addresses

    def _connect_to(self, address: str) -> SyslogConnection:
        plain = socket.create_connection((address, self.port), timeout=self.timeout_s)
        try:
            return SyslogConnection(plain, self.context, self.host.strip("[]"), timeout_s=self.timeout_s)
        except BaseException:
            plain.close()
            raise


class SyslogConnection:
    """One connection; what it carried is delivered when `finish` returns.

    TLS runs over buffers here. On a socket, Python's way to end it waits for any last word of the other side,
    and takes an alert such as "certificate required" for the answer to our own.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, host: str, *, timeout_s: float) -> None:
        """Secure a connected socket; raises OSError when the other side is not `host`."""
        self._plain = plain
        self._timeout_s = timeout_s
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._shake_hands()

    def __enter__(self) -> SyslogConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plain.close()

    def send(self, messages: Iterable[bytes]) -> None:
        """Send messages in order; raises ReceiverLost."""
        try:
            for message in messages:
                self._tls.write(framed(message))
                if self._outgoing.pending >= SENT_AT_ONCE:
                    self._flush()
            self._flush()
        except OSError as error:
            raise _lost("send", error) from error

    def finish(self) -> None:
        """End the connection and wait until the receiver has read everything; raises ReceiverLost."""
        try:
            self._say_goodbye()
            if not self._hears_goodbye():
                self._check_read_to_the_end()
        except OSError as error:
            raise _lost("end", error) from error

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ssl.SSLEOFError from None
            else:
                self._flush()
                return

    def _say_goodbye(self) -> None:
        # The buffer is empty, so this writes our close_notify and asks for theirs, which nobody has read yet.
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def _hears_goodbye(self) -> bool:
        """Wait for the other side's close_notify; False when the connection ends without it."""
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            try:
                self._tls.read(1)
            except ssl.SSLZeroReturnError:
                return True
            except ssl.SSLWantReadError:
                if not self._receive():
                    return False
        raise TimeoutError

    def _check_read_to_the_end(self) -> None:
        """Tell an orderly end from a broken one, for receivers that end without a word of TLS.

        A system that closes a connection with unread data resets it, and so it does with data that comes
        later. An end in order with nothing left to acknowledge on our side therefore means that the
        receiver has read it all.
        """
        deadline = time.monotonic() + self._timeout_s
        while self._state() == _CLOSE_WAIT and time.monotonic() < deadline:
            if self._unacknowledged() == 0:
                return
            time.sleep(0.01)
        raise ConnectionResetError

    def _flush(self) -> None:
        self._plain.sendall(self._outgoing.read())

    def _receive(self) -> bool:
        """Wait for bytes of the other side; False at their end."""
        data = self._plain.recv(65536)
        self._incoming.write(data)
        return bool(data)

    def _state(self) -> int:
        return self._plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]

    def _unacknowledged(self) -> int:
        """Return how many bytes the receiver's system has not acknowledged (tcp(7), SIOCOUTQ)."""
        answer = fcntl.ioctl(self._plain.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])


_CLOSE_WAIT: Final = 8
"""The other side ended the connection in order, and no reset came since (Linux's TCP_CLOSE_WAIT)."""


def _lost(step: str, error: OSError) -> ReceiverLost:
    # A certificate error's text names the certificate; its code says enough.
    kind = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
    return ReceiverLost(f"{step}: {kind}")


def _host_and_port(url: str, allowed_hosts: Collection[str]) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError as error:
        raise _not_usable("it is no address such as syslog+tls://siem.example.internal:6514") from error
    if parts.scheme != "syslog+tls" or not host:
        raise _not_usable("it must look like syslog+tls://siem.example.internal:6514")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _not_usable("it holds more than a host and a port")
    bracketed = f"[{host}]" if ":" in host else host
    try:
        check_private_url(f"https://{bracketed}:{port}", allowed_hosts)
    except AddressRefused as error:
        raise ConfigurationError(
            f"STRONGROOM_SYSLOG_URL is refused. {error.message}", hint=error.hint
        ) from error
    return host, port


def _not_usable(why: str) -> ConfigurationError:
    return ConfigurationError(f"STRONGROOM_SYSLOG_URL cannot be used: {why}.")
