"""HTTP clients reach private addresses only, and go where they looked."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import anyio
import httpx2
import pytest

from infra.errors import AddressRefused
from infra.network import address_class, check_private_url, private_client, private_sync_client

PUBLIC_URLS = [
    "https://api.openai.com/v1",
    "http://8.8.8.8/v1",
    "http://[2606:4700:4700::1111]/v1",
    "http://134744072/v1",  # 8.8.8.8 in decimal
    "http://0x08080808/v1",
    "http://010.8.8.8/v1",
    "http://127.1/v1",  # loopback, in a spelling only inet_aton knows
    "http://[::ffff:8.8.8.8]/v1",
    "http://[::ffff:808:808]/v1",
    "http://[64:ff9b::808:808]/v1",  # NAT64
    "http://[2002:808:808::1]/v1",  # 6to4
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]/v1",
    "http://[fd00:ec2::254]/latest",
    "http://100.100.100.200/latest",
    "http://0.0.0.0:8000/v1",
    "http://224.0.0.1/v1",
    "http://172.32.0.1/v1",
    "http://127.0.0.1@example.org/v1",
    "http://127.0.0.1:80@example.org/v1",
    "http://key:secret@127.0.0.1/v1",
    "http://127.0.0.1.nip.io/v1",
    "http://localhost.example.org/v1",
    "http://vllm.evil/v1",
    "http:///v1",
    "ftp://127.0.0.1/v1",
    "127.0.0.1:8000/v1",
    "http://[::1",
    "",
]

PRIVATE_URLS = [
    "http://127.0.0.1:8000/v1",
    "http://127.8.9.10/v1",
    "http://localhost:11434/v1",
    "http://LOCALHOST./v1",
    "http://10.1.2.3/v1",
    "https://172.16.0.1/v1",
    "http://172.31.255.255/v1",
    "http://192.168.1.20:1234/v1",
    "http://[::1]:8000/v1",
    "http://[fd12:3456::1]/v1",
    "http://[::ffff:10.0.0.1]/v1",
    "http://vllm:8000/v1",
    "http://VLLM.:8000/v1",
]


@pytest.fixture
def no_look_ups(monkeypatch):
    """Fail on any name look-up."""

    def refuse(*_arguments, **_options):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def server():
    """A server on 127.0.0.1 that echoes the Host header, and redirects /away to a public address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("Location", "http://203.0.113.1/")
            body = self.headers["Host"].encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield http.server_port
        http.shutdown()
        thread.join()


def resolves_to(monkeypatch, *answers: str) -> list[str]:
    """Let every look-up answer with `answers`; returns the list of names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answer(host, port, *arguments, **options):
        if host in answers:
            return real(host, port, *arguments, **options)
        asked.append(host.decode() if isinstance(host, bytes) else host)
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in answers
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize("url", PUBLIC_URLS)
def test_a_public_address_is_refused_without_a_look_up(url, no_look_ups):
    """At start-up, whatever the notation or the disguise."""
    with pytest.raises(AddressRefused) as refusal:
        check_private_url(url, ["vllm"])
    assert refusal.value.hint


@pytest.mark.parametrize("url", PRIVATE_URLS)
def test_a_private_address_passes(url, no_look_ups):
    """Loopback, RFC 1918, unique local addresses, localhost and listed names."""
    check_private_url(url, ["vllm"])


@pytest.mark.parametrize("url", [u for u in PUBLIC_URLS if u.startswith("http") and "@" not in u])
def test_the_client_refuses_as_well(url, no_look_ups):
    """A request to a public address never leaves, even if nobody checked the URL before."""
    with private_sync_client(["vllm"]) as client, pytest.raises((AddressRefused, httpx2.InvalidURL)):
        client.get(url)


def test_the_asynchronous_client_refuses_as_well(no_look_ups):
    """The twin does the same."""

    async def ask():
        async with private_client([]) as client:
            await client.get("https://api.openai.com/v1/models")

    with pytest.raises(AddressRefused):
        asyncio.run(ask())


@pytest.mark.parametrize("answers", [("8.8.8.8",), ("127.0.0.1", "8.8.8.8"), ("::ffff:8.8.8.8",)])
def test_a_listed_name_must_resolve_to_private_addresses(monkeypatch, answers):
    """One public answer among them is enough to refuse."""
    asked = resolves_to(monkeypatch, *answers)
    with private_sync_client(["vllm"]) as client, pytest.raises(AddressRefused):
        client.get("http://vllm:8000/v1/models")
    assert asked == ["vllm"]


def test_the_connection_goes_to_the_checked_address(monkeypatch, server):
    """The name is looked up once; a second, different answer (DNS rebinding) is never asked for."""
    asked = resolves_to(monkeypatch, "127.0.0.1")
    with private_sync_client(["vllm"]) as client:
        response = client.get(f"http://vllm:{server}/")
    assert response.text == f"vllm:{server}"
    assert asked == ["vllm"]


def test_the_asynchronous_connection_goes_to_the_checked_address(monkeypatch, server):
    """The twin does the same, and tries the next address when nobody listens at the first."""
    asked: list[str] = []

    async def answer(host, port, **_options):
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(anyio, "getaddrinfo", answer)

    async def ask() -> str:
        async with private_client(["vllm"]) as client:
            return (await client.get(f"http://vllm:{server}/")).text

    assert asyncio.run(ask()) == f"vllm:{server}"
    assert asked == ["vllm"]


def test_redirects_are_not_followed(server):
    """A private server cannot send the client elsewhere."""
    with private_sync_client([]) as client:
        assert client.get(f"http://127.0.0.1:{server}/away").status_code == 302


def test_a_forced_redirect_is_refused(server):
    """A library that asks for redirects meets the same gate at each hop."""
    with private_sync_client([]) as client, pytest.raises(AddressRefused):
        client.get(f"http://127.0.0.1:{server}/away", follow_redirects=True)


def test_a_proxy_from_the_environment_is_ignored(monkeypatch, server):
    """HTTP_PROXY would carry every request to somebody else."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://203.0.113.1:3128")
    with private_sync_client([]) as client:
        assert client.get(f"http://127.0.0.1:{server}/").status_code == 200


def test_a_name_nobody_knows_is_a_connection_error(monkeypatch):
    """A listed name that does not resolve is no refusal: the server is away."""

    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with private_sync_client(["vllm"]) as client, pytest.raises(httpx2.ConnectError):
        client.get("http://vllm:8000/")


def test_the_refusal_does_not_repeat_the_address():
    """It may have been put together from a question, and messages reach logs."""
    with pytest.raises(AddressRefused) as refusal:
        check_private_url("http://salary-of-jane.example.org/", [])
    assert "salary" not in refusal.value.message


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", "private"),
        ("fc00::1", "private"),
        ("8.8.8.8", "public IPv4"),
        ("2001:db8::1", "public IPv6"),
        ("192.0.2.1", "public IPv4"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "shared carrier space"),
        ("::", "unspecified"),
        ("ff02::1", "multicast"),
        ("fd00:ec2::254", "metadata service"),
    ],
)
def test_each_kind_of_address_has_its_name(address, expected):
    """The classes that the tripwire and the refusals speak of."""
    assert address_class(ipaddress.ip_address(address)) == expected
