"""HTML, Markdown, plain text and CSV: text, structure and places."""

from __future__ import annotations

import pytest
from made_files import read, refusal

from ingest.parse.limits import ParseLimits
from ingest.parse.texts.text import MAX_BLOCK_CHARS


def test_html_reads_what_is_shown_and_marks_what_is_not() -> None:
    """Scripts, styles and navigation are dropped; visible text is kept, and hidden text kept apart."""
    page = b"""<!doctype html><title>Leave</title><style>p{}</style><nav>MENU</nav><script>RUN()</script>
    <p hidden>H1</p><p style="display: none">H2</p><div aria-hidden="true">Shown</div><!-- end -->
    <h1>Annual <em>leave</em></h1><p>28 days,<br>paid.</p>"""
    document = read(page, "a.html")
    assert document.title == "Leave"
    assert [(b.kind, b.text, b.hidden) for b in document.blocks] == [
        ("paragraph", "H1", "not_shown"),
        ("paragraph", "H2", "not_shown"),
        ("paragraph", "Shown", None),
        ("heading", "Annual leave", None),
        ("paragraph", "28 days,\npaid.", None),
    ]


HIDDEN = {
    "<p style='visibility:hidden'>X</p>": "not_shown",
    "<p style='opacity:0'>X</p>": "not_shown",
    "<p class=gone>X</p>": "not_shown",
    "<p class='a b'>X</p>": "not_shown",
    "<div style='max-height:0;overflow:hidden'><p>X</p></div>": "not_shown",
    "<p style='position:absolute; left:-9999px'>X</p>": "off_page",
    "<p style='text-indent:-999em'>X</p>": "off_page",
    "<p style='font-size:0'>X</p>": "size",
    "<p style='font-size:1px'>X</p>": "size",
    "<p style='font-size:.05em'>X</p>": "size",
    "<p style='color:#fff'>X</p>": "colour",
    "<font color=white>X</font>": "colour",
    "<p style='color:rgb(254,254,254)'>X</p>": "colour",
    "<p style='color:rgba(0,0,0,0)'>X</p>": "colour",
    "<p class=pale>X</p>": "colour",
    "<a href='/x' style='color:#fff'>X</a>": "colour",
    "<div bgcolor='#000000'><p style='color:#000'>X</p></div>": "colour",
    "<table><tr><td>a<td>b</tr><tr hidden><td>X</td></tr></table>": "not_shown",
    "<pre><span hidden>X</span></pre>": "not_shown",
    "<h2>seen <i style='display:none'>X</i></h2>": "not_shown",
    "<!-- X is a remark for the author alone -->": "comment",
}
SHOWN = (
    "<p style='color:#fff; background:#036'>X</p>",
    "<div style='background:url(a.png)'><p style='color:white'>X</p></div>",
    "<div class=dark><p class=pale>X</p></div>",
    "<div style='font-size:0'><p style='font-size:14px'>X</p></div>",
    "<div style='visibility:hidden'><p style='visibility:visible'>X</p></div>",
    "<p class=printed>X</p>",
    "<p class=a>X</p>",
    "<p style='font-size:8px'>X</p>",
    "<p style='left:-9999px'>X</p>",
    "<font color=white><a href='/x'>X</a></font>",
    "<details><summary>More</summary>X</details>",
)
SHEET = (
    "<style>/* c */ .gone, .other {display:none} .a.b{display:none!important} .pale{color:#fff}"
    ".dark{background-color:#222} @media print {.printed{display:none} p{color:#fff}}</style>"
)


@pytest.mark.parametrize(("markup", "reason"), HIDDEN.items())
def test_html_text_that_a_reader_would_not_see_is_marked(markup: str, reason: str) -> None:
    """However it is hidden, it is kept apart with the reason, and never within a visible text."""
    blocks = read(f"<html>{SHEET}<body><p>seen</p>{markup}</body></html>".encode(), "a.html").blocks
    assert [block.hidden for block in blocks if "X" in block.text] == [reason]


@pytest.mark.parametrize("markup", SHOWN)
def test_html_text_that_a_reader_sees_is_not_marked(markup: str) -> None:
    """White on a dark ground, small print and folded text are seen."""
    blocks = read(f"<html>{SHEET}<body>{markup}</body></html>".encode(), "a.html").blocks
    assert [block.hidden for block in blocks if "X" in block.text] == [None]


def test_html_with_a_style_sheet_elsewhere_is_not_guessed_at() -> None:
    """White text in an element whose ground an unknown sheet may paint counts as seen."""
    page = (
        "<html><link rel=stylesheet href=a.css><body><div class=bar><p style='color:#fff'>X</p></div></body>"
    )
    assert [block.hidden for block in read(page.encode(), "a.html").blocks] == [None]


def test_html_lists_tables_and_code_keep_their_structure() -> None:
    """Nested lists carry their depth, tables their column names, code its line breaks."""
    page = b"""<html><body><h2>X</h2><ul><li>one<ul><li>two</li></ul></li></ul>
    <table><tr><th>Team</th><th>No</th></tr><tr><td>Travel</td><td>4417</td></tr></table>
    <pre>a = 1\nb = 2</pre></body></html>"""
    blocks = read(page, "a.html").blocks[1:]
    assert [(b.kind, b.level, b.text, b.header) for b in blocks] == [
        ("list_item", 1, "one", ""),
        ("list_item", 2, "two", ""),
        ("table", 0, "Travel | 4417", "Team | No"),
        ("code", 0, "a = 1\nb = 2", ""),
    ]
    assert {block.place.heading_path for block in blocks} == {("X",)}


def test_html_declared_encoding_is_used() -> None:
    """A page in another encoding is read by its declaration."""
    page = '<html><head><meta charset="iso-8859-7"></head><body><p>άδεια</p></body></html>'.encode(
        "iso-8859-7"
    )
    assert read(page, "a.html").blocks[0].text == "άδεια"


def test_html_nested_beyond_reason_is_refused() -> None:
    """Depth that would exhaust a parser's stack is a typed error."""
    page = b"<html><body>" + b"<div>" * 230 + b"x" + b"</div>" * 230
    assert refusal(page, "a.html").code == "too_complex"


def test_markdown_blocks_have_line_ranges() -> None:
    """Every block says which lines of the file it is, counted from 1; front matter does not shift them."""
    text = (
        "---\ntitle: Runbook\n---\n# Portal\n\nFirst line\nsecond line\n\n- item\n\n```\ncode\n```\n\n"
        "| A | B |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n"
    )
    document = read(text.encode(), "a.md")
    assert document.title == "Runbook"
    assert [(b.kind, b.text, b.place.first_line, b.place.last_line) for b in document.blocks] == [
        ("heading", "Portal", 4, 4),
        ("paragraph", "First line second line", 6, 7),
        ("list_item", "item", 9, 9),
        ("code", "code", 11, 13),
        ("table", "1 | 2\n3 | 4", 17, 18),
    ]
    assert document.blocks[-1].header == "A | B"


def test_markdown_marks_are_not_text() -> None:
    """Emphasis, links and code marks vanish; what they mark stays."""
    block = read(b"Use **bold** and [a link](http://x.example/) and `code`.", "a.md").blocks[0]
    assert block.text == "Use bold and a link and code."


def test_markdown_keeps_what_its_html_hides_apart() -> None:
    """Comments, hidden words and whole hidden sections are marked, with their lines; the rest is seen."""
    text = (
        "# T <span hidden>H1</span>\n\nSeen <span style='font-size:0'>H2</span>a < b.\n\n"
        "<div style='display:none'>\n\nH3 **inside**\n\n## H4\n\n</div>\n\n"
        "Seen again.\n\n<!-- H5 is a remark of some length -->\n\n[//]: # (H6 is a comment)\n\n"
        "| A | B |\n|---|---|\n| 1 | <i hidden>H7</i>2 |\n"
    )
    blocks = read(text.encode(), "a.md").blocks
    hidden = {
        block.text.split()[0]: (block.hidden, block.place.first_line) for block in blocks if block.hidden
    }
    assert hidden == {
        "H1": ("not_shown", 1),
        "H2": ("size", 3),
        "H3": ("not_shown", 7),
        "H4": ("not_shown", 9),
        "H5": ("comment", 15),
        "H6": ("comment", 17),
        "H7": ("not_shown", 19),
    }
    assert [(b.kind, b.text) for b in blocks if not b.hidden] == [
        ("heading", "T"),
        ("paragraph", "Seen a < b."),
        ("paragraph", "Seen again."),
        ("table", "1 | 2"),
    ]


def test_text_paragraphs_have_line_ranges() -> None:
    """Blank lines separate paragraphs, and each knows its lines."""
    document = read(b"\nfirst\n\n\nsecond\n- still second\n", "a.txt")
    assert [(b.text, b.place.first_line, b.place.last_line) for b in document.blocks] == [
        ("first", 2, 2),
        ("second\n- still second", 5, 6),
    ]


def test_wrapped_text_runs_on_and_short_lines_stay() -> None:
    """A line that was full continues; a line ended on purpose does not."""
    text = (
        b"This paragraph was wrapped by an editor at some\nwidth and goes on here until it ends.\n\n"
        b"Name: A\nPlace: B with more words\n"
    )
    first, second = read(text, "a.txt").blocks
    assert "\n" not in first.text
    assert second.text == "Name: A\nPlace: B with more words"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_in_any_unicode_encoding_is_read(encoding: str) -> None:
    """With or without a byte-order mark, the text is the same."""
    assert read("Grüße aus Tromsø, with plain words".encode(encoding), "a.txt").blocks[0].text == (
        "Grüße aus Tromsø, with plain words"
    )


def test_text_in_a_national_encoding_is_read() -> None:
    """An unmarked Western encoding is recognised by its content."""
    sentence = "Die Prüfung der Geräte für größere Räume erfolgt jährlich. " * 5
    assert read(sentence.encode("cp1252"), "a.txt").blocks[0].text == sentence.strip()


def test_white_space_only_has_no_text() -> None:
    """A file of blanks opens, and says nothing."""
    assert refusal(b" \n\t\n ", "a.txt").code == "no_text"


def test_a_text_without_blank_lines_becomes_blocks_of_bounded_size() -> None:
    """No block grows with the file, and no word is lost."""
    words = [f"word{number}" for number in range(20_000)]
    blocks = read(" ".join(words).encode(), "a.txt").blocks
    assert max(len(block.text) for block in blocks) <= MAX_BLOCK_CHARS
    assert " ".join(block.text for block in blocks).split() == words


def test_more_text_than_a_document_may_have_is_refused() -> None:
    """The limit on characters holds."""
    assert refusal(b"x" * 2000, "a.txt", ParseLimits(max_text_chars=1000)).code == "too_complex"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiters_are_recognised(delimiter: str) -> None:
    """Rows become cells whatever separates them, and the first row names the columns."""
    rows = [["Article", "Price"], ["Gauge", "148"], ["Meter", "1290"]]
    block = read("\n".join(delimiter.join(row) for row in rows).encode(), "a.csv").blocks[0]
    assert (block.header, block.text) == ("Article | Price", "Gauge | 148\nMeter | 1290")
    assert (block.place.first_line, block.place.last_line) == (2, 3)


def test_csv_commas_in_text_do_not_win_over_semicolons() -> None:
    """The delimiter is the one that cuts the rows evenly."""
    table = "Name;Note\nA;one, two, three\nB;four\nC;five, six\n"
    assert read(table.encode(), "a.csv").blocks[0].text == "A | one, two, three\nB | four\nC | five, six"


def test_csv_quoted_line_breaks_stay_within_a_row() -> None:
    """A cell with a line break is one cell of one row."""
    assert read(b'A,B\n"x\ny",2\n3,4\n', "a.csv").blocks[0].text == "x y | 2\n3 | 4"


def test_long_csv_is_cut_into_tables_with_the_same_header() -> None:
    """Every table of a long file knows the column names and its own lines."""
    body = "".join(f"{number},value {number}\n" for number in range(2, 1002))
    blocks = read(("id,value\n" + body).encode(), "a.csv").blocks
    assert len(blocks) == 5
    assert {block.header for block in blocks} == {"id | value"}
    assert [(b.place.first_line, b.place.last_line) for b in blocks[:2]] == [(2, 201), (202, 401)]
    assert blocks[1].text.startswith("202 | value 202\n")
