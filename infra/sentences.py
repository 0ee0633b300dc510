"""Where sentences end, for cutting passages and for choosing quotes: one rule for both.

A regular expression and a list of abbreviations, because what the libraries offer (NLTK's Punkt, spaCy)
reads data files or models that would have to be fetched, and splits no better on policies and tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W_a-z])|\n+")
_LAST_WORD = re.compile(r"([\w.]+)\.\W*$")
_ABBREVIATIONS: Final = frozenset(
    "e.g i.e etc dr mr mrs ms prof st vs no nos art sec fig vol approx inc ltd co tel p pp u.s u.k".split()
)


def sentence_ends(text: str) -> Iterator[int]:
    """Yield the character position behind each sentence, white space included; a line end closes one."""
    for match in _END.finditer(text):
        if text[match.start()] != "." or not _abbreviates(text, match.start() + 1):
            yield match.end()


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the character ranges of the sentences in `text`, without the white space around them."""
    spans: list[tuple[int, int]] = []
    start = 0
    for end in [*sentence_ends(text), len(text)]:
        piece = text[start:end]
        left, right = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        if right > left:
            spans.append((left, right))
        start = end
    return spans


def _abbreviates(text: str, end: int) -> bool:
    word = _LAST_WORD.search(text, max(0, end - 12), end)
    return word is not None and word.group(1).lower() in _ABBREVIATIONS
