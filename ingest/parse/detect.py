"""What a file is, decided by its content. The name only chooses among kinds of plain text."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import PurePath
from typing import BinaryIO, Final

from infra.errors import UnreadableFile

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX: Final = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
CSV: Final = "text/csv"
TEXT: Final = "text/plain"
ODT: Final = "application/vnd.oasis.opendocument.text"
ODP: Final = "application/vnd.oasis.opendocument.presentation"
ODS: Final = "application/vnd.oasis.opendocument.spreadsheet"
RTF: Final = "application/rtf"
DOC: Final = "application/msword"
PPT: Final = "application/vnd.ms-powerpoint"
XLS: Final = "application/vnd.ms-excel"
EPUB: Final = "application/epub+zip"
EML: Final = "message/rfc822"
MSG: Final = "application/vnd.ms-outlook"
MBOX: Final = "application/mbox"
JSON: Final = "application/json"
JSONL: Final = "application/jsonl"
XML: Final = "application/xml"
YAML: Final = "application/yaml"
CODE: Final = "text/x-source"
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
TIFF: Final = "image/tiff"
WEBP: Final = "image/webp"
ZIP: Final = "application/zip"
TAR: Final = "application/x-tar"

HEAD_BYTES = 8192
# The specification lets a PDF header stand anywhere in the first 1,024 bytes (ISO 32000-1, annex H).
PDF_HEADER_WITHIN = 1024
CONTENT_TYPES_MAX_BYTES = 1024 * 1024

_OFFICE_PARTS = {
    b"wordprocessingml.document.main+xml": DOCX,
    b"wordprocessingml.template.main+xml": DOCX,
    b"ms-word.document.macroenabled.main+xml": DOCX,
    b"presentationml.presentation.main+xml": PPTX,
    b"ms-powerpoint.presentation.macroenabled.main+xml": PPTX,
    b"spreadsheetml.sheet.main+xml": XLSX,
    b"spreadsheetml.template.main+xml": XLSX,
    b"ms-excel.sheet.macroenabled.main+xml": XLSX,
}
_CLAIMED = {".pdf": "PDF", ".docx": "Word document", ".pptx": "PowerPoint file", ".xlsx": "Excel workbook"}
_SAVE_AS_OFFICE = "Save it as DOCX, PPTX, XLSX or PDF and upload that."
_ASCII_SCAN = "Text in images needs text recognition (OCR), which this server does not do yet."
_BINARY_KINDS: tuple[tuple[bytes, str, str | None], ...] = (
    (b"\x89PNG\r\n", "an image (PNG)", _ASCII_SCAN),
    (b"\xff\xd8\xff", "an image (JPEG)", _ASCII_SCAN),
    (b"GIF8", "an image (GIF)", _ASCII_SCAN),
    (b"II*\x00", "an image (TIFF)", _ASCII_SCAN),
    (b"MM\x00*", "an image (TIFF)", _ASCII_SCAN),
    (b"BM", "an image (BMP)", _ASCII_SCAN),
    (b"RIFF", "an image, sound or video", None),
    (b"{\\rtf", "a rich-text file (RTF)", _SAVE_AS_OFFICE),
    (b"MZ", "a program", None),
    (b"\x7fELF", "a program", None),
    (b"\x1f\x8b", "a compressed archive", "Unpack it and upload the documents inside."),
    (b"7z\xbc\xaf", "a compressed archive", "Unpack it and upload the documents inside."),
    (b"Rar!", "a compressed archive", "Unpack it and upload the documents inside."),
    (b"\xfd7zXZ", "a compressed archive", "Unpack it and upload the documents inside."),
)
_TEXT_LEADS = (b"BM", b"MZ", b"RIFF", b"GIF8")
_EXTENSION_KINDS = {
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".csv": CSV,
    ".tsv": CSV,
}
_HTML_START = re.compile(
    rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_ANY_TAG = re.compile(rb"<[a-zA-Z!/][^>]*>")


def detect(file: BinaryIO, name: str) -> str:
    """Return the media type of `file`, which is left at its start.

    Raises UnreadableFile: `empty`, `encrypted`, `mislabelled` (the name promises a type we read, the
    content is another), or `unsupported_type`.
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
    if _is_pdf(head, extension):
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _office_kind(file, extension)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise _old_or_encrypted_office(file, extension)
    is_text = looks_like_text(head)
    for magic, kind, hint in _BINARY_KINDS:
        # Some magics are ordinary letters: "BMI tables" is a text, not a picture.
        if head.startswith(magic) and not (is_text and magic in _TEXT_LEADS):
            raise _unsupported(kind, extension, hint)
    if not is_text:
        raise _unsupported("binary data of an unknown type", extension, _SAVE_AS_OFFICE)
    if extension in _CLAIMED:
        raise _unsupported("plain text", extension, None)
    return _text_kind(head, extension)


def _is_pdf(head: bytes, extension: str) -> bool:
    at = head.find(b"%PDF-", 0, PDF_HEADER_WITHIN)
    leading_space_only = at >= 0 and not head[:at].lstrip(b"\xef\xbb\xbf").strip()
    return leading_space_only or (at >= 0 and extension == ".pdf" and not head.startswith(b"PK"))


def _office_kind(file: BinaryIO, extension: str) -> str:
    """Tell Office files apart by the content types that the package declares (ECMA-376 part 2)."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            declared = _start_of(archive, "[Content_Types].xml") if "[Content_Types].xml" in names else b""
            mimetype = _start_of(archive, "mimetype") if "mimetype" in names else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
        raise UnreadableFile(
            "damaged",
            "This file is incomplete or damaged and cannot be opened.",
            hint="Check that the original opens, and upload it again.",
        ) from error
    lowered = declared.lower()
    for part, media_type in _OFFICE_PARTS.items():
        if part in lowered:
            return media_type
    if b"opendocument" in mimetype:
        raise _unsupported("an OpenDocument file", extension, _SAVE_AS_OFFICE)
    if b"epub" in mimetype:
        raise _unsupported("an e-book (EPUB)", extension, "Save it as HTML or PDF and upload that.")
    if declared:
        raise _unsupported("an Office file of another kind", extension, _SAVE_AS_OFFICE)
    raise _unsupported("a ZIP archive", extension, "Unpack it and upload the documents inside.")


def _start_of(archive: zipfile.ZipFile, entry: str) -> bytes:
    with archive.open(entry) as stream:
        return stream.read(CONTENT_TYPES_MAX_BYTES)


def _old_or_encrypted_office(file: BinaryIO, extension: str) -> UnreadableFile:
    """Tell an encrypted Office file from an old one: both are OLE containers (MS-OFFCRYPTO, MS-CFB)."""
    if _contains(file, "EncryptedPackage".encode("utf-16-le")):
        return UnreadableFile(
            "encrypted",
            "This file is protected with a password.",
            hint="Remove the password in Office and upload it again.",
        )
    return _unsupported("an Office 97–2003 file (or an Outlook message)", extension, _SAVE_AS_OFFICE)


def _contains(file: BinaryIO, needle: bytes) -> bool:
    file.seek(0)
    tail = b""
    while piece := file.read(1024 * 1024):
        if needle in tail + piece:
            return True
        tail = piece[-len(needle) :]
    return False


def _unsupported(kind: str, extension: str, hint: str | None) -> UnreadableFile:
    if extension in _CLAIMED:
        return UnreadableFile(
            "mislabelled",
            f"The name says {_CLAIMED[extension]}, but the content is {kind}.",
            hint=hint or "Check that this is the file you meant.",
        )
    readable = "PDF, DOCX, PPTX, XLSX, HTML, Markdown, CSV and plain text can be read."
    return UnreadableFile("unsupported_type", f"This file is {kind}. {readable}", hint=hint)


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


def _text_kind(head: bytes, extension: str) -> str:
    plain = head.replace(b"\x00", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    plain = plain.removeprefix(b"\xef\xbb\xbf")
    if _HTML_START.match(plain):
        return HTML
    by_name = _EXTENSION_KINDS.get(extension, TEXT)
    if by_name == HTML and not _ANY_TAG.search(plain):
        return TEXT
    return by_name
