"""The tree and its records as static files: C2SP tlog-tiles (https://c2sp.org/tlog-tiles) as pure functions.

A tile holds up to 256 neighbouring hashes of one height: level 0 are leaf hashes, and each hash of level
l + 1 is the root of a full tile of level l. An entry bundle holds the records under one level-0 tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from infra.audit.merkle import HASH_BYTES, node_hash, root, root_at
from infra.errors import StrongroomError

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes in a full tile, and records in a full bundle."""
LENGTH_BYTES: Final = 2
"""Bytes of the length before each record of a bundle."""
LARGEST_ENTRIES: Final = TILE_WIDTH * (LENGTH_BYTES + (1 << 16))
"""Bytes that no bundle of entries exceeds."""
CACHED_TILES: Final = 64


class TileDamaged(StrongroomError):
    """A tile or bundle that has another length or form than its place in the tree asks for."""

    code = "tile_damaged"


@dataclass(frozen=True)
class Tile:
    """The place of one tile: its level, its index within the level, and how many hashes it holds."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """Where it stands, relative to the log's prefix."""
        return f"tile/{self.level}/{_numbered(self.index, self.width)}"

    @property
    def start(self) -> int:
        """The first of the records that it spans."""
        return self.index << TILE_HEIGHT * (self.level + 1)

    @property
    def is_full(self) -> bool:
        """Whether it is hashed into a tile of the next level."""
        return self.width == TILE_WIDTH


@dataclass(frozen=True)
class Cut:
    """The part of a log that is carried: records [first, end) of `size`; those below `minimum` were pruned.

    All but the log's own size are multiples of 256: an entry bundle is the smallest piece of a tiled log.
    """

    size: int
    first: int
    end: int
    minimum: int = 0

    def __post_init__(self) -> None:
        """Raise TileDamaged for a part that no tiles can carry."""
        ordered = 0 <= self.minimum <= self.first < self.end <= self.size
        whole = not any(bound % TILE_WIDTH for bound in (self.minimum, self.first))
        if not ordered or not whole or (self.end % TILE_WIDTH and self.end != self.size):
            raise TileDamaged("These are no bounds of whole bundles.")

    @classmethod
    def around(cls, size: int, first: int, end: int, minimum: int = 0) -> Cut:
        """Return the smallest part that holds the records [first, end)."""
        return cls(size, first // TILE_WIDTH * TILE_WIDTH, min(size, _round_up(end, TILE_WIDTH)), minimum)

    def bundles(self) -> Iterator[tuple[int, int]]:
        """Yield index and width of each entry bundle, in order."""
        for start in range(self.first, self.end, TILE_WIDTH):
            yield start // TILE_WIDTH, min(TILE_WIDTH, self.size - start)

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles that lead from these records to the root, the lowest level first.

        They are the level-0 tiles of the records, the last tile of level 0, and all tiles of the levels
        above. Of a pruned log, tiles that span a pruned record are missing, since their hashes are gone; the
        level-0 tiles that follow the pruned records take their place.
        """
        for start in self._lowest():
            yield Tile(0, start // TILE_WIDTH, min(TILE_WIDTH, self.size - start))
        level, hashes = 1, self.size >> TILE_HEIGHT
        while hashes:
            spanned = TILE_WIDTH ** (level + 1)
            for index in range(_round_up(self.minimum, spanned) // spanned, _round_up(hashes) // TILE_WIDTH):
                yield Tile(level, index, min(TILE_WIDTH, hashes - index * TILE_WIDTH))
            level, hashes = level + 1, hashes >> TILE_HEIGHT

    def _lowest(self) -> Iterator[int]:
        """Yield the first record of each level-0 tile, skipping none one by one: `size` may be made up."""
        after_pruned = min(self.size, _round_up(self.minimum, TILE_WIDTH**2))
        yield from range(self.minimum, after_pruned, TILE_WIDTH)
        yield from range(max(self.first, after_pruned), self.end, TILE_WIDTH)
        last = self.size // TILE_WIDTH * TILE_WIDTH
        if max(self.end, after_pruned) <= last < self.size:
            yield last

    def carries(self, level: int, index: int) -> bool:
        """Tell whether no record that the tile (level, index) spans was pruned."""
        return index << TILE_HEIGHT * (level + 1) >= self.minimum

    def reaches(self, size: int) -> bool:
        """Tell whether the root of the first `size` records can be computed from these tiles."""
        if not self.minimum <= size <= self.size or size == 0:
            return False
        start = size // TILE_WIDTH * TILE_WIDTH
        is_lowest = self.first <= start < self.end or start < _round_up(self.minimum, TILE_WIDTH**2)
        return start == size or is_lowest or start + TILE_WIDTH > self.size

    def subtrees_pruned(self) -> Iterator[tuple[int, int]]:
        """Yield level and index of the subtrees that stand for the pruned records, the largest first."""
        for level in reversed(range(self.minimum.bit_length())):
            if self.minimum >> level & 1:
                yield level, (self.minimum >> level) - 1


def _round_up(number: int, step: int = TILE_WIDTH) -> int:
    return -(-number // step) * step


def entries_path(index: int, width: int) -> str:
    """Return where a bundle of entries stands, relative to the log's prefix."""
    return f"tile/entries/{_numbered(index, width)}"


def _numbered(index: int, width: int) -> str:
    """Return an index in groups of three digits, all but the last with an `x` before them."""
    digits = f"{index:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return a bundle: each record after its length as a big-endian uint16; raises TileDamaged above that."""
    try:
        return b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)
    except OverflowError as error:
        raise TileDamaged("A record is longer than any that was ever written.") from error


def decode_entries(data: bytes, width: int) -> list[bytes]:
    """Return the `width` records of a bundle; raises TileDamaged for any other form."""
    entries: list[bytes] = []
    position = 0
    while position < len(data) and len(entries) < width:
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(data[position:start], "big")
        entries.append(data[start:position])
    if position != len(data) or len(entries) != width:
        raise TileDamaged("The bundle does not hold the records that belong there.")
    return entries


def split_hashes(data: bytes, width: int) -> list[bytes]:
    """Return the hashes of a tile; raises TileDamaged when there are more or fewer than `width`."""
    if len(data) != width * HASH_BYTES:
        raise TileDamaged("The tile does not hold the hashes that belong there.")
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


class TileTree:
    """The tree behind the tiles of one cut, read as they are needed."""

    def __init__(self, cut: Cut, read_tile: Callable[[Tile], bytes], pruned: Sequence[bytes] = ()) -> None:
        """Read tiles with `read_tile`, which returns a tile's bytes or raises.

        `pruned` are the hashes that stand for pruned records, in the order of `cut.subtrees_pruned`; raises
        TileDamaged for another number of them.
        """
        places = list(cut.subtrees_pruned())
        if len(places) != len(pruned):
            raise TileDamaged("The hashes that stand for pruned records are not those that belong there.")
        self.cut = cut
        self._pruned = dict(zip(places, pruned, strict=True))
        self._read_tile = read_tile
        self._hashes = lru_cache(maxsize=CACHED_TILES)(self._load)

    def hashes(self, level: int, index: int) -> Sequence[bytes]:
        """Return the hashes of one tile; raises TileDamaged, and what `read_tile` raises."""
        return self._hashes(level, index)

    def node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree (level, index), as proofs ask for it."""
        if (level, index) in self._pruned:
            return self._pruned[level, index]
        tile_level, height = divmod(level, TILE_HEIGHT)
        start = index << height
        if self.cut.carries(tile_level, start // TILE_WIDTH):
            within = self.hashes(tile_level, start // TILE_WIDTH)[start % TILE_WIDTH :][: 1 << height]
            if len(within) != 1 << height:
                raise TileDamaged("A subtree reaches beyond the end of the log.")
            return root(within) if height else within[0]
        if level == 0:
            raise TileDamaged("A hash of a pruned record was asked for.")
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` records, or over all of them."""
        return root_at(self.cut.size if size is None else size, self.node)

    def stray_tiles(self) -> Iterator[Tile]:
        """Yield every full tile whose root is not the hash that the level above has for it.

        Together with the root of the whole tree this judges every hash: partial tiles are hashed into
        the root, full ones into their parents.
        """
        for tile in self.cut.tiles():
            if tile.is_full and root(self.hashes(tile.level, tile.index)) != self.node(
                TILE_HEIGHT * (tile.level + 1), tile.index
            ):
                yield tile

    def _load(self, level: int, index: int) -> Sequence[bytes]:
        hashes = self.cut.size >> TILE_HEIGHT * level
        width = min(TILE_WIDTH, hashes - index * TILE_WIDTH)
        if width < 1:
            raise TileDamaged("There is no such tile in a log of this size.")
        return split_hashes(self._read_tile(Tile(level, index, width)), width)
