"""The kinds of files by their media types, and the refusal of all others."""

from __future__ import annotations

from typing import Final

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
CONVERTED_FIRST: Final = frozenset({DOC, PPT})
"""Old formats that another program turns into new ones before they are parsed."""

SAVE_AS_OFFICE: Final = "Save it as DOCX, PPTX, XLSX or PDF and upload that."
READABLE: Final = (
    "Readable are PDF, Word, PowerPoint, Excel, OpenDocument, RTF, HTML, Markdown, text, CSV, JSON, XML, "
    "YAML, EPUB, mail (EML, MSG, MBOX), source code, images (PNG, JPEG, TIFF, WebP), and ZIP and TAR "
    "archives of these."
)
# What a name promises; a file with other content is probably not the one that was meant. A text may call
# itself .doc, .xls or .rtf, as many programs export HTML or tables under these names.
_CLAIMED: Final = {
    ".pdf": "PDF",
    ".docx": "Word document",
    ".pptx": "PowerPoint file",
    ".xlsx": "Excel workbook",
    ".odt": "OpenDocument text",
    ".odp": "OpenDocument presentation",
    ".ods": "OpenDocument spreadsheet",
    ".epub": "e-book (EPUB)",
    ".msg": "Outlook message",
    ".png": "image (PNG)",
    ".jpg": "image (JPEG)",
    ".jpeg": "image (JPEG)",
    ".tif": "image (TIFF)",
    ".tiff": "image (TIFF)",
    ".webp": "image (WebP)",
    ".zip": "ZIP archive",
    ".tar": "TAR archive",
}


def claimed(extension: str) -> bool:
    """Say whether a name with this ending (lower case, with its dot) promises something else than text."""
    return extension in _CLAIMED


def unsupported(kind: str, extension: str, hint: str | None) -> UnreadableFile:
    """Return the refusal of a file that is `kind`, in words that go into a sentence.

    Its code is `mislabelled` when the name promises a type that can be read, else `unsupported_type`.
    """
    if extension in _CLAIMED:
        return UnreadableFile(
            "mislabelled",
            f"The name says {_CLAIMED[extension]}, but the content is {kind}.",
            hint=hint or "Check that this is the file you meant.",
        )
    return UnreadableFile("unsupported_type", f"This file is {kind}. {READABLE}", hint=hint)


def damaged() -> UnreadableFile:
    """Return the error for a file that is known by its first bytes and does not open."""
    return UnreadableFile(
        "damaged",
        "This file is incomplete or damaged and cannot be opened.",
        hint="Check that the original opens, and upload it again.",
    )


def encrypted(program: str = "the program that made it") -> UnreadableFile:
    """Return the error for a file with a password."""
    return UnreadableFile(
        "encrypted",
        "This file is protected with a password.",
        hint=f"Remove the password in {program} and upload it again.",
    )
