"""What an exported bundle says about itself: which records of which log it carries, and in which files.

The manifest is canonical JSON, and a signed note beside it vouches for its hash: without that, whoever
passes a bundle on could cut records off its end and call the rest the whole. The note has two lines, so
that its signature can never be taken for one under a checkpoint, which has three.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import rfc8785

from infra.audit.bundles.tiles import Cut, TileDamaged, entries_path
from infra.audit.checkpoint import NoteUnreadable, SignatureWrong, Signer, VerifierKey, open_note

FORMAT: Final = "strongroom-bundle/1"
CHECKPOINT: Final = "checkpoint"
KEY: Final = "key.vkey"
MANIFEST: Final = "manifest.json"
MANIFEST_NOTE: Final = "manifest.note"
LEAVES: Final = "leaves.jsonl"
OCSF: Final = "ocsf.jsonl"
CHECKPOINTS: Final = "checkpoints"
"""The folder of earlier checkpoints; its digest is over their notes, one after the other."""
DIGESTED: Final = (CHECKPOINT, CHECKPOINTS, LEAVES, OCSF)
PRUNED: Final = "pruned"
"""The hashes that stand for pruned records, in base64, one a line, the largest subtree first."""
NUMBER_DIGITS: Final = 16
"""Digits of a size in a file's name, so that names sort like numbers."""

_LINES_OF_NOTE: Final = 4
"""Format, digest, blank line, signature."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """The facts of one bundle."""

    origin: str
    """Name of the log."""
    cut: Cut
    """The records it carries, and of how many."""
    asked: tuple[str, str]
    """First and last of what was asked for, as it was written; empty for the log's own begin or end."""
    exported: int
    """When, by the server's clock: UTC, milliseconds since 1970."""
    checkpoints: tuple[int, ...]
    """Sizes of the earlier checkpoints that it carries, ascending."""
    digests: tuple[tuple[str, str], ...]
    """Name and SHA-256 (64 hex digits) of what no tree vouches for: lines, and cosignatures under notes."""

    @property
    def data(self) -> bytes:
        """The file: canonical JSON (RFC 8785), one line."""
        return rfc8785.dumps(self._as_json()) + b"\n"

    def _as_json(self) -> dict[str, Any]:
        cut = self.cut
        return {
            "format": FORMAT,
            "origin": self.origin,
            "size": cut.size,
            "first": cut.first,
            "end": cut.end,
            "minimum": cut.minimum,
            "records": cut.end - cut.first,
            "asked": {"from": self.asked[0], "to": self.asked[1]},
            "exported": self.exported,
            "checkpoints": list(self.checkpoints),
            "sha256": dict(self.digests),
        }

    def sign(self, signer: Signer) -> str:
        """Return the note that vouches for this manifest."""
        return signer.sign(_vouching(self.data))

    def files(self) -> Iterator[str]:
        """Yield the path of every file of the bundle, each once."""
        yield from (MANIFEST, MANIFEST_NOTE, CHECKPOINT, KEY, LEAVES, OCSF)
        if self.cut.minimum:
            yield PRUNED
        yield from map(checkpoint_path, self.checkpoints)
        yield from map(inclusion_path, self.proved())
        yield from (consistency_path(*pair) for pair in self.steps())
        yield from (entries_path(index, width) for index, width in self.cut.bundles())
        yield from (tile.path for tile in self.cut.tiles())

    def proved(self) -> list[int]:
        """Return the records that a proof of their own comes with: the first and the last."""
        return sorted({self.cut.first, self.cut.end - 1})

    def steps(self) -> list[tuple[int, int]]:
        """Return the pairs of sizes between which consistency is proved: each checkpoint and its next."""
        sizes = [*self.checkpoints, self.cut.size]
        return list(pairwise(sizes))


def read_manifest(data: bytes, note: str, key: VerifierKey) -> Manifest:
    """Return the manifest that `key` signed.

    Raises NoteUnreadable for anything but the one form that is written here, NoteUntrusted, and
    SignatureWrong when the note vouches for another manifest.
    """
    if open_note(note, key) != _vouching(data):
        raise SignatureWrong("The signature is for another manifest.")
    if note.count("\n") != _LINES_OF_NOTE:
        raise NoteUnreadable("The note beside the manifest has more than one signature.")
    try:
        manifest = _manifest(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, TileDamaged) as error:
        raise NoteUnreadable("The manifest is in no format known here.") from error
    if manifest.data != data:
        raise NoteUnreadable("The manifest is in no format known here.")
    return manifest


def _manifest(document: dict[str, Any]) -> Manifest:
    cut = Cut(*(_integer(document[name]) for name in ("size", "first", "end", "minimum")))
    manifest = Manifest(
        origin=_text(document["origin"]),
        cut=cut,
        asked=(_text(document["asked"]["from"]), _text(document["asked"]["to"])),
        exported=_integer(document["exported"]),
        checkpoints=tuple(map(_integer, document["checkpoints"])),
        digests=tuple(sorted((name, _digest(value)) for name, value in document["sha256"].items())),
    )
    ascending = list(manifest.checkpoints) == sorted(set(manifest.checkpoints))
    if not ascending or not all(cut.first < size < cut.size for size in manifest.checkpoints):
        raise ValueError("checkpoints of other sizes")
    if not all(map(cut.reaches, manifest.checkpoints)):
        raise ValueError("checkpoints of records that are not here")
    if tuple(name for name, _ in manifest.digests) != DIGESTED:
        raise ValueError("other files")
    return manifest


def _vouching(data: bytes) -> str:
    return f"{FORMAT}\n{hashlib.sha256(data).hexdigest()}\n"


def checkpoint_path(size: int) -> str:
    """Return where the earlier checkpoint of `size` records stands in a bundle."""
    return f"{CHECKPOINTS}/{size:0{NUMBER_DIGITS}}"


def inclusion_path(index: int) -> str:
    """Return where the inclusion proof of one record stands in a bundle."""
    return f"proofs/{index:0{NUMBER_DIGITS}}.tlog-proof"


def consistency_path(first: int, second: int) -> str:
    """Return where the consistency proof between two sizes stands in a bundle."""
    return f"proofs/{first:0{NUMBER_DIGITS}}-{second:0{NUMBER_DIGITS}}.consistency"


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError("not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _digest(value: object) -> str:
    if not _SHA256.fullmatch(_text(value)):
        raise ValueError("not a digest")
    return str(value)
