"""What a server was started with, as one keyed digest for each setting: it shows a change, never a value."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from infra.keys import MasterKey
from infra.settings import Settings

MARK_CHARS: Final = 32
"""Hexadecimal digits of one setting's mark: 128 bits."""


def setting_marks(settings: Settings, master_key: MasterKey) -> dict[str, str]:
    """Return the mark of each setting by its name: the beginning of an HMAC-SHA-256 over its value.

    The key comes from the master key. A plain digest of a short password could be found by trying.
    """
    key = master_key.derive("setting marks")
    return {name: _mark(key, name, getattr(settings, name)) for name in Settings.model_fields}


def digest_of(marks: Mapping[str, str]) -> str:
    """Return the SHA-256 over all marks, 64 hexadecimal digits; it depends on no order."""
    return hashlib.sha256(_canonical(dict(marks))).hexdigest()


def changed_names(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the settings whose marks differ, in alphabetical order; a new or a dropped setting counts."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _mark(key: bytes, name: str, value: Any) -> str:
    return hmac.new(key, _canonical([name, _plain(value)]), "sha256").hexdigest()[:MARK_CHARS]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, with the secrets in it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
