"""From blocks to passages: small enough for the embedding model, whole enough to be quoted.

A passage never crosses a page, slide, sheet, message or file within the file, so that a citation opens at the
right one. Texts that a reader would not see are left out, or kept in passages of their own. A heading begins
a passage, unless the one before is still very short; neighbours below one heading share a passage; long
paragraphs are cut between sentences, with some overlap; tables between rows, with the column names repeated;
code between lines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from infra.sentences import sentence_ends
from ingest.parse.blocks import Block, Line, ParsedDocument, Place, one_line

TARGET_WORDS: Final = 180
OVERLAP_WORDS: Final = 30
ESTIMATE_MARGIN: Final = 8
"""So many tokens below the limit, a passage is not counted as a whole any more."""
COUNTS_KEPT: Final = 1024
# Below this a section is a fragment that no question would find on its own.
SMALL_WORDS: Final = 60
# The part of a passage's tokens that title and headings may take.
CONTEXT_SHARE: Final = 4
_CELL_RANGE = re.compile(r"^([A-Z]+)(\d+):([A-Z]+)(\d+)$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage.

    `lines` are spans of `text` with their boxes on a PDF page; `embed_text` is what the embedding model
    reads: title, heading path and text, within its limit; `sha256` is of `text` in UTF-8, in hex.
    """

    text: str
    heading_path: tuple[str, ...]
    title: str | None
    places: tuple[Place, ...]
    lines: tuple[Line, ...]
    embed_text: str
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the passage as JSON values."""
        return {
            "text": self.text,
            "heading_path": list(self.heading_path),
            "title": self.title,
            "places": [place.as_dict() for place in self.places],
            "lines": [line.as_list() for line in self.lines],
            "embed_text": self.embed_text,
            "sha256": self.sha256,
        }

    @property
    def place(self) -> Place:
        """Where the whole passage stands: from its first line to its last, around all of its cells."""
        return Place(
            page=self.places[0].page,
            slide=self.places[0].slide,
            sheet=self.places[0].sheet,
            message=self.places[0].message,
            within=self.places[0].within,
            cells=_cells_around([place.cells for place in self.places if place.cells]),
            heading_path=self.heading_path,
            first_line=min((place.first_line for place in self.places if place.first_line), default=None),
            last_line=max((place.last_line for place in self.places if place.last_line), default=None),
        )

    def content(self) -> dict[str, Any]:
        """Return what is kept of the passage to show and cite it, as JSON values."""
        return {
            "text": self.text,
            "title": self.title or "",
            "heading": " > ".join(self.heading_path),
            "place": self.place.as_dict(),
            "lines": [line.as_list() for line in self.lines],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Chunk:
        """Rebuild what `as_dict` returned."""
        return cls(
            text=fields["text"],
            heading_path=tuple(fields["heading_path"]),
            title=fields["title"],
            places=tuple(Place.from_dict(place) for place in fields["places"]),
            lines=tuple(Line.from_list(line) for line in fields["lines"]),
            embed_text=fields["embed_text"],
            sha256=fields["sha256"],
        )


def chunks_of(
    document: ParsedDocument,
    count_tokens: Callable[[str], int],
    max_tokens: int,
    *,
    title: str | None = None,
    with_hidden: bool = False,
    target_words: int = TARGET_WORDS,
    overlap_words: int = OVERLAP_WORDS,
) -> list[Chunk]:
    """Cut a document into passages in reading order.

    `count_tokens` is the embedding model's own; no `embed_text` counts more than `max_tokens` by it. `title`
    replaces a missing title of the document (the file's name, say). With `with_hidden`, texts that a reader
    would not see become passages, too, never together with others. Raises ValueError when `max_tokens` is
    below 16, in which nothing sensible fits.
    """
    if max_tokens < 16:
        raise ValueError("a passage needs room for at least 16 tokens")
    fitting = _Fitting(document.title or title, count_tokens, max_tokens, target_words, overlap_words)
    builder = _Builder(fitting)
    for block in document.blocks:
        if block.text.strip() and (with_hidden or block.hidden is None):
            builder.add(block)
    builder.close()
    return builder.chunks


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span of one block that will be a line or more of a passage; a table's repeats its column names."""

    block: Block
    start: int
    end: int
    header: str = ""

    @property
    def text(self) -> str:
        body = self.block.text[self.start : self.end]
        return f"{self.header}\n{body}" if self.header else body

    @property
    def is_heading(self) -> bool:
        return self.block.kind == "heading"

    def lines(self, offset: int) -> Iterator[Line]:
        """Yield the printed lines of the span, with spans in a text in which the piece begins at `offset`."""
        shift = offset + (len(self.header) + 1 if self.header else 0) - self.start
        for line in self.block.lines:
            if line.start < self.end and line.end > self.start:
                clipped = replace(line, start=max(line.start, self.start), end=min(line.end, self.end))
                yield clipped.moved(shift)

    def place(self) -> Place:
        """Return where the span stands: within a table its own rows, within code its own lines."""
        place = self.block.place
        if self.block.kind not in ("table", "code") or place.first_line is None or place.last_line is None:
            return place
        rows = self.block.text.count("\n") + 1
        if rows != place.last_line - place.first_line + 1:
            return place  # A row spans several lines of the file, so that the rows cannot be told apart.
        first = place.first_line + self.block.text.count("\n", 0, self.start)
        last = first + self.block.text.count("\n", self.start, self.end)
        columns = _CELL_RANGE.match(place.cells or "")
        cells = f"{columns[1]}{first}:{columns[3]}{last}" if columns else place.cells
        return replace(place, first_line=first, last_line=last, cells=cells)


def _whole(block: Block) -> _Piece:
    return _Piece(block, 0, len(block.text), block.header)


class _Builder:
    """Gathers pieces into the passage at hand and finishes it when the next piece does not belong."""

    def __init__(self, fitting: _Fitting) -> None:
        self.chunks: list[Chunk] = []
        self._fitting = fitting
        self._open: list[_Piece] = []

    def add(self, block: Block) -> None:
        """Take the next block in reading order."""
        piece = _whole(block)
        if self._open and _leaf_of(self._open[-1].block) != _leaf_of(block):
            self.close()
        if piece.is_heading and not self._is_small():
            self.close()
        if self._fitting.fits([*self._open, piece]):
            self._open.append(piece)
            return
        headings = self._take_trailing_headings()
        self.close()
        if not self._fitting.leaves_room(headings):
            self._open = headings
            self.close()
            headings = []
        for part in self._fitting.parts(headings, piece):
            self.close()
            self._open = part

    def close(self) -> None:
        """Finish the passage at hand, if there is one."""
        if self._open:
            self.chunks.append(self._fitting.chunk(self._open))
            self._open = []

    def _is_small(self) -> bool:
        body = [piece for piece in self._open if not piece.is_heading]
        return not body or sum(_words(piece.text) for piece in self._open) < SMALL_WORDS

    def _take_trailing_headings(self) -> list[_Piece]:
        """Remove and return the headings at the end: they belong to what follows."""
        at = len(self._open)
        while at and self._open[at - 1].is_heading:
            at -= 1
        headings, self._open = self._open[at:], self._open[:at]
        return headings


def _leaf_of(block: Block) -> tuple[object, ...]:
    """Return what two blocks of one passage must have in common."""
    place = block.place
    return place.within, place.message, place.page, place.slide, place.sheet, block.hidden is None


class _Fitting:
    """What fits into one passage, and how to cut what does not."""

    def __init__(
        self,
        title: str | None,
        count_tokens: Callable[[str], int],
        max_tokens: int,
        target_words: int,
        overlap_words: int,
    ) -> None:
        self._title = one_line(title) if title else None
        self._count = count_tokens
        # The same titles, headings and lines are counted again and again.
        self._count_line = lru_cache(maxsize=COUNTS_KEPT)(count_tokens)
        self._max_tokens = max_tokens
        self._target_words = target_words
        self._overlap_words = overlap_words

    def chunk(self, pieces: list[_Piece]) -> Chunk:
        """Make the passage of `pieces`."""
        texts = [piece.text for piece in pieces]
        text = "\n".join(texts)
        lines: list[Line] = []
        offset = 0
        for piece, own in zip(pieces, texts, strict=True):
            lines.extend(piece.lines(offset))
            offset += len(own) + 1
        return Chunk(
            text=text,
            heading_path=_shown_path(pieces),
            title=self._title,
            places=_merged(piece.place() for piece in pieces),
            lines=tuple(lines),
            embed_text=self._embed_text(pieces),
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )

    def fits(self, pieces: list[_Piece]) -> bool:
        """Say whether `pieces` make a passage of the wanted size; one short piece always does."""
        texts = [piece.text for piece in pieces]
        if sum(_words(text) for text in texts) > self._target_words:
            return False
        # No tokenizer makes more of a joined text than of its lines and what joins them. Counting each line
        # once is much cheaper than counting the passage anew with every line that it gains.
        context = self._context_of(pieces)
        if (
            sum(self._count_line(text) + 1 for text in (context, *texts))
            <= self._max_tokens - ESTIMATE_MARGIN
        ):
            return True
        return self._count(_below(context, texts)) <= self._max_tokens

    def leaves_room(self, headings: list[_Piece]) -> bool:
        """Say whether at least half a passage remains below these headings."""
        return not headings or self._count(self._embed_text(headings)) <= self._max_tokens // 2

    def parts(self, headings: list[_Piece], piece: _Piece) -> Iterator[list[_Piece]]:
        """Yield `piece` below its headings as passages that fit, cut as its kind allows."""
        if self.fits([*headings, piece]):
            yield [*headings, piece]
            return
        header = piece.header
        if header and not self.leaves_room([*headings, replace(piece, end=piece.start)]):
            header = ""  # Column names as long as a passage cannot be repeated over every row.
            yield from self.parts(
                headings,
                _Piece(Block("paragraph", piece.header, place=piece.block.place), 0, len(piece.header)),
            )
            headings = []
        spans = self._spans(replace(piece, header=header), headings)
        for at, (start, end) in enumerate(spans):
            part = _Piece(piece.block, start, end, header)
            yield [*headings, part] if at == 0 else [part]

    def _spans(self, piece: _Piece, headings: list[_Piece]) -> list[tuple[int, int]]:
        """Cut a piece's block into spans; each fits a passage, the first together with the headings."""
        room = self._room(piece, headings)
        text = piece.block.text
        if piece.block.kind in ("table", "code"):
            rows = _joined_rows(text, lambda row: self._size(row, room), room)
            spans = [cut for row in rows for cut in self._sentences(text, row, room)]
        else:
            spans = self._sentences(text, (piece.start, piece.end), room)
            spans = [self._with_overlap(text, before, span, room) for before, span in _with_previous(spans)]
        return [
            safe
            for at, span in enumerate(spans)
            for safe in self._forced(piece, span, headings if at == 0 else [])
        ]

    def _room(self, piece: _Piece, headings: list[_Piece]) -> int:
        """Return the tokens left for text beside title, headings and column names."""
        around = [*headings, replace(piece, end=piece.start)]
        return max(self._max_tokens - self._count(self._embed_text(around)) - 2, self._max_tokens // 4)

    def _size(self, text: str, room: int) -> int:
        """Return a text's size in tokens, or more when its words would exceed the target length."""
        return max(self._count(text), _words(text) * room // self._target_words)

    def _sentences(self, text: str, span: tuple[int, int], room: int) -> list[tuple[int, int]]:
        """Cut a span between sentences into spans of at most `room` tokens, or as near as its words allow."""
        body = text[span[0] : span[1]]
        if self._size(body, room) <= room:
            return [span]
        # Room is kept for the overlap that is added afterwards.
        size = max(room - self._overlap_tokens(room), 8)
        return [
            (span[0] + start, span[0] + end)
            for start, end in _split(body, size, lambda t: self._size(t, room))
        ]

    def _overlap_tokens(self, room: int) -> int:
        return min(self._overlap_words * 2, room // 4)

    def _with_overlap(
        self, text: str, before: tuple[int, int] | None, span: tuple[int, int], room: int
    ) -> tuple[int, int]:
        """Begin a span up to `overlap_words` earlier, at a sentence's start if there is one that near."""
        if before is None:
            return span
        earliest = _words_back(text, span[0], before[0] + 1, self._overlap_words)
        starts = [start for start in sentence_ends(text) if earliest <= start < span[0]] or [earliest]
        for start in starts:
            if self._size(text[start : span[1]], room) <= room:
                return start, span[1]
        return span

    def _forced(
        self, piece: _Piece, span: tuple[int, int], headings: list[_Piece]
    ) -> Iterator[tuple[int, int]]:
        """Halve a span until it fits whatever the tokenizer counts; sums of counts are only an estimate."""
        start, end = span
        part = replace(piece, start=start, end=end)
        if end - start <= 1 or self._count(self._embed_text([*headings, part])) <= self._max_tokens:
            yield span
            return
        middle = _middle(piece.block.text, start, end)
        yield from self._forced(piece, (start, middle), headings)
        yield from self._forced(piece, (middle, end), [])

    def _embed_text(self, pieces: list[_Piece]) -> str:
        return _below(self._context_of(pieces), [piece.text for piece in pieces])

    def _context_of(self, pieces: list[_Piece]) -> str:
        return self._context(_common_path(piece.block.place.heading_path for piece in pieces))

    def _context(self, path: tuple[str, ...]) -> str:
        """Return title and headings in at most a quarter of the tokens; the innermost heading says most."""
        allowed = self._max_tokens // CONTEXT_SHARE
        names = [name for name in (self._title, *path) if name]
        distinct = [name for at, name in enumerate(names) if name not in names[:at]]
        # The title stays as long as it can; outer headings go first.
        while len(distinct) > 1 and self._count_line(" > ".join(distinct)) > allowed:
            distinct.pop(1 if len(distinct) > 2 else 0)
        return self._shortened(" > ".join(distinct), allowed)

    def _shortened(self, text: str, allowed: int) -> str:
        while text and self._count_line(text) > allowed:
            text = text.rpartition(" ")[0] if " " in text else text[: len(text) // 2]
        return text


# --- cutting text ---------------------------------------------------------------------------------


def _split(text: str, size: int, measure: Callable[[str], int]) -> list[tuple[int, int]]:
    """Return spans of `text` that LlamaIndex's sentence splitter would make of it, without overlap.

    Its own overlap is not used, because it returns texts, whose places could not be told for sure then. It
    gets our tokenizer and sentence rule: its defaults would fetch data and consult global settings.
    """
    from llama_index.core.node_parser import SentenceSplitter

    splitter = SentenceSplitter(
        chunk_size=size,
        chunk_overlap=0,
        tokenizer=lambda piece: range(measure(piece)),
        paragraph_separator="\n",
        chunking_tokenizer_fn=_sentence_texts,
    )
    try:
        texts = splitter.split_text(text)
    except ValueError:
        return [(0, len(text))]  # One character counts for more than fits; the caller halves what it can.
    spans: list[tuple[int, int]] = []
    at = 0
    for piece in texts:
        start = text.index(piece, at)
        at = start + len(piece)
        spans.append((start, at))
    return spans


def _sentence_texts(text: str) -> list[str]:
    ends = list(sentence_ends(text))
    return [text[start:end] for start, end in pairwise(sorted({0, *ends, len(text)}))]


def _joined_rows(text: str, measure: Callable[[str], int], room: int) -> list[tuple[int, int]]:
    """Return spans of whole rows, each of at most `room` tokens unless one row alone has more."""
    spans: list[tuple[int, int]] = []
    start, used, at = 0, 0, 0
    for row in text.split("\n"):
        cost = measure(row) + 1
        if at > start and used + cost > room:
            spans.append((start, at - 1))
            start, used = at, 0
        used += cost
        at += len(row) + 1
    spans.append((start, len(text)))
    return spans


def _with_previous(spans: list[tuple[int, int]]) -> list[tuple[tuple[int, int] | None, tuple[int, int]]]:
    return [(spans[at - 1] if at else None, span) for at, span in enumerate(spans)]


def _words_back(text: str, end: int, earliest: int, words: int) -> int:
    """Return where the last `words` words before `end` begin, but not before `earliest`."""
    starts = [match.start() for match in re.finditer(r"(?<!\S)\S", text[:end]) if match.start() >= earliest]
    return starts[-words:][0] if starts and words else end


def _middle(text: str, start: int, end: int) -> int:
    half = (start + end) // 2
    space = text.rfind(" ", start + 1, half)
    return space + 1 if start < space + 1 < end and space > 0 else half


def _below(context: str, texts: Iterable[str]) -> str:
    return "\n".join([context, *texts] if context else texts)


def _words(text: str) -> int:
    return len(text.split())


# --- where a passage stands -----------------------------------------------------------------------


def _common_path(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the headings that all have in common; those in the passage's own text are thereby left out."""
    common: tuple[str, ...] | None = None
    for path in paths:
        common = path if common is None else _common_start(common, path)
    return common or ()


def _common_start(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]


def _shown_path(pieces: list[_Piece]) -> tuple[str, ...]:
    """Return the headings that a reader would give as the passage's section."""
    bodies = [piece.block.place.heading_path for piece in pieces if not piece.is_heading]
    if bodies:
        return _common_path(bodies)
    last = pieces[-1].block
    return (*last.place.heading_path, one_line(last.text))


def _cells_around(ranges: list[str]) -> str | None:
    """Return the smallest range that covers all of `ranges`."""
    corners = [match for match in map(_CELL_RANGE.match, ranges) if match]
    if not corners:
        return None
    # Column names sort by their length first: Z comes before AA.
    left = min((match[1] for match in corners), key=lambda name: (len(name), name))
    right = max((match[3] for match in corners), key=lambda name: (len(name), name))
    return f"{left}{min(int(match[2]) for match in corners)}:{right}{max(int(match[4]) for match in corners)}"


def _merged(places: Iterable[Place]) -> tuple[Place, ...]:
    """Join places that differ only in their lines."""
    merged: list[Place] = []
    for place in places:
        last = merged[-1] if merged else None
        if last is not None and replace(last, first_line=None, last_line=None) == replace(
            place, first_line=None, last_line=None
        ):
            merged[-1] = replace(last, last_line=place.last_line if place.last_line else last.last_line)
        else:
            merged.append(place)
    return tuple(merged)
