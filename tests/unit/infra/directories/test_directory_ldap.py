"""Sign-in with a real LDAP server: encrypted, with escaped names, and no bind that proves nothing."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from infra.directories import ldap
from infra.directories.claims import DirectoryPerson
from infra.directories.configuration import LdapDirectory
from infra.directories.ldap import LdapSignIn
from infra.errors import AddressRefused, ConfigurationError, DirectoryRefused, DirectoryUnavailable
from tests.directory_servers import SLAPD, Authority, Certificate, LdapServer, ldap_server

AMIRA = "6d3e2f64-0000-4000-8000-000000000001"
BRUNO = "6d3e2f64-0000-4000-8000-000000000002"
READERS = "6d3e2f64-0000-4000-8000-00000000000a"
WRITERS = "6d3e2f64-0000-4000-8000-00000000000b"
ENTRIES = f"""\
dn: ou=people,dc=example,dc=internal
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=internal
objectClass: organizationalUnit
ou: groups

dn: uid=amira,ou=people,dc=example,dc=internal
objectClass: inetOrgPerson
uid: amira
cn: Amira Haddad
sn: Haddad
mail: amira@example.internal
employeeNumber: 7
userPassword: correct horse
entryUUID: {AMIRA}

dn: cn=Bruno (Lager\\2C Nord)*,ou=people,dc=example,dc=internal
objectClass: inetOrgPerson
uid: bruno
cn: Bruno (Lager, Nord)*
sn: Bruno
userPassword:: cMOkc3N3b3J0
entryUUID: {BRUNO}

dn: uid=twin-1,ou=people,dc=example,dc=internal
objectClass: inetOrgPerson
uid: twin-1
cn: Twin
sn: Twin
mail: twin@example.internal
userPassword: the same

dn: uid=twin-2,ou=people,dc=example,dc=internal
objectClass: inetOrgPerson
uid: twin-2
cn: Twin
sn: Twin
mail: twin@example.internal
userPassword: the same

dn: cn=readers,ou=groups,dc=example,dc=internal
objectClass: groupOfNames
cn: readers
member: uid=amira,ou=people,dc=example,dc=internal
member: cn=Bruno (Lager\\2C Nord)*,ou=people,dc=example,dc=internal
entryUUID: {READERS}

dn: cn=writers,ou=groups,dc=example,dc=internal
objectClass: groupOfNames
cn: writers of things
member: uid=amira,ou=people,dc=example,dc=internal
entryUUID: {WRITERS}
"""

pytestmark = pytest.mark.skipif(SLAPD is None, reason="slapd is not installed (Debian: apt install slapd)")


@pytest.fixture(scope="module")
def server(certificate: Certificate, authority: Authority) -> Iterator[LdapServer]:
    """Run one directory for all tests; none of them changes it."""
    with ldap_server(ENTRIES, certificate, authority) as running:
        yield running


@pytest.fixture
def directory(server: LdapServer, authority: Authority) -> LdapSignIn:
    """Return our side of it, over TLS."""
    return LdapSignIn(server.described(ca_file=authority.ca_file))


def reason(attempt: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(DirectoryRefused) as refusal:
        attempt(*arguments)
    return refusal.value.reason


# --- the way in -----------------------------------------------------------------------------------


def test_a_person_signs_in(directory):
    """Name and password give the person, with immutable ids for them and for their groups."""
    assert directory.sign_in("amira", "correct horse") == DirectoryPerson(
        directory="staff",
        subject=AMIRA,
        name="Amira Haddad",
        email="amira@example.internal",
        group_ids=frozenset({f"group:staff:{READERS}", f"group:staff:{WRITERS}"}),
        email_vouched=True,
    )


@pytest.mark.parametrize("login", ["amira", "AMIRA@example.internal", "amira "])
def test_attempts_are_counted_by_the_person(directory, login):
    """Whatever the name is spelt like, the same subject is asked about, and a no is a wrong password."""
    asked = []
    with pytest.raises(DirectoryRefused) as refusal:
        directory.sign_in(login, "correct horse", may_try=lambda subject: bool(asked.append(subject)))
    assert (refusal.value.reason, asked) == ("wrong_credentials", [AMIRA])


def test_nobody_is_counted_as_nobody(directory):
    """A name that leads to nobody is asked about as well, under a subject of its own each time."""
    asked = []
    for _ in range(2):
        with pytest.raises(DirectoryRefused):
            directory.sign_in("nobody", "x", may_try=lambda subject: not asked.append(subject))
    assert len(set(asked)) == 2


def test_the_address_works_as_a_login(directory):
    """The default filter knows names and addresses."""
    assert directory.sign_in("AMIRA@example.internal", "correct horse").subject == AMIRA


def test_a_name_full_of_special_characters_keeps_its_groups(directory):
    """Parentheses, a comma and a star in a DN are escaped in the search for groups."""
    person = directory.sign_in("bruno", "pässwort")
    assert (person.subject, person.group_ids) == (BRUNO, frozenset({f"group:staff:{READERS}"}))


def test_start_tls_works_as_well(server, authority):
    """On the plain port, the connection is encrypted before anything is said."""
    directory = LdapSignIn(server.described(url=server.url, ca_file=authority.ca_file))
    assert directory.sign_in("amira", "correct horse").subject == AMIRA


def test_plaintext_is_possible_on_this_machine_only(server):
    """Loopback may do without TLS when the operator says so; any other address may not."""
    directory = LdapSignIn(server.described(url=server.url, start_tls=False))
    assert directory.sign_in("amira", "correct horse").subject == AMIRA
    with pytest.raises(ConfigurationError):
        LdapSignIn(server.described(url="ldap://10.0.0.1", start_tls=False))


def test_without_a_place_to_look_groups_are_unknown(server, authority):
    """That is not the same as being in none."""
    directory = LdapSignIn(server.described(ca_file=authority.ca_file, group_base_dn=None))
    person = directory.sign_in("amira", "correct horse")
    assert (person.group_ids, person.groups_known) == (frozenset(), False)


def test_a_group_name_with_spaces_is_no_id(server, authority):
    """An operator who picks a name instead of an id is told by a refusal, not by odd groups."""
    directory = LdapSignIn(server.described(ca_file=authority.ca_file, group_id_attribute="cn"))
    assert reason(directory.sign_in, "amira", "correct horse") == "group_refused"


def test_nobody_gets_in_without_a_subject(server, authority):
    """An entry without the identifying attribute identifies nobody."""
    directory = LdapSignIn(server.described(ca_file=authority.ca_file, subject_attribute="employeeType"))
    assert reason(directory.sign_in, "amira", "correct horse") == "subject_refused"


def test_an_active_directory_id_is_written_as_a_uuid():
    """objectGUID is 16 bytes, its first three fields little-endian; other bytes are no id."""
    guid = uuid.UUID("6d3e2f64-1234-5678-9abc-def012345678")
    assert ldap._first({"raw_attributes": {"objectguid": [guid.bytes_le]}}, "objectGUID") == str(guid)
    assert ldap._first({"raw_attributes": {"objectGUID": [b"short"]}}, "objectGUID") is None
    assert ldap._first({"raw_attributes": {"cn": [b"\xff"]}}, "cn") is None


# --- who is kept out ------------------------------------------------------------------------------


def test_a_wrong_name_looks_like_a_wrong_password(directory):
    """Class, code, message and reason are the same."""
    shown = []
    for login, password in (("amira", "wrong"), ("nobody", "wrong"), ("nobody", "correct horse")):
        with pytest.raises(DirectoryRefused) as refusal:
            directory.sign_in(login, password)
        error = refusal.value
        shown.append((type(error), error.code, error.message, error.hint, error.reason))
    assert len(set(shown)) == 1


def test_a_wrong_name_costs_a_bind_as_well(directory, monkeypatch):
    """The server is asked as often for a name that nobody has."""
    asked: list[str] = []
    original = LdapSignIn._binds

    def counting(self: LdapSignIn, dn: str, password: bytes) -> bool:
        asked.append(dn)
        return original(self, dn, password)

    monkeypatch.setattr(LdapSignIn, "_binds", counting)
    for login in ("amira", "nobody"):
        reason(directory.sign_in, login, "wrong")
    assert len(asked) == 2


@pytest.mark.parametrize("password", ["", "\x00", "\u00ad", "\u200b", "x" * 1025, "\ud800"])
def test_a_password_that_proves_nothing_is_refused(directory, password):
    """Empty, or empty after preparation: this server would call such a bind a success."""
    assert reason(directory.sign_in, "amira", password) == "wrong_credentials"


def test_the_server_would_fall_for_an_empty_password(server, authority):
    """What the test above relies on: asked directly, this server accepts a name without a password."""
    from ldap3.protocol import rfc4511

    directory = LdapSignIn(server.described(ca_file=authority.ca_file))
    request = rfc4511.BindRequest()
    request["version"], request["name"] = 3, "uid=amira,ou=people,dc=example,dc=internal"
    simple = rfc4511.AuthenticationChoice().setComponentByName("simple", rfc4511.Simple(b""))
    request["authentication"] = simple
    with directory._connected() as connection:
        strategy = connection.strategy
        responses = strategy.post_send_single_response(strategy.send("bindRequest", request))
    assert responses[0]["result"] == 0


@pytest.mark.parametrize(
    "login",
    [
        "*",
        "a*",
        "*)(uid=*",
        "amira)(|(uid=*",
        "amira))(|(uid=*",
        "*)(objectClass=*))(|(uid=*",
        "amira\x00",
        "amira\\",
        "\\2a",
        "\\61mira",
        "{login}",
        "",
        "x" * 257,
        "\ud800",
        "uid=amira,ou=people,dc=example,dc=internal",
    ],
)
def test_a_login_is_a_value_and_never_a_filter(directory, login):
    """Stars, parentheses, backslashes and NUL match nobody, even with the right password."""
    assert reason(directory.sign_in, login, "correct horse") == "wrong_credentials"


def test_two_people_of_one_login_are_nobody(directory):
    """With a shared address, whoever knows one password must not become the other."""
    assert reason(directory.sign_in, "twin@example.internal", "the same") == "ambiguous_login"
    assert directory.sign_in("twin-1", "the same").name == "Twin"


def test_the_service_account_is_not_a_person(directory):
    """It lies outside the people's part of the tree."""
    assert reason(directory.sign_in, "service", "service-password") == "wrong_credentials"


# --- the server -----------------------------------------------------------------------------------


def test_a_wrong_service_password_is_the_operators_problem(server, authority):
    """The person at the door is not told that theirs was wrong."""
    directory = LdapSignIn(server.described(ca_file=authority.ca_file, bind_password="wrong"))
    with pytest.raises(DirectoryUnavailable):
        directory.sign_in("amira", "correct horse")


def test_a_missing_base_is_the_operators_problem(server, authority):
    """A search that fails is not a search that finds nobody."""
    directory = LdapSignIn(
        server.described(ca_file=authority.ca_file, group_base_dn="ou=gone,dc=example,dc=internal")
    )
    with pytest.raises(DirectoryUnavailable):
        directory.sign_in("amira", "correct horse")


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_an_unknown_authority_is_refused(server, scheme):
    """Without the private authority's certificate the server is not believed."""
    url = server.tls_url if scheme == "ldaps" else server.url
    with pytest.raises(DirectoryUnavailable):
        LdapSignIn(server.described(url=url)).sign_in("amira", "correct horse")


@pytest.mark.parametrize(
    ("hosts", "expired"), [(("127.0.0.1",), True), (("127.0.0.2", "other.internal"), False)]
)
def test_an_expired_or_foreign_certificate_is_refused(authority, hosts, expired):
    """Its date and its name are checked, over TLS and over StartTLS."""
    certificate = authority.issue(*hosts, expired=expired)
    with ldap_server(ENTRIES, certificate, authority) as server:
        for url in (server.tls_url, server.url):
            directory = LdapSignIn(server.described(url=url, ca_file=authority.ca_file))
            with pytest.raises(DirectoryUnavailable):
                directory.sign_in("amira", "correct horse")


def test_a_name_is_connected_to_by_address_and_checked_by_name(authority):
    """A certificate for `localhost` alone is good for that name, and not for 127.0.0.1."""
    with ldap_server(ENTRIES, authority.issue("localhost"), authority) as server:
        by_name = server.described(url=f"ldaps://localhost:{server.tls_port}", ca_file=authority.ca_file)
        assert LdapSignIn(by_name).sign_in("amira", "correct horse").subject == AMIRA
        with pytest.raises(DirectoryUnavailable):
            LdapSignIn(server.described(ca_file=authority.ca_file)).sign_in("amira", "correct horse")


def test_a_name_that_turns_out_public_is_refused(server, monkeypatch):
    """The list of names is not enough: the address decides, before anything is sent."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 636))]
    monkeypatch.setattr(ldap.socket, "getaddrinfo", lambda *_args, **_options: found)
    directory = LdapSignIn(server.described(url="ldaps://ldap.internal"), allowed_hosts=["ldap.internal"])
    with pytest.raises(AddressRefused):
        directory.sign_in("amira", "correct horse")


@pytest.mark.parametrize("url", ["ldaps://8.8.8.8", "ldaps://ldap.example.com", "ldap://[2001:db8::1]"])
def test_a_public_server_is_refused_at_once(server, url):
    """Before anything is looked up."""
    with pytest.raises(AddressRefused):
        LdapSignIn(server.described(url=url))


def test_a_server_that_is_not_there_is_unavailable(server, authority):
    """Nobody listens: a typed error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"ldaps://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(DirectoryUnavailable):
        LdapSignIn(server.described(url=url, ca_file=authority.ca_file)).sign_in("amira", "x")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\x84\x7f\xff\xff\xff", b"\x30\x02\x01\x01"]
)
def test_a_server_that_speaks_something_else_is_unavailable(server, monkeypatch, answer):
    """Silence ends with the time limit, and other bytes end at once: both as a typed error."""
    monkeypatch.setattr(ldap, "TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        directory = LdapSignIn(
            server.described(url=f"ldap://127.0.0.1:{listener.getsockname()[1]}", start_tls=False)
        )
        done = threading.Event()
        thread = threading.Thread(target=_say, args=(listener, answer, done))
        thread.start()
        try:
            with pytest.raises(DirectoryUnavailable):
                directory.sign_in("amira", "correct horse")
        finally:
            done.set()
            thread.join()


def _say(listener: socket.socket, answer: bytes, done: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)
        done.wait(10)


# --- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "local"},
        {"url": "https://127.0.0.1"},
        {"url": "ldapi:///run/slapd"},
        {"url": "ldaps://user:secret@127.0.0.1"},
        {"url": "ldaps://127.0.0.1/dc=example"},
        {"url": "ldaps://127.0.0.1:99999"},
        {"user_filter": "(objectClass=person)"},
        {"group_filter": "(objectClass=groupOfNames)"},
        {"bind_password": ""},
        {"bind_dn": ""},
        {"subject_attribute": "uid)(x=*"},
        {"unheard_of": 1},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes):
    """Reserved names, other schemes, filters that everybody matches, and an anonymous service account."""
    server = LdapServer(389, 636)
    assert isinstance(server.described(), LdapDirectory)
    with pytest.raises(ValidationError):
        server.described(**changes)
