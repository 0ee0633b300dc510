"""What a file is, decided by its content. The name only chooses among kinds of plain text."""

from __future__ import annotations

from pathlib import PurePath
from typing import BinaryIO

from infra.errors import UnreadableFile
from ingest.parse import kinds
from ingest.parse.detection.detect_compressed import compressed_kind, is_tar
from ingest.parse.detection.detect_ole import OLE_MAGIC, ole_kind
from ingest.parse.detection.detect_text import text_kind
from ingest.parse.detection.detect_zip import zip_kind
from ingest.parse.kinds import (
    CODE,
    CSV,
    DOC,
    DOCX,
    EML,
    EPUB,
    HTML,
    JPEG,
    JSON,
    JSONL,
    MARKDOWN,
    MBOX,
    MSG,
    ODP,
    ODS,
    ODT,
    PDF,
    PNG,
    PPT,
    PPTX,
    RTF,
    TAR,
    TEXT,
    TIFF,
    WEBP,
    XLS,
    XLSX,
    XML,
    YAML,
    ZIP,
)

__all__ = [
    "CODE",
    "CSV",
    "DOC",
    "DOCX",
    "EML",
    "EPUB",
    "HEAD_BYTES",
    "HTML",
    "JPEG",
    "JSON",
    "JSONL",
    "MARKDOWN",
    "MBOX",
    "MSG",
    "ODP",
    "ODS",
    "ODT",
    "PDF",
    "PNG",
    "PPT",
    "PPTX",
    "RTF",
    "TAR",
    "TEXT",
    "TIFF",
    "WEBP",
    "XLS",
    "XLSX",
    "XML",
    "YAML",
    "ZIP",
    "detect",
    "looks_like_text",
    "utf16_without_mark",
]

HEAD_BYTES = 8192
# The specification lets a PDF header stand anywhere in the first 1,024 bytes (ISO 32000-1, annex H).
PDF_HEADER_WITHIN = 1024

_UNPACK = "Unpack it and upload the documents inside, or pack them as ZIP."
_AS_PNG = "Save it as PNG or JPEG and upload that."
_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
)
_REFUSED: tuple[tuple[bytes, str, str | None], ...] = (
    (b"GIF8", "an image (GIF)", _AS_PNG),
    (b"BM", "an image (BMP)", _AS_PNG),
    (b"II+\x00", "an image (BigTIFF)", _AS_PNG),
    (b"MM\x00+", "an image (BigTIFF)", _AS_PNG),
    (b"RIFF", "an image, sound or video", None),
    (b"ID3", "a sound recording", None),
    (b"OggS", "a sound recording", None),
    (b"MZ", "a program", None),
    (b"\x7fELF", "a program", None),
    (b"SQLite format 3\x00", "a database (SQLite)", "Export its tables as CSV and upload those."),
    (b"!BDN", "an Outlook data file (PST)", "Export its messages as MSG or EML and upload those."),
    (b"7z\xbc\xaf", "a compressed archive (7z)", _UNPACK),
    (b"Rar!", "a compressed archive (RAR)", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a compressed archive (Zstandard)", _UNPACK),
)
_LETTERS = (b"BM", b"MZ", b"RIFF", b"GIF8", b"ID3", b"OggS", b"Rar!", b"!BDN")


def detect(file: BinaryIO, name: str) -> str:
    """Return the media type of `file`, which is left at its start.

    Raises UnreadableFile: `empty`, `encrypted`, `damaged`, `mislabelled` (the name promises a type we read,
    the content is another), or `unsupported_type`.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    try:
        return _kind(file, head, PurePath(name).suffix.lower())
    finally:
        file.seek(0)


def _kind(file: BinaryIO, head: bytes, extension: str) -> str:
    if not head:
        raise UnreadableFile("empty", "This file is empty.", hint="Check that the upload was the right file.")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04")):
        return zip_kind(file, extension)
    if head.startswith(OLE_MAGIC):
        return ole_kind(file, extension)
    if is_tar(head):
        return TAR
    if _is_pdf(head, extension):
        return PDF
    if head.startswith(b"{\\rtf"):
        return RTF
    return _image_kind(head) or compressed_kind(file, head, extension) or _other_kind(head, extension)


def _is_pdf(head: bytes, extension: str) -> bool:
    at = head.find(b"%PDF-", 0, PDF_HEADER_WITHIN)
    leading_space_only = at >= 0 and not head[:at].lstrip(b"\xef\xbb\xbf").strip()
    return leading_space_only or (at >= 0 and extension == ".pdf")


def _image_kind(head: bytes) -> str | None:
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    return next((kind for magic, kind in _IMAGES if head.startswith(magic)), None)


def _other_kind(head: bytes, extension: str) -> str:
    is_text = looks_like_text(head)
    for magic, kind, hint in _REFUSED:
        # Some magics are ordinary letters: "BMI tables" is a text, not a picture.
        if head.startswith(magic) and not (is_text and magic in _LETTERS and b"\x00" not in head):
            raise kinds.unsupported(kind, extension, hint)
    if not is_text:
        raise kinds.unsupported("binary data of an unknown type", extension, kinds.SAVE_AS_OFFICE)
    if kinds.claimed(extension):
        raise kinds.unsupported("plain text", extension, None)
    if head.lstrip().startswith(b"-----BEGIN PGP MESSAGE"):
        raise kinds.encrypted("the program that encrypted it")
    return text_kind(head, extension)


def looks_like_text(head: bytes) -> bool:
    """Say whether `head` could be the start of a text in some encoding."""
    if head.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return True
    if b"\x00" in head:
        return utf16_without_mark(head) is not None
    # Control characters other than white space (and escape, which terminals' logs hold) are not text.
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return control <= len(head) // 100


def utf16_without_mark(head: bytes) -> str | None:
    """Name the UTF-16 variant that `head` is written in, judged by where its NUL bytes stand, or None."""
    pairs = max(len(head) // 2, 1)
    even, odd = head[0::2].count(0) / pairs, head[1::2].count(0) / pairs
    if odd > 0.4 and even < 0.05 and not _has_controls(head, "utf-16-le"):
        return "utf-16-le"
    if even > 0.4 and odd < 0.05 and not _has_controls(head, "utf-16-be"):
        return "utf-16-be"
    return None


def _has_controls(head: bytes, encoding: str) -> bool:
    """Say whether the text would hold control characters, as a table of small numbers does."""
    text = head.decode(encoding, errors="ignore")
    return sum(character < " " and character not in "\t\n\r\f" for character in text) > len(text) // 100
