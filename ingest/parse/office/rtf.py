"""RTF: paragraphs, headings by outline level, lists and tables; hidden text and comments are kept apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from infra.errors import UnreadableFile
from ingest.parse.blocks import Block, BlockKind, ParsedDocument, one_line, with_heading_paths
from ingest.parse.detect import RTF
from ingest.parse.limits import ParseLimits, too_much_text
from ingest.parse.office.rtf_words import (
    CHARACTERS,
    DEFAULT_HALF_POINTS,
    STORIES,
    SYMBOLS,
    TABLES,
    Token,
    begins_unread_group,
    codec_of,
    known_codec,
    tokens,
)
from ingest.parse.runs import (
    WHITE,
    Colour,
    Run,
    hidden_text,
    looks_hidden,
    seen,
    text_blocks,
    unseen_blocks,
    without_headings,
)
from ingest.parse.texts.tabular import table_blocks
from ingest.parse.texts.text import no_text

MAX_GROUP_DEPTH: Final = 1000
# Pictures are written as text of twice their size, so a long file may hold little to read.
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_HEADING = re.compile(r"heading ([1-9])$", re.IGNORECASE)


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read a rich-text file. The title is its property, or the first heading of level 1."""
    raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise too_much_text(limits)
    if not raw.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{\\rtf"):
        raise UnreadableFile(
            "damaged",
            "This rich-text file is damaged and cannot be opened.",
            hint="Open it in a word processor, save it again, and upload the new copy.",
        )
    reader = _Reader(limits)
    body = reader.read(raw)
    blocks = (*_once(reader.margins["header"]), *with_heading_paths(body), *_once(reader.margins["footer"]))
    if not blocks:
        raise no_text()
    first = next((block.text for block in body if block.kind == "heading" and block.level == 1), None)
    return ParsedDocument(title=one_line(reader.title) or first, pages=None, blocks=blocks, media_type=RTF)


def _once(blocks: list[Block]) -> list[Block]:
    """Return each text once, none as a heading: sections repeat their headers and footers."""
    return list({(block.header, block.text): block for block in without_headings(blocks)}.values())


@dataclass(slots=True)
class _State:
    """What holds within one group, and ends with it."""

    purpose: str = "text"  # or `none`, one of TABLES, `title`
    story: bool = False
    codec: str = "cp1252"
    font: int | None = None
    skip_after_unicode: int = 1
    hidden: bool = False
    deleted: bool = False
    half_points: int = DEFAULT_HALF_POINTS
    colour: int = 0
    ground: int = 0
    paragraph_ground: int = 0
    in_table: bool = False
    style: int = 0
    outline: int | None = None
    list_level: int | None = None


@dataclass(slots=True)
class _Story:
    """A text of its own: the document, a note, a comment, a box; `beside` is what hangs on its parts."""

    kind: str = "text"
    blocks: list[Block] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    cell: list[Run] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    beside: list[Block] = field(default_factory=list)
    beside_rows: list[Block] = field(default_factory=list)
    shaded: bool = False


class _Reader:
    """Walks the tokens once, with a stack of groups and a stack of stories."""

    def __init__(self, limits: ParseLimits) -> None:
        self.title = ""
        self.margins: dict[str, list[Block]] = {"header": [], "footer": []}
        self._limits = limits
        self._state = _State()
        self._groups: list[_State] = []
        self._stories = [_Story()]
        self._bytes = bytearray()
        self._skip = 0
        self._starred = False
        self._characters = 0
        self._default_codec = "cp1252"
        self._default_font: int | None = None
        self._codecs: dict[int, str] = {}
        self._colours: list[Colour | None] = []
        self._mixing: list[int] = []
        self._levels: dict[int, int] = {}
        self._style_name = ""

    def read(self, raw: bytes) -> list[Block]:
        """Return the document's blocks."""
        for token in tokens(raw):
            if token.text:
                self._text(token)
                continue
            self._flush()
            if token.brace == "{":
                self._open()
            elif token.brace:
                self._close()
                if not self._groups:
                    break  # What follows the document's own group is not the document.
            elif token.word:
                self._word(token.word, token.number)
            else:
                self._symbol(token.symbol)
        self._flush()
        while len(self._stories) > 1:
            self._end_story()
        return self._finished()

    def _open(self) -> None:
        if len(self._groups) >= MAX_GROUP_DEPTH:
            raise UnreadableFile("too_complex", "This document is nested too deeply to be read.")
        self._groups.append(self._state)
        self._state = replace(self._state, story=False)
        self._skip, self._starred = 0, False

    def _close(self) -> None:
        if self._state.purpose == "stylesheet":
            self._end_style()
        if self._state.story:
            self._end_story()
        described_fonts = self._state.purpose == "fonttbl"
        if self._groups:
            self._state = self._groups.pop()
        if described_fonts:
            self._font(self._default_font)
        self._skip = 0

    def _text(self, token: Token) -> None:
        """Gather bytes until something else comes: a character may be written in several ways at once."""
        text = token.text
        if self._skip:
            skipped = min(self._skip, len(text))
            self._skip -= skipped
            text = text[skipped:]
        if self._state.purpose == "colortbl":
            self._colours += [self._mixed()] * text.count(b";")
        elif self._state.purpose != "none":
            self._bytes += text

    def _flush(self) -> None:
        if self._bytes:
            text = self._bytes.decode(self._state.codec, errors="replace")
            self._bytes.clear()
            self._write(text)

    def _write(self, text: str) -> None:
        purpose = self._state.purpose
        if purpose == "title":
            self.title += text
        elif purpose == "stylesheet":
            self._style_name += text
        elif purpose == "text" and not self._state.deleted:
            self._characters += len(text)
            if self._characters > self._limits.max_text_chars:
                raise too_much_text(self._limits)
            self._stories[-1].runs.append(self._run(text.replace("\ufeff", "")))

    def _run(self, text: str) -> Run:
        state, story = self._state, self._stories[-1]
        if state.hidden:
            return Run(text, "not_shown")
        ground = WHITE if not story.shaded else None
        if behind := state.ground or state.paragraph_ground:
            ground = self._colour(behind)
        colour = self._colour(state.colour)
        return Run(text, looks_hidden(colour=colour, ground=ground, points=state.half_points / 2))

    def _colour(self, number: int) -> Colour | None:
        return self._colours[number] if 0 < number < len(self._colours) else None

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":
            self._starred = True
        elif symbol in "\r\n":
            self._end_paragraph()
        elif symbol in SYMBOLS:
            self._write(SYMBOLS[symbol])

    def _word(self, word: str, number: int | None) -> None:
        starred, self._starred = self._starred, False
        state = self._state
        if state.purpose == "info" and word == "title":
            state.purpose = "title"
        elif state.purpose == "text" and word in STORIES:
            state.story = True
            self._stories.append(_Story(STORIES[word]))
            self._plain_paragraph()
        elif state.purpose == "text" and word in TABLES:
            state.purpose = word
        elif state.purpose in ("text", "info", "title") and begins_unread_group(word, starred=starred):
            if word in ("listtext", "pntext") and self._groups:
                self._groups[-1].list_level = self._groups[-1].list_level or 0
            state.purpose = "none"
        elif state.purpose in TABLES:
            self._described(word, number)
        elif state.purpose == "text":
            self._formatted(word, number)

    def _described(self, word: str, number: int | None) -> None:
        """Take a word of the font, colour or style table."""
        state = self._state
        if state.purpose == "fonttbl":
            if word == "f":
                state.font = number
            elif word in ("fcharset", "cpg") and state.font is not None:
                wanted = codec_of(number, self._default_codec) if word == "fcharset" else f"cp{number}"
                self._codecs[state.font] = known_codec(wanted)
        elif state.purpose == "colortbl" and word in ("red", "green", "blue"):
            self._mixing.append(min(max(number or 0, 0), 255))
        elif state.purpose == "stylesheet":
            if word == "s":
                state.style, state.outline = number or 0, None
            elif word in ("cs", "ds", "ts"):
                state.style = -1
            elif word == "outlinelevel":
                state.outline = number

    def _mixed(self) -> Colour | None:
        mixed, self._mixing = self._mixing, []
        return (mixed[0], mixed[1], mixed[2]) if len(mixed) == 3 else None

    def _end_style(self) -> None:
        style_name, self._style_name = one_line(self._style_name.rstrip(";")), ""
        match = _HEADING.match(style_name)
        level = int(match[1]) if match else None
        if level is None and self._state.outline is not None and 0 <= self._state.outline < 9:
            level = self._state.outline + 1
        if level and self._state.style >= 0:
            self._levels[self._state.style] = level

    def _formatted(self, word: str, number: int | None) -> None:
        """Take a word that formats, ends something, or stands for a character."""
        if word in _ENDS:
            _ENDS[word](self)
        elif word in _SETS:
            _SETS[word](self, number)
        elif word in CHARACTERS:
            self._write(CHARACTERS[word])
        elif word == "u" and number is not None:
            self._unicode(number)

    def _unicode(self, number: int) -> None:
        # Beyond the basic plane a character is two of these words, as in UTF-16.
        unit = (number & 0xFFFF).to_bytes(2, "little")
        runs = self._stories[-1].runs
        if (
            0xDC00 <= number & 0xFFFF < 0xE000
            and runs
            and runs[-1].text
            and "\ud800" <= runs[-1].text[-1] < "\udc00"
        ):
            high = runs[-1].text[-1].encode("utf-16-le", "surrogatepass")
            runs[-1] = replace(
                runs[-1], text=runs[-1].text[:-1] + (high + unit).decode("utf-16-le", "replace")
            )
        else:
            self._write(unit.decode("utf-16-le", "surrogatepass"))
        self._skip = self._state.skip_after_unicode

    def _font(self, number: int | None) -> None:
        self._state.codec = self._codecs.get(number or 0, self._default_codec)

    def _set_default_font(self, number: int | None) -> None:
        self._default_font = number

    def _code_page(self, number: int | None) -> None:
        self._default_codec = self._state.codec = known_codec(f"cp{number}")

    def _plain(self) -> None:
        self._font(self._default_font)
        self._state.hidden, self._state.half_points = False, DEFAULT_HALF_POINTS
        self._state.colour = self._state.ground = 0

    def _plain_paragraph(self) -> None:
        self._state.in_table, self._state.style, self._state.outline = False, 0, None
        self._state.list_level, self._state.paragraph_ground = None, 0

    def _end_paragraph(self) -> None:
        story, state = self._stories[-1], self._state
        runs, story.runs = story.runs, []
        if state.in_table or story.cell or story.cells:
            story.cell += [*runs, Run("\n")]
            return
        if not _says_something(runs):
            story.runs = []
            return
        self._end_table()
        story.blocks += self._paragraph([_whole(run) for run in runs])
        story.blocks += story.beside
        story.beside = []

    def _paragraph(self, runs: list[Run]) -> list[Block]:
        state = self._state
        level = self._levels.get(state.style)
        if state.outline is not None and 0 <= state.outline < 9:
            level = state.outline + 1
        if level:
            return text_blocks(runs, "heading", level)
        kind: BlockKind = "paragraph" if state.list_level is None else "list_item"
        return text_blocks(runs, kind, 0 if state.list_level is None else state.list_level + 1)

    def _end_cell(self) -> None:
        story = self._stories[-1]
        runs = [_whole(run) for run in (*story.cell, *story.runs)]
        story.cell, story.runs = [], []
        story.cells.append(one_line(seen(runs)))
        story.beside_rows += [*unseen_blocks(runs), *story.beside]
        story.beside = []

    def _end_row(self) -> None:
        story = self._stories[-1]
        if story.cells:
            story.rows.append(story.cells)
        story.cells, story.cell, story.shaded = [], [], False

    def _end_table(self) -> None:
        story = self._stories[-1]
        if story.cells:
            self._end_row()
        tables = table_blocks((0, 0, cells) for cells in story.rows)
        story.blocks += [Block("table", table.text, header=table.header) for table in tables]
        story.blocks += story.beside_rows
        story.rows, story.beside_rows = [], []

    def _finished(self) -> list[Block]:
        """Return all blocks of the innermost story, which has come to its end."""
        self._end_paragraph()
        self._end_table()
        story = self._stories[-1]
        return [*story.blocks, *story.beside]

    def _end_story(self) -> None:
        blocks = self._finished()
        story = self._stories.pop()
        if story.kind in self.margins:
            self.margins[story.kind] += blocks
        elif story.kind == "comment":
            self._stories[-1].beside += hidden_text("\n".join(block.text for block in blocks), "comment")
        else:
            self._stories[-1].beside += blocks


def _says_something(runs: list[Run]) -> bool:
    return any(run.text.strip() for run in runs)


def _whole(run: Run) -> Run:
    """Return the run without half characters, which no encoding can write."""
    return replace(run, text=run.text.encode("utf-8", "replace").decode("utf-8"))


def _level(reader: _Reader, number: int | None) -> None:
    reader._state.list_level = number or 0


_ENDS: Final[dict[str, Callable[[_Reader], None]]] = {
    "par": _Reader._end_paragraph,
    "sect": _Reader._end_paragraph,
    "page": _Reader._end_paragraph,
    "cell": _Reader._end_cell,
    "row": _Reader._end_row,
    "nestcell": lambda reader: reader._write(" "),
    "nestrow": lambda reader: reader._write(" "),
    "plain": _Reader._plain,
    "pard": _Reader._plain_paragraph,
}


def _set(name: str, otherwise: int) -> Callable[[_Reader, int | None], None]:
    def setter(reader: _Reader, number: int | None) -> None:
        setattr(reader._state, name, otherwise if number is None else number)

    return setter


def _switch(name: str) -> Callable[[_Reader, int | None], None]:
    def setter(reader: _Reader, number: int | None) -> None:
        setattr(reader._state, name, number != 0)

    return setter


def _shade(reader: _Reader, number: int | None) -> None:
    if number:
        reader._stories[-1].shaded = True


def _begin_row(reader: _Reader, number: int | None) -> None:
    reader._stories[-1].shaded = False


_SETS: Final[dict[str, Callable[[_Reader, int | None], None]]] = {
    "f": _Reader._font,
    "deff": _Reader._set_default_font,
    "ansicpg": _Reader._code_page,
    "uc": _set("skip_after_unicode", 1),
    "v": _switch("hidden"),
    "deleted": _switch("deleted"),
    "intbl": _switch("in_table"),
    "fs": _set("half_points", DEFAULT_HALF_POINTS),
    "cf": _set("colour", 0),
    "cb": _set("ground", 0),
    "chcbpat": _set("ground", 0),
    "highlight": _set("ground", 0),
    "cbpat": _set("paragraph_ground", 0),
    "clcbpat": _shade,
    "clshdng": _shade,
    "trowd": _begin_row,
    "s": _set("style", 0),
    "outlinelevel": _set("outline", 9),
    "ilvl": _level,
    "ls": lambda reader, number: _level(reader, reader._state.list_level) if number else None,
}
