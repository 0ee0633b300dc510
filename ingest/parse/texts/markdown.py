"""Markdown (CommonMark with tables): headings, paragraphs, lists, tables and code with line ranges.

HTML within it is read as HTML is, so what it hides from readers is kept apart here, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any, BinaryIO

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.parse.blocks import (
    Block,
    BlockKind,
    ParsedDocument,
    Place,
    one_line,
    row_text,
    with_heading_paths,
)
from ingest.parse.detect import MARKDOWN
from ingest.parse.limits import ParseLimits
from ingest.parse.runs import Run, hidden_text, seen, unseen_blocks
from ingest.parse.texts.html import html_blocks, inline_runs
from ingest.parse.texts.html_looks import OpenElements
from ingest.parse.texts.text import no_text, pieces_of, read_text

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a Markdown file. The title is the front matter's, or the first heading of level 1."""
    text, title = _without_front_matter(read_text(file, limits))
    found: dict[str, Any] = {}
    blocks = _Walk(MarkdownIt("commonmark").enable("table").parse(text, found)).blocks
    blocks += _comments(found)
    if not blocks:
        raise no_text()
    if title is None:
        title = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    return ParsedDocument(title=title, pages=None, blocks=with_heading_paths(blocks), media_type=MARKDOWN)


def _without_front_matter(text: str) -> tuple[str, str | None]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return text, None
    title = _FRONT_TITLE.search(match.group(1))
    # Blank lines take its place, so that the line numbers of what follows stay right.
    rest = "\n" * match.group(0).count("\n") + text[match.end() :]
    return rest, title.group(1).strip("'\"") if title else None


def _comments(found: dict[str, Any]) -> list[Block]:
    """Return the comments that people write as links to nowhere: `[//]: # (a comment)`."""
    references: dict[str, dict[str, Any]] = found.get("references", {})
    return [
        block
        for label, reference in references.items()
        if reference.get("title") and (label.startswith("//") or reference.get("href") in {"#", ""})
        for block in hidden_text(str(reference["title"]), "comment", _place_of(reference.get("map")))
    ]


class _Walk:
    """One pass over the tokens; each handler moves the position past what it read."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.blocks: list[Block] = []
        self._list_depth = 0
        self._marker_pending = False
        self._elements = OpenElements()
        self._at = 0
        while self._at < len(tokens):
            self._token(tokens[self._at])
            self._at += 1

    def _token(self, token: Token) -> None:
        match token.type:
            case "heading_open":
                runs = _runs(self.tokens[self._at + 1])
                self._add("heading", one_line(seen(runs)), token, level=int(token.tag[1:]))
                self._hide(runs, token)
                self._at += 2
            case "inline":
                runs = _runs(token)
                self._text(seen(runs), token)
                self._hide(runs, token)
            case "fence" | "code_block":
                self._add("code", token.content.rstrip("\n"), token)
            case "html_block":
                self._html(token)
            case "bullet_list_open" | "ordered_list_open":
                self._list_depth += 1
            case "bullet_list_close" | "ordered_list_close":
                self._list_depth -= 1
            case "list_item_open":
                self._marker_pending = True
            case "table_open":
                self._table(token)

    def _html(self, token: Token) -> None:
        hidden = self._elements.hidden()
        for block in html_blocks(token.content):
            self._put(replace(block, place=_lines_of(token), hidden=block.hidden or hidden))
        # An element may stay open over the Markdown that follows, and hide it.
        self._elements.take(token.content)

    def _text(self, text: str, token: Token) -> None:
        if not text.strip():
            return
        if self._list_depth and self._marker_pending:
            self._marker_pending = False
            self._add("list_item", text, token, level=self._list_depth)
        else:
            self._add("paragraph", text, token)

    def _add(self, kind: BlockKind, text: str, token: Token, *, level: int = 0) -> None:
        for piece in pieces_of(text.strip("\n") if kind == "code" else text.strip()):
            self._put(Block(kind, piece, level, place=_lines_of(token)))

    def _put(self, block: Block) -> None:
        """Add a block; within an element that is not shown, it is not seen either."""
        hidden = block.hidden or self._elements.hidden()
        if hidden and block.kind == "heading":
            block = replace(block, kind="paragraph", level=0)
        self.blocks.append(replace(block, hidden=hidden))

    def _hide(self, runs: list[Run], token: Token) -> None:
        for block in unseen_blocks(runs, _lines_of(token)):
            self._put(block)

    def _table(self, opening: Token) -> None:
        rows: list[tuple[Token, list[str]]] = []
        unseen: list[Run] = []
        while self.tokens[self._at].type != "table_close":
            token = self.tokens[self._at]
            if token.type == "tr_open":
                rows.append((token, []))
            elif token.type == "inline":
                runs = _runs(token)
                rows[-1][1].append(seen(runs))
                unseen += [run for run in runs if run.hidden]
            self._at += 1
        header = row_text(rows[0][1])
        body = [(token, row_text(cells)) for token, cells in rows[1:]]
        body = [(token, text) for token, text in body if text]
        if not body:
            self._add("table", header, opening)
        else:
            first, last = _lines_of(body[0][0]).first_line, _lines_of(body[-1][0]).last_line
            place = Place(first_line=first, last_line=last)
            self._put(Block("table", "\n".join(text for _, text in body), place=place, header=header))
        self._hide(unseen, opening)


def _runs(inline: Token) -> list[Run]:
    """Return the texts of a paragraph, with what its HTML hides."""
    children = inline.children or []
    if any(token.type == "html_inline" for token in children):
        return inline_runs("".join(_markup(token) for token in children))
    return [Run("".join(_plain(token) for token in children))]


def _plain(token: Token) -> str:
    match token.type:
        case "text" | "code_inline" | "image":
            return token.content
        case "softbreak":
            return " "
        case "hardbreak":
            return "\n"
    return ""


def _markup(token: Token) -> str:
    if token.type == "html_inline":
        return token.content
    return "<br>" if token.type == "hardbreak" else escape(_plain(token))


def _lines_of(token: Token) -> Place:
    return _place_of(token.map)


def _place_of(lines: list[int] | None) -> Place:
    if lines is None:
        return Place()
    first, end = lines
    return Place(first_line=first + 1, last_line=max(end, first + 1))
