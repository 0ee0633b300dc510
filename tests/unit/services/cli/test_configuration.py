"""Settings from the environment and flags, and how they are shown."""

from __future__ import annotations

import json

import pytest

from infra.errors import ConfigurationError
from services.cli.configuration import MASK, load_settings, show


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Start without settings of the machine that runs the tests."""
    import os

    for name in [name for name in os.environ if name.startswith("STRONGROOM_")]:
        monkeypatch.delenv(name)


def shown(capsys) -> dict[str, dict[str, object]]:
    show(load_settings(), as_json=True)
    found: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_a_flag_overrules_the_environment(monkeypatch):
    """--port wins over STRONGROOM_PORT, and a flag that was not given does not."""
    monkeypatch.setenv("STRONGROOM_PORT", "9000")
    assert load_settings(port=9001).port == 9001
    assert load_settings(port=None).port == 9000


def test_an_unusable_setting_is_named_without_its_value(monkeypatch):
    """The message names the variable; the value could be a secret in the wrong place."""
    monkeypatch.setenv("STRONGROOM_PORT", "hunter2")
    with pytest.raises(ConfigurationError, match="STRONGROOM_PORT is not usable") as caught:
        load_settings()
    assert "hunter2" not in caught.value.message


def test_a_list_that_is_no_json_is_a_configuration_error(monkeypatch):
    """STRONGROOM_MODEL_HOSTS takes JSON, and says so."""
    monkeypatch.setenv("STRONGROOM_MODEL_HOSTS", "vllm")
    with pytest.raises(ConfigurationError, match="JSON"):
        load_settings()


def test_secrets_are_masked(monkeypatch, capsys):
    """Neither a key nor the password inside an address is printed; who and where stay readable."""
    monkeypatch.setenv("STRONGROOM_MODEL_API_KEY", "hunter2")
    monkeypatch.setenv("STRONGROOM_DATABASE_URL", "postgresql+psycopg://me:hunter2@db/strongroom")
    show(load_settings(), as_json=True)
    out = capsys.readouterr().out
    assert "hunter2" not in out
    found = json.loads(out)
    assert found["STRONGROOM_MODEL_API_KEY"]["value"] == MASK
    assert found["STRONGROOM_DATABASE_URL"]["value"] == f"postgresql+psycopg://me:{MASK}@db/strongroom"


def test_defaults_are_told_from_what_was_set(monkeypatch, capsys):
    """`default` is about the value, so a variable that repeats the default counts as one."""
    monkeypatch.setenv("STRONGROOM_PORT", "9000")
    monkeypatch.setenv("STRONGROOM_HOST", "127.0.0.1")
    found = shown(capsys)
    assert not found["STRONGROOM_PORT"]["default"]
    assert found["STRONGROOM_HOST"]["default"]


def test_the_table_has_no_secret_either(monkeypatch, capsys):
    """What people see is masked like what scripts read."""
    monkeypatch.setenv("STRONGROOM_QDRANT_API_KEY", "hunter2")
    show(load_settings(), as_json=False)
    out = capsys.readouterr().out
    assert "STRONGROOM_QDRANT_API_KEY" in out
    assert "hunter2" not in out
