"""Where the local operator's key is kept. Apart from what makes it, so that light commands start at once."""

from __future__ import annotations

import os
from pathlib import Path

from services.cli.running import private_folder


def operator_key_file(data_dir: Path) -> Path:
    """Return the file that holds the key of the person who runs this machine."""
    return data_dir / "keys" / "operator.key"


def read_operator_key(data_dir: Path) -> str | None:
    """Return the operator's key, or None when there is none or this account may not read it."""
    try:
        return operator_key_file(data_dir).read_text().strip() or None
    except (FileNotFoundError, PermissionError):
        return None


def write_operator_key(data_dir: Path, secret: str) -> None:
    """Keep the key (mode 0600), in place of an earlier one."""
    private_folder(data_dir, "keys")
    path = operator_key_file(data_dir)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    fresh.replace(path)
