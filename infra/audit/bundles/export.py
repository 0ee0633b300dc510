"""Write a part of the record as a bundle that can be checked without this program's database.

The layout is described in `docs/ledger-format.md`. Everything is read from one moment of the database, in
windows, so the server goes on recording and memory does not grow with the log.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.audit.bundles.export_range import find_range
from infra.audit.bundles.manifest import (
    CHECKPOINT,
    CHECKPOINTS,
    KEY,
    LEAVES,
    MANIFEST,
    MANIFEST_NOTE,
    OCSF,
    PRUNED,
    Manifest,
    checkpoint_path,
    consistency_path,
    inclusion_path,
)
from infra.audit.bundles.tiles import TILE_HEIGHT, TILE_WIDTH, Cut, Tile, encode_entries, entries_path
from infra.audit.checkpoint import Signer, read_checkpoint
from infra.audit.forwarding.ocsf import ocsf_event
from infra.audit.merkle import HASH_BYTES, consistency_proof
from infra.audit.proofs.stored import prove_inclusion
from infra.audit.proofs.tlog_proof import ConsistencyProof, write_hashes
from infra.audit.records import LedgerDamaged, readable
from infra.audit.stored_log import minimum_index, stored_nodes
from infra.audit.witness.cosigned import cosigned, cosigned_head
from infra.clock import new_id, now_ms
from infra.database.tables import AuditCheckpoint, AuditLeaf, AuditNode
from infra.errors import Conflict

Progress = Callable[[int, int], None]
"""Told how many records of how many are written."""

BUNDLES_AT_ONCE: Final = 16
"""Entry bundles that are read from the database in one statement."""
MOST_CHECKPOINTS: Final = 1000
"""Earlier checkpoints in a bundle; of more, that many are chosen, evenly spread."""


@dataclass(frozen=True)
class ExportPlan:
    """What an export will hold, fixed before anything is written."""

    cut: Cut
    asked: tuple[str, str]
    """First and last of what was asked for, as it was written."""
    note: str
    """The checkpoint it is proved against, with cosignatures."""

    @property
    def records(self) -> int:
        """How many records leave."""
        return self.cut.end - self.cut.first


def plan_export(session: Session, start: str | None = None, stop: str | None = None) -> ExportPlan:
    """Return what an export from `start` to `stop` holds: whole entry bundles of 256 records.

    Both are inclusive; see `infra.audit.bundles.export_range`. Raises InvalidInput for a range that is
    nonsense or holds no record, and Conflict while nothing has been sealed.
    """
    note = cosigned_head(session)
    if note is None:
        raise Conflict("Nothing has been sealed yet.", hint="Records are sealed within a second; try again.")
    size, minimum = read_checkpoint(note).size, minimum_index(session)
    first, end = find_range(session, start, stop, minimum=minimum, size=size)
    return ExportPlan(Cut.around(size, first, end, minimum), (start or "", stop or ""), note)


def write_bundle(
    session: Session, plan: ExportPlan, signer: Signer, out: Path, progress: Progress | None = None
) -> None:
    """Write the planned bundle to the folder `out`, which appears when it is complete.

    `session` is the one that the plan was made with. The caller has recorded the export before. Raises
    Conflict when `out` exists and is not an empty folder, LedgerDamaged when the stored log lacks what was
    signed, and OSError.
    """
    with _appearing(out) as folder:
        for _ in bundle_files(session, plan, signer, folder, progress):
            pass


def bundle_files(
    session: Session, plan: ExportPlan, signer: Signer, folder: Path, progress: Progress | None = None
) -> Iterator[str]:
    """Write the planned bundle into `folder` and yield the name of each file once it is complete.

    The manifest comes last, so what ends early is no bundle. A file that was yielded may be removed. Raises
    like `write_bundle`.
    """
    return _Bundle(session, plan, signer, folder).files(progress or (lambda _done, _total: None))


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that becomes `out` at the end, or goes when anything fails."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise Conflict(f"{out} exists already and is not empty.", hint="Name a folder that does not exist.")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.parent / f".{out.name}.{new_id()}.partial"
    # A record tells who did what and when; it is the exporter's to hand on.
    beside.mkdir(mode=0o700)
    try:
        yield beside
        # Where `out` is an empty folder, this takes its place (POSIX rename).
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


class _Bundle:
    """One bundle while it is written."""

    def __init__(self, session: Session, plan: ExportPlan, signer: Signer, folder: Path) -> None:
        self._session = session
        self._plan = plan
        self._cut = plan.cut
        self._signer = signer
        self._folder = folder

    def files(self, progress: Progress) -> Iterator[str]:
        digests: dict[str, str] = {}
        yield from self._records(digests, progress)
        for tile in self._cut.tiles():
            yield self._put(tile.path, self._tile(tile))
        if self._cut.minimum:
            pruned = [stored_nodes(self._session)(*place) for place in self._cut.subtrees_pruned()]
            yield self._put(PRUNED, write_hashes(pruned).encode())
        notes = self._earlier_notes()
        yield from self._notes(notes, digests)
        yield from self._proofs(notes)
        yield from self._manifest(tuple(notes), digests)

    def _records(self, digests: dict[str, str], progress: Progress) -> Iterator[str]:
        """Write each record three times: in its entry bundle, as it is, and as OCSF."""
        with ExitStack() as files:
            leaves = _Lines(files.enter_context((self._folder / LEAVES).open("wb")))
            events = _Lines(files.enter_context((self._folder / OCSF).open("wb")))
            origin = self._signer.verifier_key.name
            for index, width, entries in self._bundles():
                yield self._put(entries_path(index, width), encode_entries(entries))
                for number, entry in enumerate(entries, index * TILE_WIDTH):
                    leaves.add(entry)
                    leaf = readable(entry)
                    if leaf is not None:
                        events.add(_json(ocsf_event(leaf, index=number, log_name=origin)))
                progress(index * TILE_WIDTH + width - self._cut.first, self._plan.records)
        digests |= {LEAVES: leaves.digest, OCSF: events.digest}
        yield from (LEAVES, OCSF)

    def _bundles(self) -> Iterator[tuple[int, int, list[bytes]]]:
        """Yield index, width and records of each entry bundle."""
        step = BUNDLES_AT_ONCE * TILE_WIDTH
        for start in range(self._cut.first, self._cut.end, step):
            end = min(start + step, self._cut.end)
            within = select(AuditLeaf.index, AuditLeaf.leaf)
            within = within.where(AuditLeaf.index >= start, AuditLeaf.index < end)
            rows = self._session.execute(within.order_by(AuditLeaf.index)).all()
            if [place for place, _ in rows] != list(range(start, end)):
                raise LedgerDamaged("A record is missing; check the ledger.")
            for begin in range(start, end, TILE_WIDTH):
                entries = [_stored(leaf) for _, leaf in rows[begin - start : begin - start + TILE_WIDTH]]
                yield begin // TILE_WIDTH, len(entries), entries

    def _tile(self, tile: Tile) -> bytes:
        begin = tile.index * TILE_WIDTH
        hashes = select(AuditNode.hash).where(
            AuditNode.level == tile.level * TILE_HEIGHT,
            AuditNode.index >= begin,
            AuditNode.index < begin + tile.width,
        )
        data = b"".join(map(_stored, self._session.scalars(hashes.order_by(AuditNode.index))))
        if len(data) != tile.width * HASH_BYTES:
            raise LedgerDamaged("A tree node is missing; check the ledger.")
        return data

    def _earlier_notes(self) -> dict[int, str]:
        """Return earlier checkpoints whose root the bundle's tiles give, by size, ascending."""
        cut = self._cut
        numbered = (
            select(
                AuditCheckpoint.size,
                AuditCheckpoint.note,
                func.row_number().over(order_by=AuditCheckpoint.size).label("number"),
                func.count().over().label("total"),
            )
            .where(
                AuditCheckpoint.size > cut.first,
                AuditCheckpoint.size <= cut.end,
                AuditCheckpoint.size < cut.size,
            )
            .subquery()
        )
        # The spread keeps every n-th, with n rounded up, so no more than the limit remain.
        spread = (numbered.c.total + MOST_CHECKPOINTS - 1) // MOST_CHECKPOINTS
        chosen = select(numbered.c.size, numbered.c.note).where(numbered.c.number % spread == 0)
        rows = self._session.execute(chosen.order_by(numbered.c.size)).all()
        return {row.size: cosigned(self._session, row.note) for row in rows}

    def _notes(self, notes: dict[int, str], digests: dict[str, str]) -> Iterator[str]:
        together = hashlib.sha256()
        for size, note in notes.items():
            together.update(note.encode())
            yield self._put(checkpoint_path(size), note.encode())
        head = self._plan.note.encode()
        digests |= {CHECKPOINT: hashlib.sha256(head).hexdigest(), CHECKPOINTS: together.hexdigest()}
        yield self._put(CHECKPOINT, head)
        yield self._put(KEY, f"{self._signer.verifier_key}\n".encode())

    def _proofs(self, notes: dict[int, str]) -> Iterator[str]:
        by_size = notes | {self._cut.size: self._plan.note}
        for first, second in pairwise(by_size):
            path = consistency_proof(first, second, stored_nodes(self._session))
            step = ConsistencyProof(first, tuple(path), by_size[second])
            yield self._put(consistency_path(first, second), step.text.encode())
        for index in sorted({self._cut.first, self._cut.end - 1}):
            proof = prove_inclusion(self._session, index, self._plan.note)
            yield self._put(inclusion_path(index), proof.text.encode())

    def _manifest(self, checkpoints: tuple[int, ...], digests: dict[str, str]) -> Iterator[str]:
        manifest = Manifest(
            origin=self._signer.verifier_key.name,
            cut=self._cut,
            asked=self._plan.asked,
            exported=now_ms(),
            checkpoints=checkpoints,
            digests=tuple(sorted(digests.items())),
        )
        yield self._put(MANIFEST, manifest.data)
        yield self._put(MANIFEST_NOTE, manifest.sign(self._signer).encode())

    def _put(self, name: str, data: bytes) -> str:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name


class _Lines:
    """A file of lines, and the SHA-256 of all of them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        data = line + b"\n"
        self._file.write(data)
        self._hash.update(data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _stored(value: object) -> bytes:
    """Return bytes of the database; SQLite lets anybody store something else in their place."""
    if not isinstance(value, bytes):
        raise LedgerDamaged("A stored value is not of the kind that was written; check the ledger.")
    return value


def _json(event: dict[str, object]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
