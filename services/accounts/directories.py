"""The company directories that the settings name, made once; none is contacted before it is needed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from infra.directories.claims import DirectoryPerson
from infra.directories.configuration import LdapDirectory, OidcProvider
from infra.errors import AddressRefused, ConfigurationError, DirectoryUnavailable, NotFound, TokenRefused
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.directories.ldap import LdapSignIn
    from infra.directories.oidc import OidcDirectory

ASKING_AT_ONCE: Final = 4
"""Threads that may wait for one directory. One that hangs must not take every thread of the server."""
TURN_S: Final = 2.0
"""Longest wait for one's turn to ask a directory, in seconds."""

_Directory = TypeVar("_Directory", "OidcDirectory", "LdapSignIn")


class Directories:
    """Finds a directory by its name. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """Check every address; raises ConfigurationError for one outside the private network."""
        try:
            self._oidc = {found.name: _provider(found, settings) for found in settings.oidc}
            self._ldap = {found.name: _ldap_server(found, settings) for found in settings.ldap}
        except AddressRefused as error:
            raise ConfigurationError(
                f"A directory of STRONGROOM_OIDC or STRONGROOM_LDAP is refused. {error.message}",
                hint=error.hint,
            ) from error
        self._turns = {
            name: threading.BoundedSemaphore(ASKING_AT_ONCE) for name in (*self._oidc, *self._ldap)
        }

    def listed(self) -> list[dict[str, str]]:
        """Return what a sign-in page shows: the name, label and kind (`oidc` or `ldap`) of each."""
        return [
            *(_shown(found.configuration, "oidc") for found in self._oidc.values()),
            *(_shown(found.configuration, "ldap") for found in self._ldap.values()),
        ]

    def oidc(self, name: str) -> OidcDirectory:
        """Return the OpenID Connect provider called `name`; raises NotFound."""
        return _found(self._oidc, name)

    def ldap(self, name: str) -> LdapSignIn:
        """Return the LDAP server called `name`; raises NotFound."""
        return _found(self._ldap, name)

    @contextmanager
    def asking(self, name: str) -> Iterator[None]:
        """Hold one of the turns to ask a directory; raises DirectoryUnavailable when none is free in time."""
        turns = self._turns[name]
        if not turns.acquire(timeout=TURN_S):
            raise DirectoryUnavailable(
                "The company directory takes too long to answer.", hint="Try again in a minute."
            )
        try:
            yield
        finally:
            turns.release()

    @property
    def take_tokens(self) -> bool:
        """Whether any provider makes access tokens for this server."""
        return any(found.configuration.audience is not None for found in self._oidc.values())

    def person_of_token(self, token: str) -> DirectoryPerson:
        """Return the person of a provider's access token.

        Raises TokenRefused, DirectoryRefused, DirectoryUnavailable or AddressRefused.
        """
        issuer = _claimed_issuer(token)
        for name, directory in self._oidc.items():
            # What is claimed only chooses who checks the token; nobody else's keys could verify it.
            if directory.configuration.issuer == issuer and directory.configuration.audience is not None:
                with self.asking(name):
                    return directory.person_of_bearer(token)
        raise TokenRefused("wrong_issuer")


def _shown(described: OidcProvider | LdapDirectory, kind: str) -> dict[str, str]:
    return {"name": described.name, "label": described.label, "kind": kind}


def _found(directories: dict[str, _Directory], name: str) -> _Directory:
    try:
        return directories[name]
    except KeyError as error:
        raise NotFound("There is no such directory.") from error


# The protocols' libraries take most of a second to load, which a server without directories should not pay.


def _provider(described: OidcProvider, settings: Settings) -> OidcDirectory:
    from infra.directories.oidc import OidcDirectory

    return OidcDirectory(described, allowed_hosts=settings.model_hosts)


def _ldap_server(described: LdapDirectory, settings: Settings) -> LdapSignIn:
    from infra.directories.ldap import LdapSignIn

    return LdapSignIn(described, allowed_hosts=settings.model_hosts)


def _claimed_issuer(token: str) -> object:
    """Read who a token (RFC 7519) says made it, before anything of it is believed."""
    _, _, rest = token.partition(".")
    payload = rest.partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError) as error:
        raise TokenRefused("malformed") from error
    if not isinstance(claims, dict):
        raise TokenRefused("malformed")
    return claims.get("iss")
