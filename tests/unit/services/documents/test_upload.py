"""Multipart bodies cut anywhere, and what is left of a client's file name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.errors import InvalidInput
from services.documents.upload import MAX_FIELDS_BYTES, MAX_PARTS, Upload, clean_filename, receive

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="share"\r\n\r\ngroup:local:everyone\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a b.md"\r\n\r\n# Hi\r\n--not\r\n\r\n'
    b'--b\r\nContent-Disposition: form-data; name="share"\r\n\r\nuser:ben\r\n--b--\r\n'
)
CONTENT = b"# Hi\r\n--not\r\n"


class Kept:
    """Takes the file's bytes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self.data += data


def read(body: bytes, size: int) -> tuple[Upload, bytes]:
    """Receive a body in pieces of `size` bytes; returns what was understood, and the file."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    kept = Kept()
    return asyncio.run(receive("multipart/form-data; boundary=b", pieces(), kept)), kept.data


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_it_does_not_matter_where_the_body_is_cut(size: int) -> None:
    """File, name, head and repeated fields are the same for every cut."""
    upload, data = read(BODY, size)
    assert data == upload.head == CONTENT
    assert upload.filename == "a b.md"
    assert upload.fields == {"share": ["group:local:everyone", "user:ben"]}


@pytest.mark.parametrize("cut", [10, 60, 150, len(BODY) - 8])
def test_a_body_that_breaks_off_is_refused(cut: int) -> None:
    """Whatever it had brought until then."""
    with pytest.raises(InvalidInput):
        read(BODY[:cut], 50)


def test_a_field_is_bounded() -> None:
    """A form field cannot be used to fill the memory."""
    body = BODY.replace(b"user:ben", b"x" * (MAX_FIELDS_BYTES + 1))
    with pytest.raises(InvalidInput) as refused:
        read(body, 4096)
    assert refused.value.param == "share"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("../../../etc/passwd", "passwd"),
        ("a\x00b\u202ec.md", "abc.md"),
        ("  a \t b .md ", "a b .md"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        ("/", "unnamed"),
        (".hidden", ".hidden"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("\u202e.\u202c.", "unnamed"),
        ("a\u2028b\u00a0c.md", "a b c.md"),
        ("u\u0308ber.md", "\u00fcber.md"),
        ("\ud800.md", ".md"),
    ],
)
def test_a_name_is_a_name_and_no_path(sent: str, kept: str) -> None:
    """The last part remains, visible characters only."""
    assert clean_filename(sent) == kept


def test_a_long_name_keeps_its_ending() -> None:
    """255 characters at most, and the type stays readable."""
    name = clean_filename("ä" * 600 + ".docx")
    assert len(name) == 255
    assert name.endswith(".docx")


@pytest.mark.parametrize("name", ["word " * 200, "x" * 500 + "." + "y" * 30, "." + "z" * 300])
def test_a_long_name_without_an_ending_is_cut(name: str) -> None:
    """Nothing of it is said twice, and what remains is its beginning."""
    cut = clean_filename(name)
    assert len(cut) <= 255
    assert name.startswith(cut)


def test_the_number_of_parts_is_bounded() -> None:
    """Many small fields cannot keep the database's one writer busy, nor fill the memory."""
    part = b'--b\r\nContent-Disposition: form-data; name="share"\r\n\r\nuser:ben\r\n'
    with pytest.raises(InvalidInput):
        read(part * (MAX_PARTS + 1) + BODY, 4096)
