"""Check an exported bundle from nothing but its files and, better, a key that was kept elsewhere.

This module reads no database and no settings: an auditor runs it alone, on another machine. The tree is
judged from its root down, so that each file is compared with something that the signature covers; the
layout is described in `docs/ledger-format.md`. Memory does not grow with the number of records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.audit.bundles.bundle_archive import open_bundle
from infra.audit.bundles.bundle_files import BundleFiles, missing
from infra.audit.bundles.manifest import (
    CHECKPOINT,
    CHECKPOINTS,
    KEY,
    LEAVES,
    MANIFEST,
    MANIFEST_NOTE,
    PRUNED,
    Manifest,
    checkpoint_path,
    consistency_path,
    inclusion_path,
    read_manifest,
)
from infra.audit.bundles.tiles import (
    LARGEST_ENTRIES,
    TILE_WIDTH,
    TileDamaged,
    TileTree,
    decode_entries,
    entries_path,
)
from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    VerifierKey,
    verify_checkpoint,
)
from infra.audit.leaf import LeafInvalid, LeafTooLarge, parse
from infra.audit.merkle import HASH_BYTES, leaf_hash
from infra.audit.proofs.tlog_proof import ConsistencyProof, InclusionProof, ProofWrong, read_hashes
from infra.audit.verify import Finding, Verdict, verdict_of
from infra.audit.witness.witnessed import Cosigned, require_cosignatures

Progress = Callable[[int, int], None]
"""Told how many records of how many were looked at."""
READ_BYTES: Final = 1024 * 1024
SELF_CONSISTENT: Final = (
    "The key came with the bundle: this shows that the bundle agrees with itself, and not who signed it."
)


@dataclass(frozen=True)
class BundleReport:
    """What the check of a bundle found. Counts are of what was looked at before it ended."""

    verdict: Verdict
    sentence: str
    """The result, for a person."""
    first_bad: int | None = None
    """The record, or the first of the records, that is not sound; None if none is."""
    first: int = 0
    """The first record of the bundle."""
    end: int = 0
    """The first record after those of the bundle."""
    size: int = 0
    """Records that the checkpoint speaks for."""
    minimum: int = 0
    """Records before this one were removed from the log by its retention rules."""
    checked: int = 0
    """Records that were looked at."""
    checkpoints: int = 0
    """Earlier checkpoints whose signature and root were checked."""
    root: bytes | None = None
    """Root that the checkpoint states, 32 bytes."""
    own_key: bool = False
    """Whether the only key was the bundle's own."""
    cosigned: tuple[Cosigned, ...] = ()
    """What the witnesses that were asked for vouch for; how long ago that was is the reader's to judge."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict is Verdict.SOUND


def verify_bundle(
    bundle: Path,
    *,
    key: str | None = None,
    kept_note: str | None = None,
    witness_keys: Sequence[str] = (),
    progress: Progress | None = None,
) -> BundleReport:
    """Check a bundle, a folder or a tar archive, against `key` (`name+id+base64`), or without one its own.

    `kept_note` is a checkpoint that an auditor kept: the bundle must be of the log that it was of. Each of
    `witness_keys` must have cosigned the bundle's checkpoint. Whatever is wrong is returned, not raised.
    """
    check = _BundleCheck(progress or (lambda _done, _total: None))
    try:
        with closing(open_bundle(bundle)) as folder:
            check.run(folder, key, kept_note, witness_keys)
    except Finding as finding:
        return check.report(finding.verdict, finding.sentence, finding.first_bad)
    except (NoteUnreadable, NoteUntrusted, ProofWrong) as error:
        return check.report(verdict_of(error), error.message)
    except OSError as error:
        return check.report(Verdict.UNREADABLE, f"A file of the bundle cannot be read ({error.strerror}).")
    return check.report(Verdict.SOUND, check.conclusion())


class _BundleCheck:
    """One pass over a bundle."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._manifest: Manifest | None = None
        self._head: Checkpoint | None = None
        self._own_key = False
        self._cosigned: tuple[Cosigned, ...] = ()
        self._checked = 0
        self._checkpoints = 0
        self._first_unreadable: int | None = None

    def report(self, verdict: Verdict, sentence: str, first_bad: int | None = None) -> BundleReport:
        cut = self._manifest.cut if self._manifest else None
        return BundleReport(
            verdict=verdict,
            sentence=sentence,
            first_bad=first_bad,
            first=cut.first if cut else 0,
            end=cut.end if cut else 0,
            size=self._head.size if self._head else 0,
            minimum=cut.minimum if cut else 0,
            checked=self._checked,
            checkpoints=self._checkpoints,
            root=self._head.root if self._head else None,
            own_key=self._own_key,
            cosigned=self._cosigned,
        )

    def conclusion(self) -> str:
        """Return the sentence for a sound bundle."""
        if self._manifest is None:
            return ""
        cut = self._manifest.cut
        what = f"The records {cut.first} to {cut.end - 1} of {cut.size} are as they were signed."
        if (cut.first, cut.end) == (0, cut.size):
            what = f"All {cut.size} records are as they were signed."
        elif (cut.first, cut.end) == (cut.minimum, cut.size):
            what = f"All {cut.end - cut.first} records that retention left are as they were signed."
        return f"{what} {SELF_CONSISTENT}" if self._own_key else what

    def run(
        self, folder: BundleFiles, key: str | None, kept_note: str | None, witness_keys: Sequence[str]
    ) -> None:
        trusted = self._key(folder, key)
        manifest = self._manifest = read_manifest(folder.read(MANIFEST), folder.text(MANIFEST_NOTE), trusted)
        _compare_files(folder, manifest)
        note = folder.text(CHECKPOINT)
        head = self._head = verify_checkpoint(note, trusted)
        if (head.origin, head.size) != (manifest.origin, manifest.cut.size):
            raise Finding(Verdict.TAMPERED, "The checkpoint is not the one that the bundle was made with.")
        tree = _sound_tree(folder, manifest, head)
        self._check_records(folder, manifest, tree)
        _check_digests(folder, manifest)
        self._check_history(folder, manifest, tree, note, trusted)
        _check_kept(kept_note, tree, trusted)
        self._cosigned = require_cosignatures(note, witness_keys)
        if self._first_unreadable is not None:
            raise Finding(
                Verdict.UNREADABLE,
                f"Record {self._first_unreadable} is as it was signed, but in no format known here.",
                self._first_unreadable,
            )

    def _key(self, folder: BundleFiles, given: str | None) -> VerifierKey:
        if MANIFEST not in folder.names and CHECKPOINT not in folder.names:
            raise Finding(Verdict.UNREADABLE, "There is no exported bundle in it.")
        trusted = VerifierKey.parse(given) if given is not None else None
        text = folder.text(KEY)
        own = VerifierKey.parse(text)
        if text != f"{own}\n":
            raise Finding(Verdict.UNREADABLE, f"{KEY} holds more than a verifier key.")
        if trusted is not None and trusted != own:
            raise Finding(
                Verdict.UNTRUSTED_KEY, "The bundle came with another key than the one that was given."
            )
        self._own_key = trusted is None
        return own

    def _check_records(self, folder: BundleFiles, manifest: Manifest, tree: TileTree) -> None:
        """Compare each record with its hash in the tree, and with its line."""
        cut = manifest.cut
        with folder.open(LEAVES) as lines:
            for index, width in cut.bundles():
                start = index * TILE_WIDTH
                entries = _entries(folder, index, width)
                for number, (entry, hashed) in enumerate(
                    zip(entries, tree.hashes(0, index), strict=True), start
                ):
                    self._check_record(number, entry, hashed)
                for number, entry in enumerate(entries, start):
                    if lines.read(len(entry) + 1) != entry + b"\n":
                        sentence = f"The line of record {number} in {LEAVES} is another one."
                        raise Finding(Verdict.TAMPERED, sentence, number)
                self._progress(self._checked, cut.end - cut.first)
            if lines.read(1):
                raise Finding(Verdict.TAMPERED, f"{LEAVES} has lines that are no record.")

    def _check_record(self, number: int, entry: bytes, hashed: bytes) -> None:
        if leaf_hash(entry) != hashed:
            raise Finding(Verdict.TAMPERED, f"Record {number} is not the one that was signed.", number)
        self._checked += 1
        try:
            parse(entry)
        except (LeafInvalid, LeafTooLarge):
            # It may only be newer than this program; it is what was signed.
            if self._first_unreadable is None:
                self._first_unreadable = number

    def _check_history(
        self, folder: BundleFiles, manifest: Manifest, tree: TileTree, note: str, key: VerifierKey
    ) -> None:
        """Check the earlier checkpoints and every proof, each against the tree as well as in itself."""
        notes = {size: folder.text(checkpoint_path(size)) for size in manifest.checkpoints}
        heads = {manifest.cut.size: verify_checkpoint(note, key)}
        for size, earlier in notes.items():
            heads[size] = _agreeing(verify_checkpoint(earlier, key), size, tree)
            self._checkpoints += 1
        notes[manifest.cut.size] = note
        for first, second in manifest.steps():
            text = folder.text(consistency_path(first, second))
            step = ConsistencyProof.parse(text)
            if (step.text, step.note) != (text, notes[second]):
                raise ProofWrong(f"The proof from {first} to {second} records is one of something else.")
            step.verify(heads[first], key)
        for index in manifest.proved():
            text = folder.text(inclusion_path(index))
            proof = InclusionProof.parse(text)
            entries = _entries(folder, index // TILE_WIDTH, len(tree.hashes(0, index // TILE_WIDTH)))
            if (proof.text, proof.index, proof.note) != (text, index, note):
                raise ProofWrong(f"The proof of record {index} is one of something else.")
            proof.verify(entries[index % TILE_WIDTH], key)


def _compare_files(folder: BundleFiles, manifest: Manifest) -> None:
    """Refuse a bundle with a file too few or too many."""
    count = 0
    # A manifest can state any size; the first path that is not there ends the walk through it.
    for name in manifest.files():
        if name not in folder.names:
            raise missing(name)
        count += 1
    if count < len(folder.names):
        raise Finding(Verdict.TAMPERED, "The bundle holds a file that does not belong to it.")


def _sound_tree(folder: BundleFiles, manifest: Manifest, head: Checkpoint) -> TileTree:
    """Return the tree of the bundle's tiles, once every hash in it is covered by the signed root."""
    try:
        pruned = read_hashes(folder.text(PRUNED)) if manifest.cut.minimum else ()
        tree = TileTree(manifest.cut, lambda tile: folder.read(tile.path, TILE_WIDTH * HASH_BYTES), pruned)
        stray = next(tree.stray_tiles(), None)
        if stray is not None:
            raise Finding(Verdict.TAMPERED, f"The hashes in {stray.path} are not those that were signed.")
        if tree.root() != head.root:
            raise Finding(Verdict.TAMPERED, "The tree of the bundle is not the one that was signed.")
    except TileDamaged as error:
        raise Finding(Verdict.TAMPERED, error.message) from error
    return tree


def _entries(folder: BundleFiles, index: int, width: int) -> list[bytes]:
    path = entries_path(index, width)
    try:
        return decode_entries(folder.read(path, LARGEST_ENTRIES), width)
    except TileDamaged as error:
        raise Finding(Verdict.TAMPERED, f"{path}: {error.message}", index * TILE_WIDTH) from error


def _check_digests(folder: BundleFiles, manifest: Manifest) -> None:
    for name, digest in manifest.digests:
        paths = map(checkpoint_path, manifest.checkpoints) if name == CHECKPOINTS else [name]
        found = hashlib.sha256()
        for path in paths:
            _hash_file(folder, path, found)
        if found.hexdigest() != digest:
            raise Finding(Verdict.TAMPERED, f"{name} is not what was exported.")


def _hash_file(folder: BundleFiles, name: str, into: hashlib._Hash) -> None:
    with folder.open(name) as file:
        while data := file.read(READ_BYTES):
            into.update(data)


def _agreeing(earlier: Checkpoint, size: int, tree: TileTree) -> Checkpoint:
    """Return an earlier checkpoint if it is one of `size` records and of this log."""
    if earlier.size != size or earlier.root != tree.root(size):
        raise Finding(
            Verdict.TAMPERED,
            f"The checkpoint of {earlier.size} records does not agree with the records: they are not those "
            "that were signed then.",
        )
    return earlier


def _check_kept(kept_note: str | None, tree: TileTree, key: VerifierKey) -> None:
    if kept_note is None:
        return
    kept = verify_checkpoint(kept_note, key)
    if kept.size > tree.cut.size:
        raise Finding(
            Verdict.INCOMPLETE,
            f"The checkpoint that was kept speaks for {kept.size} records and the bundle for "
            f"{tree.cut.size}.",
            tree.cut.size,
        )
    if kept.size and not tree.cut.reaches(kept.size):
        raise Finding(
            Verdict.INCOMPLETE,
            f"The bundle does not hold the records around {kept.size}, at which the kept checkpoint stands.",
        )
    _agreeing(kept, kept.size, tree)
