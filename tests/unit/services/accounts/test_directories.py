"""The directories of a server: refused at the start when they are not in the building, and asked in turns."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from infra.errors import ConfigurationError, DirectoryUnavailable, NotFound, TokenRefused
from infra.settings import Settings
from services.accounts import directories
from services.accounts.directories import ASKING_AT_ONCE, Directories

OIDC = {
    "name": "sso",
    "label": "Company account",
    "issuer": "https://127.0.0.1:1",
    "client_id": "strongroom",
    "audience": "strongroom-api",
}
LDAP = {
    "name": "staff",
    "label": "Staff directory",
    "url": "ldaps://127.0.0.1:1",
    "bind_dn": "cn=service",
    "bind_password": "secret",
    "base_dn": "dc=example",
}


def made(oidc: list[dict[str, str]] | None = None, ldap: list[dict[str, str]] | None = None) -> Directories:
    return Directories(Settings.model_validate({"oidc": oidc or [], "ldap": ldap or []}))


@pytest.mark.parametrize("issuer", ["https://8.8.8.8", "https://login.example.com/tenant"])
def test_a_public_provider_is_refused(issuer):
    """The server does not start with a provider outside the building, and says which setting it is."""
    with pytest.raises(ConfigurationError, match="STRONGROOM_OIDC"):
        made(oidc=[{**OIDC, "issuer": issuer}])


def test_a_public_ldap_server_is_refused():
    """Nor with an LDAP server outside."""
    with pytest.raises(ConfigurationError, match="STRONGROOM_LDAP"):
        made(ldap=[{**LDAP, "url": "ldaps://8.8.8.8"}])


def test_each_kind_is_found_by_its_name():
    """A provider is no LDAP server, and an unknown name is neither."""
    known = made([OIDC], [LDAP])
    assert known.oidc("sso").configuration.name == "sso"
    assert known.ldap("staff").configuration.name == "staff"
    for find, name in ((known.oidc, "staff"), (known.ldap, "sso"), (known.oidc, ""), (known.ldap, "other")):
        with pytest.raises(NotFound):
            find(name)


def test_a_directory_that_hangs_takes_few_threads(monkeypatch):
    """When all turns are taken, the next one is refused soon; another directory has turns of its own."""
    monkeypatch.setattr(directories, "TURN_S", 0.01)
    known = made([OIDC], [LDAP])
    with ExitStack() as waiting:
        for _ in range(ASKING_AT_ONCE):
            waiting.enter_context(known.asking("sso"))
        with pytest.raises(DirectoryUnavailable), known.asking("sso"):
            pass
        with known.asking("staff"):
            pass
    with known.asking("sso"):
        pass


@pytest.mark.parametrize("takes", [True, False])
def test_tokens_need_an_audience(takes):
    """Without an audience, no provider makes tokens for this server."""
    described = OIDC if takes else {name: value for name, value in OIDC.items() if name != "audience"}
    assert made([described]).take_tokens is takes


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("a.%%%.b", "malformed"),
        ("a..b", "malformed"),
        ("a.W10.b", "malformed"),  # []
        ("a." + "W1tb" * 50_000 + ".b", "malformed"),  # brackets without end
        ("a.e30.b", "wrong_issuer"),  # {}
    ],
)
def test_what_is_no_token_is_refused(token, reason):
    """Anything but an object that names a known issuer is refused before anybody is asked."""
    with pytest.raises(TokenRefused) as refusal:
        made([OIDC]).person_of_token(token)
    assert refusal.value.reason == reason
