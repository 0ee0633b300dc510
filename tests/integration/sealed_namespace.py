"""Run a program where the only way out is a sink, and list what it tried to send there.

The program and all its children get a network namespace of their own (network_namespaces(7)). Its one
interface is loopback, and the default routes lead back into it: a packet for anywhere else is sent, seen by
a packet socket, and arrives nowhere. Python hooks miss gRPC, ctypes and children; this misses none, and it
needs nothing but the kernel and iproute2.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
ETH_P_IP, ETH_P_IPV6, ETH_P_ALL = 0x0800, 0x86DD, 0x0003
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
DNS_PORT = 53
DRAIN_S = 0.3


@dataclass(frozen=True)
class Attempt:
    """One destination outside, or a name server: `protocol`, address and port (0 where it has none)."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True)
class SealedRun:
    """How the program ended, what it said, and each destination that it tried, once."""

    returncode: int
    output: str
    attempts: list[Attempt]


def sealing_problem() -> str | None:
    """Say why no namespace can be made here, or return None where one can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "needs Linux and iproute2"
    probe = subprocess.run([sys.executable, __file__, os.devnull, "true"], check=False, capture_output=True)
    return None if probe.returncode == 0 else "making a network namespace is not permitted here"


def run_in_sealed_namespace(
    argv: Sequence[str], *, timeout_s: float = 120.0, cwd: Path | None = None
) -> SealedRun:
    """Run `argv` to its end with no network but its own loopback; raises TimeoutExpired after `timeout_s`."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "attempts.json"
        done = subprocess.run(
            [sys.executable, __file__, str(record), *argv],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            cwd=cwd,
        )
        attempts = [Attempt(**entry) for entry in json.loads(record.read_text())]
    return SealedRun(done.returncode, done.stdout, attempts)


def _warden(record: Path, argv: Sequence[str]) -> int:
    """Seal this process, run `argv`, and write down what was sent."""
    _leave_the_network()
    seen: dict[Attempt, None] = {}
    # Bound to every interface and protocol; opened before the program starts, so that nothing is missed.
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as packets:
        packets.settimeout(0.1)
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(packets, over, seen))
        watcher.start()
        returncode = subprocess.run(argv, check=False).returncode
        time.sleep(DRAIN_S)
        over.set()
        watcher.join()
    record.write_text(json.dumps([asdict(attempt) for attempt in seen]))
    return returncode


def _leave_the_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise PermissionError(ctypes.get_errno(), "unshare")
    commands = ["ip link set lo up", "ip route add default dev lo"]
    if Path("/proc/net/if_inet6").exists():
        # Linux makes an IPv6 route through loopback a refusal, unless it says that every address is local.
        commands.append("ip -6 route add local default dev lo")
    for command in commands:
        subprocess.run(command.split(), check=True)


def _watch(packets: socket.socket, over: threading.Event, seen: dict[Attempt, None]) -> None:
    while not over.is_set():
        try:
            packet, address = packets.recvfrom(65_536)
        except TimeoutError:
            continue
        attempt = _attempt_in(packet, address[1])
        if attempt is not None:
            seen[attempt] = None


def _attempt_in(packet: bytes, ethertype: int) -> Attempt | None:
    """Read the destination from an IP header (RFC 791, RFC 8200); None for traffic that stays inside."""
    if ethertype == ETH_P_IP:
        destination = ipaddress.ip_address(packet[16:20])
        number, payload = packet[9], packet[(packet[0] & 0x0F) * 4 :]
    elif ethertype == ETH_P_IPV6:
        destination = ipaddress.ip_address(packet[24:40])
        number, payload = packet[6], packet[40:]
    else:
        return None
    port = int.from_bytes(payload[2:4], "big") if number in (6, 17) else 0
    # A name server on loopback forwards elsewhere, so asking it counts as leaving; hearing it (from port 53)
    # does not occur, because nobody answers here.
    if destination.is_loopback and port != DNS_PORT:
        return None
    return Attempt(PROTOCOLS.get(number, str(number)), str(destination), port)


if __name__ == "__main__":
    sys.exit(_warden(Path(sys.argv[1]), sys.argv[2:]))
