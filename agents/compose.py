"""Put evidence into words: the prompt's passages, the growing answer, and its check sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from agents import prompts
from agents.citations import check_claim
from agents.events import Citation, Closing, Evidence, Progress, Question, Sentence, Status
from agents.evidence import Embed
from agents.wording import split_marks
from infra.embeddings import Embedder
from infra.errors import ModelUnavailable
from infra.llm import Completion
from infra.sentences import sentence_spans

# A sentence ends with its punctuation and any citation marks behind it, before the next word begins.
_SENTENCE_END = re.compile(r"[.!?](?:\s*\[[\d,\s]+\])*(?=\s+[^\s\[])|\n+")


@dataclass(frozen=True)
class Limits:
    """Bounds of one answer: prompt budget and answer length in tokens, time in seconds.

    With `whole`, nothing of it is released before its end is on the record.
    """

    prompt_tokens: int
    max_tokens: int
    timeout_s: float
    whole: bool = False


class Composition:
    """One generated answer while it is being written: buffer, checks, counts."""

    def __init__(self, question: Question, evidence: Evidence, limits: Limits, embedder: Embedder) -> None:
        self._question = question
        self._citations = evidence.citations
        self._passages = prompt_passages(evidence.citations, limits.prompt_tokens, embedder.count_tokens)
        self._buffer = ""
        self._count = embedder.count_tokens
        self.max_tokens = min(question.max_tokens or limits.max_tokens, limits.max_tokens)
        self.sentences: list[Sentence] = []
        self.withheld: list[str] = []
        self.completion_tokens = 0
        self.prompt_tokens = 0

    def messages(self) -> list[dict[str, str]]:
        """Return the prompt: instructions, passages, question."""
        earlier = [turn.text for turn in self._question.history if turn.role == "user"][-1:]
        messages = prompts.messages(self._question.text, earlier[0] if earlier else None, self._passages)
        self.prompt_tokens = sum(self._count(message["content"]) for message in messages)
        return messages

    @property
    def says_not_found(self) -> bool:
        """Whether the model says that the passages lack the answer."""
        return self._buffer.lstrip().upper().startswith(prompts.NOT_FOUND)

    def take(self, token: str) -> list[str]:
        """Add generated text; returns the sentences that are complete now."""
        self._buffer += token
        finished = []
        while match := _SENTENCE_END.search(self._buffer):
            finished.append(self._buffer[: match.end()].strip())
            self._buffer = self._buffer[match.end() :]
        return [sentence for sentence in finished if sentence]

    def rest(self) -> list[str]:
        """Return what stands after the last complete sentence."""
        left = "" if self.says_not_found else self._buffer.strip()
        self._buffer = ""
        return [left] if left else []

    def passages_of(self, sentence: Sentence) -> list[str]:
        """Return the ids of the passages that a sentence cites."""
        return [citation.passage.id for citation in self._citations if citation.n in sentence.citations]

    def withdraw(self) -> None:
        """Take back the last sentence, which may not be shown any more."""
        self.sentences.pop()
        self.withheld.append("withdrawn")

    def count(self, completion: Completion) -> None:
        """Take over the server's token counts, or our own count where it tells none."""
        self.prompt_tokens = completion.prompt_tokens or self.prompt_tokens
        self.completion_tokens = completion.completion_tokens or self._count(completion.text)

    def check(self, raw: str, embed: Embed) -> Sentence | Progress:
        """Check one sentence; returns it with its citations, or only that it was withheld."""
        claim, named = split_marks(raw.lstrip("-*• "))
        shown = [citation for citation in self._citations if citation.n in {n for n, _, _ in self._passages}]
        verdict = check_claim(claim, named, self._question.text, shown, embed)
        repeated = claim in {split_marks(sentence.text)[0] for sentence in self.sentences}
        if not claim or repeated or not verdict.supported:
            self.withheld.append(verdict.reason)
            return Progress("writing", dropped=len(self.withheld))
        marks = "".join(f"[{n}]" for n in verdict.citations)
        sentence = Sentence(f"{claim} {marks}", verdict.citations, verdict.support)
        self.sentences.append(sentence)
        return sentence

    def closing(self, failure: ModelUnavailable | None) -> Closing:
        """Return how the answer ends."""
        status, mode, message = self._verdict(failure)
        cited = {n for sentence in self.sentences for n in sentence.citations}
        return Closing(
            status=status,
            mode=mode,
            message=message,
            notice=not self.sentences or failure is not None,
            cited=[c for c in self._citations if not cited or c.n in cited],
            dropped=len(self.withheld),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
        )

    def _verdict(self, failure: ModelUnavailable | None) -> tuple[Status, str, str]:
        if failure is not None:
            text = "The language model is not available, so these are quotes only."
            return (Status.PARTIAL if self.sentences else Status.ANSWERED), "quote", text
        if self.sentences and not self.withheld:
            return Status.ANSWERED, "generated", "Every sentence was checked against its source."
        if self.sentences:
            text = "Some of what the model wrote was not supported by the passages and is not shown."
            return Status.PARTIAL, "generated", text
        if self.withheld and all(reason == "link" for reason in self.withheld):
            return Status.BLOCKED, "quote", "The model's text pointed outside and is not shown."
        if self.withheld:
            text = (
                "Nothing that the model wrote was supported by the passages; these quotes are what they say."
            )
            return Status.PARTIAL, "quote", text
        text = "The model added nothing to these quotes, which are the nearest that the documents say."
        return Status.PARTIAL, "quote", text


def prompt_passages(
    citations: list[Citation], budget: int, count_tokens: Callable[[str], int]
) -> list[tuple[int, str, str]]:
    """Choose what the model reads: each passage around its quote, best first, within `budget` tokens."""
    chosen: list[tuple[int, str, str]] = []
    left = budget
    for citation in citations:
        text = _window(citation, max(60, left // 2 if not chosen else left), count_tokens)
        cost = count_tokens(text) + 12
        if cost > left:
            break
        chosen.append((citation.n, citation.passage.document_name, text))
        left -= cost
    return chosen


def _window(citation: Citation, budget: int, count_tokens: Callable[[str], int]) -> str:
    """Grow from the quote to its neighbours, following ones first, while they fit into `budget` tokens."""
    text = citation.passage.text
    spans = sentence_spans(text)
    start, end = citation.span
    while True:
        wider = [(start, after[1]) for after in spans if after[0] >= end][:1]
        wider += [(before[0], end) for before in reversed(spans) if before[1] <= start][:1]
        fitting = [span for span in wider if count_tokens(text[span[0] : span[1]]) <= budget]
        if not fitting:
            return text[start:end]
        start, end = fitting[0]
