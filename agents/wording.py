"""Words, numbers and names of a text, in a form that compares."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any, Final

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d.,:/]*\d|\d")
_MARK = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
_NEGATIONS: Final = frozenset("no not never none nobody nothing neither nor without cannot".split())
_SMALL_NUMBERS: Final = """zero one two three four five six seven eight nine ten eleven twelve thirteen
    fourteen fifteen sixteen seventeen eighteen nineteen twenty""".split()
_NUMBER_WORDS: Final = {word: str(number) for number, word in enumerate(_SMALL_NUMBERS)} | {
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


def split_marks(sentence: str) -> tuple[str, tuple[int, ...]]:
    """Take the citation marks `[n]` out of a sentence; returns the plain text and the numbers."""
    numbers = [int(part) for match in _MARK.finditer(sentence) for part in match.group(1).split(",")]
    return _MARK.sub("", sentence).strip(), tuple(dict.fromkeys(numbers))


def is_negated(text: str) -> bool:
    """Say whether a text denies something."""
    return not _NEGATIONS.isdisjoint(words_in(text))


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
    return {stem(word) for word in words_in(text) if word not in _STOP_WORDS and len(word) > 1}


def _plain_number(number: str) -> str:
    plain = number.replace("−", "-").strip(".,:/")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    return plain.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d*0", plain) else plain


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the English stem of a lower-case word (Snowball)."""
    found: str = _stemmer().stemWord(word)
    return found


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def share_of(wanted: set[str], present: set[str]) -> float:
    """Return which part of `wanted` is `present`, 0 to 1; 0 when nothing is wanted."""
    return len(wanted & present) / len(wanted) if wanted else 0.0
