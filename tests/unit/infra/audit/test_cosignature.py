"""Cosignatures of witnesses: the published formats, a real witness's signature, and every way to be wrong."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    SignatureWrong,
    Signer,
    VerifierKey,
    open_note,
    sign_checkpoint,
    verify_checkpoint,
)
from infra.audit.witness.cosignature import Cosigner, WitnessKey, cosignature_lines, verify_cosignature

LOG = Signer("log.example/test", bytes(32))
WITNESS = Cosigner("witness.example/w1", bytes(range(32)))
NOTE = sign_checkpoint(Checkpoint("log.example/test", 7, b"\x07" * 32), LOG)

# The example of https://c2sp.org/tlog-cosignature.
SPEC_NOTE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501  the published lines

# A tree head of a public test log (test.sigsum.org), signed by it and cosigned by public witnesses on
# 2025-12-12. Sigsum takes checkpoint and cosignature from C2SP and frames them in its own way, undone here.
SIGSUM_LOG = bytes.fromhex("4644af2abd40f4895a003bca350f9d5912ab301a49c77f13e5b6d905c20a5fe6")
SIGSUM_ROOT = bytes.fromhex("86c07a3959a75a8640dd01c33a62cf4222ef88ace47f706a06905d915e705a3d")
SIGSUM_SIGNATURE = bytes.fromhex(
    "fb48647e55d12145b6e3169d33cd167f0c24ce6c002ce794d82edd9e055ad535"
    "d94f4f0e142792194e713561d9040e94a744a73b4afa34b6697fdd8a32a0d509"
)
SIGSUM_TIME = 1765558886
SIGSUM_WITNESSES = [
    (
        "remora.n621.de",
        "ebcdeb78e7fdb2ef9227b2c1ef11e94600b55b4d6d9a57877e31ee89e59adc36",
        "0870780996726ef5376e739f595c3e5ac1e482648f13a6c2ac215051b1c70730"
        "13470bfd5ba870338776fe9b2bd8bb41ae92fec9fae6b4715cb3c7e21b8fad03",
    ),
    (
        "witness.navigli.sunlight.geomys.org",
        "dcbf728e02d479f5a7e20dc09adf525833ed6e797526517aeb07fc6854849fc6",
        "0bd36c6f510e36939758d6b4df06bb90ad332ef2a590ef82a831d50876748387"
        "540891d0e4f77253b396ec57c20f07a33a2dfa644b7b44383000a62924c7e20d",
    ),
    (
        "witness.stagemole.eu",
        "4a921b7caef58ae670cdc11ef4184f1c058f7b9259a9107a969f69fa54aa496f",
        "642aa8748405401886796c9a3dbddf57942976af469429044f7206489d4b4979"
        "c44ae445c998e0bd0b6b7e0d0da5fa7fe142338ed8a69ac521d694c3cf2cd403",
    ),
]


def line(name: str, key_id: bytes, signature: bytes) -> str:
    """Return a signature line."""
    return f"— {name} {b64encode(key_id + signature).decode()}\n"


def sigsum_note() -> str:
    """Return that tree head as a C2SP note with all its signatures."""
    origin = f"sigsum.org/v1/tree/{hashlib.sha256(SIGSUM_LOG).hexdigest()}"
    note = Checkpoint(origin, 17157, SIGSUM_ROOT).text + "\n"
    note += line(origin, VerifierKey(origin, SIGSUM_LOG).key_id, SIGSUM_SIGNATURE)
    for name, public_key, signature in SIGSUM_WITNESSES:
        key = WitnessKey(name, bytes.fromhex(public_key))
        note += line(name, key.key_id, SIGSUM_TIME.to_bytes(8, "big") + bytes.fromhex(signature))
    return note


@pytest.mark.parametrize(("name", "public_key"), [witness[:2] for witness in SIGSUM_WITNESSES])
def test_cosignatures_of_public_witnesses_verify(name, public_key):
    """What independent witnesses signed over a public log's tree head is accepted, with its time."""
    assert verify_cosignature(sigsum_note(), WitnessKey(name, bytes.fromhex(public_key))) == SIGSUM_TIME


def test_the_log_of_that_note_is_found_beside_its_witnesses():
    """The log's own signature is told from the cosignatures around it."""
    origin = f"sigsum.org/v1/tree/{hashlib.sha256(SIGSUM_LOG).hexdigest()}"
    assert verify_checkpoint(sigsum_note(), VerifierKey(origin, SIGSUM_LOG)).size == 17157


def test_a_public_witness_key_is_read_and_written():
    """A verifier key that is published for a public witness has the name, id and key that belong together."""
    published = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    key = WitnessKey.parse(published)
    assert key.public_key.hex() == SIGSUM_WITNESSES[0][1]
    assert str(key) == published


def test_the_example_of_the_specification_has_this_form():
    """The published example line is as long as ours, and its time stands where ours does."""
    ours = b64decode(WITNESS.cosign(NOTE, at_s=1679315147).split(" ")[2])
    example = b64decode(SPEC_NOTE.splitlines()[-1].split(" ")[2])
    assert len(ours) == len(example)
    assert ours[4:12] == example[4:12]


def test_a_cosignature_is_over_the_message_of_the_specification():
    """The signed message is the header, the time, and the whole text of the checkpoint."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature = b64decode(WITNESS.cosign(NOTE, at_s=1679315147).split(" ")[2])[12:]
    text = "log.example/test\n7\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n"
    message = f"cosignature/v1\ntime 1679315147\n{text}".encode()
    Ed25519PublicKey.from_public_bytes(WITNESS.key.public_key).verify(signature, message)


@given(at_s=st.integers(0, 2**63 - 1), size=st.integers(0, 2**62), seed=st.binary(min_size=32, max_size=32))
def test_cosign_and_verify_agree(at_s, size, seed):
    """Whatever is cosigned verifies, at the time that was stated, and the log's signature stays good."""
    witness = Cosigner("w", seed)
    note = sign_checkpoint(Checkpoint("log.example/test", size, seed), LOG)
    note += witness.cosign(note, at_s=at_s)
    assert verify_cosignature(note, str(witness.key)) == at_s
    assert verify_checkpoint(note, LOG.verifier_key).size == size


def test_the_latest_of_two_cosignatures_counts():
    """A witness that signed the same checkpoint twice is taken at its later word."""
    note = NOTE + WITNESS.cosign(NOTE, at_s=200) + WITNESS.cosign(NOTE, at_s=100)
    assert verify_cosignature(note, WITNESS.key) == 200
    assert len(cosignature_lines(note, WITNESS.key)) == 2


def test_a_missing_cosignature_is_untrusted():
    """A note without this witness's signature is refused, whoever else signed it."""
    other = Cosigner("witness.example/w2", bytes(31) + b"\x01")
    with pytest.raises(NoteUntrusted, match=r"witness\.example/w1"):
        verify_cosignature(NOTE + other.cosign(NOTE, at_s=1), WITNESS.key)


def test_a_cosignature_of_another_checkpoint_is_wrong():
    """A line that was moved from another checkpoint is found."""
    other = sign_checkpoint(Checkpoint("log.example/test", 8, b"\x07" * 32), LOG)
    with pytest.raises(SignatureWrong):
        verify_cosignature(NOTE + WITNESS.cosign(other, at_s=1), WITNESS.key)


@given(st.integers(0, 75), st.integers(1, 255))
def test_any_changed_byte_is_found(position, flip):
    """No bit of a cosignature can change: key id, time or signature."""
    name, signature = WITNESS.cosign(NOTE, at_s=1700000000).rstrip("\n").split(" ")[1:]
    raw = bytearray(b64decode(signature))
    raw[position] ^= flip
    with pytest.raises(NoteUntrusted):
        verify_cosignature(NOTE + line(name, bytes(raw[:4]), bytes(raw[4:])), WITNESS.key)


def test_a_note_signature_is_no_cosignature():
    """The same key's plain signature over the note does not pass as a cosignature, nor the other way."""
    plain = Signer("witness.example/w1", bytes(range(32)))
    text = open_note(NOTE, LOG.verifier_key)
    with pytest.raises(NoteUntrusted):
        verify_cosignature(plain.sign(text), WITNESS.key)
    with pytest.raises(NoteUntrusted):
        open_note(f"{text}\n{WITNESS.cosign(NOTE, at_s=1)}", plain.verifier_key)


@pytest.mark.parametrize("length", [0, 8, 71, 73])
def test_a_cosignature_of_a_wrong_length_is_wrong(length):
    """A truncated or padded cosignature under the right key id is found."""
    with pytest.raises((SignatureWrong, NoteUnreadable)):
        verify_cosignature(NOTE + line(WITNESS.key.name, WITNESS.key.key_id, bytes(length)), WITNESS.key)


def test_an_impossible_time_is_wrong():
    """A time beyond 2**63-1 is refused, as the format demands."""
    signature = b"\xff" * 8 + bytes(64)
    with pytest.raises(SignatureWrong, match="time"):
        verify_cosignature(NOTE + line(WITNESS.key.name, WITNESS.key.key_id, signature), WITNESS.key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "witness.example/w1",
        "a+b+c",
        str(LOG.verifier_key),
        str(WITNESS.key).replace("w1", "w2"),
        str(WITNESS.key) + "AAAA",
        "witness.example/w1+00000000+BAAA",
    ],
)
def test_what_is_no_witness_key_is_refused(text):
    """A log's key, another name's id, a wrong length or nonsense is no witness key."""
    with pytest.raises(NoteUnreadable):
        WitnessKey.parse(text)


@given(st.text(max_size=200))
def test_nonsense_is_never_a_traceback(text):
    """Any text instead of a note is refused as unreadable."""
    with pytest.raises(NoteUnreadable):
        verify_cosignature(text, WITNESS.key)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak"])
def test_a_witness_needs_a_proper_name(name):
    """A name that a signature line cannot carry is refused."""
    with pytest.raises(NoteUnreadable):
        Cosigner(name, bytes(32))
