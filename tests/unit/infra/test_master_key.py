"""Where the master key comes from: one source, and what each of them refuses."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from infra.errors import ConfigurationError
from infra.keys import MasterKey
from infra.master_key import WRAPPED_FILE, load_master_key, uses_key_file
from infra.settings import Settings

SECRET: Final = base64.b64encode(b"\x2a" * 32).decode()
OTHER: Final = base64.b64encode(b"\x2b" * 32).decode()
MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN: Final = "1234"
needs_softhsm = pytest.mark.skipif(
    not MODULE.exists() or shutil.which("softhsm2-util") is None, reason="SoftHSM (softhsm2) is not installed"
)


def settings(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(data_dir=tmp_path / "data", **fields)


def same(one: MasterKey, other: MasterKey) -> bool:
    """Tell whether two master keys are one: each opens what the other wrapped."""
    return other.unwrap(one.wrap(b"k" * 32, context="c"), context="c") == b"k" * 32


# --- file and environment -------------------------------------------------------------------------


def test_a_file_is_made_once(tmp_path: Path) -> None:
    """By default the key is made at the first start, for its owner's eyes, and found again."""
    wanted = settings(tmp_path)
    first = load_master_key(wanted, create=True)
    assert same(first, load_master_key(wanted, create=False))
    assert wanted.resolved_master_key_file.stat().st_mode & 0o777 == 0o600
    assert uses_key_file(wanted)


def test_the_environment_can_hold_the_key(tmp_path: Path) -> None:
    """The key itself in a variable; nothing is written."""
    wanted = settings(tmp_path, master_key=SECRET)
    assert same(load_master_key(wanted, create=True), MasterKey(b"\x2a" * 32))
    assert not uses_key_file(wanted)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("secret", ["", "nonsense!", base64.b64encode(b"short").decode(), SECRET + "AAAA"])
def test_a_variable_that_is_no_key_is_refused(tmp_path: Path, secret: str) -> None:
    """The refusal names the variable, or what a key is, and never repeats the value."""
    with pytest.raises(ConfigurationError, match="32 bytes in base64") as refused:
        load_master_key(settings(tmp_path, master_key=secret), create=True)
    assert not secret or secret not in str(refused.value)


def test_two_sources_are_refused(tmp_path: Path) -> None:
    """A file and a variable: which of them sealed the data?"""
    file = tmp_path / "elsewhere.key"
    file.write_text(SECRET)
    both = settings(tmp_path, master_key=OTHER, master_key_file=file)
    with pytest.raises(ConfigurationError, match="more than one source"):
        load_master_key(both, create=False)


def test_a_key_in_the_default_place_is_a_source(tmp_path: Path) -> None:
    """A server that had its key in the usual file does not start with another one from a variable."""
    load_master_key(settings(tmp_path), create=True)
    with pytest.raises(ConfigurationError, match="more than one source"):
        load_master_key(settings(tmp_path, master_key=OTHER), create=False)


def test_a_missing_file_is_not_made_again(tmp_path: Path) -> None:
    """Where there is data, a new key would open none of it."""
    with pytest.raises(ConfigurationError, match="is missing"):
        load_master_key(settings(tmp_path), create=False)


# --- PKCS#11 --------------------------------------------------------------------------------------


def tool(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Make a SoftHSM token with an AES key that cannot be taken out; returns the settings for it."""
    import pkcs11

    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    tool("softhsm2-util", "--init-token", "--free", "--label", "strongroom", "--pin", PIN, "--so-pin", "5678")
    with pkcs11.lib(str(MODULE)).get_token(token_label="strongroom").open(user_pin=PIN, rw=True) as session:
        session.generate_key(pkcs11.KeyType.AES, 256, label="strongroom", store=True)
    yield {"pkcs11_module": MODULE, "pkcs11_pin": PIN}
    pkcs11.unload(str(MODULE))
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@needs_softhsm
def test_a_module_opens_the_key(tmp_path: Path, hsm: dict[str, Any]) -> None:
    """The first start wraps a fresh key; every later one opens the same."""
    wanted = settings(tmp_path, **hsm)
    first = load_master_key(wanted, create=True)
    assert same(first, load_master_key(wanted, create=False))
    assert not uses_key_file(wanted)


@needs_softhsm
def test_nothing_on_the_disk_opens_without_the_module(tmp_path: Path, hsm: dict[str, Any]) -> None:
    """The data folder holds the wrapped key alone, for its owner's eyes."""
    wanted = settings(tmp_path, **hsm)
    master_key = load_master_key(wanted, create=True)
    (file,) = [found for found in wanted.data_dir.rglob("*") if found.is_file()]
    assert (file.name, file.stat().st_mode & 0o777) == (WRAPPED_FILE, 0o600)
    stored = base64.b64decode(file.read_bytes())
    assert not any(same_secret(master_key, stored[start : start + 32]) for start in range(len(stored) - 31))


def same_secret(master_key: MasterKey, candidate: bytes) -> bool:
    from infra.keys import SealBroken

    try:
        return same(master_key, MasterKey(candidate))
    except SealBroken:
        return False


@needs_softhsm
@pytest.mark.parametrize(
    "wrong",
    [
        {"pkcs11_pin": "4321"},
        {"pkcs11_token": "another"},
        {"pkcs11_key_label": "another"},
        {"pkcs11_module": Path("/nowhere/module.so")},
    ],
)
def test_a_module_that_does_not_do_its_part(
    tmp_path: Path, hsm: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """A wrong PIN, token, key or library stops the start with a sentence that repeats no PIN."""
    load_master_key(settings(tmp_path, **hsm), create=True)
    with pytest.raises(ConfigurationError, match="PKCS#11 module") as refused:
        load_master_key(settings(tmp_path, **(hsm | wrong)), create=False)
    assert "4321" not in str(refused.value)


@needs_softhsm
@pytest.mark.parametrize("damage", [b"", b"AAAA", b"\xff"])
def test_a_damaged_wrapped_key_is_refused(tmp_path: Path, hsm: dict[str, Any], damage: bytes) -> None:
    """What is stored has one length, and no other is given to the module."""
    wanted = settings(tmp_path, **hsm)
    load_master_key(wanted, create=True)
    (wanted.data_dir / "keys" / WRAPPED_FILE).write_bytes(damage)
    with pytest.raises(ConfigurationError, match="damaged"):
        load_master_key(wanted, create=False)


@needs_softhsm
def test_a_changed_wrapped_key_is_refused(tmp_path: Path, hsm: dict[str, Any]) -> None:
    """One flipped bit: the module's own check finds it, and no wrong key is used."""
    wanted = settings(tmp_path, **hsm)
    load_master_key(wanted, create=True)
    file = wanted.data_dir / "keys" / WRAPPED_FILE
    wrapped = bytearray(base64.b64decode(file.read_bytes()))
    wrapped[20] ^= 1
    file.write_bytes(base64.b64encode(bytes(wrapped)))
    with pytest.raises(ConfigurationError, match="PKCS#11 module"):
        load_master_key(wanted, create=False)


@needs_softhsm
def test_a_missing_wrapped_key_is_not_made_again(tmp_path: Path, hsm: dict[str, Any]) -> None:
    """Where there is data, a new key would open none of it."""
    with pytest.raises(ConfigurationError, match="is missing"):
        load_master_key(settings(tmp_path, **hsm), create=False)


@needs_softhsm
def test_module_and_variable_are_two_sources(tmp_path: Path, hsm: dict[str, Any]) -> None:
    """The module does not overrule the variable, nor the other way round."""
    with pytest.raises(ConfigurationError, match="more than one source"):
        load_master_key(settings(tmp_path, master_key=SECRET, **hsm), create=True)
