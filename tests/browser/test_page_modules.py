"""The small modules by themselves, run in Chromium: the event parser and the writer of answers."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

STREAM = (
    ": a comment\r\n\r\nevent: job\r\ndata: one\r\n\r\n"
    "data: two\ndata:three \nid: 7\n\nunknown: field\n\n"
    "data\r\rdata: ü🙂\n\n"
    "data: never finished\n"
)
EVENTS = [
    {"type": "job", "data": "one"},
    {"type": "message", "data": "two\nthree "},
    {"type": "message", "data": ""},
    {"type": "message", "data": "ü🙂"},
]

PARSE = """async ([module, pieces]) => {
  const {EventParser} = await import(module);
  const parser = new EventParser();
  return pieces.flatMap((piece) => parser.push(piece));
}"""

WRITE = """async ([module, pieces]) => {
  const {AnswerText} = await import(module);
  const place = document.createElement("div");
  const writer = new AnswerText(place, (n) => {
    if (n > 2) return null;
    const button = document.createElement("button");
    button.textContent = `s${n}`;
    return button;
  });
  for (const piece of pieces) writer.append(piece);
  writer.finish();
  return [...place.children].map(function show(node) {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    return {[node.localName]: [...node.childNodes].map(show)};
  });
}"""


@pytest.fixture
def module(page: Page) -> str:
    """Open a page and return the folder that its modules come from."""
    page.goto("/account")
    style = str(page.locator("link[rel=stylesheet]").get_attribute("href"))
    return style.rpartition("/")[0]


def test_events_are_the_same_however_the_stream_is_cut(page: Page, module: str) -> None:
    """Cutting the stream in two at any place, or into single characters, changes nothing."""
    cuts = [[STREAM[:at], STREAM[at:]] for at in range(len(STREAM) + 1)]
    for pieces in [[STREAM], list(STREAM), *cuts]:
        assert page.evaluate(PARSE, [f"{module}/sse.js", pieces]) == EVENTS


def _text(nodes: Any) -> str:
    if isinstance(nodes, str):
        return nodes
    children = nodes if isinstance(nodes, list) else next(iter(nodes.values()))
    return "".join(_text(child) for child in children)


def _merged(node: Any) -> Any:
    """Join neighbouring texts: how the text was cut into nodes does not matter."""
    if isinstance(node, str):
        return node
    if isinstance(node, dict):
        return {name: _merged(children) for name, children in node.items()}
    joined: list[Any] = []
    for child in map(_merged, node):
        if isinstance(child, str) and joined and isinstance(joined[-1], str):
            joined[-1] += child
        elif child != "":
            joined.append(child)
    return joined


ANSWER = (
    "Up to **eight** days [[1]](http://h/a?b=1&c=2). Not [[9]](x), nor [3] & <b>.\n\n"
    "To do:\n- ask [[2]](y)\n- wait\n\nDone."
)
SHOWN = [
    {"p": ["Up to ", {"strong": ["eight"]}, " days ", {"button": ["s1"]}, ". Not , nor [3] & <b>."]},
    {"p": ["To do:"]},
    {"ul": [{"li": ["ask ", {"button": ["s2"]}]}, {"li": ["wait"]}]},
    {"p": ["Done."]},
]


def test_an_answer_becomes_paragraphs_lists_and_buttons(page: Page, module: str) -> None:
    """Marks become buttons, an unknown number vanishes, and everything else is text."""
    nodes = page.evaluate(WRITE, [f"{module}/answer-text.js", [ANSWER]])
    assert _merged(nodes) == SHOWN


def test_a_citation_mark_may_arrive_in_two_pieces(page: Page, module: str) -> None:
    """Wherever a citation mark is cut, the same button appears."""
    begin = ANSWER.index("[[1]]")
    for at in range(begin, ANSWER.index(").", begin) + 2):
        nodes = page.evaluate(WRITE, [f"{module}/answer-text.js", [ANSWER[:at], ANSWER[at:]]])
        assert _merged(nodes) == SHOWN, ANSWER[:at]


def test_what_looks_like_a_mark_and_is_none_is_kept(page: Page, module: str) -> None:
    """Text that was held back because it might become a mark is written at the end."""
    nodes = page.evaluate(WRITE, [f"{module}/answer-text.js", ["See [[1]", "] and [", "[2"]])
    assert _text(nodes) == "See [[1]] and [[2"


@pytest.mark.parametrize(
    ("bytes_", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1_250_000, "1.3 MB"), (5e10, "50 GB")]
)
def test_sizes_are_written_as_people_write_them(page: Page, module: str, bytes_: float, words: str) -> None:
    """Sizes have one decimal below ten and no more than needed."""
    shown = page.evaluate(
        "async ([module, bytes]) => (await import(module)).size(bytes)", [f"{module}/words.js", bytes_]
    )
    assert shown == words
