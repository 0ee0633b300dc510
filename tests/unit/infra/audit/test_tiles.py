"""Tiles and entry bundles: the published layout, and a tree that any part of it proves."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from infra.audit import merkle
from infra.audit.bundles.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Cut,
    Tile,
    TileDamaged,
    TileTree,
    decode_entries,
    encode_entries,
    entries_path,
    split_hashes,
)


class Log:
    """A log of `size` made-up leaf hashes, with the nodes that a database would hold."""

    def __init__(self, size: int) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        tree = merkle.CompactRange()
        for number in range(size):
            for node in tree.append(hashlib.sha256(number.to_bytes(4, "big")).digest()):
                self.nodes[node.level, node.index] = node.hash
        self.root = tree.root()

    def tile(self, tile: Tile) -> bytes:
        first = tile.index * TILE_WIDTH
        return b"".join(
            self.nodes[tile.level * TILE_HEIGHT, index] for index in range(first, first + tile.width)
        )

    def tree(self, cut: Cut) -> TileTree:
        """Return the tree of a cut; only the tiles that it names can be read."""
        carried = {tile: self.tile(tile) for tile in cut.tiles()}
        pruned = [self.nodes[place] for place in cut.subtrees_pruned()]
        return TileTree(cut, carried.__getitem__, pruned)


LOG = Log(70_000)


def cut_of(size: int) -> Cut:
    return Cut(size, 0, size)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067, 256), "tile/0/x001/x234/067"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(1, 999, 256), "tile/1/999"),
        (Tile(1, 1000, 256), "tile/1/x001/000"),
    ],
)
def test_a_tile_stands_where_the_specification_says(tile: Tile, path: str) -> None:
    """Three digits a step, an `x` before all but the last, and the width of a partial one."""
    assert tile.path == path
    assert entries_path(tile.index, tile.width) == "tile/entries/" + path.split("/", 2)[2]


def test_the_specified_tree_has_the_specified_tiles() -> None:
    """70,000 records: 273 full tiles and one of 112, one full and one of 17, and one of width 1."""
    widths: dict[int, list[int]] = {}
    for tile in cut_of(70_000).tiles():
        widths.setdefault(tile.level, []).append(tile.width)
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}


def test_256_records_make_a_full_tile_and_a_partial_one() -> None:
    """The specification's other example."""
    assert list(cut_of(256).tiles()) == [Tile(0, 0, 256), Tile(1, 0, 1)]


def test_entries_are_length_prefixed() -> None:
    """Each record stands after its length as a big-endian uint16."""
    assert encode_entries([b"ab", b"", b"c" * 258]) == b"\0\x02ab\0\0\x01\x02" + b"c" * 258


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
@settings(deadline=None)
def test_entries_survive_their_bundle(entries: list[bytes]) -> None:
    """What is written is what is read."""
    assert decode_entries(encode_entries(entries), len(entries)) == entries


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\x01a", b"\0\x01a\0\x05b", b"\0\x01a\0\x01bb", b"\0\x01a\0\x01b\0\0"]
)
def test_a_bundle_of_another_form_is_refused(data: bytes) -> None:
    """Too few records, too many, a cut one, and bytes that are none."""
    with pytest.raises(TileDamaged):
        decode_entries(data, 2)


@pytest.mark.parametrize("length", [0, 31, 32, 65, 96])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    """A tile holds whole hashes, and as many as belong there."""
    with pytest.raises(TileDamaged):
        split_hashes(bytes(length), 2)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000])
def test_the_tiles_of_any_size_give_its_root(size: int) -> None:
    """At and around each bound between whole and partial tiles, of both levels."""
    log = Log(size) if size < 65_536 else LOG
    tree = log.tree(cut_of(size))
    assert tree.root() == merkle.root_at(size, lambda level, index: log.nodes[level, index])
    assert list(tree.stray_tiles()) == []


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_any_part_leads_to_the_root_of_an_independent_tree(data: st.DataObject) -> None:
    """Whatever part is carried and whatever was pruned: pymerkle's root, for every size that is reached."""
    size = data.draw(st.integers(1, 900))
    first = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(first + 1, size))
    minimum = data.draw(st.integers(0, first // TILE_WIDTH)) * TILE_WIDTH
    cut = Cut.around(size, first, end, minimum)
    other = InmemoryTree(algorithm="sha256")
    entries = [number.to_bytes(4, "big") for number in range(size)]
    other.append_entries(entries)
    log = Log.__new__(Log)
    log.nodes = {}
    growing = merkle.CompactRange()
    for entry in entries:
        for node in growing.append(merkle.leaf_hash(entry)):
            log.nodes[node.level, node.index] = node.hash
    tree = log.tree(cut)
    assert tree.root() == other.get_root(size)
    reached = data.draw(st.integers(1, size))
    if cut.reaches(reached):
        assert tree.root(reached) == other.get_root(reached)
    else:
        with pytest.raises((KeyError, TileDamaged)):
            tree.root(reached)


@pytest.mark.parametrize("minimum", [256, 512, 65_536, 65_792, 69_888])
def test_a_pruned_log_is_proved_without_what_was_pruned(minimum: int) -> None:
    """The subtrees that stand for pruned records, and no tile that spans one, give the same root."""
    cut = Cut(70_000, minimum, 70_000, minimum)
    assert all(tile.start >= minimum for tile in cut.tiles())
    tree = LOG.tree(cut)
    assert tree.root() == LOG.root
    assert list(tree.stray_tiles()) == []


@pytest.mark.parametrize("minimum", [0, 256, 65_792])
def test_every_changed_hash_is_noticed(minimum: int) -> None:
    """In whichever tile one bit changes: its root is not its parent's hash, or the whole root is another."""
    cut = Cut(70_000, 66_048, 66_304, minimum)
    honest = {tile: LOG.tile(tile) for tile in cut.tiles()}
    pruned = [LOG.nodes[place] for place in cut.subtrees_pruned()]
    for changed in [*honest][::7] + [*honest][-4:]:
        data = bytearray(honest[changed])
        data[len(data) // 2] ^= 1
        tree = TileTree(cut, (honest | {changed: bytes(data)}).__getitem__, pruned)
        assert next(tree.stray_tiles(), None) is not None or tree.root() != LOG.root, changed
    for place in range(len(pruned)):
        forged = [*pruned[:place], bytes(32), *pruned[place + 1 :]]
        assert TileTree(cut, honest.__getitem__, forged).root() != LOG.root


@pytest.mark.parametrize(
    "bounds", [(10, 0, 0), (10, 5, 10), (300, 0, 200), (10, 0, 11), (600, 256, 600, 512), (600, 256, 600, 10)]
)
def test_bounds_within_a_bundle_are_refused(bounds: tuple[int, ...]) -> None:
    """A part is made of whole bundles, ends with the log, and begins after what was pruned."""
    with pytest.raises(TileDamaged):
        Cut(*bounds)


def test_hashes_that_stand_for_nothing_are_refused() -> None:
    """As many hashes as there are pruned subtrees, no more and no fewer."""
    with pytest.raises(TileDamaged):
        TileTree(Cut(600, 256, 600, 256), lambda _: b"", [])
