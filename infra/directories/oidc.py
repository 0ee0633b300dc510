"""Sign-in with an OpenID Connect provider: authorization code with PKCE, and its access tokens.

OpenID Connect Core 1.0, RFC 6749, PKCE (RFC 7636, S256), the issuer in the answer (RFC 9207), and the advice
of RFC 9700. `begin` makes the address that a browser is sent to; `finish` turns the code that comes back into
a person; `person_of_bearer` reads a token that a program sends. Calls block; run them in a worker thread.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

import httpx2

from infra.directories.claims import DirectoryPerson, directory_person
from infra.directories.configuration import OidcProvider
from infra.directories.provider import Answer, Metadata, Provider
from infra.directories.tokens import Claims, access_token_claims, id_token_claims
from infra.errors import DirectoryRefused, TokenRefused

MAX_CODE_CHARS: Final = 4096
_SECRET_BYTES: Final = 32


@dataclass(frozen=True)
class Flow:
    """One sign-in that has begun. Keep `state`, `nonce` and `verifier` for the browser that asked.

    The answer belongs to that browser only if it brings the same `state` (compare before `finish`).
    """

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    url: str = field(repr=False)


class OidcDirectory:
    """One provider that people sign in with."""

    def __init__(
        self,
        configuration: OidcProvider,
        *,
        allowed_hosts: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check the issuer's address; raises AddressRefused or ConfigurationError. Contacts nobody yet."""
        self.configuration = configuration
        self._provider = Provider(configuration, allowed_hosts=allowed_hosts, clock=clock)

    def begin(self, redirect_uri: str) -> Flow:
        """Start a sign-in that ends at `redirect_uri`; raises DirectoryUnavailable or AddressRefused."""
        state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        request = {
            "client_id": self.configuration.client_id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": self.configuration.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        url = str(httpx2.URL(self._provider.metadata().authorization_endpoint).copy_merge_params(request))
        return Flow(state=state, nonce=nonce, verifier=verifier, url=url)

    def finish(
        self, *, code: str, redirect_uri: str, nonce: str, verifier: str, issuer: str | None = None
    ) -> DirectoryPerson:
        """Trade the code for tokens and return the person; `issuer` is the answer's `iss`, if it has one.

        Raises TokenRefused (a code that is used up, a token that fails a check), DirectoryRefused (claims we
        cannot use), DirectoryUnavailable or AddressRefused.
        """
        metadata = self._provider.metadata()
        if issuer != metadata.issuer and (
            issuer is not None or metadata.authorization_response_iss_parameter_supported
        ):
            raise TokenRefused("wrong_issuer")
        tokens = self._exchange(metadata, code=code, redirect_uri=redirect_uri, verifier=verifier)
        claims = id_token_claims(
            _text(tokens, "id_token"),
            self._provider.key,
            issuer=metadata.issuer,
            client_id=self.configuration.client_id,
            nonce=nonce,
            now=time.time(),
        )
        complete = {**self._user_info(metadata, tokens, claims), **claims}
        groups = self._groups(complete)
        # Both places where a provider may list groups were read: no list is an empty one.
        return self._person(complete, [] if groups is None else groups)

    def person_of_bearer(self, token: str) -> DirectoryPerson:
        """Return the person of an access token (RFC 9068) made for the configured `audience`.

        Raises TokenRefused, DirectoryRefused, DirectoryUnavailable or AddressRefused. A token without groups
        gives `groups_known=False`: the memberships are then those of the last complete sign-in.
        """
        if self.configuration.audience is None:
            raise TokenRefused("wrong_audience")
        claims = access_token_claims(
            token,
            self._provider.key,
            issuer=self.configuration.issuer,
            audience=self.configuration.audience,
            client_id=self.configuration.client_id,
            now=time.time(),
        )
        return self._person(claims, self._groups(claims))

    def _exchange(
        self, metadata: Metadata, *, code: str, redirect_uri: str, verifier: str
    ) -> Mapping[str, Any]:
        if not 0 < len(code) <= MAX_CODE_CHARS:
            raise TokenRefused("malformed")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        credentials = self._authenticate(metadata, form)
        answer = self._provider.ask(
            "token", "POST", metadata.token_endpoint, form=form, credentials=credentials
        )
        if answer.status != 200:
            self._refuse_exchange(answer)
        return answer.content

    def _authenticate(self, metadata: Metadata, form: dict[str, str]) -> tuple[str, str] | None:
        """Say who we are (RFC 6749, section 2.3.1): in the header, or in `form` where only that is taken."""
        client_id, secret = self.configuration.client_id, self.configuration.client_secret
        if secret is None:
            form["client_id"] = client_id
            return None
        methods = metadata.token_endpoint_auth_methods_supported
        if "client_secret_basic" not in methods and "client_secret_post" in methods:
            form.update(client_id=client_id, client_secret=secret.get_secret_value())
            return None
        return quote_plus(client_id), quote_plus(secret.get_secret_value())

    def _refuse_exchange(self, answer: Answer) -> None:
        if answer.content.get("error") == "invalid_grant":
            # Used up, expired, begun elsewhere, or not by the browser that holds the verifier.
            raise TokenRefused("code_refused")
        # Anything else, such as invalid_client, is between the operator and the provider.
        self._provider.unavailable("token", f"status_{answer.status}")

    def _user_info(self, metadata: Metadata, tokens: Mapping[str, Any], claims: Claims) -> Claims:
        """Ask for what the ID token leaves out: many providers keep it short (Core 1.0, section 5.4)."""
        wanted = (self.configuration.groups_claim, self.configuration.name_claim, "email")
        if metadata.userinfo_endpoint is None or all(claim in claims for claim in wanted):
            return {}
        bearer = _text(tokens, "access_token")
        answer = self._provider.ask("userinfo", "GET", metadata.userinfo_endpoint, bearer=bearer)
        if answer.status != 200:
            # Going on without would lose groups, and with them the rules that deny by group.
            self._provider.unavailable("userinfo", f"status_{answer.status}")
        if answer.content.get("sub") != claims.get("sub"):
            raise TokenRefused("wrong_subject")  # Section 5.3.2: the answer is about somebody else.
        return answer.content

    def _groups(self, claims: Claims) -> list[object] | None:
        """Return the listed groups, or None without a list; raises DirectoryRefused for half a list."""
        name = self.configuration.groups_claim
        listed = claims.get(name)
        if isinstance(listed, list):
            return listed
        if isinstance(listed, str):
            return [listed]
        if listed is not None:
            raise DirectoryRefused("group_refused")
        elsewhere = claims.get("_claim_names")
        if claims.get("hasgroups") or (isinstance(elsewhere, dict) and name in elsewhere):
            # Section 5.6.2: too many to list, fetch them somewhere else. Reading that as none would be wrong.
            raise DirectoryRefused("groups_elsewhere")
        return None

    def _person(self, claims: Claims, groups: list[object] | None) -> DirectoryPerson:
        return directory_person(
            self.configuration.name,
            subject=claims.get("sub"),
            name=claims.get(self.configuration.name_claim),
            email=None if claims.get("email_verified") is False else claims.get("email"),
            groups=groups,
            # OpenID Connect Core 1.0, section 5.1: without this claim the address may be whatever was typed.
            vouches_for_email=claims.get("email_verified") is True,
        )


def code_challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _text(tokens: Mapping[str, Any], name: str) -> str:
    value = tokens.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise TokenRefused("malformed")
    return value
