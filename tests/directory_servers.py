"""Company directories for tests: a real OpenID Connect provider, a real LDAP server, and their certificates.

The provider is Authlib's authorization server behind Flask, over TLS on loopback: it checks PKCE, client
secrets and used-up codes by itself. The LDAP server is OpenLDAP's `slapd` with a configuration of its own.
"""

from __future__ import annotations

import html
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import httpx2
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.models import ClientMixin
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from authlib.oidc.core.models import AuthorizationCodeMixin
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from infra.directories.configuration import LdapDirectory, OidcProvider
from infra.network import private_sync_client

_SCHEMA_FOLDER = Path("/etc/ldap/schema")
_SCHEMAS = ("core", "cosine", "inetorgperson")
SLAPD = shutil.which("slapd", path=os.defpath + ":/usr/sbin") if _SCHEMA_FOLDER.is_dir() else None
"""OpenLDAP's server as Debian and Ubuntu install it (`apt install slapd`), or None."""


# --- certificates ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """Files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """A private certificate authority in a folder; `ca_file` is what clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._made = 0
        extensions = [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False),
        ]
        certificate = self._sign(self._name, self._key.public_key(), extensions, expired=False)
        self.ca_file = folder / "authority.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *hosts: str, expired: bool = False) -> Certificate:
        """Issue a server certificate for names and addresses."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False),
            (issuer_id, False),
        ]
        certificate = self._sign(subject, key.public_key(), extensions, expired=expired)
        self._made += 1
        made = Certificate(self._folder / f"{self._made}.pem", self._folder / f"{self._made}.key")
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made

    def _sign(
        self,
        subject: x509.Name,
        public_key: rsa.RSAPublicKey,
        extensions: list[tuple[x509.ExtensionType, bool]],
        *,
        expired: bool,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=-1 if expired else 1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# --- OpenID Connect -------------------------------------------------------------------------------


@dataclass
class OidcPerson:
    """Somebody whom the provider knows."""

    subject: str
    claims: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Client(ClientMixin):
    client_id: str
    secret: str
    redirects_to: str

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.startswith(self.redirects_to)

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass(frozen=True)
class _Code(AuthorizationCodeMixin):
    code: str
    client_id: str
    redirect_uri: str
    scope: str
    person: OidcPerson
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int | None:
        return None

    def get_acr(self) -> str | None:
        return None

    def get_amr(self) -> list[str] | None:
        return None


Forge = Callable[[dict[str, Any]], str]


class OidcServer:
    """A provider on loopback. Its attributes are its behaviour, and may be changed between requests."""

    client_id = "strongroom"
    client_secret = "s+cret/with:reserved%41characters"

    def __init__(self, certificate: Certificate) -> None:
        self.person = OidcPerson("subject-1", {"name": "Amira Haddad", "groups": ["g-1"]})
        """Who is signed in at the provider when a browser comes."""
        self.asked: Counter[str] = Counter()
        """How often each path was asked for."""
        self.discovery: dict[str, Any] = {}
        """What the discovery document says differently."""
        self.raw_discovery: str | None = None
        """The discovery document's text, if it is not to be made."""
        self.forge: Forge | None = None
        """Makes the ID token from its claims, instead of signing them properly."""
        self.slim_id_tokens = False
        """Whether claims about the person come from the userinfo endpoint only."""
        self.user_info_subject: str | None = None
        """Whom the userinfo endpoint speaks of, if it is somebody else."""
        self.redirects_to = "https://strongroom.internal/"
        """Where answers may be sent: the beginning of every registered address."""
        self.asks_first = False
        """Whether the person is shown a page and has to press its button."""
        self.broken = False
        """Whether every request is answered with an error."""
        self.key = _new_key("key-1")
        self._codes: dict[str, _Code] = {}
        self._tokens: dict[str, OidcPerson] = {}
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1",
            0,
            self._app(),
            threaded=True,
            request_handler=_QuietHandler,
            ssl_context=(str(certificate.certificate), str(certificate.key)),
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def issuer(self) -> str:
        """The provider's name, which is also its address."""
        return f"https://127.0.0.1:{self._server.server_port}"

    def described(self, **fields: Any) -> OidcProvider:
        """Describe this provider as an operator would, with some fields changed."""
        usual = {
            "name": "sso",
            "label": "Company account",
            "issuer": self.issuer,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "audience": "strongroom-api",
        }
        return OidcProvider.model_validate({**usual, **fields})

    def rotate(self) -> None:
        """Replace the signing key by one with another name."""
        self.key = _new_key(f"key-{time.monotonic_ns()}")

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """Sign a token with the provider's own key."""
        return jwt.encode(
            {"alg": "RS256", "kid": self.key.kid, **header}, dict(claims), self.key, algorithms=["RS256"]
        )

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _app(self) -> flask.Flask:
        app = flask.Flask("provider")
        server = AuthorizationServer(app, query_client=self._query_client, save_token=self._save_token)
        server.init_app(app)
        server.register_grant(_grant_for(self), [_id_tokens_for(self), CodeChallenge(required=True)])

        @app.before_request
        def count() -> flask.Response | None:
            self.asked[flask.request.path] += 1
            return flask.Response("{}", 503) if self.broken else None

        @app.get("/.well-known/openid-configuration")
        def discovery() -> Any:
            return self._discovery() if self.raw_discovery is None else self.raw_discovery

        @app.get("/jwks")
        def jwks() -> dict[str, Any]:
            return dict(KeySet([self.key]).as_dict(private=False))

        @app.get("/authorize")
        def authorize() -> flask.Response:
            if self.asks_first and "agreed" not in flask.request.args:
                return flask.Response(_agreement(flask.request.args))
            grant = server.get_consent_grant(end_user=self.person)
            response: flask.Response = server.create_authorization_response(
                grant_user=self.person, grant=grant
            )
            return response

        @app.post("/token")
        def token() -> flask.Response:
            response: flask.Response = server.create_token_response()
            return response

        @app.get("/userinfo")
        def user_info() -> Any:
            person = self._tokens.get(flask.request.headers.get("Authorization", "").removeprefix("Bearer "))
            if person is None:
                return {"error": "invalid_token"}, 401
            return {"sub": self.user_info_subject or person.subject, **person.claims}

        return app

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.discovery,
        }

    def _query_client(self, client_id: str) -> _Client | None:
        if client_id != self.client_id:
            return None
        return _Client(client_id, self.client_secret, self.redirects_to)

    def _save_token(self, token: dict[str, Any], request: Any) -> None:
        self._tokens[token["access_token"]] = request.user


def _agreement(asked: Mapping[str, str]) -> str:
    """Return the page on which a person agrees to sign in."""
    kept = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in {**asked, "agreed": "yes"}.items()
    )
    return f'<!doctype html><title>Provider</title><form action="/authorize">{kept}<button>Continue</button>'


class _QuietHandler(WSGIRequestHandler):
    def log(self, *_line: Any) -> None:
        """Print nothing."""


def _new_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


def _grant_for(provider: OidcServer) -> type[AuthorizationCodeGrant]:
    class Grant(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

        def save_authorization_code(self, code: str, request: Any) -> None:
            asked = request.payload.data
            provider._codes[code] = _Code(
                code=code,
                client_id=request.client.client_id,
                redirect_uri=request.payload.redirect_uri,
                scope=request.scope,
                person=request.user,
                nonce=asked.get("nonce"),
                code_challenge=asked.get("code_challenge"),
                code_challenge_method=asked.get("code_challenge_method"),
            )

        def query_authorization_code(self, code: str, client: _Client) -> _Code | None:
            return provider._codes.get(code)

        def delete_authorization_code(self, authorization_code: _Code) -> None:
            del provider._codes[authorization_code.code]

        def authenticate_user(self, authorization_code: _Code) -> OidcPerson:
            return authorization_code.person

    return Grant


def _id_tokens_for(provider: OidcServer) -> OpenIDCode:
    class IdTokens(OpenIDCode):
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False

        def resolve_client_private_key(self, client: _Client) -> RSAKey:
            return provider.key

        def get_encode_header(self, client: _Client) -> dict[str, Any]:
            return {"alg": "RS256", "kid": provider.key.kid}

        def get_client_claims(self, client: _Client) -> dict[str, Any]:
            return {"iss": provider.issuer, "aud": [client.client_id]}

        def generate_user_info(self, user: OidcPerson, scope: str) -> dict[str, Any]:
            return {"sub": user.subject, **({} if provider.slim_id_tokens else user.claims)}

        def encode_id_token(self, token: dict[str, Any], request: Any) -> str:
            proper: str = super().encode_id_token(token, request)
            if provider.forge is None:
                return proper
            return provider.forge(dict(jwt.decode(proper, provider.key, algorithms=["RS256"]).claims))

    return IdTokens(require_nonce=True)


def browse(url: str, ca_file: Path) -> dict[str, str]:
    """Do what a browser does that is signed in at the provider: return the parameters it comes back with."""
    with private_sync_client([], timeout_s=5.0, ca_file=ca_file) as browser:
        response = browser.get(httpx2.URL(url))
    assert response.status_code == 302, response.text
    found = parse_qs(urlsplit(response.headers["location"]).query)
    return {name: values[0] for name, values in found.items()}


# --- LDAP -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LdapServer:
    """A running slapd: its two ports, and the service account that may search."""

    port: int
    tls_port: int
    base_dn: str = "dc=example,dc=internal"
    bind_dn: str = "cn=service,dc=example,dc=internal"
    bind_password: str = "service-password"

    def described(self, **fields: Any) -> LdapDirectory:
        """Describe this server as an operator would, with some fields changed."""
        usual = {
            "name": "staff",
            "label": "Staff directory",
            "url": self.tls_url,
            "bind_dn": self.bind_dn,
            "bind_password": self.bind_password,
            "base_dn": f"ou=people,{self.base_dn}",
            "group_base_dn": f"ou=groups,{self.base_dn}",
        }
        return LdapDirectory.model_validate({**usual, **fields})

    @property
    def url(self) -> str:
        """Address for StartTLS."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """Address with TLS from the first byte."""
        return f"ldaps://127.0.0.1:{self.tls_port}"


@contextmanager
def ldap_server(entries: str, certificate: Certificate, authority: Authority) -> Iterator[LdapServer]:
    """Run slapd with `entries` (LDIF) below dc=example,dc=internal until the block ends."""
    assert SLAPD is not None, "slapd is not installed"
    server = LdapServer(_free_port(), _free_port())
    with tempfile.TemporaryDirectory(prefix="slapd-") as name:
        folder = Path(name)
        configuration = _configure(folder, server, certificate, authority)
        (folder / "entries.ldif").write_text(_ROOT_ENTRIES + entries)
        # A copy, because AppArmor (on Ubuntu) keeps the program at its own path away from temporary folders.
        program = shutil.copy(SLAPD, folder / "slapd")
        command = [program, "-Tadd", "-f", str(configuration), "-l", str(folder / "entries.ldif")]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        urls = f"{server.url} {server.tls_url}"
        process = subprocess.Popen(
            [program, "-d", "0", "-f", str(configuration), "-h", urls],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(server.port, process)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=10)


_ROOT_ENTRIES = """\
dn: dc=example,dc=internal
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=service,dc=example,dc=internal
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: service
userPassword: service-password

"""


def _configure(folder: Path, server: LdapServer, certificate: Certificate, authority: Authority) -> Path:
    (folder / "database").mkdir()
    schemas = "\n".join(f"include {_SCHEMA_FOLDER}/{name}.schema" for name in _SCHEMAS)
    # bind_anon_dn makes the server say yes to a name without a password, as many servers do; only with it
    # can a test tell whether we ask such a thing.
    text = f"""\
{schemas}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
allow bind_anon_dn
TLSCACertificateFile {authority.ca_file}
TLSCertificateFile {certificate.certificate}
TLSCertificateKeyFile {certificate.key}
database mdb
suffix "{server.base_dn}"
rootdn "cn=root,{server.base_dn}"
directory {folder}/database
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{server.bind_dn}" read by * none
"""
    path = folder / "slapd.conf"
    path.write_text(text)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "slapd ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("slapd does not answer")
