"""Tell texts apart: by what they say where that is certain, else by the ending of the name."""

from __future__ import annotations

import re

from ingest.parse import kinds

_EXTENSIONS = {
    kinds.HTML: "html htm xhtml",
    kinds.MARKDOWN: "md markdown mdown mkd",
    kinds.CSV: "csv tsv tab",
    kinds.JSON: "json geojson ipynb webmanifest har",
    kinds.JSONL: "jsonl ndjson",
    kinds.XML: (
        "xml xsd xsl xslt rss atom svg kml gpx wsdl plist rdf owl resx xliff xlf tmx dita fodt fods fodp"
    ),
    kinds.YAML: "yaml yml",
    kinds.EML: "eml",
    kinds.MBOX: "mbox mbx",
    kinds.CODE: (
        "py pyi pyx js mjs cjs jsx ts tsx java kt kts scala groovy gradle c h cc cpp cxx hh hpp hxx "
        "cs fs vb go rs swift m mm rb php pl pm lua r jl dart ex exs erl hrl hs ml mli clj cljs lisp "
        "el scm sh bash zsh fish ps1 psm1 bat cmd sql css scss sass less vue svelte asm s f f90 f95 "
        "pas pp ada adb ads vhd vhdl v sv tf hcl proto thrift graphql cmake mk toml ini cfg conf "
        "properties env jsp asp aspx erb tcl awk sas do cob cbl abap bas cls nim zig sol diff patch"
    ),
}
_BY_EXTENSION = {f".{ending}": kind for kind, endings in _EXTENSIONS.items() for ending in endings.split()}
_BY_EXTENSION[".xls"] = kinds.CSV
_HTML_START = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.I)
_XML_START = re.compile(rb"^\s*<\?xml\s[^>]*\?>")
_ANY_TAG = re.compile(rb"<[a-zA-Z!/][^>]*>")
_JSON_START = re.compile(rb"^\s*(?:[\[{\"]|-?\d|true\b|false\b|null\b)")
_SCRIPT_START = re.compile(rb"^#! ?/")

_FIELD = re.compile(rb"([!-9;-~]{1,76})[ \t]*:")
# RFC 4155: the separator line of a mailbox, with an address and a time as of asctime(3).
_MBOX_LINE = re.compile(rb"From \S.{0,200}\d\d:\d\d(?::\d\d)?.{0,40}\r?\n")
# Fields that programs write and people do not: a letter that begins "From: … To: …" is no mail by itself.
_WRITTEN_BY_PROGRAMS = frozenset(
    (b"received", b"message-id", b"mime-version", b"return-path", b"delivered-to")
)
_MAIL_FIELDS = _WRITTEN_BY_PROGRAMS | {
    *(b"from", b"to", b"cc", b"subject", b"date", b"sender", b"reply-to", b"content-type", b"in-reply-to"),
    *(b"references", b"x-mailer", b"x-notes-item", b"content-transfer-encoding", b"dkim-signature"),
}


def text_kind(head: bytes, extension: str) -> str:
    """Return the media type of a text that begins with `head`; `extension` is lower case, with its dot."""
    plain = head.replace(b"\x00", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    plain = plain.removeprefix(b"\xef\xbb\xbf")
    by_name = _BY_EXTENSION.get(extension, kinds.TEXT)
    if by_name == kinds.CODE:
        return by_name
    certain = _mail_kind(plain, by_name) or _marked_kind(plain, by_name)
    if certain is not None:
        return certain
    return by_name if _could_be(by_name, plain) else kinds.TEXT


def _mail_kind(plain: bytes, by_name: str) -> str | None:
    line = _MBOX_LINE.match(plain)
    if line is not None and is_mail(plain[line.end() :], named_so=True):
        # One saved message may keep the line that a mailbox begins messages with.
        return kinds.EML if by_name == kinds.EML else kinds.MBOX
    return kinds.EML if is_mail(plain, named_so=by_name in {kinds.EML, kinds.MBOX}) else None


def _marked_kind(plain: bytes, by_name: str) -> str | None:
    """Recognise the texts that say in their first line what they are."""
    if _HTML_START.match(_behind_prolog(plain)):
        return kinds.HTML
    if _XML_START.match(plain) and by_name in {kinds.TEXT, kinds.XML}:
        return kinds.XML
    return kinds.CODE if by_name == kinds.TEXT and _SCRIPT_START.match(plain) else None


def _behind_prolog(plain: bytes) -> bytes:
    """Return `plain` without the XML declaration and the comments that may stand before a page."""
    rest = plain.lstrip()
    if rest.startswith(b"<?xml"):
        rest = rest.partition(b">")[2].lstrip()
    while rest.startswith(b"<!--"):
        rest = rest.partition(b"-->")[2].lstrip()
    return rest


def _could_be(kind: str, plain: bytes) -> bool:
    if kind == kinds.HTML:
        return bool(_ANY_TAG.search(plain))
    if kind == kinds.XML:
        return plain.lstrip().startswith(b"<")
    if kind in {kinds.JSON, kinds.JSONL}:
        return bool(_JSON_START.match(plain))
    return kind not in {kinds.EML, kinds.MBOX}


def is_mail(head: bytes, *, named_so: bool = False) -> bool:
    """Say whether `head` begins with the header fields of a message (RFC 5322).

    Without a name that says so, three known fields are asked for, one of them such as only programs write.
    """
    seen: set[bytes] = set()
    for line in head.lstrip(b"\r\n").splitlines()[:200]:
        if not line.strip():
            break
        if named_so and not seen and line.startswith((b"From ", b">From ")):
            continue
        if line[:1] in b" \t":
            if not seen and not named_so:
                return False
            continue
        field = _FIELD.match(line)
        if field is None:
            if not named_so:
                return False
            break
        seen.add(field.group(1).lower())
    known = seen & _MAIL_FIELDS
    if named_so:
        return bool(known)
    return len(known) >= 3 and bool(seen & _WRITTEN_BY_PROGRAMS)
