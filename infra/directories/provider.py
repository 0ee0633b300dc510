"""An OpenID Connect provider as seen over the network: its metadata, its keys, and one way to ask it.

Discovery is OpenID Connect Discovery 1.0, keys are a JWK Set (RFC 7517). Both are kept for an hour. A token
that names an unknown key makes the keys be fetched anew, at most once a minute: providers change keys without
notice, and whoever sends invented key names must not make us their hammer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeVar

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from pydantic import BaseModel, ConfigDict, ValidationError

from infra.directories.configuration import OidcProvider
from infra.errors import ConfigurationError, DirectoryUnavailable, TokenRefused
from infra.logs import get_logger
from infra.network import check_private_url, literal_address, private_sync_client

TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
KEPT_S: Final = 3600.0
"""How long metadata and keys are used without asking again, in seconds. A key taken back dies with it."""
REFETCH_S: Final = 60.0
"""Shortest time between two fetches that unknown keys cause, in seconds."""
RETRY_S: Final = 5.0
"""How long a failure is remembered, in seconds, so that a provider that hangs does not hold every thread."""

Value = TypeVar("Value")

_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Metadata(BaseModel):
    """What we use of the discovery document."""

    model_config = ConfigDict(frozen=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer: the HTTP status and its JSON object."""

    status: int
    content: Mapping[str, Any]


class Provider:
    """Asks one provider. Safe to share between threads; holds no connection open."""

    def __init__(
        self,
        configuration: OidcProvider,
        *,
        allowed_hosts: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check the issuer's address; raises AddressRefused or ConfigurationError. Nothing is contacted yet.

        `allowed_hosts` are host names that may be resolved (see `infra.network`); `clock` counts seconds.
        """
        check_private_url(configuration.issuer, allowed_hosts)
        if not _is_safe(configuration.issuer):
            raise ConfigurationError(f"The issuer of {configuration.name} must be an https:// address.")
        self._configuration = configuration
        self._allowed_hosts = tuple(allowed_hosts)
        self._metadata: _Kept[Metadata] = _Kept(self._fetch_metadata, clock)
        self._keys: _Kept[list[Key]] = _Kept(self._fetch_keys, clock)

    def metadata(self) -> Metadata:
        """Return the discovery document; raises DirectoryUnavailable or AddressRefused."""
        return self._metadata.value()

    def key(self, kid: str | None, algorithm: str) -> Key:
        """Return the key that a token names; raises TokenRefused (`unknown_key`) or DirectoryUnavailable.

        A token without a name gets the provider's key when there is only one that fits the algorithm.
        """
        found = _pick(self._keys.value(), kid, algorithm)
        if found is None:
            found = _pick(self._keys.value_newer_than(REFETCH_S), kid, algorithm)
        if found is None:
            raise TokenRefused("unknown_key")
        return found

    def ask(
        self,
        step: str,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        credentials: tuple[str, str] | None = None,
        bearer: str | None = None,
    ) -> Answer:
        """Send one request and return its JSON answer; raises DirectoryUnavailable or AddressRefused.

        Each wait is bounded by 5 s, as is the whole body, which may have 256 KiB. Redirects are not followed.
        """
        # Uncompressed, because the bound on the body would otherwise hold only after its expansion.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        ca_file = self._configuration.ca_file
        try:
            with (
                private_sync_client(self._allowed_hosts, timeout_s=TIMEOUT_S, ca_file=ca_file) as client,
                client.stream(method, url, headers=headers, data=form, auth=credentials) as response,
            ):
                content = json.loads(_body(response))
        except (httpx2.HTTPError, ValueError, RecursionError, OSError) as error:
            self.unavailable(step, type(error).__name__, error)
        if not isinstance(content, dict):
            self.unavailable(step, "no_object")
        return Answer(response.status_code, content)

    def unavailable(self, step: str, cause: str, error: Exception | None = None) -> NoReturn:
        """Log what failed, for whoever runs the server, and raise DirectoryUnavailable."""
        get_logger().warning(
            "directory_unavailable", directory=self._configuration.name, step=step, cause=cause
        )
        raise DirectoryUnavailable(
            "The company directory cannot be reached at the moment.",
            hint="Try again in a minute; whoever runs this server finds the cause in its log.",
        ) from error

    def _fetch_metadata(self) -> Metadata:
        issuer = self._configuration.issuer
        answer = self.ask("discovery", "GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            metadata = Metadata.model_validate(answer.content)
        except ValidationError as error:
            self.unavailable("discovery", "incomplete", error)
        if answer.status != 200 or metadata.issuer != issuer:
            # Discovery 1.0, section 4.3: another name here means that we talk to somebody else.
            self.unavailable("discovery", "another_issuer")
        for url in (
            metadata.authorization_endpoint,
            metadata.token_endpoint,
            metadata.jwks_uri,
            metadata.userinfo_endpoint,
        ):
            if url is not None:
                self._check_endpoint(url)
        return metadata

    def _check_endpoint(self, url: str) -> None:
        check_private_url(url, self._allowed_hosts)
        if not _is_safe(url):
            self.unavailable("discovery", "plaintext_endpoint")

    def _fetch_keys(self) -> list[Key]:
        answer = self.ask("keys", "GET", self.metadata().jwks_uri)
        listed = answer.content.get("keys")
        if answer.status != 200 or not isinstance(listed, list):
            self.unavailable("keys", "no_key_set")
        return [key for item in listed[:MAX_KEYS] if (key := _verification_key(item)) is not None]


class _Kept(Generic[Value]):
    """A fetched value, kept for an hour; a failure is kept too, for seconds. One thread fetches at a time."""

    def __init__(self, fetch: Callable[[], Value], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[Value, float] | None = None
        self._failure: tuple[DirectoryUnavailable, float] | None = None

    def value(self) -> Value:
        """Return the value, fetched if there is none or it is an hour old."""
        return self.value_newer_than(KEPT_S)

    def value_newer_than(self, age_s: float) -> Value:
        """Return the value, fetched if it is `age_s` seconds old; raises what fetching raises."""
        with self._lock:
            now = self._clock()
            if self._held is not None and now - self._held[1] < age_s:
                return self._held[0]
            if self._failure is not None and now - self._failure[1] < RETRY_S:
                # Raised anew: one exception object shared by threads would mix up their tracebacks.
                raise DirectoryUnavailable(self._failure[0].message, hint=self._failure[0].hint)
            try:
                fetched = self._fetch()
            except DirectoryUnavailable as error:
                self._failure = (error, self._clock())
                raise
            self._held = (fetched, self._clock())
            return fetched


def _is_safe(url: str) -> bool:
    """Tell whether `url` is encrypted, or never leaves this machine."""
    parsed = httpx2.URL(url)
    address = literal_address(parsed.host)
    return parsed.scheme == "https" or (
        parsed.host == "localhost" if address is None else address.is_loopback
    )


def _body(response: httpx2.Response) -> bytes:
    """Return the whole body; raises ValueError when it is too long or too slow."""
    body, deadline = bytearray(), time.monotonic() + TIMEOUT_S
    for piece in response.iter_raw():
        body += piece
        if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
            raise ValueError("the answer is too long or too slow")
    return bytes(body)


def _verification_key(item: object) -> Key | None:
    """Return one key of a set if it verifies signatures; a key we do not understand is no failure."""
    if not isinstance(item, dict) or item.get("kty") not in _KEY_TYPES.values():
        return None  # Among them `oct`: a shared secret has no place in a public set.
    if item.get("use") not in (None, "sig"):
        return None
    try:
        return JWKRegistry.import_key(item)
    except (JoseError, ValueError, TypeError):
        return None


def _pick(keys: list[Key], kid: str | None, algorithm: str) -> Key | None:
    """Return the key with this name, by preference one that fits the algorithm."""
    fitting = [key for key in keys if key.key_type == _KEY_TYPES[algorithm[:2]]]
    if kid is None:
        return fitting[0] if len(fitting) == 1 else None
    return next((key for key in [*fitting, *keys] if key.kid == kid), None)
