"""The doctor finds what is wrong, and says what to do."""

from __future__ import annotations

import socket
import stat
import sys

import pytest

from infra.models.catalogue import SMALL
from infra.settings import Settings
from services.cli import doctor as doctors
from services.cli.doctor import State, examine
from services.cli.operator_access import prepare_access


def check(settings: Settings, name: str) -> doctors.Check:
    return next(found for found in examine(settings) if found.name == name)


@pytest.fixture
def settings(tmp_path):
    """Return settings of a prepared data folder without models, on a free port."""
    made = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", port=0)
    prepare_access(made)
    return made


def test_a_prepared_folder_is_healthy(settings):
    """Key, database, embedder and port are fine; that there is no model is a warning with advice."""
    states = {found.name: found.state for found in examine(settings)}
    for name in ("python", "data folder", "master key", "database", "embedding model", "port"):
        assert states[name] is State.OK, name
    model = check(settings, "language model")
    assert model.state is State.WARN
    assert "models fetch" in model.advice


def test_looking_makes_nothing(tmp_path):
    """On a bare machine the doctor finds nothing to complain about, and leaves nothing behind."""
    bare = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", port=0)
    assert [found.name for found in examine(bare) if found.name in {"master key", "database", "index"}]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_master_key_is_a_failure(settings):
    """With data but without its key, nothing can be opened."""
    settings.resolved_master_key_file.unlink()
    found = check(settings, "master key")
    assert found.state is State.FAIL
    assert "backup" in found.advice


def test_a_readable_master_key_is_a_failure(settings):
    """A key that other accounts can read is not a secret."""
    key = settings.resolved_master_key_file
    key.chmod(stat.S_IRUSR | stat.S_IRGRP)
    assert check(settings, "master key").state is State.FAIL
    key.chmod(0o600)
    assert check(settings, "master key").state is State.OK


def test_a_damaged_database_is_a_failure(settings):
    """A file that is no database is said to be one that does not open."""
    for path in settings.data_dir.glob("strongroom.sqlite3*"):
        path.unlink()
    (settings.data_dir / "strongroom.sqlite3").write_bytes(b"not a database" * 100)
    assert check(settings, "database").state is State.FAIL


def test_a_taken_port_is_a_failure(settings):
    """Another program's port is found before the start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = settings.model_copy(update={"port": other.getsockname()[1]})
        assert check(taken, "port").state is State.FAIL


def test_a_wrong_digest_is_a_failure(settings):
    """A file under a starter's name, size and sidecar with other bytes is found out by its bytes."""
    settings.models_dir.mkdir()
    path = settings.models_dir / SMALL.file_name
    with path.open("wb") as file:
        file.write(b"GGUF\x03\x00\x00\x00")
        file.truncate(SMALL.size)
    path.with_name(f"{path.name}.sha256").write_text(f"{SMALL.sha256}  {path.name}\n")
    found = check(settings, "language model")
    assert found.state is State.FAIL
    assert "digest is wrong" in found.found


def test_a_public_model_address_is_a_failure(settings):
    """The doctor refuses what the start would refuse."""
    public = settings.model_copy(update={"model_base_url": "https://8.8.8.8/v1"})
    assert check(public, "language model").state is State.FAIL


def test_an_old_python_is_a_failure(settings, monkeypatch):
    """Strongroom needs 3.11."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert doctors._python().state is State.FAIL


def test_an_open_switch_is_a_failure(settings, monkeypatch):
    """A dependency's phone line that is not closed is named."""
    from infra.offline import close_phone_lines

    for name in ("HF_HUB_OFFLINE", *(switch.name for switch in doctors.SWITCHES)):
        monkeypatch.setenv(name, "")
    close_phone_lines()
    assert doctors._switches().state is State.OK
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    found = doctors._switches()
    assert found.state is State.FAIL
    assert "HF_HUB_OFFLINE" in found.found
