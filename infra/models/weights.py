"""Model weights that somebody brings, looked at before anything opens them: safetensors or GGUF only.

A pickle runs code of its author's choice when it is read, whatever it is called, so each file is told by
its bytes: nothing is unpickled, imported or executed here. Formats:
https://github.com/huggingface/safetensors#format and
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import json
import pickletools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from infra.errors import ChecksumMismatch, ConfigurationError
from infra.models.files import PICKLES, check_gguf, sha256_of

DIGESTS_FILE: Final = "SHA256SUMS"

COMPANIONS: Final = frozenset(
    {
        *("", ".json", ".jsonl", ".txt", ".md", ".model", ".jinja", ".tiktoken", ".vocab", ".yaml", ".yml"),
        *(".toml", ".sha256", ".py", ".pdf", ".png", ".jpg", ".jpeg", ".svg"),
        # What the download tools of model hubs leave behind.
        *(".metadata", ".lock", ".tag"),
    }
)
"""Endings of what lies beside weights. Whatever else is in a folder is refused: it could be weights."""

COMPANION_BYTES: Final = 256 * 1024 * 1024

_HEAD_BYTES: Final = 64 * 1024
_LARGEST_HEADER: Final = 100_000_000
"""What the safetensors library accepts, too."""
_GGUF_FIXED_BYTES: Final = 24
_MOST_ENTRIES: Final = 10_000_000
_OPCODES_ENOUGH: Final = 64
_PROTOCOL_OPCODE: Final = b"\x80"
_PROTOCOLS: Final = frozenset({b"\x02", b"\x03", b"\x04", b"\x05"})
_OPCODES: Final = frozenset(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)
_ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC: Final = (257, b"ustar")
_DIGEST_LINE: Final = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(\S.*)")
_HINT: Final = (
    "Get the model as safetensors or GGUF from its maker; a file that may hold code is never opened."
)

Kind = Literal["safetensors", "gguf"]


@dataclass(frozen=True)
class WeightFile:
    """One file of weights. `sha256` is None where no digest was given to compare with."""

    path: Path
    kind: Kind
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Weights:
    """What a folder or file holds. `code` are Python files, which nothing of ours runs, but engines may."""

    files: tuple[WeightFile, ...]
    code: tuple[Path, ...]

    @property
    def size(self) -> int:
        """All weights together, in bytes."""
        return sum(file.size for file in self.files)


def check_weights(path: Path, sha256: str | None = None) -> Weights:
    """Check a model's folder, or one file of weights.

    `sha256` is the digest that a single file must have. A folder's `SHA256SUMS`, where it has one, must name
    every file of weights. Raises ConfigurationError for whatever is neither safetensors nor GGUF nor a
    companion, and ChecksumMismatch for other bytes than those that were promised.
    """
    if path.is_file():
        expected = {path: sha256.lower()} if sha256 else _promised(path.parent)
        checked = _checked(path, expected if path in expected else {})
        if checked is None:
            raise _refused(path, "is neither safetensors nor GGUF")
        return Weights((checked,), ())
    if not path.is_dir():
        raise ConfigurationError(
            "There is no model at this place.", hint="Name a model's folder or its file."
        )
    if sha256 is not None:
        raise ConfigurationError(
            "One digest cannot speak for a folder.", hint=f"Put a {DIGESTS_FILE} with all digests into it."
        )
    return _folder(path)


def _folder(folder: Path) -> Weights:
    members = sorted(folder.rglob("*"))
    linked = next((member for member in members if member.is_symlink() and member.is_dir()), None)
    if linked is not None:
        raise _refused(linked, "is a link to another folder, which is not followed")
    promised = _promised(folder)
    files = [member for member in members if not member.is_dir()]
    weights = tuple(file for member in files if (file := _checked(member, promised)) is not None)
    if not weights:
        raise _refused(folder, "holds no weights in safetensors or GGUF")
    missing = promised.keys() - {*files}
    if missing:
        raise ChecksumMismatch(f"{min(missing).name} stands in {DIGESTS_FILE} and is missing.", hint=_HINT)
    if promised and any(file.sha256 is None for file in weights):
        raise ChecksumMismatch(f"{DIGESTS_FILE} does not name every file of weights.", hint=_HINT)
    return Weights(weights, tuple(member for member in files if member.suffix == ".py"))


def _checked(path: Path, promised: Mapping[Path, str]) -> WeightFile | None:
    """Return the file if it holds weights, or None for a companion; raises if it is neither."""
    if not path.is_file():
        raise _refused(path, "is a broken link or no file")
    _refuse_pickle(path)
    kind = _kind(path)
    digest = promised.get(path)
    if digest is not None and sha256_of(path) != digest:
        raise ChecksumMismatch(
            f"{path.name} is not the file that was promised: its digest differs.", hint=_HINT
        )
    return WeightFile(path, kind, path.stat().st_size, digest) if kind else None


def _kind(path: Path) -> Kind | None:
    match path.suffix.lower():
        case ".safetensors":
            check_safetensors(path)
            return "safetensors"
        case ".gguf":
            check_gguf(path)
            _check_gguf_counts(path)
            return "gguf"
        case suffix if suffix in COMPANIONS and path.stat().st_size <= COMPANION_BYTES:
            return None
    raise _refused(path, "is neither safetensors nor GGUF, nor what usually lies beside them")


def check_safetensors(path: Path) -> None:
    """Raise ConfigurationError unless `path` is a whole safetensors file, going by its header.

    The header says where each tensor lies; together they must fill the file without gap or overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise _refused(path, "has no safetensors header")
        header = file.read(length)
    try:
        entries = json.loads(header)
        spans = sorted(_span(entry) for name, entry in entries.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refused(path, "has no readable safetensors header") from error
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise _refused(path, "has tensors that overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise _refused(path, "is cut off or longer than its header says")


def _span(entry: Mapping[str, Any]) -> tuple[int, int]:
    start, stop = entry["data_offsets"]
    if not isinstance(start, int) or not isinstance(stop, int):
        raise TypeError("an offset is no whole number")
    return start, stop


def _check_gguf_counts(path: Path) -> None:
    """Refuse a GGUF whose header promises more entries than the file could hold."""
    with path.open("rb") as file:
        header = file.read(_GGUF_FIXED_BYTES)
    tensors, entries = int.from_bytes(header[8:16], "little"), int.from_bytes(header[16:24], "little")
    fits = max(tensors, entries) <= min(_MOST_ENTRIES, path.stat().st_size)
    if len(header) < _GGUF_FIXED_BYTES or not fits:
        raise _refused(path, "has no sound GGUF header")


def _refuse_pickle(path: Path) -> None:
    """Raise ConfigurationError if a file is a pickle, by its content or by its name, without opening it."""
    if path.suffix.lower() in PICKLES:
        raise _refused(path, f"ends in {path.suffix}, which stands for pickled weights")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_ZIP_MAGICS):
        # PyTorch's own format since 1.6 is a zip with a pickle inside, and loaders tell it by these bytes.
        raise _refused(path, "is a zip archive, as pickled weights are")
    start, magic = _TAR_MAGIC
    if head[start : start + len(magic)] == magic:
        raise _refused(path, "is a tar archive, as old pickled weights are")
    if reads_as_pickle(head):
        raise _refused(path, "is a pickle")


def reads_as_pickle(head: bytes) -> bool:
    """Tell whether the beginning of a file is a pickle, by reading its opcodes; nothing is executed.

    Since protocol 2 a pickle names its protocol first (PEP 307). An older one is told by running into its
    end, or by many opcodes in a row that all make sense.
    """
    if head[:1] == _PROTOCOL_OPCODE and head[1:2] in _PROTOCOLS:
        # A safetensors file whose header has 640 bytes begins the same way, and goes on with a zero.
        return head[2:3] in _OPCODES
    count = 0
    try:
        for opcode, _argument, _position in pickletools.genops(head):
            count += 1
            if opcode.name == "STOP" or count >= _OPCODES_ENOUGH:
                return count > 1
    except (ValueError, OverflowError, IndexError):
        # A UnicodeDecodeError is a ValueError, too: these bytes are no pickle.
        return False
    return False


def _promised(folder: Path) -> dict[Path, str]:
    """Read a folder's `SHA256SUMS`, as sha256sum writes it; raises ConfigurationError for another text."""
    sums = folder / DIGESTS_FILE
    if not sums.is_file():
        return {}
    promised = {}
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(sums, "cannot be read") from error
    for line in filter(str.strip, lines):
        match = _DIGEST_LINE.fullmatch(line)
        if match is None or not (folder / match.group(2)).resolve().is_relative_to(folder.resolve()):
            raise _refused(sums, "has a line that is no digest and name")
        promised[folder / match.group(2)] = match.group(1).lower()
    return promised


def _refused(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"{path.name} {why}.", hint=_HINT)
