"""Directories come from the environment as JSON, and their secrets stay out of sight."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from infra.settings import Settings

OIDC = {
    "name": "sso",
    "label": "L",
    "issuer": "https://10.0.0.1",
    "client_id": "c",
    "client_secret": "hush-1",
}
LDAP = {
    "name": "staff",
    "label": "L",
    "url": "ldaps://10.0.0.2",
    "bind_dn": "cn=s",
    "bind_password": "hush-2",
    "base_dn": "dc=x",
}


def test_directories_are_read_from_the_environment(monkeypatch):
    """Both variables hold a list."""
    monkeypatch.setenv("STRONGROOM_OIDC", json.dumps([OIDC]))
    monkeypatch.setenv("STRONGROOM_LDAP", json.dumps([LDAP]))
    settings = Settings()
    assert ([provider.name for provider in settings.oidc], settings.ldap[0].name) == (["sso"], "staff")
    assert "hush" not in repr(settings)


def test_there_are_no_directories_by_default():
    """Local accounts need none."""
    assert (Settings().oidc, Settings().ldap) == ([], [])


@pytest.mark.parametrize(
    ("oidc", "ldap", "culprit"),
    [([OIDC, OIDC], [], "oidc"), ([], [LDAP, LDAP], "ldap"), ([OIDC], [{**LDAP, "name": "sso"}], "ldap")],
)
def test_two_directories_cannot_share_a_name(oidc, ldap, culprit):
    """A group of one would be a group of the other."""
    with pytest.raises(ValidationError) as refusal:
        Settings.model_validate({"oidc": oidc, "ldap": ldap})
    assert refusal.value.errors()[0]["loc"] == (culprit,)
