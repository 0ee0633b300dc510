"""Malformed files over all formats, made from one seed: nothing of them is stored.

Half are good files that were damaged: cut, bits turned, pieces swapped, doubled or put together, a wrong
name. The other half are attacks that are known from each format: bombs, deep nesting, external
entities, cycles, enormous pages and counts.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from openpyxl import Workbook
from PIL import Image, ImageDraw
from pptx import Presentation

from tests.made_archives import tar_of, zip_of
from tests.made_documents import docx_of, markdown_of, pdf_of

TEXT: Final = "The harbour master keeps the register of all ships. " * 30
NAMES: Final = (
    "pdf docx pptx xlsx odt ods odp rtf html md txt csv tsv json jsonl xml yaml epub eml mbox py png jpg"
    " tiff webp zip tar msg doc xls ppt"
).split()


@dataclass(frozen=True)
class Malformed:
    """One file: what was done to it, its name and its bytes."""

    how: str
    name: str
    content: bytes


def malformed_files(seed: int, count: int) -> Iterator[Malformed]:
    """Yield `count` files, the same ones for the same seed."""
    rng = random.Random(seed)
    attacks = list(ATTACKS.items())
    for number in range(count):
        if number % 2:
            how, (name, make) = attacks[(number // 2) % len(attacks)]
            yield Malformed(how, name, make(rng) if how.startswith("noise") else _made_once(how))
        else:
            kind, content = rng.choice(sorted(good_files().items()))
            how, damage = rng.choice(DAMAGES)
            name = f"file.{rng.choice(NAMES) if how == 'named wrongly' else kind}"
            yield Malformed(f"{kind} {how}", name, damage(content, rng))


@cache
def _made_once(how: str) -> bytes:
    """Make an attack that leaves nothing to chance; bombs take seconds to make."""
    return ATTACKS[how][1](random.Random(0))


# --- good files -----------------------------------------------------------------------------------


@cache
def good_files() -> dict[str, bytes]:
    """Return one sound file of each format that can be made here, by its ending."""
    image = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(image).text((20, 80), "Register of ships", fill="black", font_size=40)
    rows = "name,tons\n" + "".join(f"ship {n},{n * 100}\n" for n in range(50))
    mail = f"From: a@b.example\r\nTo: c@d.example\r\nSubject: Ships\r\nMIME-Version: 1.0\r\n\r\n{TEXT}\r\n"
    page = f"<html><head><title>Ships</title></head><body><h1>Ships</h1><p>{TEXT}</p></body></html>"
    table = [{"name": f"ship {n}", "tons": n} for n in range(50)]
    good = {
        "pdf": pdf_of([[TEXT[:80]] * 10] * 3),
        "docx": docx_of("Ships", [TEXT, TEXT]),
        "pptx": _pptx(),
        "xlsx": _xlsx(),
        "odt": _opendocument("text", f"<text:h text:outline-level='1'>Ships</text:h><text:p>{TEXT}</text:p>"),
        "rtf": (r"{\rtf1\ansi{\fonttbl\f0 Arial;}\f0 " + TEXT + r"\par}").encode(),
        "html": page.encode(),
        "md": markdown_of("Ships", [TEXT]),
        "txt": TEXT.encode(),
        "csv": rows.encode(),
        "tsv": rows.replace(",", "\t").encode(),
        "json": json.dumps({"ships": table}).encode(),
        "jsonl": "\n".join(json.dumps(row) for row in table).encode(),
        "xml": f"<ships>{''.join(f'<ship><name>{n}</name></ship>' for n in range(50))}</ships>".encode(),
        "yaml": b"ships:\n" + b"".join(b"  - name: ship %d\n" % n for n in range(50)),
        "epub": _epub(page),
        "eml": mail.encode(),
        "mbox": f"From a@b.example Sun Nov 22 10:00:00 2026\n{mail}\n".encode() * 3,
        "py": b"".join(
            b"def ship_%d(tons: int) -> int:\n    return tons * %d\n\n\n" % (n, n) for n in range(40)
        ),
        "zip": zip_of({"a.txt": TEXT.encode(), "b.md": markdown_of("Ships", [TEXT])}),
        "tar": tar_of({"a.txt": TEXT.encode(), "b.csv": rows.encode()}, "w:gz"),
    }
    for ending, name in (("png", "PNG"), ("jpg", "JPEG"), ("tiff", "TIFF"), ("webp", "WEBP")):
        out = io.BytesIO()
        image.save(out, name)
        good[ending] = out.getvalue()
    return good


def _pptx() -> bytes:
    slides = Presentation()
    for _ in range(2):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = "Ships", TEXT
    out = io.BytesIO()
    slides.save(out)
    return out.getvalue()


def _xlsx() -> bytes:
    book = Workbook()
    for row in range(50):
        book.active.append([f"ship {row}", row])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _opendocument(kind: str, body: str) -> bytes:
    space = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<?xml version="1.0"?><office:document-content xmlns:office="{space}:office:1.0"'
        f' xmlns:text="{space}:text:1.0" xmlns:table="{space}:table:1.0" office:version="1.3">'
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )
    media = f"application/vnd.oasis.opendocument.{kind}"
    manifest = (
        f'<manifest:manifest xmlns:manifest="{space}:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{media}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
        "</manifest:manifest>"
    )
    return zip_of(
        {
            "mimetype": media.encode(),
            "content.xml": content.encode(),
            "META-INF/manifest.xml": manifest.encode(),
        }
    )


def _epub(page: str) -> bytes:
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Ships</dc:title></metadata><manifest>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    return zip_of(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": container.encode(),
            "book.opf": book.encode(),
            "a.xhtml": page.encode(),
        }
    )


# --- damages --------------------------------------------------------------------------------------


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(1, len(content))]


def _bits_turned(content: bytes, rng: random.Random) -> bytes:
    turned = bytearray(content)
    for _ in range(rng.choice((1, 8, 64, 512))):
        turned[rng.randrange(len(turned))] ^= 1 << rng.randrange(8)
    return bytes(turned)


def _piece_swapped(content: bytes, rng: random.Random) -> bytes:
    first, second = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[second:] + content[first:second] + content[:first]


def _piece_doubled(content: bytes, rng: random.Random) -> bytes:
    first, second = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:second] + content[first:second] * rng.choice((1, 2, 50)) + content[second:]


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    first, second = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:first] + bytes(second - first) + content[second:]


def _put_together(content: bytes, rng: random.Random) -> bytes:
    other = rng.choice(sorted(good_files().items()))[1]
    return content[: rng.randrange(1, len(content))] + other


def _numbers_grown(content: bytes, rng: random.Random) -> bytes:
    """Replace some digits by many nines: counts, offsets, lengths and sizes."""
    out = bytearray()
    for byte in content:
        is_digit = 48 <= byte <= 57
        out += b"99999999" if is_digit and rng.random() < 0.02 else bytes([byte])
    return bytes(out)


_Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: Final[tuple[tuple[str, _Damage], ...]] = (
    ("cut", _cut),
    ("bits turned", _bits_turned),
    ("pieces swapped", _piece_swapped),
    ("piece doubled", _piece_doubled),
    ("zeroed", _zeroed),
    ("put together", _put_together),
    ("numbers grown", _numbers_grown),
    ("named wrongly", lambda content, _: content),
)


# --- attacks --------------------------------------------------------------------------------------


def _replaced(content: bytes, entry: str, new: bytes) -> bytes:
    """Return a ZIP container with one entry's content replaced."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    return zip_of({**entries, entry: new})


_XXE: Final = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'


def _laughs() -> bytes:
    entities = ['<!ENTITY a0 "ha">'] + [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)]
    return f'<?xml version="1.0"?><!DOCTYPE x [{"".join(entities)}]><x>&a11;</x>'.encode()


def _nested(open_: str, close: str, depth: int = 100_000) -> bytes:
    return (open_ * depth + "deep" + close * depth).encode()


def _zip_of_zips(_: random.Random) -> bytes:
    content = TEXT.encode()
    for depth in range(30):
        content = zip_of({f"{depth}.zip" if depth else "a.txt": content})
    return content


def _zip_bomb(_: random.Random) -> bytes:
    return zip_of({f"{n}.txt": bytes(64 * 1024 * 1024) for n in range(3)})


def _lying_zip(_: random.Random) -> bytes:
    """Return an archive whose directory says that its entry is tiny."""
    content = bytearray(zip_of({"a.txt": b"a" * (16 * 1024 * 1024)}))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(content)


def _climbing_zip(_: random.Random) -> bytes:
    return zip_of({"../../etc/cron.d/x": b"* * * * * root id", "/etc/passwd": b"x", "c:\\x.txt": b"x"})


def _linked_tar(_: random.Random) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in (
            ("passwd.txt", tarfile.SYMTYPE, "/etc/passwd"),
            ("self.txt", tarfile.LNKTYPE, "self.txt"),
            ("null.txt", tarfile.CHRTYPE, ""),
            ("pipe.txt", tarfile.FIFOTYPE, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    return out.getvalue()


def _tar_bomb(_: random.Random) -> bytes:
    return tar_of({"a.txt": bytes(128 * 1024 * 1024)}, "w:xz")


def _pdf(objects: list[bytes], root: int = 1) -> bytes:
    """Return a PDF of numbered objects, with its table of places."""
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, root, start)
    return bytes(out)


def _stream(content: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), more, content)


def _pdf_page(contents: bytes, box: bytes = b"[0 0 612 792]", resources: bytes = b"") -> bytes:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox %s/Contents 4 0 R/Resources<</Font<</F 5 0 R>>%s>>>>" % (
        box,
        resources,
    )
    return _pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            page,
            contents,
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        ]
    )


_SHOWN: Final = b"BT /F 12 Tf 72 700 Td (The register of ships) Tj ET "


def _cyclic_pages(_: random.Random) -> bytes:
    return _pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R 2 0 R]/Count 999999>>"])


def _deep_pages(_: random.Random) -> bytes:
    levels = [b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % (n + 3) for n in range(20_000)]
    return _pdf([b"<</Type/Catalog/Pages 2 0 R>>", *levels, b"<</Type/Page/MediaBox[0 0 9 9]>>"])


def _flate_bomb(_: random.Random) -> bytes:
    packed = zlib.compress(zlib.compress(_SHOWN + b" " * (300 * 1024 * 1024), 9), 9)
    return _pdf_page(_stream(packed, b"/Filter[/FlateDecode/FlateDecode]"))


def _huge_page(_: random.Random) -> bytes:
    return _pdf_page(_stream(_SHOWN), b"[0 0 99999999 99999999]")


def _endless_form(_: random.Random) -> bytes:
    """Return a page whose form draws itself."""
    form = _stream(
        b"/X Do " * 50, b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>"
    )
    page = _pdf_page(_stream(b"/X Do " + _SHOWN), resources=b"/XObject<</X 6 0 R>>")
    return page.replace(b"xref\n", b"6 0 obj\n" + form + b"\nendobj\nxref\n", 1)


def _huge_image(kind: str) -> Callable[[random.Random], bytes]:
    def make(_: random.Random) -> bytes:
        out = io.BytesIO()
        Image.new("1", (30_000, 30_000)).save(out, kind)
        return out.getvalue()

    return make


def _lying_png(_: random.Random) -> bytes:
    content = bytearray(good_files()["png"])
    content[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def _sheet_of_ghosts(_: random.Random) -> bytes:
    cells = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    start = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    return _replaced(
        good_files()["xlsx"], "xl/worksheets/sheet1.xml", start + cells + b"</sheetData></worksheet>"
    )


def _repeated_cells(_: random.Random) -> bytes:
    return _opendocument(
        "spreadsheet",
        '<table:table><table:table-row table:number-rows-repeated="99999999">'
        '<table:table-cell table:number-columns-repeated="99999999"><text:p>x</text:p></table:table-cell>'
        "</table:table-row></table:table>",
    )


def _many_parts(_: random.Random) -> bytes:
    part = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    return (
        "From: a@b\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 50_000
    ).encode()


def _nested_mail(_: random.Random) -> bytes:
    mail = "Subject: inner\r\n\r\ntext"
    for depth in range(300):
        mail = (
            f"From: a@b\r\nSubject: {depth}\r\nMIME-Version: 1.0\r\n"
            f"Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n"
            f"--b{depth}\r\nContent-Type: message/rfc822\r\n\r\n{mail}\r\n--b{depth}--\r\n"
        )
    return mail.encode()


def _yaml_aliases(_: random.Random) -> bytes:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 100, 10_000, 1_000_000)))


_Make = Callable[[random.Random], bytes]
ATTACKS: Final[dict[str, tuple[str, _Make]]] = {
    "xml with an external entity": ("a.xml", lambda _: _XXE),
    "xml of a billion laughs": ("a.xml", lambda _: _laughs()),
    "html with an external entity": ("a.html", lambda _: _XXE + b"<html><body>x</body></html>"),
    "docx with an external entity": (
        "a.docx",
        lambda _: _replaced(good_files()["docx"], "word/document.xml", _XXE),
    ),
    "docx of a billion laughs": (
        "a.docx",
        lambda _: _replaced(good_files()["docx"], "word/document.xml", _laughs()),
    ),
    "xlsx with an external entity": (
        "a.xlsx",
        lambda _: _replaced(good_files()["xlsx"], "xl/workbook.xml", _XXE),
    ),
    "odt with an external entity": (
        "a.odt",
        lambda _: _replaced(good_files()["odt"], "content.xml", _laughs()),
    ),
    "epub with an external entity": ("a.epub", lambda _: _replaced(good_files()["epub"], "book.opf", _XXE)),
    "deep json": ("a.json", lambda _: _nested("[", "]")),
    "deep yaml": ("a.yaml", lambda _: _nested("[", "]", 20_000)),
    "deep xml": ("a.xml", lambda _: _nested("<a>", "</a>")),
    "deep html": ("a.html", lambda _: b"<html><body>" + _nested("<div>", "</div>")),
    "deep markdown": ("a.md", lambda _: b"> " * 50_000 + b"deep"),
    "deep list": ("a.md", lambda _: "\n".join(" " * n + "- x" for n in range(3000)).encode()),
    "deep rtf": ("a.rtf", lambda _: b"{\\rtf1 " + _nested("{", "}") + b"}"),
    "rtf with much binary": ("a.rtf", lambda _: b"{\\rtf1 {\\bin999999999 x}}"),
    "yaml of aliases": ("a.yaml", _yaml_aliases),
    "yaml that names a program": ("a.yaml", lambda _: b"!!python/object/apply:os.system ['id']"),
    "zip of zips": ("a.zip", _zip_of_zips),
    "zip bomb": ("a.zip", _zip_bomb),
    "zip that lies": ("a.zip", _lying_zip),
    "zip that climbs": ("a.zip", _climbing_zip),
    "docx that is a bomb": (
        "a.docx",
        lambda _: _replaced(good_files()["docx"], "word/document.xml", b"<a>" * 40_000_000),
    ),
    "tar of links": ("a.tar", _linked_tar),
    "tar bomb": ("a.tar.xz", _tar_bomb),
    "pdf of cyclic pages": ("a.pdf", _cyclic_pages),
    "pdf of deep pages": ("a.pdf", _deep_pages),
    "pdf with a bomb": ("a.pdf", _flate_bomb),
    "pdf with a huge page": ("a.pdf", _huge_page),
    "pdf that draws itself": ("a.pdf", _endless_form),
    "pdf of nothing": ("a.pdf", lambda _: b"%PDF-1.7\n%%EOF"),
    "huge png": ("a.png", _huge_image("PNG")),
    "huge tiff": ("a.tiff", _huge_image("TIFF")),
    "png that lies": ("a.png", _lying_png),
    "xlsx of ghosts": ("a.xlsx", _sheet_of_ghosts),
    "ods of repeated cells": ("a.ods", _repeated_cells),
    "mail of many parts": ("a.eml", _many_parts),
    "mail within mail": ("a.eml", _nested_mail),
    "mail without an end": ("a.eml", lambda _: b"From: a@b\r\nContent-Type: multipart/mixed\r\n\r\n--x"),
    "csv of one endless quote": ("a.csv", lambda _: b'"' + b"a,b\n" * 500_000),
    "csv of many columns": ("a.csv", lambda _: b"a," * 500_000),
    "text of one line": ("a.txt", lambda _: b"word " * 2_000_000),
    "text without a space": ("a.txt", lambda _: b"x" * 5_000_000),
    "noise": ("a.bin", _noise),
    "noise that claims to be a pdf": ("a.pdf", lambda rng: b"%PDF-1.4\n" + _noise(rng)),
    "noise in an office container": ("a.xls", lambda rng: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + _noise(rng)),
}
