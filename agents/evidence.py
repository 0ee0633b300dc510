"""Evidence: each passage's verbatim sentence nearest to the question, and whether that suffices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.events import Citation, Evidence
from agents.wording import content_words, names_in, numbers_in, stem
from infra.documents import Passage
from infra.sentences import sentence_spans

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to normalised vectors, shape (texts, dimensions)."""

# Below these the best passage is taken to be about something else. Read off `bench/thresholds.py`: of 20
# questions that the corpus answers all pass, of 100 about other subjects 3 do.
MIN_COSINE: Final = 0.40
MIN_SCORE: Final = 0.55
# Further quotes are shown with the best one when they come this close to it; the others stand behind it.
QUOTE_MARGIN: Final = 0.30
MAX_QUOTE_CHARS: Final = 420
SHORT_QUOTE_CHARS: Final = 60
CELL: Final = " | "
"""Stands between the cells of a table row."""
_MIN_SENTENCE_CHARS: Final = 12
_MARKUP = re.compile(r"[\\`*\[\]<>!]")
_ADDRESS = re.compile(r"(\b\w+|\bwww)(://|(?<=www)\.)", re.IGNORECASE)
_BULLET = re.compile(r"[•◦▪–*-]\s+")


@dataclass(frozen=True)
class Quote:
    """The best verbatim piece of one passage; `score` is a cosine plus a share of the question's words."""

    passage: Passage
    span: tuple[int, int]
    score: float
    cosine: float
    coverage: float

    @property
    def text(self) -> str:
        """The quote itself."""
        return self.passage.text[self.span[0] : self.span[1]]


def evidence_of(quotes: list[Quote]) -> Evidence:
    """Number the quotes and say whether they suffice for an answer."""
    best = max((quote.score for quote in quotes), default=0.0)
    citations = [
        Citation(
            n=n,
            passage=quote.passage,
            quote=quote.text,
            span=quote.span,
            support=round(100 * max(0.0, min(1.0, quote.cosine))),
            shown=quote.score >= best - QUOTE_MARGIN,
            boxes=boxes_of(quote.passage, quote.span),
        )
        for n, quote in enumerate(quotes, start=1)
    ]
    sufficient = any(quote.cosine >= MIN_COSINE and quote.score >= MIN_SCORE for quote in quotes)
    shown = [citation for citation in citations if citation.shown]
    text = "\n".join(f"> {as_plain_text(citation.quote)} [{citation.n}]\n" for citation in shown)
    return Evidence(citations=citations, text=text, sufficient=sufficient)


def best_quotes(
    question: str, question_vector: NDArray[np.float32], passages: Sequence[Passage], embed: Embed
) -> list[Quote]:
    """Return one quote a passage, in the order of the passages: its sentence nearest to the question.

    Nearness is cosine + 0.5 * share of the question's content words, in which names and numbers count
    twice. A table row is read together with its column names; a short sentence takes its follower along,
    so that a heading or a list's opening line does not stand alone.
    """
    read = [(n, span, text) for n, passage in enumerate(passages) for span, text in _as_read(passage.text)]
    read = [entry for entry in read if len(entry[2]) >= _MIN_SENTENCE_CHARS] or read
    if not read:
        return []
    vectors = embed([text for _, _, text in read])
    wanted = _weighted_words(question)
    best: dict[int, Quote] = {}
    for (n, span, text), cosine in zip(read, (vectors @ question_vector).tolist(), strict=True):
        coverage = _weighted_share(wanted, content_words(text))
        score = cosine + 0.5 * coverage
        if n not in best or score > best[n].score:
            best[n] = Quote(passages[n], span, score, cosine, coverage)
    return [_widened(best[n]) for n in sorted(best)]


def _as_read(text: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield each sentence's range and what it says; a row of a table says its column names, too."""
    columns = ""
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        if CELL not in sentence:
            columns = ""
            yield (start, end), sentence
        elif not columns:
            columns = sentence
            yield (start, end), sentence
        else:
            yield (start, end), f"{columns}\n{sentence}"


def _weighted_words(question: str) -> dict[str, float]:
    marked = {stem(name) for name in names_in(question)} | numbers_in(question)
    return {word: 2.0 if word in marked else 1.0 for word in content_words(question)}


def _weighted_share(wanted: dict[str, float], present: set[str]) -> float:
    found = sum(weight for word, weight in wanted.items() if word in present)
    return found / sum(wanted.values()) if wanted else 0.0


def _widened(quote: Quote) -> Quote:
    start, end = quote.span
    text = quote.passage.text
    following = [span for span in sentence_spans(text) if span[0] >= end]
    while following and _needs_more(text[start:end]) and CELL not in text[slice(*following[0])]:
        if following[0][1] - start > MAX_QUOTE_CHARS:
            break
        end = following.pop(0)[1]
    end = min(end, start + MAX_QUOTE_CHARS)
    bullet = _BULLET.match(text, start, end)
    span = (bullet.end() if bullet else start, end)
    return Quote(quote.passage, span, quote.score, quote.cosine, quote.coverage)


def _needs_more(quote: str) -> bool:
    return CELL not in quote and (len(quote) < SHORT_QUOTE_CHARS or quote.rstrip().endswith(":"))


def as_plain_text(quote: str) -> str:
    """Return a quote on one line in which Markdown is text: no image, link, tag or citation mark of its own.

    A document must not make a reader's client fetch an address (design §5), so addresses are broken up too.
    """
    escaped = _MARKUP.sub(r"\\\g<0>", " ".join(quote.split()))
    return _ADDRESS.sub(r"\g<1>\\\g<2>", escaped)


def boxes_of(passage: Passage, span: tuple[int, int]) -> list[dict[str, float]]:
    """Return the boxes (points, origin top left of the page) of the lines that `span` touches."""
    return [
        {"page": page, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
        for start, end, page, x0, y0, x1, y1 in passage.lines
        if start < span[1] and end > span[0]
    ]
