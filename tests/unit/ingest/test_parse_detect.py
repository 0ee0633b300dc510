"""What a file is: by content, with clear words for what cannot be read."""

from __future__ import annotations

import gzip
import io

import docx
import pytest
from made_files import drawn_pdf, lines_at

from infra.errors import UnreadableFile
from ingest.parse import detect as kinds
from ingest.parse.detect import detect
from tests.made_archives import epub_of, tar_of, zip_of
from tests.made_compound import compound_of, message_of, msg_of

ENCRYPTED_ODT = zip_of(
    {
        "mimetype": b"application/vnd.oasis.opendocument.text",
        "META-INF/manifest.xml": b"<manifest:encryption-data/>",
    }
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def word_file() -> bytes:
    """Return an empty Word document."""
    out = io.BytesIO()
    docx.Document().save(out)
    return out.getvalue()


def archive(**entries: str) -> bytes:
    """Return a zip with these entries."""
    return zip_of({name: content.encode() for name, content in entries.items()})


MAIL = b"Received: from a.example\r\nMessage-ID: <1@a.example>\r\nFrom: a@b.example\r\nSubject: x\r\n\r\nText"
LETTER = b"From: Ann\nTo: Bob\nSubject: lunch\nDate: Monday\n\nSee you."


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (drawn_pdf(lines_at(72, 100, "x")), "report.docx", kinds.PDF),
        (b"\xef\xbb\xbf \n" + drawn_pdf(lines_at(72, 100, "x")), "report", kinds.PDF),
        (word_file(), "report.pdf", kinds.DOCX),
        (word_file(), "report", kinds.DOCX),
        (b"<!DOCTYPE html><p>x", "page.txt", kinds.HTML),
        (b"<!DOCTYPE html><p>x", "export.xls", kinds.HTML),
        (b"\n<html lang=en>", "page", kinds.HTML),
        (b"<p>fragment</p>", "page.html", kinds.HTML),
        (b"no tags at all", "page.html", kinds.TEXT),
        (b"# Title", "readme.md", kinds.MARKDOWN),
        (b"# Title", "readme", kinds.TEXT),
        (b"a,b\n1,2", "table.csv", kinds.CSV),
        (b"a\tb\n1\t2", "table.TSV", kinds.CSV),
        (b"a\tb\n1\t2", "export.xls", kinds.CSV),
        (b"a,b\n1,2", "table.txt", kinds.TEXT),
        (b"BMI tables and MZ codes", "notes.txt", kinds.TEXT),
        ("wide text".encode("utf-16-le"), "notes.txt", kinds.TEXT),
        (b"the magic %PDF- within a text", "notes.txt", kinds.TEXT),
        (b'{"a": 1}', "a.json", kinds.JSON),
        (b"not json", "a.json", kinds.TEXT),
        (b'{"a": 1}', "a.txt", kinds.TEXT),
        (b'{"a": 1}\n{"a": 2}', "a.jsonl", kinds.JSONL),
        (b"a: 1", "a.yml", kinds.YAML),
        (b'<?xml version="1.0"?><a/>', "a", kinds.XML),
        (b"<a><b/></a>", "a.xml", kinds.XML),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "a.xml", kinds.HTML),
        (b"def f():\n    pass", "a.py", kinds.CODE),
        (b"<!doctype html><?php x ?>", "a.php", kinds.CODE),
        (b"#!/bin/sh\necho", "run", kinds.CODE),
        (MAIL, "a", kinds.EML),
        (MAIL, "a.txt", kinds.EML),
        (LETTER, "a.txt", kinds.TEXT),
        (LETTER, "a.eml", kinds.EML),
        (b"From a@b.example Mon Nov 02 09:15:00 2026\n" + MAIL, "a", kinds.MBOX),
        (b"From a@b.example Mon Nov 02 09:15:00 2026\n" + MAIL, "a.eml", kinds.EML),
        (b"From Monday at 09:15:00 2026 we are open\n\nWelcome.", "a.txt", kinds.TEXT),
        (b"{\\rtf1 x}", "a.doc", kinds.RTF),
        (archive(mimetype="application/vnd.oasis.opendocument.text"), "a.odt", kinds.ODT),
        (archive(mimetype="application/vnd.oasis.opendocument.spreadsheet-template"), "a", kinds.ODS),
        (archive(mimetype="application/vnd.oasis.opendocument.presentation"), "a.bin", kinds.ODP),
        (epub_of("B", {"a.xhtml": "x"}), "a", kinds.EPUB),
        (archive(**{"a.txt": "x"}), "a", kinds.ZIP),
        (tar_of({"a.txt": b"x"}), "a", kinds.TAR),
        (tar_of({"a.txt": b"x"}, "w:gz"), "a", kinds.TAR),
        (tar_of({"a.txt": b"x"}, "w:bz2"), "a", kinds.TAR),
        (tar_of({"a.txt": b"x"}, "w:xz"), "a", kinds.TAR),
        (compound_of({"WordDocument": bytes(100)}), "a", kinds.DOC),
        (compound_of({"PowerPoint Document": bytes(100)}), "a.bin", kinds.PPT),
        (compound_of({"Workbook": b"\x09\x08\x10\x00" + bytes(100)}), "a", kinds.XLS),
        (msg_of(message_of("s", "b")), "a", kinds.MSG),
        (b"\x89PNG\r\n\x1a\n\x00", "a", kinds.PNG),
        (b"\xff\xd8\xff\xe0\x00", "a.bin", kinds.JPEG),
        (b"II*\x00\x08\x00", "a", kinds.TIFF),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a", kinds.WEBP),
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
        (b"MZ\x90\x00", "a.exe", "unsupported_type"),
        (archive(**{"a.txt": "x"}), "a.pdf", "mislabelled"),
        (b"just text", "a.docx", "mislabelled"),
        (b"just text", "a.png", "mislabelled"),
        (b"GIF89a\x01\x00", "a.gif", "unsupported_type"),
        (b"BM\x46\x00\x00\x00", "a.bmp", "unsupported_type"),
        (b"7z\xbc\xaf\x27\x1c", "a.7z", "unsupported_type"),
        (b"Rar!\x1a\x07\x00", "a.rar", "unsupported_type"),
        (gzip.compress(b"one text, no archive", mtime=0), "a.gz", "unsupported_type"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-20] + b"\x00" * 20, "a.gz", "unsupported_type"),
        (b"\x1f\x8b\x08\x00broken stream", "a.tgz", "damaged"),
        (archive(**{"Index/Document.iwa": "x"}), "a.pages", "unsupported_type"),
        (archive(mimetype="application/vnd.oasis.opendocument.graphics"), "a.odg", "unsupported_type"),
        (ENCRYPTED_ODT, "a.odt", "encrypted"),
        (b"\x00\x01\x02\x03" * 50, "a.bin", "unsupported_type"),
        (b"-----BEGIN PGP MESSAGE-----\n\nhQ", "a.asc", "encrypted"),
        (OLE + b"\x00" * 600, "a.doc", "damaged"),
        (OLE + b"\x00" * 600 + "EncryptedPackage".encode("utf-16-le"), "a.docx", "encrypted"),
        (compound_of({"EncryptedPackage": b"x", "EncryptionInfo": b"y"}), "a.docx", "encrypted"),
        (compound_of({"WordDocument": bytes(11) + b"\x01" + bytes(80)}), "a.doc", "encrypted"),
        (compound_of({"Workbook": b"\x09\x08\x02\x00xx\x2f\x00\x00\x00"}), "a.xls", "encrypted"),
        (compound_of({"PowerPoint Document": b"x", "EncryptedSummary": b"y"}), "a.ppt", "encrypted"),
        (compound_of({"Contents": b"x"}), "a.pub", "unsupported_type"),
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
