"""The one place that makes HTTP clients. They reach loopback and private addresses, and nothing else.

A client decides twice. The name comes first: an IP address, `localhost`, or a name the operator
listed; any other is refused before anybody is asked to resolve it, because the look-up alone would tell a
name server outside what we are after. Then the address: whatever the name resolves to must be private,
and the connection goes to the very address that was checked, so that a second answer from the name
server (DNS rebinding) changes nothing. There is no switch that turns this off.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import anyio
import httpx2
from starlette.types import ASGIApp

from infra.errors import AddressRefused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Written out rather than taken from `ipaddress.is_private`, which also says yes to documentation,
# benchmarking and translation ranges, and whose answer changed between Python releases.
PRIVATE_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)

# Inside a private range, but answered by a cloud provider's metadata service (AWS over IPv6), which hands
# out credentials. Its IPv4 sibling 169.254.169.254 is link-local and therefore not private above.
METADATA_ADDRESSES: Final = frozenset({ipaddress.ip_address("fd00:ec2::254")})

_CLASSES: Final = tuple(
    (name, tuple(ipaddress.ip_network(network) for network in networks))
    for name, networks in (
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("shared carrier space", ("100.64.0.0/10",)),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("unspecified", ("0.0.0.0/8", "::/128")),
    )
)

_HINT: Final = (
    "Use a server on this machine or in the private network (10.x, 172.16-31.x, 192.168.x, fd..), "
    "or list its private host name in STRONGROOM_MODEL_HOSTS."
)


def private_client(
    allowed_hosts: Collection[str], *, timeout_s: float = 30.0, ca_file: Path | None = None
) -> httpx2.AsyncClient:
    """Return an asynchronous client that reaches private addresses only.

    `allowed_hosts` are names (not patterns) that may be resolved; `timeout_s` bounds every single wait
    (connect, read, write, pool) in seconds; `ca_file` is a private authority's certificate in PEM. Proxies
    and credentials from the environment are ignored, redirects are not followed. Requests to anything else
    raise AddressRefused.
    """
    return httpx2.AsyncClient(
        transport=PrivateAsyncTransport(allowed_hosts, ca_file=ca_file), timeout=timeout_s, trust_env=False
    )


def private_sync_client(
    allowed_hosts: Collection[str], *, timeout_s: float = 30.0, ca_file: Path | None = None
) -> httpx2.Client:
    """Return the blocking twin of `private_client`."""
    return httpx2.Client(
        transport=PrivateTransport(allowed_hosts, ca_file=ca_file), timeout=timeout_s, trust_env=False
    )


def in_process_client(app: ASGIApp, *, timeout_s: float = 30.0) -> httpx2.AsyncClient:
    """Return a client whose requests go to `app` in this process, and over no network at all.

    They pass its middleware like any other; a failure of the application is an answer with status 500.
    """
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", timeout=timeout_s, trust_env=False
    )


def check_private_url(url: str, allowed_hosts: Collection[str]) -> None:
    """Raise AddressRefused unless `url` may be contacted, as far as can be told without a look-up.

    For start-up: a listed name passes here and its addresses are checked at each connection.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, UnicodeError) as error:
        raise AddressRefused(
            "The address is not a URL such as http://127.0.0.1:8000/v1.", hint=_HINT
        ) from error
    if parsed.scheme not in ("http", "https"):
        raise AddressRefused("The address must start with http:// or https://.", hint=_HINT)
    if parsed.userinfo:
        # `http://127.0.0.1@example.org/` is a classic disguise, and credentials in an address reach logs.
        raise AddressRefused("The address must not contain a user name or password.", hint=_HINT)
    _check_host(_host_of(parsed), _names(allowed_hosts))


def address_class(address: IPAddress) -> str:
    """Return "private" for what may be contacted, else the kind of address, e.g. "public IPv4".

    Shared carrier space (100.64.0.0/10, RFC 6598) is not private: it belongs to a provider's network, and
    so does the metadata service at one of its addresses. Link-local is not private either: on cloud machines
    169.254.169.254 hands out credentials. An IPv4 address in an IPv6 coat counts as what it is.
    """
    address = _without_coat(address)
    if address in METADATA_ADDRESSES:
        return "metadata service"
    if any(address in network for network in PRIVATE_NETWORKS):
        return "private"
    for name, networks in _CLASSES:
        if any(address in network for network in networks):
            return name
    return f"public IPv{address.version}"


def literal_address(host: str) -> IPAddress | None:
    """Return the address that `host` spells in the standard notation, or None when it is a name.

    The other spellings of `inet_aton` (`134744072`, `0x8.8.8.8`, `127.1`) count as names, and are refused.
    """
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


class PrivateAsyncTransport(httpx2.AsyncBaseTransport):
    """Resolves, checks, then connects to the checked addresses, in order until one answers."""

    def __init__(self, allowed_hosts: Collection[str], *, ca_file: Path | None = None) -> None:
        self._names = _names(allowed_hosts)
        self._inner = httpx2.AsyncHTTPTransport(verify=_tls(ca_file), trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; raises AddressRefused without opening a connection."""
        attempts = [_pinned(request, address) for address in await self._addresses(request)]
        for attempt in attempts[:-1]:
            try:
                return await self._inner.handle_async_request(attempt)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                # Nothing was sent yet; `localhost` often has an IPv6 address where nobody listens.
                continue
        return await self._inner.handle_async_request(attempts[-1])

    async def _addresses(self, request: httpx2.Request) -> list[IPAddress]:
        host = _host_of(request.url)
        literal = _check_host(host, self._names)
        if literal is not None:
            return [literal]
        try:
            found = await anyio.getaddrinfo(host, request.url.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx2.ConnectError("the name could not be resolved", request=request) from error
        return _checked(entry[4] for entry in found)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


class PrivateTransport(httpx2.BaseTransport):
    """The blocking twin of `PrivateAsyncTransport`."""

    def __init__(self, allowed_hosts: Collection[str], *, ca_file: Path | None = None) -> None:
        self._names = _names(allowed_hosts)
        self._inner = httpx2.HTTPTransport(verify=_tls(ca_file), trust_env=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; raises AddressRefused without opening a connection."""
        attempts = [_pinned(request, address) for address in self._addresses(request)]
        for attempt in attempts[:-1]:
            try:
                return self._inner.handle_request(attempt)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # As in the asynchronous twin.
        return self._inner.handle_request(attempts[-1])

    def _addresses(self, request: httpx2.Request) -> list[IPAddress]:
        host = _host_of(request.url)
        literal = _check_host(host, self._names)
        if literal is not None:
            return [literal]
        try:
            found = socket.getaddrinfo(host, request.url.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx2.ConnectError("the name could not be resolved", request=request) from error
        return _checked(entry[4] for entry in found)

    def close(self) -> None:
        """Close every connection."""
        self._inner.close()


def _check_host(host: str, names: frozenset[str]) -> IPAddress | None:
    """Return the address that `host` spells, or None for a name that may be resolved."""
    literal = literal_address(host)
    if literal is not None:
        _refuse_unless_private(literal)
        return literal
    if host not in names:
        # The name itself is not repeated: it may have been put together from a question.
        raise AddressRefused(
            "This host name is not on the list of private hosts, so it was not even looked up.", hint=_HINT
        )
    return None


def _checked(sockaddrs: Iterable[Sequence[object]]) -> list[IPAddress]:
    """Return the resolved addresses, each once and in order; one public answer spoils them all."""
    found = dict.fromkeys(str(sockaddr[0]) for sockaddr in sockaddrs)
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    for address in addresses:
        _refuse_unless_private(address)
    return addresses


def _refuse_unless_private(address: IPAddress) -> None:
    kind = address_class(address)
    if kind != "private":
        raise AddressRefused(
            f"The address is outside the private network ({kind}), and nothing may leave it.", hint=_HINT
        )


def _pinned(request: httpx2.Request, address: IPAddress) -> httpx2.Request:
    """Point `request` at `address`; the Host header and the TLS name stay those that were asked for."""
    extensions = dict(request.extensions)
    if literal_address(_host_of(request.url)) is None:
        extensions["sni_hostname"] = _host_of(request.url)
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )


def _without_coat(address: IPAddress) -> IPAddress:
    """Unwrap an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2): the system connects by IPv4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _host_of(url: httpx2.URL) -> str:
    """Return the host as it would be resolved: ASCII, lower case, without the root's dot."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _names(allowed_hosts: Collection[str]) -> frozenset[str]:
    return frozenset({"localhost", *(name.strip().lower().rstrip(".") for name in allowed_hosts)} - {""})


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the system's authorities and `ca_file`."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
