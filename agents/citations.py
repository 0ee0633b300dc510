"""Whether a passage supports a claim.

A generated sentence is a claim. It is released only when it is about what was asked, every number and name
in it stands in one passage, its negation agrees with that passage, and its words or its embedding are close
enough to one of the passage's sentences. Everything else is withheld: a missed sentence costs a reader one
look at the evidence, an invented one costs their trust.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.events import Citation
from agents.evidence import CELL, Embed
from agents.wording import content_words, is_negated, names_in, numbers_in, share_of, stem, words_in
from infra.sentences import sentence_spans

MIN_OVERLAP: Final = 0.5
MIN_COSINE: Final = 0.60
CERTAIN_OVERLAP: Final = 0.8
MIN_RELEVANCE: Final = 0.25
_LINK = re.compile(r"https?://|www\.|!\[|\]\(|<\w", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """Whether a claim stands, which passages say so (their numbers), and how well (0 to 100)."""

    supported: bool
    citations: tuple[int, ...]
    support: int
    reason: str = ""


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
    cosine, overlap = float(np.max(cosines)), share_of(content_words(claim), content_words(context))
    if overlap > MIN_OVERLAP and is_negated(claim) != is_negated(nearest):
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
    if not {stem(name) for name in names_in(claim)} <= {stem(word) for word in words_in(context)}:
        return "name"
    return None


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
            is_row = CELL in sentence
            words = content_words(sentence if is_row else f"{before} {sentence}")
            if words & ((asked if is_row else said) - {number}):
                return True
        before = sentence
    return False
