"""Tell OLE containers apart: Office 97–2003, Outlook messages, and Office files with a password."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from ingest.parse import kinds

if TYPE_CHECKING:
    import olefile

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# MS-XLS 2.4.117 FilePass; MS-DOC 2.5.2 fEncrypted; MS-PPT 2.3.2 the token of an encrypted document.
_FILE_PASS = 0x2F
_DOC_ENCRYPTED = 0x0100
_PPT_ENCRYPTED_TOKEN = 0xF3D1C4DF
# FilePass stands right behind the first BOF record, and within this many records of it.
_RECORDS_LOOKED_AT = 8
_BROKEN = (OSError, struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError)


def ole_kind(file: BinaryIO, extension: str) -> str:
    """Return the media type by the streams within (MS-CFB).

    Raises UnreadableFile: `encrypted`, `damaged`, `mislabelled` or `unsupported_type`.
    """
    # Hardly a file needs it, and every child that reads one would wait for it.
    from olefile import OleFileIO

    file.seek(0)
    try:
        with OleFileIO(file) as container:
            return _kind(container, extension)
    except _BROKEN as error:
        # A damaged directory does not hide that the rest is encrypted (MS-OFFCRYPTO).
        if _contains(file, "EncryptedPackage".encode("utf-16-le")):
            raise kinds.encrypted("Office") from error
        raise kinds.damaged() from error


def _kind(container: olefile.OleFileIO, extension: str) -> str:
    streams = {path[0].lower() for path in container.listdir() if path}
    if streams & {"encryptedpackage", "encryptioninfo"}:
        raise kinds.encrypted("Office")
    if "worddocument" in streams:
        return _unless(kinds.DOC, _word_is_encrypted(container))
    if "powerpoint document" in streams:
        return _unless(kinds.PPT, "encryptedsummary" in streams or _slides_are_encrypted(container))
    for name in ("Workbook", "Book"):
        if name.lower() in streams:
            return _unless(kinds.XLS, _workbook_is_encrypted(container, name))
    if "__properties_version1.0" in streams:
        return kinds.MSG
    raise kinds.unsupported("an old Office file of another kind", extension, kinds.SAVE_AS_OFFICE)


def _unless(media_type: str, is_encrypted: bool) -> str:
    if is_encrypted:
        raise kinds.encrypted("Office")
    return media_type


def _word_is_encrypted(container: olefile.OleFileIO) -> bool:
    start = container.openstream("WordDocument").read(12)
    return len(start) == 12 and bool(struct.unpack_from("<H", start, 10)[0] & _DOC_ENCRYPTED)


def _slides_are_encrypted(container: olefile.OleFileIO) -> bool:
    if not container.exists("Current User"):
        return False
    start = container.openstream("Current User").read(16)
    return len(start) == 16 and struct.unpack_from("<I", start, 12)[0] == _PPT_ENCRYPTED_TOKEN


def _workbook_is_encrypted(container: olefile.OleFileIO, name: str) -> bool:
    stream = container.openstream(name)
    for _ in range(_RECORDS_LOOKED_AT):
        header = stream.read(4)
        if len(header) < 4:
            return False
        kind, length = struct.unpack("<HH", header)
        if kind == _FILE_PASS:
            return True
        stream.read(length)
    return False


def _contains(file: BinaryIO, needle: bytes) -> bool:
    file.seek(0)
    tail = b""
    while piece := file.read(1024 * 1024):
        if needle in tail + piece:
            return True
        tail = piece[-len(needle) :]
    return False
