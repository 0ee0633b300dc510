"""Markdown (CommonMark with tables): headings, paragraphs, lists, tables and code with line ranges."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from bs4 import BeautifulSoup
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
from ingest.parse.text import no_text, pieces_of, read_text

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a Markdown file. The title is the front matter's, or the first heading of level 1."""
    text, title = _without_front_matter(read_text(file, limits))
    blocks = _Walk(MarkdownIt("commonmark").enable("table").parse(text)).blocks
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


class _Walk:
    """One pass over the tokens; each handler moves the position past what it read."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.blocks: list[Block] = []
        self._list_depth = 0
        self._marker_pending = False
        self._at = 0
        while self._at < len(tokens):
            self._token(tokens[self._at])
            self._at += 1

    def _token(self, token: Token) -> None:
        match token.type:
            case "heading_open":
                inline = self.tokens[self._at + 1]
                self._add("heading", one_line(_plain(inline)), token, level=int(token.tag[1:]))
                self._at += 2
            case "inline":
                self._text(_plain(token), token)
            case "fence" | "code_block":
                self._add("code", token.content.rstrip("\n"), token)
            case "html_block":
                self._text(BeautifulSoup(token.content, "lxml").get_text(" "), token)
            case "bullet_list_open" | "ordered_list_open":
                self._list_depth += 1
            case "bullet_list_close" | "ordered_list_close":
                self._list_depth -= 1
            case "list_item_open":
                self._marker_pending = True
            case "table_open":
                self._table(token)

    def _text(self, text: str, token: Token) -> None:
        if self._list_depth and self._marker_pending:
            self._marker_pending = False
            self._add("list_item", text, token, level=self._list_depth)
        else:
            self._add("paragraph", text, token)

    def _add(self, kind: BlockKind, text: str, token: Token, *, level: int = 0) -> None:
        for piece in pieces_of(text.strip("\n") if kind == "code" else text.strip()):
            self.blocks.append(Block(kind, piece, level, place=_lines_of(token)))

    def _table(self, opening: Token) -> None:
        rows: list[tuple[Token, list[str]]] = []
        while self.tokens[self._at].type != "table_close":
            token = self.tokens[self._at]
            if token.type == "tr_open":
                rows.append((token, []))
            elif token.type == "inline":
                rows[-1][1].append(_plain(token))
            self._at += 1
        header = row_text(rows[0][1])
        body = [(token, row_text(cells)) for token, cells in rows[1:]]
        body = [(token, text) for token, text in body if text]
        if not body:
            self._add("table", header, opening)
            return
        place = Place(first_line=_lines_of(body[0][0]).first_line, last_line=_lines_of(body[-1][0]).last_line)
        self.blocks.append(Block("table", "\n".join(text for _, text in body), place=place, header=header))


def _plain(inline: Token) -> str:
    pieces: list[str] = []
    for token in inline.children or []:
        if token.type in {"text", "code_inline"}:
            pieces.append(token.content)
        elif token.type == "softbreak":
            pieces.append(" ")
        elif token.type == "hardbreak":
            pieces.append("\n")
        elif token.type == "image":
            pieces.append(token.content)
    return "".join(pieces)


def _lines_of(token: Token) -> Place:
    if token.map is None:
        return Place()
    first, end = token.map
    return Place(first_line=first + 1, last_line=max(end, first + 1))
