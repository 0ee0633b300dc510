"""The Merkle tree against the Certificate Transparency vectors and an independent implementation."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from infra.audit import merkle

# The reference inputs of Certificate Transparency for RFC 6962, with the roots and proofs that its
# implementations publish for them.
INPUTS = [
    bytes.fromhex(data)
    for data in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]


class Stored:
    """Nodes as the database keeps them."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.tree = merkle.CompactRange()
        self.nodes: dict[tuple[int, int], bytes] = {}
        for leaf in leaves:
            for node in self.tree.append(merkle.leaf_hash(leaf)):
                self.nodes[node.level, node.index] = node.hash

    def get(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def hashes(*values: str) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots(size: int) -> None:
    """Every size from 0 to 8 gives the published root, appended and from stored nodes."""
    stored = Stored(INPUTS[:size])
    assert stored.tree.root().hex() == ROOTS[size]
    assert merkle.root(merkle.leaf_hash(leaf) for leaf in INPUTS[:size]).hex() == ROOTS[size]
    assert merkle.root_at(size, Stored(INPUTS).get).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_the_published_inclusion_proofs(index: int, size: int, proof: list[str]) -> None:
    """The audit paths are the published ones, and verify."""
    assert merkle.inclusion_proof(index, size, Stored(INPUTS).get) == hashes(*proof)
    leaf = merkle.leaf_hash(INPUTS[index])
    assert merkle.verify_inclusion(leaf, index, size, hashes(*proof), bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("first", "second", "proof"), CONSISTENCY)
def test_the_published_consistency_proofs(first: int, second: int, proof: list[str]) -> None:
    """The consistency proofs are the published ones, and verify."""
    assert merkle.consistency_proof(first, second, Stored(INPUTS).get) == hashes(*proof)
    assert merkle.verify_consistency(first, second, hashes(*proof), *hashes(ROOTS[first], ROOTS[second]))


def test_every_leaf_of_every_size_is_proved_and_no_other_place_is() -> None:
    """All inclusion proofs up to 40 leaves verify; another index, size, leaf or path does not."""
    leaves = [bytes([number]) for number in range(40)]
    stored = Stored(leaves)
    for size in range(1, 41):
        root = merkle.root_at(size, stored.get)
        for index in range(size):
            leaf = merkle.leaf_hash(leaves[index])
            proof = merkle.inclusion_proof(index, size, stored.get)
            assert merkle.verify_inclusion(leaf, index, size, proof, root)
            assert not merkle.verify_inclusion(leaf, index + 1, size, proof, root)
            assert not merkle.verify_inclusion(leaf, index - 1, size, proof, root)
            assert not merkle.verify_inclusion(merkle.leaf_hash(b"other"), index, size, proof, root)
            assert not merkle.verify_inclusion(leaf, index, size, [*proof, root], root)
            if proof:
                assert not merkle.verify_inclusion(leaf, index, size, proof[:-1], root)
                assert not merkle.verify_inclusion(leaf, index, size, [root, *proof[1:]], root)


def test_every_pair_of_sizes_is_consistent_and_a_fork_is_not() -> None:
    """All consistency proofs up to 24 leaves verify; with a forked root they do not."""
    stored = Stored([bytes([number]) for number in range(24)])
    forked = Stored([b"fork", *(bytes([number]) for number in range(1, 24))])
    for second in range(25):
        new = merkle.root_at(second, stored.get)
        for first in range(second + 1):
            old = merkle.root_at(first, stored.get)
            proof = merkle.consistency_proof(first, second, stored.get)
            assert merkle.verify_consistency(first, second, proof, old, new)
            assert not merkle.verify_consistency(first, second, [*proof, old], old, new)
            if first:
                other = merkle.root_at(first, forked.get)
                assert not merkle.verify_consistency(first, second, proof, other, new)
            if proof:
                assert not merkle.verify_consistency(first, second, proof[:-1], old, new)
                assert not merkle.verify_consistency(first, second, proof, old, merkle.EMPTY_ROOT)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70), st.data())
@settings(max_examples=60, deadline=None)
def test_an_independent_implementation_agrees(leaves: list[bytes], data: st.DataObject) -> None:
    """pymerkle gives the same roots and paths, and our proofs hold between its roots."""
    other = InmemoryTree(algorithm="sha256")
    other.append_entries(leaves)
    stored = Stored(leaves)
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    assert merkle.root_at(size, stored.get) == other.get_root(size)
    theirs = other.prove_inclusion(index + 1, size)
    # Their path begins with the leaf hash itself.
    assert theirs.path == [merkle.leaf_hash(leaves[index]), *merkle.inclusion_proof(index, size, stored.get)]
    # Its consistency proofs are not in the RFC's form; ours must connect the roots that it computes.
    first = index + 1
    proof = merkle.consistency_proof(first, size, stored.get)
    assert merkle.verify_consistency(first, size, proof, other.get_root(first), other.get_root(size))


@given(st.lists(st.binary(max_size=8), max_size=50), st.lists(st.binary(max_size=8), max_size=50))
@settings(max_examples=60, deadline=None)
def test_a_tree_is_taken_up_again_from_its_nodes(before: list[bytes], after: list[bytes]) -> None:
    """Appending after a reload gives the root and nodes of appending all at once."""
    stored = Stored(before)
    stored.tree = merkle.CompactRange.load(len(before), stored.get)
    for leaf in after:
        for node in stored.tree.append(merkle.leaf_hash(leaf)):
            stored.nodes[node.level, node.index] = node.hash
    whole = Stored(before + after)
    assert stored.tree == whole.tree
    assert stored.nodes == whole.nodes
    assert len(whole.nodes) == merkle.node_count(len(before + after))


def test_impossible_proofs_are_refused() -> None:
    """A leaf outside the tree and a shrinking log have no proof."""
    stored = Stored(INPUTS)
    for index, size in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(ValueError, match="not in the tree"):
            merkle.inclusion_proof(index, size, stored.get)
    with pytest.raises(ValueError, match="larger"):
        merkle.consistency_proof(5, 4, stored.get)
    assert not merkle.verify_consistency(5, 4, [], *hashes(ROOTS[5], ROOTS[4]))
    assert not merkle.verify_consistency(3, 8, [], *hashes(ROOTS[3], ROOTS[8]))


def test_leaves_and_nodes_are_hashed_in_separate_domains() -> None:
    """A leaf that looks like two children does not hash like their parent (RFC 6962 §2.1)."""
    left, right = hashlib.sha256(b"l").digest(), hashlib.sha256(b"r").digest()
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
