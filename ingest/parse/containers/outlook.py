"""Outlook messages (MSG, MS-OXMSG): subject, people, text and attachments."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import olefile
from oxmsg import Message
from oxmsg.attachment import Attachment
from oxmsg.domain import constants as pid
from oxmsg.domain import model
from oxmsg.properties import Properties
from oxmsg.recipient import Recipient

from ingest.parse import kinds
from ingest.parse.blocks import ParsedDocument
from ingest.parse.containers.archive import expands_too_much
from ingest.parse.containers.letter import Letter, letter_blocks
from ingest.parse.containers.members import Budget, Members, Progress, container
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.text import decoded

# Streams never hold more than their file, unless they share sectors, which no program writes.
_SHARED_SECTORS_ALLOWED: Final = 2
_SMALL_BYTES: Final = 1024 * 1024
# MS-OXMSG 2.4.1.2: the properties of a message within a message begin behind a shorter header.
_EMBEDDED_HEADER: Final = 24
_EMBEDDED: Final = "__substg1.0_3701000D"
MAX_MESSAGES_DEEP: Final = 4
_RECIPIENT_TYPE: Final = 0x0C15
_CC: Final = 2
_BROKEN: Final = (
    *(OSError, struct.error, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError),
    *(OverflowError, LookupError, NotImplementedError),
)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an Outlook message; its title is the subject. Attachments follow the text.

    Raises UnreadableFile: `damaged`, `expands_too_much` or `no_text`.
    """
    return parse_within(file, Budget.of(file, limits), on_progress)


def parse_within(file: BinaryIO, budget: Budget, on_progress: Progress) -> ParsedDocument:
    """Read a message that may itself stand in another file; `budget` is shared with that."""
    try:
        _check_sizes(file, budget)
        storage: Any = Message.load(file)._storage
    except _BROKEN as error:
        raise kinds.damaged() from error
    return _message(storage, model.MSG_HDR_OFFSET, budget, 0)


def _check_sizes(file: BinaryIO, budget: Budget) -> None:
    """Refuse a directory whose streams together are longer than the file, before any is read."""
    size = file.seek(0, 2)
    file.seek(0)
    with olefile.OleFileIO(file) as container_file:
        total = sum(container_file.get_size(path) for path in container_file.listdir())
    file.seek(0)
    if total > _SHARED_SECTORS_ALLOWED * size + _SMALL_BYTES:
        raise expands_too_much()
    budget.spend_bytes(total)


def _message(storage: Any, header_bytes: int, budget: Budget, depth: int) -> ParsedDocument:
    properties = Properties(storage, properties_header_offset=header_bytes)
    to, cc = _recipients(storage)
    letter = Letter(
        subject=_text(properties, pid.PID_SUBJECT),
        fields=(("From", _sender(properties)), ("To", to), ("Cc", cc), ("Date", _date(properties))),
        plain=_text(properties, pid.PID_BODY).replace("\r\n", "\n").replace("\r", "\n"),
        html=_html(properties),
    )
    members = Members(budget)
    for number, attached in enumerate(storage.iter_attachment_storages(), start=1):
        budget.spend_entry()
        _attachment(attached, number, members, depth)
    return container(kinds.MSG, letter.subject or None, letter_blocks(letter), members)


def _attachment(storage: Any, number: int, members: Members, depth: int) -> None:
    attachment = Attachment(storage)
    name = _attachment_name(attachment) or f"attachment {number}"
    try:
        embedded = next((inner for inner in storage.storages if inner.name == _EMBEDDED), None)
        if embedded is None:
            content = attachment.file_bytes
            if content:
                members.add(name, content)
            else:
                members.refuse(name, "empty")
        elif depth >= MAX_MESSAGES_DEEP:
            members.refuse(name, "too_deep")
        else:
            members.take(name, lambda: _message(embedded, _EMBEDDED_HEADER, members.budget, depth + 1))
    except _BROKEN:
        members.refuse(name, "damaged")


def _attachment_name(attachment: Attachment) -> str:
    properties = attachment.properties
    # The long name, the short one (8.3), the name that is shown.
    return next((name for at in (0x3707, 0x3704, 0x3001) if (name := _text(properties, at))), "")


def _text(properties: Properties, at: int) -> str:
    try:
        return (properties.str_prop_value(at) or "").replace("\x00", "").strip()
    except _BROKEN:
        return ""


def _html(properties: Properties) -> str:
    try:
        raw = properties.binary_prop_value(pid.PID_HTML)
    except _BROKEN:
        raw = None
    if not raw:
        return _text(properties, pid.PID_BODY_HTML)
    try:
        return raw.decode(properties.body_encoding)
    except _BROKEN:
        return decoded(raw)


def _sender(properties: Properties) -> str:
    name = _text(properties, pid.PID_SENDER_NAME) or _text(properties, pid.PID_SENT_REPRESENTING_NAME)
    address = _text(properties, pid.PID_SENDER_SMTP_ADDRESS) or _text(
        properties, pid.PID_SENDER_EMAIL_ADDRESS
    )
    return _person(name, address)


def _person(name: str, address: str) -> str:
    # Addresses within an organisation are long internal paths (`/O=…/CN=…`), which tell a reader nothing.
    if "@" not in address:
        return name or address
    return f"{name} <{address}>" if name and name != address else address


def _date(properties: Properties) -> str:
    for at in (pid.PID_CLIENT_SUBMIT_TIME, 0x0E06, pid.PID_LAST_MODIFICATION_TIME):
        try:
            moment = properties.date_prop_value(at)
        except _BROKEN:
            continue
        if moment is not None:
            return moment.isoformat(" ", "minutes")
    return ""


def _recipients(storage: Any) -> tuple[str, str]:
    to: list[str] = []
    cc: list[str] = []
    for inner in storage.iter_recipient_storages():
        try:
            recipient = Recipient(inner)
            is_cc = recipient.properties.int_prop_value(_RECIPIENT_TYPE) == _CC
            (cc if is_cc else to).append(_person(recipient.name, recipient.email_address))
        except _BROKEN:
            continue
    return ", ".join(filter(None, to)), ", ".join(filter(None, cc))
