"""ZIP and TAR archives and e-books, good and bad, made by the standard library."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence


def zip_of(entries: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive with these entries."""
    return zip_of_pairs(list(entries.items()))


def zip_of_pairs(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a ZIP archive with these entries, whose names may repeat."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def tar_of(entries: Mapping[str, bytes], mode: str = "w") -> bytes:
    """Return a TAR archive with these entries; `mode` is `w`, `w:gz`, `w:bz2` or `w:xz`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def tar_with(entries: Sequence[tarfile.TarInfo], text: bytes) -> bytes:
    """Return a TAR archive of `text` as `good.txt` behind entries without content: links and devices."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry)
        good = tarfile.TarInfo("good.txt")
        good.size = len(text)
        archive.addfile(good, io.BytesIO(text))
    return out.getvalue()


def overlapping_zip(count: int, size: int) -> bytes:
    """Return a ZIP whose `count` entries all are the same `size` bytes of the file (Fifield, WOOT 2019)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = b"a" * size
    packed = compressor.compress(plain) + compressor.flush()
    fields = (20, 0, 8, 0, 0, zlib.crc32(plain), len(packed), size, 1, 0)
    local = b"PK\3\4" + struct.pack("<HHHHHIIIHH", *fields) + b"a" + packed
    entry = b"PK\1\2" + struct.pack("<H", 20) + struct.pack("<HHHHHIIIHH", *fields) + bytes(14) + b"a"
    directory = entry * count
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(local), 0)
    return local + directory + end


def nested_zip(depth: int, innermost: bytes) -> bytes:
    """Return `innermost` as a text packed `depth` times."""
    content, name = innermost, "text.txt"
    for level in range(depth):
        content, name = zip_of({name: content}), f"level{level}.zip"
    return content


def epub_of(title: str, chapters: Mapping[str, str], order: Sequence[str] | None = None) -> bytes:
    """Return an e-book (EPUB 3) of XHTML bodies by file name; `order` is the reading order."""
    names = list(chapters)
    items = "".join(
        f'<item id="i{at}" href="{name}" media-type="application/xhtml+xml"/>'
        for at, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="i{names.index(name)}"/>' for name in order or names)
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<?xml version="1.0"?>'
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
        '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>"
    )
    pages = {
        f"OPS/{name}": (
            '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
            f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{name}</title></head><body>{body}</body></html>'
        ).encode()
        for name, body in chapters.items()
    }
    return zip_of(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": container.encode(),
            "OPS/book.opf": package.encode(),
            **pages,
        }
    )
