"""Messages as mail programs save them (EML, RFC 5322 and MIME): subject, people, text and attachments."""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import BinaryIO, Final

from infra.errors import UnreadableFile
from ingest.parse import kinds
from ingest.parse.blocks import ParsedDocument
from ingest.parse.containers.letter import Letter, letter_blocks
from ingest.parse.containers.members import Budget, Members, Progress, container
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.text import decoded, decoded_as

MAX_PARTS: Final = 2000
MAX_DEPTH: Final = 50
MAX_HEADER_CHARS: Final = 2000
_ENDINGS: Final = {
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/csv": ".csv",
    "text/vcard": ".vcf",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/json": ".json",
}
# Not behind the mark of a signature (`-- `), nor into a quotation or a blank line.
_SOFT_BREAK: Final = re.compile(r"(?<!\n--) \n(?=[^>\n])")
# Parts without a text of their own for a reader: signatures, and the control part of an encrypted message.
_SILENT: Final = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
)
_ENCRYPTED: Final = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a message; its title is the subject. Attachments follow the text, each with its name.

    Raises UnreadableFile: `encrypted`, `no_text`, or `too_complex` for too many parts.
    """
    return parse_within(file, Budget.of(file, limits), on_progress)


def parse_within(file: BinaryIO, budget: Budget, on_progress: Progress) -> ParsedDocument:
    """Read a message that may itself stand in another file; `budget` is shared with that."""
    return read_message(file.read(), budget)


def read_message(raw: bytes, budget: Budget) -> ParsedDocument:
    """Read one message from its bytes."""
    with budget.share():
        message = message_from_bytes(raw.lstrip(b"\r\n"))
        parts = _Parts(budget)
        parts.take(message, 0)
        if parts.encrypted and not parts.has_text():
            raise kinds.encrypted("the mail program")
        letter = Letter(
            subject=header(message, "Subject"),
            fields=tuple((name, header(message, name)) for name in ("From", "To", "Cc", "Date")),
            plain="\n\n".join(parts.plain),
            html="\n".join(parts.html),
        )
        blocks = letter_blocks(letter)
    members = Members(budget)
    for name, content in parts.attached:
        members.add(name, content)
    return container(kinds.EML, letter.subject or None, blocks, members)


def header(message: Message, name: str) -> str:
    """Return a header field as people read it, or an empty string. Never raises, whatever it holds."""
    # The parsed form is left aside: its code raises on many malformed fields.
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return _unescaped(str(raw)[:MAX_HEADER_CHARS])


def _unescaped(raw: str) -> str:
    """Decode encoded words (RFC 2047), and raw bytes that should have been such."""
    text = raw.encode("utf-8", "surrogateescape")
    plain = decoded(text) if not text.isascii() else raw
    try:
        pieces = decode_header(plain)
    except (MessageError, ValueError):
        pieces = [(plain, None)]
    words = [
        piece if isinstance(piece, str) else decoded_as(piece, charset or "us-ascii")
        for piece, charset in pieces
    ]
    return " ".join("".join(words).split())


class _Parts:
    """Gathers what a message says and what is attached to it."""

    def __init__(self, budget: Budget) -> None:
        self.plain: list[str] = []
        self.html: list[str] = []
        self.attached: list[tuple[str, bytes]] = []
        self.encrypted = False
        self._budget = budget
        self._count = 0

    def has_text(self) -> bool:
        """Say whether anything was found that can be read."""
        return bool("".join(self.plain).strip() or self.html or self.attached)

    def take(self, part: Message, depth: int) -> None:
        """Take a part and all parts below it."""
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_PARTS:
            raise UnreadableFile("too_complex", "This message has too many parts to be read.")
        kind = part.get_content_type()
        if kind in _ENCRYPTED:
            self.encrypted = True
        elif kind == "message/rfc822" and part.is_multipart():
            self._enclosed(part)
        elif part.is_multipart():
            self._several(part, kind, depth)
        elif kind not in _SILENT:
            self._single(part, kind)

    def _several(self, part: Message, kind: str, depth: int) -> None:
        children = [child for child in part.get_payload() if isinstance(child, Message)]
        if kind != "multipart/alternative":
            for child in children:
                self.take(child, depth + 1)
            return
        # The same text in several forms: the plain one is read, unless it is empty.
        before = len(self.plain), len(self.html)
        for child in children:
            self.take(child, depth + 1)
        if "".join(self.plain[before[0] :]).strip():
            del self.html[before[1] :]
        else:
            del self.plain[before[0] :]

    def _single(self, part: Message, kind: str) -> None:
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes) or not content.strip():
            return
        name = _file_name(part)
        attached = part.get_content_disposition() == "attachment"
        if kind in {"text/plain", "text/html", "text/enriched", "message/delivery-status"} and not (
            attached or name
        ):
            text = _decoded(part, content)
            (self.html if kind == "text/html" else self.plain).append(text)
        else:
            self._attach(name or f"part {self._count}{_ENDINGS.get(kind, '')}", content)

    def _enclosed(self, part: Message) -> None:
        for inner in part.get_payload():
            if isinstance(inner, Message):
                name = _file_name(part) or header(inner, "Subject").replace("/", " ") or "message"
                ending = "" if name.lower().endswith(".eml") else ".eml"
                self._attach(name + ending, bytes_of(inner))

    def _attach(self, name: str, content: bytes) -> None:
        self._budget.spend_entry()
        self.attached.append((name, content))


def bytes_of(message: Message) -> bytes:
    """Return an enclosed message as bytes again, with its header fields as they were."""
    try:
        return message.as_bytes()
    except (MessageError, LookupError, ValueError, AttributeError, TypeError):
        fields = "".join(f"{name}: {value}\n" for name, value in message.raw_items())
        payload = message.get_payload(decode=True)
        body = payload if isinstance(payload, bytes) else b""
        return fields.encode("utf-8", "surrogateescape") + b"\n" + body


def _decoded(part: Message, content: bytes) -> str:
    charset = part.get_param("charset")
    if isinstance(charset, tuple):
        charset = charset[2]
    text = decoded_as(content, charset) if charset else decoded(content)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    # A sender who breaks lines softly says so (RFC 3676): a space at the end of a line runs on.
    flowed = str(part.get_param("format") or "").lower() == "flowed"
    return _SOFT_BREAK.sub(" ", text) if flowed else text


def _file_name(part: Message) -> str:
    try:
        name = part.get_filename()
    except (MessageError, LookupError, ValueError, TypeError, AttributeError):
        return ""
    return _unescaped(name[:MAX_HEADER_CHARS]) if name else ""
