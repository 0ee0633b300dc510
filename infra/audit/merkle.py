"""The Merkle tree of RFC 6962 §2.1 (unchanged in RFC 9162 §2.1) as pure functions over SHA-256.

Hashes are 32 bytes. Proofs are computed from stored hashes of complete subtrees, given as
`get_node(level, index)`: the subtree of 2**level leaves that starts at leaf index * 2**level. An
append or a proof touches O(log n) of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 §2.1)."""

GetNode = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Node:
    """The hash of one complete subtree, and its place."""

    level: int
    index: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf: SHA-256(0x00 || leaf), RFC 6962 §2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees: SHA-256(0x01 || left || right), RFC 6962 §2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash over `leaf_hashes` (RFC 6962 §2.1)."""
    growing = CompactRange()
    for hashed in leaf_hashes:
        growing.append(hashed)
    return growing.root()


@dataclass
class CompactRange:
    """The tree so far as the roots of its complete subtrees, the largest first: O(log n) memory."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    @classmethod
    def load(cls, size: int, get_node: GetNode) -> CompactRange:
        """Take up a tree of `size` leaves again from its stored nodes."""
        return cls(size, _subtree_roots(0, size, get_node))

    def append(self, hashed: bytes) -> list[Node]:
        """Add one leaf hash; returns the nodes that this completes, lowest first."""
        completed = [Node(0, self.size, hashed)]
        level, index = 0, self.size
        while index & 1:
            hashed = node_hash(self.peaks.pop(), hashed)
            level, index = level + 1, index >> 1
            completed.append(Node(level, index, hashed))
        self.peaks.append(hashed)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the Merkle tree hash of the leaves so far."""
        return _fold(self.peaks)


def root_at(size: int, get_node: GetNode) -> bytes:
    """Return the Merkle tree hash of the first `size` leaves from stored nodes."""
    return _fold(_subtree_roots(0, size, get_node))


def inclusion_proof(index: int, size: int, get_node: GetNode) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1).

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, get_node))
            end = middle
        else:
            path.append(_range_root(start, middle, get_node))
            start = middle
    path.reverse()
    return path


def consistency_proof(first: int, second: int, get_node: GetNode) -> list[bytes]:
    """Return the proof that the tree of `first` leaves begins that of `second` (RFC 6962 §2.1.2).

    It is empty for equal sizes and for an empty first tree. Raises ValueError when first > second.
    """
    if not 0 <= first <= second:
        raise ValueError("the first tree is larger than the second")
    if first in (0, second):
        return []
    path: list[bytes] = []
    start, end = 0, second
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(_range_root(middle, end, get_node))
            end = middle
        else:
            path.append(_range_root(start, middle, get_node))
            start = middle
    # The subtree in which both trees end alike is known to the verifier when it is the whole first tree.
    if start > 0:
        path.append(_range_root(start, end, get_node))
    path.reverse()
    return path


def verify_inclusion(
    hashed: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> bool:
    """Check an audit path as RFC 9162 §2.1.3.2 prescribes. `hashed` is the leaf hash."""
    if not 0 <= index < size:
        return False
    position, last, current = index, size - 1, hashed
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and current == expected_root


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> bool:
    """Check that two tree heads belong to one growing log (RFC 9162 §2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def node_count(size: int) -> int:
    """Return how many complete subtrees a tree of `size` leaves has, leaves included."""
    return sum(size >> level for level in range(size.bit_length()))


def _split(width: int) -> int:
    """Return the largest power of two below `width` (RFC 6962 §2.1), which is at least 2."""
    return 1 << ((width - 1).bit_length() - 1)


def _subtree_roots(start: int, end: int, get_node: GetNode) -> list[bytes]:
    """Return the hashes of the complete subtrees of [start, end), the largest first.

    `start` is a multiple of the largest power of two within the width, as RFC 6962's splits make it.
    """
    roots = []
    for level in reversed(range((end - start).bit_length())):
        if (end - start) >> level & 1:
            roots.append(get_node(level, start >> level))
            start += 1 << level
    return roots


def _range_root(start: int, end: int, get_node: GetNode) -> bytes:
    return _fold(_subtree_roots(start, end, get_node))


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    folded = peaks[-1]
    for peak in reversed(peaks[:-1]):
        folded = node_hash(peak, folded)
    return folded
