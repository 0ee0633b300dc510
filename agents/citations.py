"""Sentences, quotes, and whether a passage supports a claim.

A generated sentence is a claim. It is released only when every number and name in it stands in one
passage (or in the question), its negation agrees with that passage, and its words or its embedding are
close enough to one of the passage's sentences. Everything else is withheld: a missed sentence costs a
reader one look at the evidence, an invented one costs their trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.events import Citation
from infra.documents import Passage
from infra.sentences import sentence_spans

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to normalised vectors, shape (texts, dimensions)."""

MIN_OVERLAP: Final = 0.5
MIN_COSINE: Final = 0.60
CERTAIN_OVERLAP: Final = 0.8
MIN_RELEVANCE: Final = 0.25
MAX_QUOTE_CHARS: Final = 420
SHORT_QUOTE_CHARS: Final = 60
_MIN_SENTENCE_CHARS: Final = 12

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d.,:/]*\d|\d")
_MARK = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
_MARKUP = re.compile(r"[\\`*\[\]<>!]")
_ADDRESS = re.compile(r"(\b\w+|\bwww)(://|(?<=www)\.)", re.IGNORECASE)
_BULLET = re.compile(r"[•◦▪–*-]\s+")
_CELL: Final = " | "
_LINK = re.compile(r"https?://|www\.|!\[|\]\(|<\w", re.IGNORECASE)
_NEGATIONS: Final = frozenset("no not never none nobody nothing neither nor without cannot".split())
_NUMBER_WORDS: Final = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()
    )
} | {
    "twenty": "20",
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "ninety": "90",
    "hundred": "100",
}
_STOP_WORDS: Final = frozenset(
    """a about all also an and any are as at be been but by can could did do does each for from had has have
    he her his how i if in into is it its many may me more most much must my of on or our per shall she should
    so such than that the their them then there these they this those to up us was we were what when where
    which who whom whose why will with would you your""".split()
)


# --- evidence -------------------------------------------------------------------------------------


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
        if _CELL not in sentence:
            columns = ""
            yield (start, end), sentence
        elif not columns:
            columns = sentence
            yield (start, end), sentence
        else:
            yield (start, end), f"{columns}\n{sentence}"


def _weighted_words(question: str) -> dict[str, float]:
    marked = {_stem(name) for name in names_in(question)} | numbers_in(question)
    return {word: 2.0 if word in marked else 1.0 for word in content_words(question)}


def _weighted_share(wanted: dict[str, float], present: set[str]) -> float:
    found = sum(weight for word, weight in wanted.items() if word in present)
    return found / sum(wanted.values()) if wanted else 0.0


def _widened(quote: Quote) -> Quote:
    start, end = quote.span
    text = quote.passage.text
    following = [span for span in sentence_spans(text) if span[0] >= end]
    while following and _needs_more(text[start:end]) and _CELL not in text[slice(*following[0])]:
        if following[0][1] - start > MAX_QUOTE_CHARS:
            break
        end = following.pop(0)[1]
    end = min(end, start + MAX_QUOTE_CHARS)
    bullet = _BULLET.match(text, start, end)
    span = (bullet.end() if bullet else start, end)
    return Quote(quote.passage, span, quote.score, quote.cosine, quote.coverage)


def _needs_more(quote: str) -> bool:
    return _CELL not in quote and (len(quote) < SHORT_QUOTE_CHARS or quote.rstrip().endswith(":"))


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


# --- claims ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """Whether a claim stands, which passages say so (their numbers), and how well (0 to 100)."""

    supported: bool
    citations: tuple[int, ...]
    support: int
    reason: str = ""


def split_marks(sentence: str) -> tuple[str, tuple[int, ...]]:
    """Take the citation marks `[n]` out of a sentence; returns the plain text and the numbers."""
    numbers = [int(part) for match in _MARK.finditer(sentence) for part in match.group(1).split(",")]
    return _MARK.sub("", sentence).strip(), tuple(dict.fromkeys(numbers))


def check_claim(
    claim: str, named: Sequence[int], question: str, citations: Sequence[Citation], embed: Embed
) -> Verdict:
    """Check one generated sentence against the passages that the model saw.

    Passages that it names come first; one that it names wrongly is replaced by the passage that does
    support it, or dropped. Returns an unsupported verdict with the reason otherwise.
    """
    if _LINK.search(claim):
        return Verdict(False, (), 0, "link")
    if _is_beside(claim, question, embed):
        return Verdict(False, (), 0, "beside")
    ordered = sorted(citations, key=lambda citation: (citation.n not in named, citation.n))
    reason = "no_passage"
    for citation in ordered:
        verdict = _check_against(claim, question, citation, embed)
        if verdict.supported:
            return verdict
        reason = verdict.reason if citation.n in named or reason == "no_passage" else reason
    return Verdict(False, (), 0, reason)


def _is_beside(claim: str, question: str, embed: Embed) -> bool:
    """Say whether a sentence, however true, is about something else than what was asked."""
    if not content_words(claim).isdisjoint(content_words(question)):
        return False
    answer, asked = embed([claim, question])
    return float(answer @ asked) < MIN_RELEVANCE


def _check_against(claim: str, question: str, citation: Citation, embed: Embed) -> Verdict:
    passage = citation.passage
    context = f"{passage.text} {passage.heading} {passage.title}"
    reason = _wrong_details(claim, question, passage.text, context)
    if reason:
        return Verdict(False, (), 0, reason)
    spans = sentence_spans(passage.text)
    vectors = embed([claim, *(passage.text[start:end] for start, end in spans)])
    cosines = vectors[1:] @ vectors[0]
    nearest = passage.text[slice(*spans[int(np.argmax(cosines))])]
    cosine, overlap = float(np.max(cosines)), _share(content_words(claim), content_words(context))
    if overlap > MIN_OVERLAP and _is_negated(claim) != _is_negated(nearest):
        return Verdict(False, (), 0, "negation")
    if overlap < MIN_OVERLAP or (cosine < MIN_COSINE and overlap < CERTAIN_OVERLAP):
        return Verdict(False, (), 0, "claim")
    return Verdict(True, (citation.n,), min(100, round(50 * overlap + 50 * max(cosine, 0.0))))


def _wrong_details(claim: str, question: str, text: str, context: str) -> str | None:
    """Name the kind of detail in the claim that the passage does not state; None when it states them all."""
    if not text.strip():
        return "no_passage"
    numbers = numbers_in(claim)
    if not numbers <= numbers_in(context):
        return "number"
    if not all(_belongs(number, claim, question, text) for number in numbers & numbers_in(text)):
        return "number"
    if not {_stem(name) for name in names_in(claim)} <= {_stem(word) for word in words_in(context)}:
        return "name"
    return None


def _is_negated(text: str) -> bool:
    return not _NEGATIONS.isdisjoint(words_in(text))


def _belongs(number: str, claim: str, question: str, text: str) -> bool:
    """Say whether the passage states `number` about the thing in question, not about its neighbour.

    The sentence with the number, together with the one before it, shares a content word with question and
    claim; a table row stands alone and shares one with the question itself.
    """
    if number in numbers_in(question):
        return True
    asked, said = content_words(question), content_words(question) | content_words(claim)
    before = ""
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        if number in numbers_in(sentence):
            is_row = _CELL in sentence
            words = content_words(sentence if is_row else f"{before} {sentence}")
            if words & ((asked if is_row else said) - {number}):
                return True
        before = sentence
    return False


def words_in(text: str) -> set[str]:
    """Return the lower-case words, with contracted negations written out."""
    words = {match.group().lower().replace("’", "'") for match in _WORD.finditer(text)}
    parts = {part for word in words for part in re.split(r"['-]", word)}
    return words | parts | ({"not"} if any(word.endswith("n't") for word in words) else set())


def numbers_in(text: str) -> set[str]:
    """Return the numbers in a comparable form: digits without grouping, number words as digits."""
    digits = {_plain_number(match.group()) for match in _NUMBER.finditer(_MARK.sub("", text))}
    return digits | {_NUMBER_WORDS[word] for word in words_in(text) if word in _NUMBER_WORDS} - {"1"}


def names_in(text: str) -> set[str]:
    """Return the lower-case parts of capitalised words that do not open the sentence."""
    found = set()
    for match in _WORD.finditer(text):
        word = match.group()
        if match.start() > 0 and word[0].isupper() and word.lower() not in _STOP_WORDS:
            found |= {part for part in re.split(r"['’-]", word.lower()) if len(part) > 1}
    return found


def content_words(text: str) -> set[str]:
    """Return the stems of the words that carry meaning."""
    return {_stem(word) for word in words_in(text) if word not in _STOP_WORDS and len(word) > 1}


def _plain_number(number: str) -> str:
    plain = number.replace("−", "-").strip(".,:/")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    return plain.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d*0", plain) else plain


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    stem: str = _stemmer().stemWord(word)
    return stem


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def _share(wanted: set[str], present: set[str]) -> float:
    return len(wanted & present) / len(wanted) if wanted else 0.0
