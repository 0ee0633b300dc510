"""GGUF files in a folder: told from impostors, listed, and known by their digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.errors import ConfigurationError
from infra.models.catalogue import CATALOGUE, StarterModel

GGUF_MAGIC: Final = b"GGUF"
GGUF_VERSIONS: Final = frozenset({2, 3})

PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy"})
"""Endings of files that may hold pickled weights, which run code when they are read."""

_SIDECAR_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")
_READ_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class InstalledModel:
    """A GGUF file that can be served. `starter` is its catalogue entry, if it is one of ours."""

    path: Path
    size: int
    starter: StarterModel | None


def installed(models_dir: Path) -> list[InstalledModel]:
    """List the models in a folder: starters first, the most capable leading, then others by name.

    A file under a starter's name counts as that starter only with that size and a fitting sidecar, so a
    half-copied file is not mistaken for it.
    """
    found = [
        InstalledModel(path, path.stat().st_size, _starter_in(path))
        for path in sorted(models_dir.glob("*.gguf"))
        if path.is_file() and _has_gguf_header(path)
    ]
    rank = {model: position for position, model in enumerate(CATALOGUE)}
    return sorted(found, key=lambda model: rank[model.starter] if model.starter else len(rank))


def holds(path: Path, model: StarterModel) -> bool:
    """Tell whether `path` is `model`, complete: that size, and a sidecar with that digest."""
    return path.is_file() and path.stat().st_size == model.size and _sidecar_digest(path) == model.sha256


def check_gguf(path: Path) -> None:
    """Raise ConfigurationError unless `path` is a GGUF file, going by its first bytes.

    Pickled weights are refused whatever they contain: reading one runs code of its author's choice.
    The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    if not path.is_file():
        raise ConfigurationError(f"There is no model file at {path}.", hint="Give the path of a .gguf file.")
    if path.suffix.lower() in PICKLES:
        raise ConfigurationError(
            f"Files ending in {path.suffix} may contain code and are not loaded.",
            hint="Use the model's GGUF version, or serve it elsewhere and set STRONGROOM_MODEL_BASE_URL.",
        )
    if not _has_gguf_header(path):
        raise ConfigurationError(
            "The model file is not in GGUF format.",
            hint="Use the model's GGUF version, or serve it elsewhere and set STRONGROOM_MODEL_BASE_URL.",
        )


def model_digest(path: Path) -> str:
    """Return the SHA-256 of a model file (64 hex digits), reading it whole only when it must.

    The sidecar's word is taken while the file has not been touched since it was written. The file's status
    change time decides, because nobody can set it back, unlike the modification time.
    """
    return _recorded_digest(path) or record_digest(path, sha256_of(path))


def record_digest(path: Path, digest: str) -> str:
    """Write `digest` beside the file in the format of sha256sum, and return it."""
    sidecar = _sidecar(path)
    try:
        sidecar.write_text(f"{digest}  {path.name}\n")
    except OSError:
        # A read-only models folder is sound; the digest is then computed again at the next start.
        return digest
    return digest


def sha256_of(path: Path, on_read: Callable[[int], None] | None = None) -> str:
    """Return a file's SHA-256 in hex; `on_read` hears the number of bytes read so far."""
    digest, read = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            read += len(block)
            if on_read is not None:
                on_read(read)
    return digest.hexdigest()


def _starter_in(path: Path) -> StarterModel | None:
    for model in CATALOGUE:
        if path.name == model.file_name and holds(path, model):
            return model
    return None


def _recorded_digest(path: Path) -> str | None:
    sidecar = _sidecar(path)
    if not sidecar.is_file() or path.stat().st_ctime_ns > sidecar.stat().st_mtime_ns:
        return None
    return _sidecar_digest(path)


def _sidecar_digest(path: Path) -> str | None:
    try:
        match = _SIDECAR_LINE.fullmatch(_sidecar(path).read_text().strip())
    except (OSError, UnicodeDecodeError):
        return None
    return match.group(1) if match and match.group(2) == path.name else None


def _has_gguf_header(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(8)
    return header[:4] == GGUF_MAGIC and int.from_bytes(header[4:8], "little") in GGUF_VERSIONS


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
