"""Messages and mailboxes as mail programs write them."""

from __future__ import annotations

import mailbox
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path


def mail_of(
    subject: str,
    text: str | None,
    *,
    html: str | None = None,
    attached: Mapping[str, bytes | EmailMessage] | None = None,
) -> EmailMessage:
    """Return a message from Ada to Ben with this text, or this page, or both, and these files."""
    message = EmailMessage()
    message["From"] = "Ada Byrne <ada@strongroom.example>"
    message["To"] = "Ben Cole <ben@strongroom.example>"
    message["Subject"] = subject
    message["Date"] = "Mon, 02 Nov 2026 09:15:00 +0000"
    message["Message-ID"] = "<1@strongroom.example>"
    if text is not None:
        message.set_content(text)
    if html is not None and text is None:
        message.set_content(html, subtype="html")
    elif html is not None:
        message.add_alternative(html, subtype="html")
    for name, content in (attached or {}).items():
        if isinstance(content, EmailMessage):
            message.add_attachment(content, filename=name)
        else:
            message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message


def mailbox_of(folder: Path, messages: list[EmailMessage]) -> bytes:
    """Return a mailbox (mbox) with these messages; `folder` is where it may be written."""
    path = folder / "made.mbox"
    box = mailbox.mbox(path)
    for message in messages:
        inner = mailbox.mboxMessage(message)
        inner.set_from("ada@strongroom.example", (2026, 11, 2, 9, 15, 0, 0, 306, 0))
        box.add(inner)
    box.close()
    return path.read_bytes()
