"""ZIP and TAR archives: every entry by its own type, one budget for all, and no way out of it."""

from __future__ import annotations

import tarfile
import time

import pytest
from made_files import drawn_pdf, lines_at, read, refusal

from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.containers import members, packed
from ingest.parse.limits import MIB, ParseLimits
from tests.made_archives import epub_of, nested_zip, overlapping_zip, tar_of, tar_with, zip_of, zip_of_pairs
from tests.made_documents import docx_of

FILES = {
    "a/report.pdf": drawn_pdf(lines_at(72, 100, "Printed words")),
    "a/letter.docx": docx_of("Letter", ["Written words"]),
    "table.csv": b"Item,Price\nGauge,148\n",
    "page.html": b"<html><body><h1>Page</h1><p>Shown<span hidden>unseen</span></p></body></html>",
    "book.epub": epub_of("Book", {"c1.xhtml": "<h1>One</h1><p>Told words</p>"}),
    "__MACOSX/._x": b"\x00\x05\x16\x07",
    "tool.exe": b"MZ\x90\x00\x03\x00",
}
EXPECTED = {
    ("a/report.pdf", "Printed words", None),
    ("a/letter.docx", "Letter", None),
    ("a/letter.docx", "Written words", None),
    ("table.csv", "Gauge | 148", None),
    ("page.html", "Page", None),
    ("page.html", "Shown", None),
    ("page.html", "unseen", "not_shown"),
    ("book.epub", "One", None),
    ("book.epub", "Told words", None),
}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_every_entry_is_read_by_its_type(mode: str) -> None:
    """However it is packed, an archive is the documents in it; the one that is none is named."""
    content = zip_of(FILES) if mode == "zip" else tar_of(FILES, mode)
    # The child for the two containers; how a TAR is compressed makes no difference to it.
    confined = mode in {"zip", "w:xz"}
    document = (
        parse_in_child([content], "files.bin", ParseLimits()) if confined else read(content, "files.bin")
    )
    assert {(b.place.within[0], b.text, b.hidden) for b in document.blocks} == EXPECTED
    assert document.unread == (("tool.exe", "unsupported_type"),)
    page = next(block for block in document.blocks if block.text == "Printed words").place
    assert (page.page, page.within) == (1, ("a/report.pdf",))


def test_archives_within_archives_are_read_to_a_depth() -> None:
    """Four archives within the first are opened, a fifth is not."""
    document = read(nested_zip(5, b"words"), "a.zip")
    assert document.blocks[0].place.within == (
        "level3.zip",
        "level2.zip",
        "level1.zip",
        "level0.zip",
        "text.txt",
    )
    assert refusal(nested_zip(6, b"words"), "a.zip").code == "nothing_readable"


def test_what_cannot_be_read_is_named_with_its_path_and_reason() -> None:
    """The curator learns of each, also within an inner archive."""
    inner = zip_of({"x.bin": b"\x00\x01\x02\x03" * 50, "empty.txt": b"", "good.txt": b"words"})
    document = read(zip_of({"inner.zip": inner, "broken.docx": b"PK\x03\x04 no"}), "a.zip")
    assert [block.text for block in document.blocks] == ["words"]
    assert document.unread == (
        ("inner.zip/x.bin", "unsupported_type"),
        ("inner.zip/empty.txt", "empty"),
        ("broken.docx", "damaged"),
    )


def test_an_archive_of_nothing_readable_is_refused() -> None:
    """No document without a text appears."""
    assert refusal(zip_of({"a.exe": b"MZ\x90\x00"}), "a.zip").code == "nothing_readable"
    assert refusal(zip_of({}), "a.zip").code == "no_text"
    assert refusal(zip_of({"empty.txt": b"", "blank.txt": b" \n"}), "a.zip").code == "no_text"


def test_an_encrypted_entry_is_named_and_the_others_are_read() -> None:
    """A password on one entry does not hide the rest; on all of them it is the reason."""
    content = bytearray(zip_of({"locked.txt": b"secret", "open.txt": b"words"}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + offset] |= 1
    document = read(bytes(content), "a.zip")
    assert ([b.text for b in document.blocks], document.unread) == (["words"], (("locked.txt", "encrypted"),))
    alone = bytearray(zip_of({"locked.txt": b"secret"}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        alone[alone.index(magic) + offset] |= 1
    assert refusal(bytes(alone), "a.zip").code == "encrypted"


def test_names_are_labels_and_never_paths() -> None:
    """Roots, parents and control characters vanish from a name; the same name twice is told apart."""
    content = zip_of({"../../etc/x.txt": b"one", "/abs.txt": b"two", "c:\\d\\\x07e.txt": b"three"})
    names = [block.place.within[0] for block in read(content, "a.zip").blocks]
    assert names == ["etc/x.txt", "abs.txt", "c:/d/e.txt"]
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_of_pairs([("same.txt", b"first"), ("same.txt", b"second")])
    assert [(b.place.within[0], b.text) for b in read(twice, "a.zip").blocks] == [
        ("same.txt", "first"),
        ("same (2).txt", "second"),
    ]


def test_links_and_devices_of_a_tar_are_not_followed() -> None:
    """What is no file has no text; it is named, and what follows is read."""
    link, hard, device = (tarfile.TarInfo(name) for name in ("link", "hard", "device"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "../../etc/passwd"
    device.type = tarfile.CHRTYPE
    document = read(tar_with([link, hard, device], b"words"), "a.tar")
    assert [block.text for block in document.blocks] == ["words"]
    assert document.unread == (("link", "not_a_file"), ("hard", "not_a_file"), ("device", "not_a_file"))


@pytest.mark.parametrize(
    "content",
    [
        zip_of({"bomb.txt": bytes(60 * MIB)}),
        tar_of({"bomb.txt": bytes(60 * MIB)}, "w:gz"),
        zip_of({"inner.tar.bz2": tar_of({"bomb.txt": bytes(60 * MIB)}, "w:bz2")}),
        overlapping_zip(2, 1000),
        overlapping_zip(5000, MIB),
        zip_of({f"{number}.txt": b"" for number in range(20_001)}),
    ],
    ids=["zip", "tar.gz", "tar.bz2 in zip", "overlap", "many overlaps", "many entries"],
)
def test_bombs_are_refused_before_they_go_off(content: bytes) -> None:
    """What expands beyond reason ends in its own reason, soon."""
    started = time.monotonic()
    assert refusal(content, "a.zip").code == "expands_too_much"
    assert time.monotonic() - started < 5


def test_one_budget_counts_for_all_archives_within_each_other() -> None:
    """Two inner archives, each within the ratio on its own, share the limit of the whole."""
    inner = {f"{number}.zip": zip_of({"a.txt": b"word " * (MIB // 5)}) for number in range(12)}
    document = read(
        zip_of({"first.txt": b"words", **inner}), "a.zip", ParseLimits(max_expanded_bytes=8 * MIB)
    )
    assert document.blocks[0].text == "words"
    refused = {name for name, code in document.unread if code == "expands_too_much"}
    assert refused and refused < {f"{number}.zip/a.txt" for number in range(12)} | {
        f"{number}.zip" for number in range(12)
    }


def test_a_slow_entry_does_not_take_the_others_with_it() -> None:
    """An entry that would use up the child's time is interrupted and named; the next ones are read."""
    slow = b"<html><body>" + b"<p>word <b>bold</b></p>" * 60_000
    content = zip_of({"slow.html": slow, "good.txt": b"words"})
    document = parse_in_child([content], "a.zip", ParseLimits(cpu_s=2, wall_s=60))
    assert [block.text for block in document.blocks] == ["words"]
    assert document.unread == (("slow.html", "took_too_long"),)


def test_text_of_all_entries_counts_together() -> None:
    """An archive has no more text than a document may have."""
    content = zip_of({"a.txt": b"word " * 100, "b.txt": b"more " * 200})
    document = read(content, "a.zip", ParseLimits(max_text_chars=1200))
    assert document.unread == (("b.txt", "too_complex"),)


def test_an_archive_cut_short_gives_what_stands_before_the_cut() -> None:
    """A TAR is read to the damage, which is named; a ZIP has its directory at the end, and is damaged."""
    content = tar_of({"a.txt": b"words", "b.txt": b"x" * 5000})
    document = read(content[:3000], "a.tar")
    assert [block.text for block in document.blocks] == ["words"]
    assert document.unread[-1][1] == "damaged"
    assert refusal(zip_of({"a.txt": b"words"})[:-30], "a.zip").code == "damaged"


def test_limits_are_those_of_the_design() -> None:
    """Depth and entries are what the documentation says."""
    assert (members.MAX_DEPTH, members.MAX_ENTRIES, packed.MAX_MEMBER_BYTES) == (4, 20_000, 256 * MIB)
