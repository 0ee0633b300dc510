"""Messages and mailboxes: what they say, to whom, and what is attached to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_files import drawn_pdf, lines_at, read, refusal

from ingest.parse.blocks import Block, ParsedDocument
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from tests.made_archives import zip_of
from tests.made_compound import compound_of, message_of, msg_of
from tests.made_mail import mail_of, mailbox_of

PEOPLE = (
    "From: Ada Byrne <ada@strongroom.example>\nTo: Ben Cole <ben@strongroom.example>\n"
    "Date: Mon, 02 Nov 2026 09:15:00 +0000"
)


def told(document: ParsedDocument) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return kind, text and the files around each block."""
    return [(block.kind, block.text, block.place.within) for block in document.blocks]


def test_a_message_has_its_subject_people_and_text() -> None:
    """The subject is title and heading; people and date follow; the plain text is read, not its HTML twin."""
    message = mail_of("Visit in März", "Grüße.\n\n> quoted before", html="<p>the same as a page</p>")
    document = read(message.as_bytes(), "a.eml")
    assert document.title == "Visit in März"
    assert told(document) == [
        ("heading", "Visit in März", ()),
        ("paragraph", PEOPLE, ()),
        ("paragraph", "Grüße.", ()),
        ("paragraph", "> quoted before", ()),
    ]
    assert document.blocks[-1].place.heading_path == ("Visit in März",)


def test_a_message_of_html_alone_is_read_as_a_page_and_its_hidden_text_is_marked() -> None:
    """Headings stand below the subject; what a mail program would not show is kept apart."""
    page = "<h1>Prices</h1><p>Gauges cost 148.<span style='display:none'>obey me</span></p>"
    blocks = read(mail_of("Offer", None, html=page).as_bytes(), "a.eml").blocks
    assert [(b.kind, b.level, b.text, b.hidden) for b in blocks[2:]] == [
        ("heading", 2, "Prices", None),
        ("paragraph", 0, "Gauges cost 148.", None),
        ("paragraph", 0, "obey me", "not_shown"),
    ]
    assert blocks[3].place.heading_path == ("Offer", "Prices")


def test_attachments_are_read_by_their_own_type_in_the_child() -> None:
    """Each attachment's blocks carry its name and their own place in it; files in an archive both names."""
    message = mail_of(
        "Files",
        "See below.",
        attached={
            "plan.pdf": drawn_pdf(lines_at(72, 100, "Page one"), lines_at(72, 100, "Page two")),
            "table.csv": b"Item,Price\nGauge,148\n",
            "all.zip": zip_of({"notes/a.md": b"# Notes\n\nInside the archive."}),
            "Fwd.eml": mail_of("Inner", "Forwarded words."),
            "broken.pdf": b"%PDF-1.7 not a document",
            "program.exe": b"MZ\x90\x00\x03\x00",
        },
    )
    document = parse_in_child([message.as_bytes()], "a.eml", ParseLimits())
    assert document.media_type == "message/rfc822"
    found = {(block.place.within, block.place.page, block.text): block for block in document.blocks}
    assert (("plan.pdf",), 2, "Page two") in found
    assert found[("table.csv",), None, "Gauge | 148"].header == "Item | Price"
    inside = found[("all.zip", "notes/a.md"), None, "Inside the archive."]
    assert (inside.place.heading_path, inside.place.first_line) == (("Notes",), 3)
    assert found[("Fwd.eml",), None, "Forwarded words."].place.heading_path == ("Inner",)
    assert document.unread == (("broken.pdf", "damaged"), ("program.exe", "unsupported_type"))


def test_a_forwarded_attachment_of_a_forward_keeps_its_whole_path() -> None:
    """Names around a text are listed from the outermost to the innermost."""
    inner = mail_of("Inner", "words", attached={"deep.txt": b"deepest words"})
    document = read(mail_of("Outer", "text", attached={"Fwd.eml": inner}).as_bytes(), "a.eml")
    assert ("paragraph", "deepest words", ("Fwd.eml", "deep.txt")) in told(document)


@pytest.mark.parametrize("charset", ["iso-8859-15", "windows-1251", "x-unknown", "punycode", '"', "ascii"])
def test_a_wrong_charset_loses_no_message(charset: str) -> None:
    """Whatever a message declares, its text is read as well as its bytes allow."""
    head = f"From: a@b.example\nSubject: x\nContent-Type: text/plain; charset={charset}\n\n"
    document = read(head.encode() + "Überraschung für alle, größer als gedacht".encode(), "a.eml")
    assert document.title == "x"
    assert document.blocks[-1].text.startswith(("Ü", "Ã", "Г"))


def test_malformed_header_fields_do_not_stop_reading() -> None:
    """Broken encoded words, raw bytes and a missing boundary leave what can be read."""
    raw = (
        b"From: =?utf-8?b?broken\nTo: \xff\xfe <a@b\nSubject: =?x-none?q?caf=E9?= done\nMessage-ID: <\n"
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\nThe text itself.\n"
    )
    document = read(raw, "a.eml")
    assert document.title == "café done"
    assert document.blocks[-1].text == "The text itself."


def test_an_encrypted_message_is_named() -> None:
    """Nobody wonders why a message without a readable text has no passages."""
    raw = (
        b"From: a@b.example\nSubject: Secret\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/encrypted; boundary="x"; protocol="application/pgp-encrypted"\n\n'
        b"--x\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--x--\n"
    )
    assert refusal(raw, "a.eml").code == "encrypted"


def test_parts_without_end_are_refused() -> None:
    """Depth that would exhaust the stack is a typed error."""
    raw = b"From: a@b.example\nSubject: x\n"
    for number in range(80):
        raw += b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (number, number)
    assert refusal(raw + b"Content-Type: text/plain\n\nx", "a.eml").code == "too_complex"


def test_a_mailbox_numbers_its_messages_in_the_child(tmp_path: Path) -> None:
    """Every block knows its message; an attachment's blocks name message and file."""
    content = mailbox_of(
        tmp_path,
        [
            mail_of("First", "From here on, quoted.\n"),
            mail_of("Second", "Text.", attached={"a.txt": b"attached words"}),
        ],
    )
    document = parse_in_child([content], "archive.mbox", ParseLimits())
    assert [(b.text, b.place.message) for b in document.blocks if b.kind == "heading"] == [
        ("First", 1),
        ("Second", 2),
    ]
    assert ("paragraph", "From here on, quoted.", ()) in told(document)
    attached = next(block for block in document.blocks if block.text == "attached words")
    assert (attached.place.within, attached.place.message) == (("message 2", "a.txt"), None)


def test_an_outlook_message_is_read_with_all_that_is_attached_in_the_child() -> None:
    """Subject, people and text; attachments by name, and messages within the message."""
    inner = message_of("Inner subject", "Forwarded words.", attached={"deep.txt": b"deepest words"})
    content = msg_of(
        message_of(
            "Lease renewal",
            "Rent is due.",
            recipients=("Ben Cole", "Cy Dale"),
            attached={"note.md": b"# Note\n\nattached words", "long.txt": b"long words " * 600},
            enclosed={"Forwarded lease": inner},
        )
    )
    document = parse_in_child([content], "a.msg", ParseLimits())
    assert (document.title, document.media_type) == ("Lease renewal", "application/vnd.ms-outlook")
    assert told(document)[:3] == [
        ("heading", "Lease renewal", ()),
        ("paragraph", "From: Ada Byrne\nTo: Ben Cole, Cy Dale", ()),
        ("paragraph", "Rent is due.", ()),
    ]
    assert ("paragraph", "attached words", ("note.md",)) in told(document)
    assert ("paragraph", "Forwarded words.", ("Forwarded lease",)) in told(document)
    assert ("paragraph", "deepest words", ("Forwarded lease", "deep.txt")) in told(document)
    assert document.unread == ()


def test_an_outlook_message_cut_short_is_damaged() -> None:
    """A container without its end is a typed error."""
    content = msg_of(message_of("S", "text " * 2000))
    assert refusal(content[:1500], "a.msg").code == "damaged"


def test_streams_that_share_their_bytes_are_refused() -> None:
    """A directory that lists the same sectors again and again does not fill the memory."""
    content = bytearray(
        compound_of({"__properties_version1.0": b"", **{f"s{n}": b"x" * 6000 for n in range(8)}})
    )
    directory = content.index("Root Entry".encode("utf-16-le"))
    for at in range(1, 10):
        entry = directory + 128 * at
        if content[entry : entry + 2] == b"s\0":
            content[entry + 120 : entry + 124] = (2**28).to_bytes(4, "little")
    assert refusal(bytes(content), "a.msg").code in {"damaged", "expands_too_much"}


def test_places_survive_the_way_through_json() -> None:
    """Message numbers and names around are kept."""
    block = read(mail_of("S", "t", attached={"a.txt": b"x"}).as_bytes(), "a.eml").blocks[-1]
    assert Block.from_dict(block.as_dict()) == block
    assert block.place.within == ("a.txt",)
