"""Whatever somebody does to an exported bundle, the check finds it.

Each run is seeded. CI does 200 of them; `pytest tests/faults/test_tampering.py --tamperings 10000` does more.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.audit.bundles.bundle import verify_bundle
from infra.audit.bundles.tiles import TILE_WIDTH, decode_entries, encode_entries
from infra.audit.merkle import HASH_BYTES, leaf_hash
from infra.audit.verify import Verdict
from tests.made_record import export, fill, made_ledger

SIZE = 600
IN_CI = 200
Changes = dict[str, bytes | None]
"""What a file is after the tampering, by its path; None where it is gone."""


@dataclass(frozen=True)
class Bundles:
    """The bundle that is tampered with, others to take pieces from, and the key that an auditor kept."""

    ours: Path
    others: dict[str, Path]
    files: dict[str, bytes]
    key: str

    def theirs(self, other: str) -> dict[str, bytes]:
        return _files(self.others[other])


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundles]:
    """A log's bundle; an older one of it; one of its fork under the same key; one of another key's log."""
    folder = tmp_path_factory.mktemp("logs")
    with made_ledger(folder / "ours.sqlite3") as ledger:
        fill(ledger, SIZE - 90)
        older = export(ledger, folder / "older")
        fill(ledger, 90)
        ours = export(ledger, folder / "ours")
        key = ledger.verifier_key
    with made_ledger(folder / "fork-new.sqlite3") as fork:
        fill(fork, SIZE)
        forked = export(fork, folder / "forked")
    with made_ledger(folder / "foreign.sqlite3", seed=b"\x07" * 32) as stranger:
        fill(stranger, SIZE)
        foreign = export(stranger, folder / "foreign")
    yield Bundles(ours, {"older": older, "forked": forked, "foreign": foreign}, _files(ours), key)


@contextmanager
def tampered(bundles: Bundles, changes: Changes) -> Iterator[Path]:
    """Yield the bundle with these changes, and take them back afterwards."""
    try:
        for name, data in changes.items():
            path = bundles.ours / name
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        yield bundles.ours
    finally:
        for name in changes:
            if name in bundles.files:
                (bundles.ours / name).parent.mkdir(parents=True, exist_ok=True)
                (bundles.ours / name).write_bytes(bundles.files[name])
            else:
                (bundles.ours / name).unlink()


# --- ways of tampering ----------------------------------------------------------------------------


def flip_a_bit(bundles: Bundles, chance: random.Random) -> Changes:
    name, data = _any_file(bundles, chance)
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return {name: bytes(changed)}


def overwrite(bundles: Bundles, chance: random.Random) -> Changes:
    name, data = _any_file(bundles, chance)
    start = chance.randrange(len(data))
    noise = chance.randbytes(chance.randint(1, 40))
    return {name: data[:start] + noise + data[start + len(noise) :]}


def delete_a_file(bundles: Bundles, chance: random.Random) -> Changes:
    return {_any_file(bundles, chance)[0]: None}


def truncate(bundles: Bundles, chance: random.Random) -> Changes:
    name, data = _any_file(bundles, chance)
    return {name: data[: chance.randrange(len(data))]}


def extend(bundles: Bundles, chance: random.Random) -> Changes:
    name, data = _any_file(bundles, chance)
    return {name: data + chance.choice([b"\n", b"\0", data, chance.randbytes(32)])}


def cut_out(bundles: Bundles, chance: random.Random) -> Changes:
    name, data = _any_file(bundles, chance)
    start = chance.randrange(len(data))
    return {name: data[:start] + data[start + chance.randint(1, 64) :]}


def swap_files(bundles: Bundles, chance: random.Random) -> Changes:
    (first, one), (second, two) = _any_file(bundles, chance), _any_file(bundles, chance)
    return {first: two, second: one}


def rename(bundles: Bundles, chance: random.Random) -> Changes:
    name, data = _any_file(bundles, chance)
    return {name: None, chance.choice([f"{name}.old", f"tile/0/{chance.randrange(3, 999):03}"]): data}


def add_a_file(bundles: Bundles, chance: random.Random) -> Changes:
    name = chance.choice(["note", "tile/0/003", "tile/entries/003.p/1", f"checkpoints/{77:016}", "proofs/x"])
    return {name: _any_file(bundles, chance)[1]}


def take_from_another(bundles: Bundles, chance: random.Random) -> Changes:
    theirs = bundles.theirs(chance.choice(sorted(bundles.others)))
    name = chance.choice(sorted(theirs))
    return {name: theirs[name]}


def take_a_kind_from_another(bundles: Bundles, chance: random.Random) -> Changes:
    """All checkpoints, proofs, tiles, entries or top-level files of another bundle."""
    theirs = bundles.theirs(chance.choice(sorted(bundles.others)))
    kind = chance.choice(["checkpoints/", "proofs/", "tile/0/", "tile/entries/", "tile/", "manifest", "key"])
    gone: Changes = {name: None for name in bundles.files if name.startswith(kind)}
    return gone | {name: data for name, data in theirs.items() if name.startswith(kind)}


def become_another(bundles: Bundles, _chance: random.Random) -> Changes:
    """The whole bundle is a stranger's, sound in itself: only the key that was kept tells."""
    gone: Changes = dict.fromkeys(bundles.files)
    return gone | dict(bundles.theirs("foreign").items())


def rewrite_a_record(bundles: Bundles, chance: random.Random) -> Changes:
    """A record is edited wherever it stands, and its hash with it."""
    return _with_records(bundles, chance, lambda entries, place: _edit(entries, place, chance))


def reorder_records(bundles: Bundles, chance: random.Random) -> Changes:
    def swap(entries: list[bytes], place: int) -> None:
        other = chance.randrange(len(entries))
        entries[place], entries[other] = entries[other], entries[place]

    return _with_records(bundles, chance, swap)


def drop_a_record(bundles: Bundles, chance: random.Random) -> Changes:
    return _with_records(bundles, chance, lambda entries, place: entries.__delitem__(place))


def repeat_a_record(bundles: Bundles, chance: random.Random) -> Changes:
    return _with_records(bundles, chance, lambda entries, place: entries.insert(place, entries[place]))


def forge_a_proof(bundles: Bundles, chance: random.Random) -> Changes:
    """A line of a proof is another hash, another number, or gone."""
    name = chance.choice([name for name in sorted(bundles.files) if name.startswith("proofs/")])
    lines = bundles.files[name].decode().split("\n")
    place = chance.randrange(lines.index(""))
    way = chance.randrange(3)
    if way == 0:
        lines[place] = chance.choice(["A" * 43 + "=", "index 7", "old 7", "extra AAAA"])
    elif way == 1:
        del lines[place]
    else:
        lines.insert(place, lines[place])
    return {name: "\n".join(lines).encode()}


def claim_less(bundles: Bundles, chance: random.Random) -> Changes:
    """Records are cut off an end, and the manifest says so: as if only they had been asked for."""
    manifest = json.loads(bundles.files["manifest.json"])
    end = chance.choice([256, 512])
    manifest |= {"end": end, "records": end}
    gone: Changes = {
        name: None
        for name in bundles.files
        if name.startswith("tile/entries/") and int(name[13:16]) >= end // TILE_WIDTH
    }
    leaves = b"".join(bundles.files["leaves.jsonl"].splitlines(keepends=True)[:end])
    manifest["sha256"]["leaves.jsonl"] = hashlib.sha256(leaves).hexdigest()
    return gone | {"manifest.json": _canonical(manifest), "leaves.jsonl": leaves}


def edit_the_manifest(bundles: Bundles, chance: random.Random) -> Changes:
    manifest = json.loads(bundles.files["manifest.json"])
    name = chance.choice(sorted(manifest))
    value = manifest[name]
    manifest[name] = value + 1 if isinstance(value, int) else chance.choice([None, "", [], {}, 7])
    return {"manifest.json": _canonical(manifest)}


WAYS: list[Callable[[Bundles, random.Random], Changes]] = [
    flip_a_bit,
    flip_a_bit,
    overwrite,
    delete_a_file,
    truncate,
    extend,
    cut_out,
    swap_files,
    rename,
    add_a_file,
    take_from_another,
    take_a_kind_from_another,
    become_another,
    rewrite_a_record,
    reorder_records,
    drop_a_record,
    repeat_a_record,
    forge_a_proof,
    claim_less,
    edit_the_manifest,
]


def _any_file(bundles: Bundles, chance: random.Random) -> tuple[str, bytes]:
    name = chance.choice(sorted(bundles.files))
    return name, bundles.files[name]


def _canonical(manifest: dict[str, object]) -> bytes:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _edit(entries: list[bytes], place: int, chance: random.Random) -> None:
    old = chance.choice([b'"v":1', b'"src":"one"', b'"kind":"user"', b'"auth":"session"'])
    entries[place] = entries[place].replace(old, old[:-2] + b"9" + old[-1:])


def _with_records(
    bundles: Bundles, chance: random.Random, change: Callable[[list[bytes], int], object]
) -> Changes:
    """Change one bundle of records, and perhaps its lines and its hashes along with it."""
    index = chance.randrange(3)
    width = min(TILE_WIDTH, SIZE - index * TILE_WIDTH)
    suffix = f"{index:03}" if width == TILE_WIDTH else f"{index:03}.p/{width}"
    entries = decode_entries(bundles.files[f"tile/entries/{suffix}"], width)
    lines = bundles.files["leaves.jsonl"].splitlines()
    change(entries, chance.randrange(len(entries)))
    lines[index * TILE_WIDTH : index * TILE_WIDTH + width] = entries
    changes: Changes = {f"tile/entries/{suffix}": encode_entries(entries)}
    if chance.random() < 0.7:
        changes["leaves.jsonl"] = b"".join(line + b"\n" for line in lines)
    if chance.random() < 0.7:
        changes[f"tile/0/{suffix}"] = b"".join(map(leaf_hash, entries))[: width * HASH_BYTES]
    return changes


# --- all of them are found ------------------------------------------------------------------------


def test_every_tampering_is_found(bundles: Bundles, request: pytest.FixtureRequest) -> None:
    """Edits, deletions, reorderings, truncations, forgeries, swaps: none passes, none is a traceback."""
    count = int(request.config.getoption("--tamperings", default=IN_CI))
    done = dict.fromkeys((way.__name__ for way in WAYS), 0)
    seed = 0
    while sum(done.values()) < count:
        chance, way = random.Random(seed), WAYS[seed % len(WAYS)]
        changes = way(bundles, chance)
        seed += 1
        if all(bundles.files.get(name) == data for name, data in changes.items()):
            continue  # Two equal files were swapped, or the like: nothing was done.
        with tampered(bundles, changes) as folder:
            report = verify_bundle(folder, key=bundles.key)
        assert report.verdict is not Verdict.SOUND, (way.__name__, seed - 1, sorted(changes))
        assert report.sentence
        done[way.__name__] += 1
    assert all(done.values())
    assert verify_bundle(bundles.ours, key=bundles.key).is_sound


def test_an_older_bundle_is_told_by_a_kept_checkpoint(bundles: Bundles) -> None:
    """It is genuine, and lacks what the auditor already has a signature for."""
    kept = bundles.files["checkpoint"].decode()
    older = bundles.others["older"]
    assert verify_bundle(older, key=bundles.key).is_sound
    assert verify_bundle(older, key=bundles.key, kept_note=kept).verdict is Verdict.INCOMPLETE


def test_a_forked_bundle_is_told_by_a_kept_checkpoint(bundles: Bundles) -> None:
    """The owner of the key can sign another history, but not make it agree with what was kept."""
    kept = bundles.files["checkpoint"].decode()
    forked = bundles.others["forked"]
    assert verify_bundle(forked, key=bundles.key).is_sound
    assert verify_bundle(forked, key=bundles.key, kept_note=kept).verdict is Verdict.TAMPERED
