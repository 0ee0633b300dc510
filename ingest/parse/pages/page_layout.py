"""From printed lines to blocks: headings, paragraphs and list items of a paged document in reading order.

The lines come from a PDF's text (`pdf_lines`) or from text recognition (`recognition`); what they are is
decided here, over the whole document, because a heading is known by being larger than everything else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median

from ingest.parse.blocks import Block, Hidden, Line, Place, one_line

# The parts of a page, from its top and bottom edge, in which running headers and footers stand.
MARGIN_SHARE = 0.2
MARGIN_LINES = 3
# Left and right pages often carry different headers, so half of the pages, nearly, is "most" of them.
REPEATED_SHARE = 0.45
HEADING_SIZE_RATIO = 1.15
MAX_HEADING_CHARS = 160
MAX_HEADING_LEVEL = 4
# Recognised lines within this ratio of their median height are body text: heights are measured on ink, and
# a line without capitals or descenders is lower than its neighbours.
EVEN_RATIO = 1.3
# Shorter recognised pieces say little about the usual size.
WORDY = 4
# A gap between recognised pieces that separates cells, in font sizes: their boxes reach beyond the ink.
RECOGNISED_CELL_GAP = 0.5
_BULLET = re.compile(
    r"^(?:[•◦▪▫‣●○■□–·\uf0b7\uf0a7]|[-*o](?=\s)|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)](?=\s))\s*"
)
_BULLET_SIGN = re.compile(r"^[•◦▪▫‣●○■□·\uf0b7\uf0a7]\s*")
_SPLIT_WORD = re.compile(r"[^\W\d_]-$")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LEADERS = re.compile(r"(?:\s?\.){5,}\s?")


Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """One line as printed: its text, its box in points from the page's top left corner, and its type.

    `hidden` says why a reader does not see it. A `recognised` line comes from a picture.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    size: float  # font size in points, to the half point
    bold: bool
    hidden: Hidden | None = None
    recognised: bool = False

    @property
    def box(self) -> Box:
        """Return (x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True, slots=True)
class PrintedPage:
    """The lines of one page, and its width and height in points as it is displayed.

    `turn` is by how many degrees (0, 90, 180 or 270, anticlockwise) the page had to be turned for its lines
    to be upright: their boxes are those on the turned page.
    """

    lines: Sequence[PrintedLine]
    width: float
    height: float
    turn: int = 0

    @property
    def upright_height(self) -> float:
        """Return the height of the page when its lines are upright."""
        return self.width if self.turn in (90, 270) else self.height

    def displayed(self, box: Box) -> Box:
        """Return where a box on the turned page is on the page as it is displayed."""
        x0, y0, x1, y1 = box
        match self.turn:
            case 90:
                return self.width - y1, x0, self.width - y0, x1
            case 180:
                return self.width - x1, self.height - y1, self.width - x0, self.height - y0
            case 270:
                return y0, self.height - x1, y1, self.height - x0
            case _:
                return box


def blocks_of(pages: Sequence[PrintedPage]) -> list[Block]:
    """Return the blocks of a document in reading order; each page's hidden texts follow its visible ones."""
    visible = [[line for line in page.lines if line.hidden is None] for page in pages]
    visible = _evened(visible)
    visible = _without_running_lines(visible, [page.upright_height for page in pages])
    everything = [line for lines in visible for line in lines]
    body_size = _body_size(everything)
    vocabulary = _vocabulary(everything)
    levels = _heading_levels(visible, body_size)
    blocks: list[Block] = []
    for number, (page, lines) in enumerate(zip(pages, visible, strict=True), start=1):
        is_recognised = any(line.recognised for line in lines)
        ordered = lines if is_recognised else _in_reading_order(lines)
        for group in _groups(ordered, body_size, levels):
            block = _block(group, number, levels, vocabulary)
            if block.text:
                blocks.append(_on_displayed_page(block, page))
        blocks.extend(_hidden_blocks(page, number))
    return blocks


def printed_title(blocks: Sequence[Block]) -> str | None:
    """Return the first heading of page 1, or all of them when the page is a cover with nothing else."""
    cover = [block for block in blocks if block.place.page == 1 and block.hidden is None]
    headings = [one_line(block.text) for block in cover if block.kind == "heading"]
    if len(headings) == len(cover) <= 3:
        return " – ".join(headings) or None
    return headings[0] if headings else None


def _on_displayed_page(block: Block, page: PrintedPage) -> Block:
    if page.turn == 0:
        return block
    lines = []
    for line in block.lines:
        x0, y0, x1, y1 = page.displayed((line.x0, line.y0, line.x1, line.y1))
        lines.append(replace(line, x0=x0, y0=y0, x1=x1, y1=y1))
    return replace(block, lines=tuple(lines))


def _hidden_blocks(page: PrintedPage, number: int) -> Iterator[Block]:
    """Yield one block for each run of lines that are hidden for the same reason.

    Comments stay apart from each other. What lies off the page has no box there.
    """
    hidden = [line for line in page.lines if line.hidden is not None]
    for (reason, _), run in groupby(
        hidden, key=lambda line: (line.hidden, id(line) if line.hidden == "comment" else 0)
    ):
        text = ""
        lines: list[Line] = []
        for line in run:
            start = len(text) + 1 if text else 0
            text = f"{text}\n{line.text}" if text else line.text
            lines.append(Line(start, len(text), number, *line.box))
        yield Block(
            "paragraph",
            text,
            lines=() if reason == "off_page" else tuple(lines),
            place=Place(page=number),
            hidden=reason,
        )


# --- recognised lines -----------------------------------------------------------------------------


def _evened(visible: list[list[PrintedLine]]) -> list[list[PrintedLine]]:
    """Give recognised lines sizes that can be compared: the usual one, or a multiple of it."""
    sizes = [line.size for lines in visible for line in lines if line.recognised and len(line.text) >= WORDY]
    if not sizes:
        return visible
    usual = median(sizes)
    return [
        [replace(line, size=_even_size(line.size, usual)) if line.recognised else line for line in lines]
        for lines in visible
    ]


def _even_size(size: float, usual: float) -> float:
    if size < EVEN_RATIO * usual:
        return round(usual * 2) / 2
    return round(round(2 * size / usual) * usual) / 2


# --- headers and footers --------------------------------------------------------------------------


def _without_running_lines(pages: list[list[PrintedLine]], heights: list[float]) -> list[list[PrintedLine]]:
    """Drop the lines that repeat, but for their numbers, in the margins of most pages."""
    if len(pages) < 3:
        return pages
    marginal = [_marginal_lines(lines, height) for lines, height in zip(pages, heights, strict=True)]
    seen = Counter(key for lines in marginal for key in {_repetition_key(line) for line in lines})
    needed = max(3, REPEATED_SHARE * len(pages))
    repeated = {key for key, times in seen.items() if times >= needed}
    kept = [
        [line for line in lines if line not in margin or _repetition_key(line) not in repeated]
        for lines, margin in zip(pages, marginal, strict=True)
    ]
    # Where every page says the same, that is what the document says.
    return kept if any(kept) else pages


def _marginal_lines(lines: list[PrintedLine], height: float) -> set[PrintedLine]:
    by_height = sorted(lines, key=lambda line: line.y0)
    top = [line for line in by_height[:MARGIN_LINES] if line.y1 < MARGIN_SHARE * height]
    bottom = [line for line in by_height[-MARGIN_LINES:] if line.y0 > (1 - MARGIN_SHARE) * height]
    return {*top, *bottom}


def _repetition_key(line: PrintedLine) -> tuple[str, int]:
    # The place belongs to the key, so that a chapter's title is not taken for the header that repeats it.
    return re.sub(r"\d+", "#", one_line(line.text).lower()), round(line.y0 / 8)


# --- paragraphs and headings ----------------------------------------------------------------------


def _vocabulary(lines: list[PrintedLine]) -> frozenset[str]:
    """Return the document's words in lower case, without the halves of words that a line's end divides."""
    words: set[str] = set()
    divided = False
    for line in lines:
        found = _WORD.findall(line.text.lower())
        ends_divided = bool(_SPLIT_WORD.search(line.text))
        words.update(found[divided : len(found) - ends_divided])
        divided = ends_divided
    return frozenset(words)


def _body_size(lines: list[PrintedLine]) -> float:
    """Return the font size, in points, of most characters."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _heading_levels(pages: list[list[PrintedLine]], body_size: float) -> dict[float, int]:
    """Rank the sizes clearly above the body's: the largest is level 1."""
    sizes = Counter(
        line.size
        for lines in pages
        for line in lines
        if line.size >= HEADING_SIZE_RATIO * body_size and _could_be_heading(line.text)
    )
    return {
        size: min(rank, MAX_HEADING_LEVEL) for rank, size in enumerate(sorted(sizes, reverse=True), start=1)
    }


def _could_be_heading(text: str) -> bool:
    return len(text) <= MAX_HEADING_CHARS and any(character.isalpha() for character in text)


def _in_reading_order(lines: list[PrintedLine]) -> list[PrintedLine]:
    """Keep the order in which the file draws its lines, unless it jumps up the page again and again.

    Programs that make documents draw them in reading order, columns included; sorting by position would
    mix columns up. Forms and repaired files are the exception.
    """
    jumps = sum(after.y1 < before.y0 and _overlap(before, after) for before, after in pairwise(lines))
    if jumps <= max(2, len(lines) // 10):
        return lines
    return sorted(lines, key=lambda line: (round(line.y0 / 3), line.x0))


def _overlap(one: PrintedLine, other: PrintedLine) -> bool:
    return min(one.x1, other.x1) > max(one.x0, other.x0)


def _groups(
    lines: list[PrintedLine], body_size: float, levels: dict[float, int]
) -> Iterator[list[PrintedLine]]:
    """Yield the lines of each paragraph, list item and heading."""
    leading = _usual_leading(lines)
    group: list[PrintedLine] = []
    for line in lines:
        if group and not _continues(group, line, leading, body_size, levels):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _usual_leading(lines: list[PrintedLine]) -> float:
    """Return the usual distance between the baselines of successive lines, as a multiple of their size."""
    steps = [
        (after.y1 - before.y1) / before.size
        for before, after in pairwise(lines)
        if before.size == after.size > 0 and 0.8 < (after.y1 - before.y1) / before.size < 2.2
    ]
    return median(steps) if steps else 1.2


def _continues(
    group: list[PrintedLine], line: PrintedLine, leading: float, body_size: float, levels: dict[float, int]
) -> bool:
    before = group[-1]
    step = line.y1 - before.y1
    if _beside(before, line):
        return True  # A table's next cell, text after a gap, or a footnote mark.
    return (
        abs(line.size - before.size) <= 0.6
        and 0 < step <= (leading + 0.35) * max(before.size, 1)
        and any(_overlap(one, line) or abs(line.x0 - one.x0) < 2 * one.size for one in _last_row(group))
        and not _BULLET.match(line.text)
        and line.bold == before.bold
        and not (_is_heading(group, levels) and sum(len(one.text) for one in group) > MAX_HEADING_CHARS)
    ) or _bold_run_on(group, line, step, leading)


def _last_row(group: list[PrintedLine]) -> list[PrintedLine]:
    """Return the pieces that stand on the same printed line as the last one: the cells of a table's row."""
    last = group[-1]
    return [one for one in group if abs(one.y1 - last.y1) < 0.5 * max(last.size, 1)]


def _beside(before: PrintedLine, line: PrintedLine) -> bool:
    """Say whether two pieces stand on the same printed line, raised marks included."""
    shared = min(before.y1, line.y1) - max(before.y0, line.y0)
    return line.x0 >= before.x1 - before.size and shared > 0.5 * min(before.y1 - before.y0, line.y1 - line.y0)


def _bold_run_on(group: list[PrintedLine], line: PrintedLine, step: float, leading: float) -> bool:
    """Say whether a change of weight happens within a sentence rather than after a bold heading."""
    before = group[-1]
    return (
        line.bold != before.bold
        and not _BULLET.match(line.text)
        and abs(line.size - before.size) <= 0.6
        and 0 < step <= (leading + 0.35) * max(before.size, 1)
        and _overlap(before, line)
        and (line.text[:1].islower() or before.text.endswith((",", "-")))
    )


def _is_heading(group: list[PrintedLine], levels: dict[float, int]) -> bool:
    text = " ".join(line.text for line in group)
    if not _could_be_heading(text) or len(group) > 3:
        return False
    if all(line.size in levels for line in group):
        return True
    # A short bold line of body size heads a section; a bold sentence, or a bold row of cells, does not.
    return (
        len(group) == 1
        and group[0].bold
        and len(text) <= 90
        and " | " not in text
        and not text.rstrip().endswith((".", ",", ";"))
        and not _BULLET_SIGN.match(text)
    )


def _block(
    group: list[PrintedLine], page: int, levels: dict[float, int], vocabulary: frozenset[str]
) -> Block:
    text, lines = _joined(group, page, vocabulary)
    place = Place(page=page)
    if _is_heading(group, levels):
        level = min(
            levels.get(group[0].size, MAX_HEADING_LEVEL), levels.get(group[-1].size, MAX_HEADING_LEVEL)
        )
        if group[0].size not in levels:
            level = min(len(set(levels.values())) + 1, MAX_HEADING_LEVEL + 1)
        return Block("heading", text, level, lines, place)
    if _BULLET.match(text):
        return Block("list_item", text, 1, lines, place)
    return Block("paragraph", text, 0, lines, place)


def _joined(group: list[PrintedLine], page: int, vocabulary: frozenset[str]) -> tuple[str, tuple[Line, ...]]:
    """Join printed lines: hyphenated words are mended, and deliberate line breaks are kept."""
    right_edge = max(line.x1 for line in group)
    text = ""
    lines: list[Line] = []
    for at, printed in enumerate(group):
        piece = _LEADERS.sub(" … ", printed.text).strip()
        if at > 0 and text:
            text, separator = _seam(text, group[at - 1], printed, piece, right_edge, vocabulary)
            if not separator and lines:
                last = lines[-1]
                lines[-1] = Line(last.start, len(text), last.page, last.x0, last.y0, last.x1, last.y1)
            text += separator
        start = len(text)
        text += piece
        lines.append(Line(start, len(text), page, printed.x0, printed.y0, printed.x1, printed.y1))
    return text, tuple(lines)


def _seam(
    text: str,
    before: PrintedLine,
    after: PrintedLine,
    piece: str,
    right_edge: float,
    vocabulary: frozenset[str],
) -> tuple[str, str]:
    """Return the text so far, without a mended hyphen, and what goes between it and the next line."""
    if _beside(before, after):
        gap = after.x0 - before.x1
        if before.recognised and after.recognised:
            return text, " | " if gap > RECOGNISED_CELL_GAP * before.size else " "
        return text, " | " if gap > before.size else " " if gap > 0.15 * before.size else ""
    if _SPLIT_WORD.search(text) and piece[:1].islower():
        return (text if _is_compound(text, piece, vocabulary) else text[:-1]), ""
    # The next word would have fitted on this line, so that the line was ended on purpose.
    first_word = len(piece.split(" ", 1)[0]) + 1
    width = (after.x1 - after.x0) / max(len(after.text), 1)
    fitted = right_edge - before.x1 > first_word * width + 0.5 * before.size
    row = text.rpartition("\n")[2]
    is_row = " | " in row or " | " in after.text or bool(_LEADERS.search(before.text))
    return text, "\n" if fitted or is_row else " "


def _is_compound(text: str, piece: str, vocabulary: frozenset[str]) -> bool:
    """Say whether a hyphen at a line's end is part of the word ("long-term"), by the document's other words.

    `vocabulary` is every word of the document in lower case, compounds included.
    """
    left = _WORD.findall(text[:-1].lower())[-1:]
    right = _WORD.findall(piece.lower())[:1]
    if not left or not right:
        return False
    if left[0] + right[0] in vocabulary:
        return False
    return f"{left[0]}-{right[0]}" in vocabulary or (left[0] in vocabulary and right[0] in vocabulary)
