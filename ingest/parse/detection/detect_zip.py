"""Tell ZIP containers apart: Office packages, OpenDocument, EPUB, and plain archives."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO

from ingest.parse import kinds

PART_MAX_BYTES = 1024 * 1024

_OFFICE_PARTS = {
    b"wordprocessingml.document.main+xml": kinds.DOCX,
    b"wordprocessingml.template.main+xml": kinds.DOCX,
    b"ms-word.document.macroenabled.main+xml": kinds.DOCX,
    b"presentationml.presentation.main+xml": kinds.PPTX,
    b"ms-powerpoint.presentation.macroenabled.main+xml": kinds.PPTX,
    b"spreadsheetml.sheet.main+xml": kinds.XLSX,
    b"spreadsheetml.template.main+xml": kinds.XLSX,
    b"ms-excel.sheet.macroenabled.main+xml": kinds.XLSX,
}
# OpenDocument 1.3 part 2, 3.3; a template is read like its documents.
_OPEN_DOCUMENT = b"application/vnd.oasis.opendocument."
_OPEN_DOCUMENT_PARTS = {b"text": kinds.ODT, b"presentation": kinds.ODP, b"spreadsheet": kinds.ODS}
_IWORK = ("index.xml", "index.apxl", "index.xml.gz", "index.apxl.gz", "index.zip", "index/document.iwa")
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError),
    *(OverflowError, struct.error),
)


def zip_kind(file: BinaryIO, extension: str) -> str:
    """Return the media type by what the package declares (ECMA-376 part 2, OpenDocument part 2, OCF 3.3).

    Raises UnreadableFile: `damaged`, `encrypted`, `mislabelled` or `unsupported_type`.
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            return _kind(archive, extension)
    except _BROKEN as error:
        raise kinds.damaged() from error


def _kind(archive: zipfile.ZipFile, extension: str) -> str:
    names = set(archive.namelist())
    declared = _start_of(archive, "[Content_Types].xml", names).lower()
    for part, media_type in _OFFICE_PARTS.items():
        if part in declared:
            return media_type
    if "EncryptedPackage" in names:
        raise kinds.encrypted()
    mimetype = _start_of(archive, "mimetype", names).strip()
    manifest = _start_of(archive, "META-INF/manifest.xml", names)
    if _OPEN_DOCUMENT in mimetype or (not mimetype and _OPEN_DOCUMENT in manifest):
        return _open_document(mimetype or manifest, manifest, extension)
    if b"application/epub+zip" in mimetype or "META-INF/container.xml" in names:
        return kinds.EPUB
    if declared:
        raise kinds.unsupported("an Office file of another kind", extension, kinds.SAVE_AS_OFFICE)
    lowered = {name.lower() for name in names}
    if lowered.intersection(_IWORK) and _looks_like_iwork(lowered, extension):
        hint = "Export it from Pages, Numbers or Keynote as PDF or an Office file and upload that."
        raise kinds.unsupported("an Apple iWork file", extension, hint)
    if extension not in {".zip", ".tar"} and kinds.claimed(extension):
        raise kinds.unsupported("a ZIP archive", extension, None)
    return kinds.ZIP


def _open_document(declared: bytes, manifest: bytes, extension: str) -> str:
    # Every encrypted part has such an entry in the manifest (OpenDocument 1.3 part 2, 4.4).
    if b"encryption-data" in manifest:
        raise kinds.encrypted()
    _, _, subtype = declared.partition(_OPEN_DOCUMENT)
    for name, media_type in _OPEN_DOCUMENT_PARTS.items():
        if subtype.startswith(name):
            return media_type
    raise kinds.unsupported("an OpenDocument file of another kind", extension, "Save it as PDF.")


def _looks_like_iwork(names: set[str], extension: str) -> bool:
    # Other archives also hold an index.xml; the editors of iWork files leave these beside it.
    beside = ("buildversionhistory.plist", "metadata/buildversionhistory.plist", "quicklook/thumbnail.jpg")
    return extension in {".pages", ".numbers", ".key"} or not names.isdisjoint(
        (*beside, "index/document.iwa", "index.apxl", "index.apxl.gz")
    )


def _start_of(archive: zipfile.ZipFile, entry: str, names: set[str]) -> bytes:
    if entry not in names:
        return b""
    with archive.open(entry) as stream:
        return stream.read(PART_MAX_BYTES)
