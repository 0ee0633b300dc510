"""Signed notes and checkpoints against published vectors, and everything that must be refused."""

from __future__ import annotations

import base64

import pytest

from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    SignatureWrong,
    Signer,
    VerifierKey,
    open_note,
    read_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)

# The example of Go's golang.org/x/mod/sumdb/note: signing key, verifier key and signed message.
GO_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    f"{GO_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example keys of the C2SP signed-note specification and of the Go package's second signer.
OTHER_KEYS = [
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
]
# The example of the C2SP tlog-checkpoint specification.
SPECIFIED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9"
    "nTo+zyWE+xeMcTOAYQ8=\n"
)

SIGNER = Signer("log.example/one", b"\x01" * 32)
KEY = SIGNER.verifier_key
HEAD = Checkpoint("log.example/one", 42, b"\x07" * 32)


def test_the_published_note_is_signed_bit_for_bit() -> None:
    """Go's example key signs Go's example text into Go's example note."""
    # The base64 itself holds a `+`, hence the limited split.
    seed = base64.b64decode(GO_SIGNER.split("+", 4)[4])[1:]
    signer = Signer("PeterNeumann", seed)
    assert str(signer.verifier_key) == GO_KEY
    assert signer.sign(GO_TEXT) == GO_NOTE


def test_the_published_note_opens() -> None:
    """Go's example note verifies with Go's example key."""
    assert open_note(GO_NOTE, VerifierKey.parse(GO_KEY)) == GO_TEXT


@pytest.mark.parametrize("text", [GO_KEY, *OTHER_KEYS])
def test_published_verifier_keys_read_and_write_back(text: str) -> None:
    """The key id of other people's keys is what we compute for them."""
    assert str(VerifierKey.parse(text)) == text


def test_the_specified_checkpoint_is_read() -> None:
    """The specification's example has its origin, size and root, and the same text comes back."""
    checkpoint = read_checkpoint(SPECIFIED)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert base64.b64encode(checkpoint.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert SPECIFIED.startswith(checkpoint.text + "\n")


def test_a_checkpoint_is_signed_and_verified() -> None:
    """What was signed is what is verified."""
    assert verify_checkpoint(sign_checkpoint(HEAD, SIGNER), VerifierKey.parse(str(KEY))) == HEAD


def test_signatures_by_others_are_ignored() -> None:
    """A witness may add its line; the log's own still counts, and the witness's alone does not."""
    witness = Signer("witness.example", b"\x02" * 32)
    line = sign_checkpoint(HEAD, witness).rpartition("\n\n")[2]
    both = sign_checkpoint(HEAD, SIGNER) + line
    assert verify_checkpoint(both, KEY) == HEAD
    with pytest.raises(NoteUntrusted):
        verify_checkpoint(f"{HEAD.text}\n{line}", KEY)


def test_a_key_of_the_same_name_is_another_key() -> None:
    """Name and key id together identify a key."""
    impostor = Signer(KEY.name, b"\x03" * 32)
    with pytest.raises(NoteUntrusted):
        verify_checkpoint(sign_checkpoint(HEAD, impostor), KEY)


@pytest.mark.parametrize("position", range(len(HEAD.text)))
def test_no_character_of_the_text_can_change(position: int) -> None:
    """Whichever character of a signed checkpoint changes, it is not accepted."""
    note = sign_checkpoint(HEAD, SIGNER)
    changed = note[:position] + ("1" if note[position] != "1" else "2") + note[position + 1 :]
    with pytest.raises((SignatureWrong, NoteUnreadable)):
        verify_checkpoint(changed, KEY)


def test_a_checkpoint_is_only_for_the_log_of_its_key() -> None:
    """A genuine signature under another origin proves nothing about this log."""
    other = Checkpoint("log.example/two", 42, b"\x07" * 32)
    with pytest.raises(NoteUntrusted):
        verify_checkpoint(sign_checkpoint(other, SIGNER), KEY)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text only\n",
        "\n\n— a AAAAAAA=\n",
        "text\n\n",
        "text\n\nno signature line\n",
        "text\n\n- log.example/one AAAAAAA=\n",
        "text\n\n— log.example/one not base64\n",
        "text\n\n— log.example/one AAAA\n",
        "te\rxt\n\n— log.example/one AAAAAAA=\n",
        "te\0xt\n\n— log.example/one AAAAAAA=\n",
        "text\n\n— log.example/one AAAAAAA=",
        "x" * 70_000 + "\n\n— log.example/one AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    """Malformed notes are unreadable, not untrusted."""
    with pytest.raises(NoteUnreadable):
        open_note(note, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        "origin\n01\n" + "A" * 43 + "=\n",
        "origin\n-1\n" + "A" * 43 + "=\n",
        "origin\n1\nAAAA\n",
        "origin\n1\n" + "A" * 42 + "B=\n",
        "\n1\n" + "A" * 43 + "=\n",
        "origin\n1\n" + "A" * 43 + "=\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """A validly signed text that is no checkpoint, or one spelled loosely, is unreadable."""
    with pytest.raises(NoteUnreadable):
        read_checkpoint(SIGNER.sign(text))


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+00000000+AAAA", GO_KEY.replace("c74f20a3", "c74f20a4"), "a b" + GO_KEY[12:]],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    """A key with a wrong id, type, length or name is unreadable."""
    with pytest.raises(NoteUnreadable):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b"])
def test_a_key_name_has_no_spaces_and_no_plus(name: str) -> None:
    """Such a name would make the note ambiguous."""
    with pytest.raises(NoteUnreadable):
        Signer(name, b"\x01" * 32)


HALF = "\ud800"


def test_half_a_character_is_in_no_key_and_no_note() -> None:
    """What cannot be written as UTF-8 is refused as unreadable, where a name or a text may hold anything."""
    _, key_id, encoded = str(KEY).split("+", 2)
    note = sign_checkpoint(HEAD, SIGNER)
    with pytest.raises(NoteUnreadable):
        VerifierKey.parse(f"{HALF}x+{key_id}+{encoded}")
    with pytest.raises(NoteUnreadable):
        Signer(f"{HALF}x", b"\x01" * 32)
    with pytest.raises(NoteUnreadable):
        open_note(HALF + note, KEY)
    with pytest.raises(NoteUnreadable):
        read_checkpoint(HALF + note)
