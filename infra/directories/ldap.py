"""Sign-in with an LDAP server: find the person with a service account, then bind as them.

RFC 4511 (protocol), RFC 4513 (simple bind and StartTLS), RFC 4515 (filters). The protocol's encoding is
ldap3's, which is pure Python; addresses, encryption and what counts as success are decided here. Calls block;
run them in a worker thread.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import ssl
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from pyasn1.error import PyAsn1Error

from infra.directories.claims import MAX_GROUPS, DirectoryPerson, directory_person
from infra.directories.configuration import LdapDirectory
from infra.errors import AddressRefused, ConfigurationError, DirectoryRefused, DirectoryUnavailable
from infra.logs import get_logger
from infra.network import address_class, check_private_url, literal_address

with warnings.catch_warnings():
    # ldap3 2.9.1 asks pyasn1 for names that pyasn1 has since respelled; both spellings work.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPException
    from ldap3.utils.conv import escape_filter_chars

TIMEOUT_S: Final = 5
"""Longest wait for the connection, for each answer, and for the server's own search, in seconds."""
MAX_LOGIN_CHARS: Final = 256
MAX_PASSWORD_BYTES: Final = 1024

# What a broken connection raises, and what ldap3's decoder does with bytes that are no LDAP.
_NO_CONVERSATION: Final = (LDAPException, PyAsn1Error, OSError, LookupError, ValueError, TypeError)

_SUCCESS: Final = 0
_SIZE_LIMIT_EXCEEDED: Final = 4
_Entry = Mapping[str, Any]


class LdapSignIn:
    """One directory that people sign in with. Safe to share between threads; holds no connection open."""

    def __init__(self, configuration: LdapDirectory, *, allowed_hosts: Collection[str] = ()) -> None:
        """Check the address; raises AddressRefused or ConfigurationError. Contacts nobody yet.

        `allowed_hosts` are host names that may be resolved (see `infra.network`).
        """
        parts = urlsplit(configuration.url)
        self.configuration = configuration
        self._host = (parts.hostname or "").rstrip(".")
        self._implicit_tls = parts.scheme == "ldaps"
        self._port = parts.port or (636 if self._implicit_tls else 389)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        check_private_url(f"https://{shown}:{self._port}", allowed_hosts)
        if not (self._implicit_tls or configuration.start_tls or self._is_loopback()):
            raise ConfigurationError(
                f"{configuration.name} would send passwords unencrypted.",
                hint="Use ldaps:// or leave start_tls on; only a server on this machine may do without.",
            )

    def sign_in(
        self, login: str, password: str, *, may_try: Callable[[str], bool] = lambda _subject: True
    ) -> DirectoryPerson:
        """Return the person with this name and password.

        Before the password is looked at, `may_try` is asked with the subject that the name leads to (with one
        of nobody's when it leads to none): attempts are to be counted by the person and not by the spelling.
        Where it says no, the password is as wrong as any other.

        Raises DirectoryRefused: `wrong_credentials` for a wrong name, a wrong password and an empty one
        alike, `ambiguous_login` when several people match, or what `directory_person` refuses. Raises
        DirectoryUnavailable, also for a certificate that is not the server's, and AddressRefused.
        """
        secret = _password(password)
        if not 0 < len(login) <= MAX_LOGIN_CHARS or not _is_encodable(login):
            raise DirectoryRefused("wrong_credentials")
        try:
            with self._service() as service:
                found = self._people(service, login)
                subject = _first(found[0], self.configuration.subject_attribute) if len(found) == 1 else None
                is_allowed = may_try(subject or secrets.token_hex(16))
                dn = str(found[0]["dn"]) if len(found) == 1 and is_allowed else self._nobody()
                # Also for a name that nobody or several people have: the time taken must not tell.
                bound = self._binds(dn, secret)
                if len(found) > 1:
                    raise DirectoryRefused("ambiguous_login")
                if not bound or not found or not is_allowed:
                    raise DirectoryRefused("wrong_credentials")
                return self._person(service, found[0])
        except _NO_CONVERSATION as error:
            self._unavailable("conversation", type(error).__name__, error)

    # --- what is asked ----------------------------------------------------------------------------

    def _people(self, service: ldap3.Connection, login: str) -> list[_Entry]:
        """Find who has this login; two entries are enough to know that it is not one."""
        filter_ = self.configuration.user_filter.replace("{login}", escape_filter_chars(login))
        attributes = [
            self.configuration.subject_attribute,
            self.configuration.name_attribute,
            self.configuration.email_attribute,
        ]
        return self._search(service, self.configuration.base_dn, filter_, attributes, limit=2)

    def _groups(self, service: ldap3.Connection, dn: str) -> list[object] | None:
        """Return the ids of the groups that hold `dn`, or None when no place to look is configured."""
        if self.configuration.group_base_dn is None:
            return None
        filter_ = self.configuration.group_filter.replace("{dn}", escape_filter_chars(dn))
        attribute = self.configuration.group_id_attribute
        entries = self._search(
            service, self.configuration.group_base_dn, filter_, [attribute], limit=MAX_GROUPS + 1
        )
        return [_first(entry, attribute) for entry in entries]

    def _search(
        self, service: ldap3.Connection, base: str, filter_: str, attributes: list[str], *, limit: int
    ) -> list[_Entry]:
        service.search(
            base,
            filter_,
            search_scope=ldap3.SUBTREE,
            dereference_aliases=ldap3.DEREF_NEVER,
            attributes=attributes,
            size_limit=limit,
            time_limit=TIMEOUT_S,
        )
        if service.result["result"] not in (_SUCCESS, _SIZE_LIMIT_EXCEEDED):
            # Half an answer, a referral among them, could lack the group that a rule denies.
            self._unavailable("search", f"result_{service.result['result']}")
        # References to other servers stand among the entries; they are never followed.
        return [item for item in service.response or [] if item["type"] == "searchResEntry"]

    def _person(self, service: ldap3.Connection, entry: _Entry) -> DirectoryPerson:
        return directory_person(
            self.configuration.name,
            subject=_first(entry, self.configuration.subject_attribute),
            name=_first(entry, self.configuration.name_attribute),
            email=_first(entry, self.configuration.email_attribute),
            groups=self._groups(service, str(entry["dn"])),
            vouches_for_email=True,
        )

    def _binds(self, dn: str, password: bytes) -> bool:
        """Tell whether `dn` and `password` go together, on a connection of their own."""
        with self._connected() as connection:
            return self._bind(connection, dn, password)

    def _bind(self, connection: ldap3.Connection, dn: str, password: bytes) -> bool:
        # Bytes, because ldap3 would normalise text (RFC 4013) and could turn a password of invisible
        # characters into an empty one, which a server takes for an anonymous bind and calls a success.
        connection.user, connection.password = dn, password
        connection.authentication = ldap3.SIMPLE
        connection.bind(read_server_info=False)
        return bool(connection.result["result"] == _SUCCESS)

    def _nobody(self) -> str:
        return f"cn={secrets.token_hex(16)},{self.configuration.base_dn}"

    # --- how the server is reached ----------------------------------------------------------------

    @contextmanager
    def _service(self) -> Iterator[ldap3.Connection]:
        """Yield a connection that is bound as the service account."""
        password = self.configuration.bind_password.get_secret_value().encode()
        with self._connected() as connection:
            if not self._bind(connection, self.configuration.bind_dn, password):
                self._unavailable("service_bind", f"result_{connection.result['result']}")
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[ldap3.Connection]:
        """Yield an open connection, encrypted unless it stays on this machine by configuration."""
        connection = self._open()
        try:
            if self.configuration.start_tls and not self._implicit_tls:
                connection.start_tls(read_server_info=False)
            yield connection
        finally:
            connection.unbind()

    def _open(self) -> ldap3.Connection:
        """Connect to the first address of the host that answers."""
        addresses = self._addresses()
        for address in addresses[:-1]:
            try:
                return self._open_at(address)
            except LDAPException:
                continue
        return self._open_at(addresses[-1])

    def _open_at(self, address: str) -> ldap3.Connection:
        server = ldap3.Server(
            address,
            port=self._port,
            use_ssl=self._implicit_tls,
            tls=_VerifiedTls(self._host, _tls_context(self.configuration)),
            get_info=ldap3.NONE,
            connect_timeout=TIMEOUT_S,
        )
        connection = ldap3.Connection(
            server,
            auto_referrals=False,
            receive_timeout=TIMEOUT_S,
            check_names=False,
            read_only=True,
            raise_exceptions=False,
        )
        try:
            connection.open(read_server_info=False)
        except LDAPException:
            # ldap3 leaves the socket of a failed attempt open.
            if connection.socket is not None:
                connection.socket.close()
            raise
        return connection

    def _addresses(self) -> list[str]:
        """Resolve the host once and check every address: the connection goes to what was checked."""
        if literal_address(self._host) is not None:
            return [self._host]
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        for address in addresses:
            kind = address_class(ipaddress.ip_address(address))
            if kind != "private":
                raise AddressRefused(
                    f"The directory's address is outside the private network ({kind}), "
                    "and nothing may leave it."
                )
        return addresses

    def _is_loopback(self) -> bool:
        address = literal_address(self._host)
        return self._host == "localhost" if address is None else address.is_loopback

    def _unavailable(self, step: str, cause: str, error: Exception | None = None) -> NoReturn:
        get_logger().warning(
            "directory_unavailable", directory=self.configuration.name, step=step, cause=cause
        )
        raise DirectoryUnavailable(
            "The company directory cannot be reached at the moment.",
            hint="Try again in a minute; whoever runs this server finds the cause in its log.",
        ) from error


class _VerifiedTls(ldap3.Tls):
    """TLS that checks the certificate against the configured host, although an address is connected to."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._host = host
        self._context = context

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:
        """Encrypt the connection's socket; the handshake, with its checks, happens here and now."""
        connection.socket = self._context.wrap_socket(connection.socket, server_hostname=self._host)


def _tls_context(configuration: LdapDirectory) -> ssl.SSLContext:
    """Trust the system's authorities and `ca_file`; names and dates are checked by default."""
    context = ssl.create_default_context()
    if configuration.ca_file is not None:
        context.load_verify_locations(configuration.ca_file)
    return context


def _password(password: str) -> bytes:
    """Return the password's octets, never none of them.

    A bind with a name and no password succeeds on many servers and proves nothing (RFC 4513, section 5.1.2).
    """
    if not password or not _is_encodable(password) or len(password.encode()) > MAX_PASSWORD_BYTES:
        raise DirectoryRefused("wrong_credentials")
    return password.encode()


def _is_encodable(text: str) -> bool:
    """Tell whether `text` is Unicode without lone surrogates, which JSON can carry and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first(entry: _Entry, attribute: str) -> str | None:
    """Return an attribute's first value as text; Active Directory's objectGUID is 16 mixed-endian bytes."""
    attributes: Mapping[str, list[bytes]] = entry["raw_attributes"]
    value = next(
        (values[0] for name, values in attributes.items() if values and _same(name, attribute)), None
    )
    if value is None:
        return None
    if _same(attribute, "objectGUID"):
        return str(uuid.UUID(bytes_le=value)) if len(value) == 16 else None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _same(name: str, attribute: str) -> bool:
    return name.casefold() == attribute.casefold()
