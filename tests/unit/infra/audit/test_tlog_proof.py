"""Proofs as text: the C2SP forms, and everything that they must not prove."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from infra.audit import merkle
from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    Signer,
    read_checkpoint,
    sign_checkpoint,
)
from infra.audit.proofs.tlog_proof import (
    ConsistencyProof,
    InclusionProof,
    ProofWrong,
    read_hashes,
    write_hashes,
)

SIGNER = Signer("log.example/proof", b"\x05" * 32)
KEY = SIGNER.verifier_key
LEAVES = [bytes([number]) for number in range(13)]


def node(level: int, index: int) -> bytes:
    return merkle.root(map(merkle.leaf_hash, LEAVES[index << level : (index + 1) << level]))


def head(size: int, signer: Signer = SIGNER) -> str:
    checkpoint = Checkpoint(signer.verifier_key.name, size, merkle.root_at(size, node))
    return sign_checkpoint(checkpoint, signer)


def inclusion(index: int, size: int = 13) -> InclusionProof:
    return InclusionProof(index, tuple(merkle.inclusion_proof(index, size, node)), head(size))


def consistency(first: int, second: int = 13) -> ConsistencyProof:
    return ConsistencyProof(first, tuple(merkle.consistency_proof(first, second, node)), head(second))


def test_an_inclusion_proof_has_the_lines_of_the_specification() -> None:
    """Header, index, hashes from the leaf's sibling up, an empty line, the checkpoint as it was signed."""
    proof = inclusion(4)
    hashes = [b64encode(hashed).decode() for hashed in proof.path]
    assert proof.text == "\n".join(["c2sp.org/tlog-proof@v1", "index 4", *hashes, "", head(13)])


def test_a_consistency_proof_is_what_a_witness_is_asked_with() -> None:
    """Old size, hashes, an empty line, the newer checkpoint."""
    proof = consistency(5)
    hashes = [b64encode(hashed).decode() for hashed in proof.path]
    assert proof.text == "\n".join(["old 5", *hashes, "", head(13)])


@pytest.mark.parametrize("size", [1, 2, 12, 13])
def test_every_record_is_proved_from_its_text(size: int) -> None:
    """Written, read and verified, for trees with and without a path; any other record is not proved."""
    for index in range(size):
        proof = InclusionProof.parse(inclusion(index, size).text)
        assert proof == inclusion(index, size)
        assert proof.verify(LEAVES[index], KEY) == read_checkpoint(head(size))
        with pytest.raises(ProofWrong):
            proof.verify(b"another", KEY)


def test_every_step_is_proved_from_its_text() -> None:
    """Written, read and verified for each pair of sizes."""
    for second in range(1, 14):
        for first in range(second + 1):
            proof = ConsistencyProof.parse(consistency(first, second).text)
            assert proof.verify(read_checkpoint(head(first)), KEY) == read_checkpoint(head(second))


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=40), st.data())
@settings(max_examples=30, deadline=None)
def test_our_proofs_hold_against_an_independent_root(leaves: list[bytes], data: st.DataObject) -> None:
    """The root comes from pymerkle, the path from us; the text in between loses nothing."""
    other = InmemoryTree(algorithm="sha256")
    other.append_entries(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))

    def stored(level: int, place: int) -> bytes:
        return merkle.root(map(merkle.leaf_hash, leaves[place << level : (place + 1) << level]))

    note = sign_checkpoint(Checkpoint(KEY.name, len(leaves), other.get_root(len(leaves))), SIGNER)
    path = tuple(merkle.inclusion_proof(index, len(leaves), stored))
    assert InclusionProof.parse(InclusionProof(index, path, note).text).verify(leaves[index], KEY)


def test_extra_data_is_read_over() -> None:
    """The specification allows a line that nothing vouches for."""
    text = inclusion(4).text.replace("\nindex", "\nextra c29tZXRoaW5n\nindex", 1)
    assert InclusionProof.parse(text) == inclusion(4)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("@v1", "@v2"),
        lambda text: text.replace("index 4", "index 04"),
        lambda text: text.replace("index 4", "index -4"),
        lambda text: text.replace("index 4", "index"),
        lambda text: text.replace("index 4\n", ""),
        lambda text: text.replace("index 4", "index 4\nindex 4"),
        lambda text: text.replace("index 4", "index 4\nAAAA"),
        lambda text: text.replace("index 4", "index 4\n" + "A" * 42 + "B="),
        lambda text: text.replace("index 4", "index 4\n" + "\n".join(["A" * 43 + "="] * 64)),
        lambda text: text.replace("\nindex", "\nextra !\nindex"),
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("\n", "\r\n"),
    ],
)
def test_a_malformed_proof_is_unreadable(change: object) -> None:
    """Each departure from the form is refused; none is a traceback."""
    text = change(inclusion(4).text)  # type: ignore[operator]  # a parametrized function
    with pytest.raises((NoteUnreadable, NoteUntrusted)):
        InclusionProof.parse(text).verify(LEAVES[4], KEY)


@pytest.mark.parametrize("text", ["", "old 5", "old x\n\nnote", "new 5\n\nnote", "old 5\nAAAA\n\nnote"])
def test_a_malformed_step_is_unreadable(text: str) -> None:
    """The same for consistency proofs."""
    with pytest.raises(NoteUnreadable):
        ConsistencyProof.parse(text)


def test_a_proof_under_another_key_is_not_trusted() -> None:
    """The path may be right; who signed the root decides."""
    impostor = Signer(KEY.name, b"\x06" * 32)
    proof = InclusionProof(4, inclusion(4).path, head(13, impostor))
    with pytest.raises(NoteUntrusted):
        proof.verify(LEAVES[4], KEY)


@pytest.mark.parametrize("first", [4, 6])
def test_a_step_from_another_size_proves_nothing(first: int) -> None:
    """The older checkpoint is of the size that the proof is from."""
    with pytest.raises(ProofWrong):
        consistency(5).verify(read_checkpoint(head(first)), KEY)


# What the test data of transparency-dev/merkle does to a right proof; each must be refused.
HASH = merkle.EMPTY_ROOT
WRONG_PATHS = [
    lambda path: (),
    lambda path: path[:-1],
    lambda path: path[1:],
    lambda path: (*path, b""),
    lambda path: (*path, HASH),
    lambda path: (HASH, *path),
    lambda path: (*path[:1], HASH, *path[1:]),
    lambda path: (path[0][:-1] + bytes([path[0][-1] ^ 16]), *path[1:]),
    lambda path: tuple(reversed(path)),
]


@pytest.mark.parametrize("wrong", WRONG_PATHS)
def test_no_other_path_is_a_proof(wrong: object) -> None:
    """Empty, cut, extended, swapped or changed by one bit: for inclusion and for consistency."""
    right = inclusion(4).path
    path = wrong(right)  # type: ignore[operator]  # a parametrized function
    root = merkle.root_at(13, node)
    assert not merkle.verify_inclusion(merkle.leaf_hash(LEAVES[4]), 4, 13, path, root)
    step = consistency(5)
    path = wrong(step.path)  # type: ignore[operator]  # a parametrized function
    assert not merkle.verify_consistency(5, 13, path, merkle.root_at(5, node), root)


@pytest.mark.parametrize(("index", "size"), [(3, 13), (5, 13), (6, 13), (4, 26), (4, 6), (-1, 13), (13, 13)])
def test_no_other_place_is_proved(index: int, size: int) -> None:
    """The index one off, or with another bit; the size doubled or halved."""
    leaf, root = merkle.leaf_hash(LEAVES[4]), merkle.root_at(13, node)
    assert not merkle.verify_inclusion(leaf, index, size, inclusion(4).path, root)


@pytest.mark.parametrize(("first", "second"), [(4, 13), (6, 13), (7, 13), (5, 26), (5, 6), (13, 5)])
def test_no_other_sizes_are_proved(first: int, second: int) -> None:
    """A step between other sizes, and one with its roots exchanged, is none."""
    old, new = merkle.root_at(5, node), merkle.root_at(13, node)
    assert not merkle.verify_consistency(first, second, consistency(5).path, old, new)
    assert not merkle.verify_consistency(5, 13, consistency(5).path, new, old)


def test_hashes_are_written_one_a_line() -> None:
    """And read back; a cut line is noticed."""
    hashes = (b"\x01" * 32, b"\x02" * 32)
    assert read_hashes(write_hashes(hashes)) == hashes
    for text in ("", write_hashes(hashes)[:-1], write_hashes(hashes) + "\n"):
        with pytest.raises(NoteUnreadable):
            read_hashes(text)
