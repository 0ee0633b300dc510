"""What a file is: by content, with clear words for what cannot be read."""

from __future__ import annotations

import io
import zipfile

import docx
import pytest
from made_files import drawn_pdf, lines_at

from infra.errors import UnreadableFile
from ingest.parse import detect as kinds
from ingest.parse.detect import detect

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def word_file() -> bytes:
    """Return an empty Word document."""
    out = io.BytesIO()
    docx.Document().save(out)
    return out.getvalue()


def archive(**entries: str) -> bytes:
    """Return a zip with these entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in entries.items():
            target.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (drawn_pdf(lines_at(72, 100, "x")), "report.docx", kinds.PDF),
        (b"\xef\xbb\xbf \n" + drawn_pdf(lines_at(72, 100, "x")), "report", kinds.PDF),
        (word_file(), "report.pdf", kinds.DOCX),
        (word_file(), "report", kinds.DOCX),
        (b"<!DOCTYPE html><p>x", "page.txt", kinds.HTML),
        (b"\n<html lang=en>", "page", kinds.HTML),
        (b"<p>fragment</p>", "page.html", kinds.HTML),
        (b"no tags at all", "page.html", kinds.TEXT),
        (b"# Title", "readme.md", kinds.MARKDOWN),
        (b"# Title", "readme", kinds.TEXT),
        (b"a,b\n1,2", "table.csv", kinds.CSV),
        (b"a\tb\n1\t2", "table.TSV", kinds.CSV),
        (b"a,b\n1,2", "table.txt", kinds.TEXT),
        (b"BMI tables and MZ codes", "notes.txt", kinds.TEXT),
        ("wide text".encode("utf-16-le"), "notes.txt", kinds.TEXT),
        (b"the magic %PDF- within a text", "notes.txt", kinds.TEXT),
    ],
)
def test_content_decides_and_the_name_only_among_texts(content: bytes, name: str, expected: str) -> None:
    """The type follows the content; a name's ending chooses among kinds of text alone."""
    assert detect(io.BytesIO(content), name) == expected


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "a.pdf", "empty"),
        (b"MZ\x90\x00\x03\x00", "a.pdf", "mislabelled"),
        (archive(**{"a.txt": "x"}), "a.pdf", "mislabelled"),
        (archive(**{"a.txt": "x"}), "a.zip", "unsupported_type"),
        (b"just text", "a.docx", "mislabelled"),
        (b"\x89PNG\r\n\x1a\n\x00", "a.png", "unsupported_type"),
        (b"\xff\xd8\xff\xe0\x00", "a.jpg", "unsupported_type"),
        (b"\x00\x01\x02\x03" * 50, "a.bin", "unsupported_type"),
        (b"{\\rtf1 x}", "a.rtf", "unsupported_type"),
        (OLE + b"\x00" * 600, "a.doc", "unsupported_type"),
        (OLE + b"\x00" * 600 + "EncryptedPackage".encode("utf-16-le"), "a.docx", "encrypted"),
        (archive(mimetype="application/vnd.oasis.opendocument.text"), "a.odt", "unsupported_type"),
        (b"PK\x03\x04 not really", "a.docx", "damaged"),
    ],
)
def test_what_cannot_be_read_has_its_own_code(content: bytes, name: str, code: str) -> None:
    """Each reason is told apart, in words that name it."""
    with pytest.raises(UnreadableFile) as caught:
        detect(io.BytesIO(content), name)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")


def test_an_encrypted_marker_across_a_reading_boundary_is_found() -> None:
    """The search for the marker does not depend on where it falls in a large file."""
    marker = "EncryptedPackage".encode("utf-16-le")
    content = OLE + bytes(1024 * 1024 - len(OLE) - 7) + marker + bytes(100)
    with pytest.raises(UnreadableFile) as caught:
        detect(io.BytesIO(content), "a.xlsx")
    assert caught.value.code == "encrypted"


def test_the_file_is_left_at_its_start() -> None:
    """Whoever reads next reads everything."""
    file = io.BytesIO(b"# Title")
    detect(file, "a.md")
    assert file.read() == b"# Title"
