"""JSON, YAML, XML, source code and e-books: readable text, structure and lines."""

from __future__ import annotations

import inspect
import io
import json
import zipfile

import pytest
import yaml
from made_files import read, refusal

from ingest.parse.blocks import Block
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from ingest.parse.texts import code as code_module
from tests.made_archives import epub_of, zip_of

ORDER = {
    "name": "Order 4417",
    "customer": {"city": "Oslo", "contact": {"mail": "ada@strongroom.example"}},
    "tags": ["urgent", "paid"],
    "lines": [{"item": "Gauge", "price": 148}, {"item": "Meter", "price": 1290.5, "note": None}],
    "open": True,
}
READ_ORDER = [
    ("paragraph", "name: Order 4417", ""),
    ("paragraph", "tags: urgent, paid", ""),
    ("paragraph", "open: true", ""),
    ("heading", "customer", ""),
    ("paragraph", "city: Oslo", ""),
    ("heading", "contact", ""),
    ("paragraph", "mail: ada@strongroom.example", ""),
    ("heading", "lines", ""),
    ("table", "Gauge | 148\nMeter | 1290.5", "item | price | note"),
]


def shapes(blocks: tuple[Block, ...]) -> list[tuple[str, str, str]]:
    """Return kind, text and header of each block."""
    return [(block.kind, block.text, block.header) for block in blocks]


def lines_of(block: Block) -> tuple[int | None, int | None]:
    """Return the lines that a block says it stands on."""
    return block.place.first_line, block.place.last_line


CONFINED = {
    "a.json": (json.dumps(ORDER).encode(), "application/json", "mail: ada@strongroom.example"),
    "a.yaml": (yaml.safe_dump(ORDER).encode(), "application/yaml", "mail: ada@strongroom.example"),
    "a.xml": (b"<r><a>one</a><b>two</b></r>", "application/xml", "a: one\nb: two"),
    "a.py": (b"def f():\n    return 1\n", "text/x-source", "def f():\n    return 1"),
    "a.epub": (epub_of("B", {"c.xhtml": "<p>Told words</p>"}), "application/epub+zip", "Told words"),
}


@pytest.mark.parametrize("name", CONFINED)
def test_the_confined_child_reads_it(name: str) -> None:
    """The libraries do with what the child may: no network, no files, little memory."""
    content, media_type, text = CONFINED[name]
    document = parse_in_child([content], name, ParseLimits())
    assert document.media_type == media_type
    assert text in [block.text for block in document.blocks]


def test_json_becomes_headings_lines_and_tables() -> None:
    """Keys are headings, single values lines, lists of records tables; what is single comes first."""
    document = read(json.dumps(ORDER, indent=1).encode(), "a.json")
    assert document.title == "Order 4417"
    assert shapes(document.blocks) == READ_ORDER
    mail, table = document.blocks[6], document.blocks[8]
    assert mail.place.heading_path == ("customer", "contact")
    assert (lines_of(mail), lines_of(table)) == ((6, 6), (14, 22))


def test_yaml_reads_like_json() -> None:
    """The same data gives the same text."""
    content = yaml.safe_dump(ORDER, sort_keys=False, default_flow_style=False)
    document = read(content.encode(), "a.yaml")
    # YAML keeps `148` and `true` as they are written, and an empty value is none.
    assert shapes(document.blocks) == READ_ORDER
    number = content.splitlines().index("    mail: ada@strongroom.example") + 1
    assert lines_of(document.blocks[6]) == (number, number)


def test_json_lines_are_one_table_with_a_line_a_record() -> None:
    """A log of equal records keeps its column names."""
    document = read(b'{"at": 1, "what": "start"}\n{"at": 2, "what": "stop"}\n', "a.jsonl")
    assert shapes(document.blocks) == [("table", "1 | start\n2 | stop", "at | what")]
    assert (lines_of(document.blocks[0]), document.media_type) == ((1, 2), "application/jsonl")


def test_records_that_are_not_alike_stand_below_their_names() -> None:
    """A list of larger records is told apart by what names them."""
    content = b'[{"name": "Pump", "parts": [{"a": {"b": 1}}]}, {"id": 7, "parts": [{"a": {"b": 2}}]}, [[1]]]'
    blocks = read(content, "a.json").blocks
    assert [(b.text, b.level) for b in blocks if b.kind == "heading" and b.level == 1] == [
        ("Pump", 1),
        ("7", 1),
        ("Item 3", 1),
    ]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'{"a": 1, "b":', "a.json"),
        (b'{"a" 1}', "a.json"),
        (b"[1 2]", "a.json"),
        (b"a: [1", "a.yaml"),
        (b"<a><b></a>", "a.xml"),
        (b"<a/><b/>", "a.xml"),
    ],
)
def test_what_is_not_quite_the_format_is_read_as_plain_text(content: bytes, name: str) -> None:
    """A mistake in a file does not keep people from finding its words."""
    document = read(content, name)
    assert (document.media_type, document.blocks[0].text) == ("text/plain", content.decode())


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"[" * 100_000, "a.json"),
        (b'{"a":' * 100_000, "a.json"),
        (b"[" * 100_000, "a.yaml"),
        (b"- " * 100_000 + b"x", "a.yaml"),
        (b"<a>" * 100_000, "a.xml"),
    ],
)
def test_nesting_beyond_reason_is_refused(content: bytes, name: str) -> None:
    """Depth that would exhaust a stack is a typed error."""
    assert refusal(content, name).code == "too_complex"


def test_yaml_aliases_are_not_copied_out() -> None:
    """Ten levels of ten aliases would be ten thousand million texts; each is told once."""
    levels = [f"l0: &l0 [{', '.join(['laughing'] * 10)}]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 11)]
    document = read("\n".join(levels).encode(), "a.yaml")
    text = "\n".join(block.text for block in document.blocks)
    assert text.count("laughing") == 10
    assert "(see line 10)" in text


def test_yaml_makes_no_objects_and_follows_no_circle() -> None:
    """A tag is a mark on text, and a list within itself is pointed at."""
    document = read(b'run: !!python/object/apply:os.system ["echo harm"]\nme: &me [*me]\n', "a.yaml")
    assert document.blocks[0].text == "run: echo harm\nme: (see line 2)"


def test_xml_records_are_a_table_and_attributes_are_values() -> None:
    """Elements of one name are a list; their attributes and parts are its columns."""
    content = (
        b'<?xml version="1.0"?>\n<stock xmlns:x="http://x.example/">\n<title>Stock</title>\n'
        b'<x:item no="1"><name>Gauge</name></x:item>\n<x:item no="2"><name>Meter</name></x:item>\n</stock>'
    )
    document = read(content, "a.xml")
    assert document.title == "Stock"
    assert shapes(document.blocks) == [
        ("paragraph", "title: Stock", ""),
        ("heading", "item", ""),
        ("table", "1 | Gauge\n2 | Meter", "no | name"),
    ]
    assert lines_of(document.blocks[2]) == (4, 5)


def test_xml_text_mixed_with_elements_stays_one_text() -> None:
    """Words in an element within a sentence are words of that sentence."""
    document = read(b"<doc><p>Rent is <b>due</b>, always.</p><p>Yes.</p></doc>", "a.xml")
    assert shapes(document.blocks) == [
        ("heading", "p", ""),
        ("list_item", "Rent is due, always.", ""),
        ("list_item", "Yes.", ""),
    ]


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;">',
        '<!ENTITY b SYSTEM "file:///etc/hostname">',
        '<!ENTITY % b "x">',
    ],
)
def test_xml_that_declares_entities_is_refused(declared: str) -> None:
    """Neither does a small file laugh a thousand million times, nor does a file of the server show up."""
    content = f'<?xml version="1.0"?><!DOCTYPE r [{declared}]><r>&b;</r>'
    assert refusal(content.encode(), "a.xml").code == "damaged"


def test_xml_outside_of_the_file_is_never_looked_at() -> None:
    """An external definition is named, not opened; what it would have defined is left out."""
    content = b'<?xml version="1.0"?><!DOCTYPE r SYSTEM "file:///etc/passwd"><r>Seen &b; text</r>'
    assert read(content, "a.xml").blocks[0].text == "Seen text"


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "utf-8"])
def test_xml_in_its_declared_encoding(encoding: str) -> None:
    """The declaration says how the bytes are read."""
    content = f'<?xml version="1.0" encoding="{encoding}"?>\n<r><t>Grüße</t></r>'.encode(encoding)
    block = read(content, "a.xml").blocks[0]
    assert (block.text, lines_of(block)) == ("t: Grüße", (2, 2))


def test_source_code_is_cut_between_definitions_with_true_lines() -> None:
    """No definition is cut, nothing is lost, and the lines are those of the file."""
    source = inspect.getsource(code_module)
    blocks = read(source.encode(), "code.py").blocks
    lines = source.split("\n")
    assert len(blocks) > 3
    for block in blocks:
        first, last = lines_of(block)
        assert block.kind == "code" and first and last
        assert block.text == "\n".join(line.rstrip() for line in lines[first - 1 : last])
        assert not block.text.startswith((" ", ")"))
    kept = [line for block in blocks for line in block.text.split("\n") if line]
    assert kept == [line.rstrip() for line in lines if line.strip()]


def test_a_program_on_one_line_becomes_blocks_of_bounded_size() -> None:
    """Minified code is no single block."""
    blocks = read(b"var a=1; " * 10_000, "a.js").blocks
    assert len(blocks) > 3
    assert {lines_of(block) for block in blocks} == {(1, 1)}


def test_a_book_is_read_in_its_order_with_headings() -> None:
    """The spine, not the archive, says what comes first; headings place each chapter's text."""
    chapters = {
        "b.xhtml": "<h1>Second</h1><p>Later words.</p><p style='display:none'>unseen</p>",
        "a.xhtml": "<h1>First</h1><h2>Part</h2><p>Early words.</p>",
    }
    document = read(epub_of("A Book", chapters, ["a.xhtml", "b.xhtml"]), "a.epub")
    assert document.title == "A Book"
    assert [(b.text, b.place.heading_path, b.hidden) for b in document.blocks if b.kind == "paragraph"] == [
        ("Early words.", ("First", "Part"), None),
        ("Later words.", ("Second",), None),
        ("unseen", ("Second",), "not_shown"),
    ]


def test_a_book_without_a_package_or_with_protection_is_refused() -> None:
    """What is missing and what is locked are told apart."""
    broken = zip_of({"mimetype": b"application/epub+zip", "META-INF/container.xml": b"<container/>"})
    assert refusal(broken, "a.epub").code == "damaged"
    locked = epub_of("B", {"c.xhtml": "<p>x</p>"})
    cipher = b'<encryption><CipherReference URI="OPS/c.xhtml"/></encryption>'
    assert refusal(with_entry(locked, "META-INF/encryption.xml", cipher), "a.epub").code == "encrypted"


def with_entry(archive: bytes, name: str, content: bytes) -> bytes:
    """Return a ZIP with one entry more."""
    out = io.BytesIO(archive)
    with zipfile.ZipFile(out, "a") as target:
        target.writestr(name, content)
    return out.getvalue()
