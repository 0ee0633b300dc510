"""How an answer is made, top to bottom; the only door to it is `Answerer.answer`.

ask -> search -> judge -> compose -> finish. The order is fail closed: the question and the retrieved
passages are on the record before a model is called, and every piece of text is on the record before it
is released. Evidence comes first, so that a reader has the verbatim sentences while a model still reads.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import numpy as np
from numpy.typing import NDArray
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from agents import prompts
from agents.citations import (
    Embed,
    Quote,
    as_plain_text,
    best_quotes,
    boxes_of,
    check_claim,
    content_words,
    split_marks,
)
from agents.events import Citation, Evidence, Notice, Outcome, Progress, Question, Released, Sentence, Status
from agents.record import AnswerRecord
from agents.retrieve import Found, Retriever
from infra.access import AccessScope, Principal, scope_of
from infra.audit.leaf import Tokens
from infra.audit.ledger import Ledger
from infra.embeddings import Embedder
from infra.errors import ModelUnavailable
from infra.llm import Completion, LanguageModel
from infra.sentences import sentence_spans

EVIDENCE_PASSAGES: Final = 5
# Below these the best passage is taken to be about something else. Read off `bench/thresholds.py`: of 20
# questions that the corpus answers all lie above, of 100 about other subjects 95 lie below.
MIN_COSINE: Final = 0.40
MIN_SCORE: Final = 0.55
# Further quotes are shown with the best one when they come this close to it; the others stand behind it.
QUOTE_MARGIN: Final = 0.30

_NO_MODEL: Final = "No language model is running, so these are verbatim quotes."
_NOTHING_NEAR: Final = "I found nothing in the documents you can read that answers this."
_NOTHING_AT_ALL: Final = "There are no documents that you can read yet."


# --- the events between the steps -----------------------------------------------------------------


class Asked(StartEvent):
    """Somebody asks."""

    question: Question
    principal: Principal
    record: AnswerRecord


class SearchWanted(Event):
    """The question stands by itself now; `search_text` is what is looked for."""

    search_text: str


class PassagesFound(Event):
    """The passages that this person may read."""

    search_text: str
    found: Found


class AnswerWanted(Event):
    """The evidence suffices and a model is there to put it into words."""

    search_text: str
    evidence: Evidence


class Ended(Event):
    """Nothing more will be released."""

    search_text: str
    status: Status
    mode: str
    message: str
    notice: bool
    evidence: Evidence
    cited: list[Citation]
    dropped: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Piece(Event):
    """Something released to the reader."""

    released: Released


@dataclass(frozen=True)
class Limits:
    """Bounds of one generated answer: prompt budget and answer length in tokens, time in seconds."""

    prompt_tokens: int
    max_tokens: int
    timeout_s: float


class AnswerWorkflow(Workflow):
    """The steps of one answer."""

    def __init__(
        self,
        retriever: Retriever,
        embedder: Embedder,
        model: LanguageModel | None,
        limits: Limits,
        salt: Callable[[AccessScope], str],
    ) -> None:
        super().__init__(timeout=limits.timeout_s + 60)
        self._retriever = retriever
        self._embedder = embedder
        self._model = model
        self._limits = limits
        self._salt = salt

    @step
    async def ask(self, ctx: Context, event: Asked) -> SearchWanted:
        """Put the question on the record and make it stand by itself."""
        await ctx.store.set("asked", event)
        await anyio.to_thread.run_sync(event.record.asked, event.question)
        return SearchWanted(search_text=standalone(event.question))

    @step
    async def search(self, ctx: Context, event: SearchWanted) -> PassagesFound:
        """Search as the person who asks."""
        asked = await _asked(ctx)
        found = await anyio.to_thread.run_sync(
            lambda: self._retriever.search(
                scope_of(asked.principal), event.search_text, limit=EVIDENCE_PASSAGES
            )
        )
        return PassagesFound(search_text=event.search_text, found=found)

    @step
    async def judge(self, ctx: Context, event: PassagesFound) -> AnswerWanted | Ended:
        """Put the passages on the record, show the evidence, and decide whether it suffices."""
        asked = await _asked(ctx)
        scope, passages = scope_of(asked.principal), event.found.passages
        quotes = await anyio.to_thread.run_sync(
            best_quotes, event.search_text, event.found.question_vector, passages, self._embed
        )
        evidence = evidence_of(quotes)
        await anyio.to_thread.run_sync(asked.record.retrieved, scope, passages, evidence.citations)
        if evidence.sufficient:
            await self._release(ctx, evidence, text=evidence.text)
        ended = _without_a_model(event.search_text, asked.question, evidence, self._model)
        return ended or AnswerWanted(search_text=event.search_text, evidence=evidence)

    @step
    async def compose(self, ctx: Context, event: AnswerWanted) -> Ended:
        """Let the model put the evidence into words; release what passes its check, sentence by sentence."""
        asked = await _asked(ctx)
        scope = scope_of(asked.principal)
        composition = Composition(asked.question, event.evidence, self._limits, self._embedder)
        failure = None
        try:
            async for piece in self._checked(composition, asked.record, scope):
                if not await self._still_readable(piece, composition, scope):
                    composition.withdraw()
                    continue
                await self._release(ctx, piece, text=piece.text if isinstance(piece, Sentence) else None)
        except ModelUnavailable as error:
            failure = error
        tokens = Tokens(read=composition.prompt_tokens, written=composition.completion_tokens)
        await anyio.to_thread.run_sync(asked.record.called, tokens, failure.code if failure else "ok")
        return composition.ended(event.search_text, failure)

    @step
    async def finish(self, ctx: Context, event: Ended) -> StopEvent:
        """Put the end on the record and hand out the receipt."""
        asked = await _asked(ctx)
        if event.notice:
            await self._release(ctx, Notice(event.message), text=event.message)
        receipt = await anyio.to_thread.run_sync(asked.record.finished, event.status, event.cited)
        outcome = Outcome(
            status=event.status,
            mode=event.mode,
            message=event.message,
            looked_for=event.search_text,
            dropped=event.dropped,
            citations=event.evidence.citations,
            prompt_tokens=event.prompt_tokens,
            completion_tokens=event.completion_tokens,
            receipt=receipt,
        )
        ctx.write_event_to_stream(Piece(released=outcome))
        return StopEvent()

    async def _checked(
        self, composition: Composition, record: AnswerRecord, scope: AccessScope
    ) -> AsyncIterator[Sentence | Progress]:
        model = self._model
        if model is None:
            raise ModelUnavailable("There is no language model.")
        yield Progress("reading")
        digest, template = await model.digest(), prompts.template_hash()
        params: dict[str, str | int] = {"max_tokens": composition.max_tokens, "temperature": "0"}
        await anyio.to_thread.run_sync(record.calling, digest, template, params)
        stream = model.stream(
            composition.messages(),
            max_tokens=composition.max_tokens,
            cache_salt=self._salt(scope),
        )
        async with stream:
            async for token in stream:
                for raw in composition.take(token):
                    yield await anyio.to_thread.run_sync(composition.check, raw, self._embed)
                if composition.says_not_found:
                    break
            composition.count(stream.completion)
        for raw in composition.rest():
            yield await anyio.to_thread.run_sync(composition.check, raw, self._embed)

    async def _release(self, ctx: Context, piece: Released, *, text: str | None) -> None:
        """Record first, release second; the one place where text leaves."""
        asked = await _asked(ctx)
        if text is not None:
            await anyio.to_thread.run_sync(asked.record.segment, text)
        ctx.write_event_to_stream(Piece(released=piece))

    async def _still_readable(
        self, piece: Sentence | Progress, composition: Composition, scope: AccessScope
    ) -> bool:
        """Look once more before a sentence leaves: its document may have been unshared meanwhile."""
        if isinstance(piece, Progress):
            return True
        cited = composition.passages_of(piece)
        return await anyio.to_thread.run_sync(self._retriever.may_still_read, scope, cited)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embedder.embed_sentences(texts)


class Answerer:
    """Answers questions as one person at a time, each on the record from the first step."""

    def __init__(
        self,
        retriever: Retriever,
        embedder: Embedder,
        ledger: Ledger,
        model: Callable[[], LanguageModel | None],
        limits: Limits,
        salt_key: bytes,
    ) -> None:
        """Bind the collaborators; `salt_key` (32 bytes) separates a server's prefix caches by scope."""
        self._salt_key = salt_key
        self._retriever = retriever
        self._embedder = embedder
        self._ledger = ledger
        self._model = model
        self._limits = limits

    async def answer(self, question: Question, principal: Principal) -> AsyncGenerator[Released]:
        """Yield evidence, progress, checked sentences and last the outcome, each already recorded.

        Raises AuditUnavailable when the ledger does not take a record; nothing is released then.
        Closing the iterator early cancels the model call and records that the reader left.
        """
        record = AnswerRecord(self._ledger, principal, question.answer_id)
        model = None if question.quotes_only else self._model()
        workflow = AnswerWorkflow(self._retriever, self._embedder, model, self._limits, self._cache_salt)
        handler = workflow.run(start_event=Asked(question=question, principal=principal, record=record))
        outcome = "interrupted"
        try:
            async for event in handler.stream_events():
                if isinstance(event, Piece):
                    yield event.released
            await handler
        except Exception:
            outcome = "failed"
            raise
        finally:
            with anyio.CancelScope(shield=True):
                if not handler.is_done():
                    await handler.cancel_run()
                await anyio.to_thread.run_sync(record.interrupted, outcome)

    def _cache_salt(self, scope: AccessScope) -> str:
        return hmac.new(self._salt_key, scope.principal_set_hash.encode(), hashlib.sha256).hexdigest()


def warm_up(embedder: Embedder) -> None:
    """Load what the first answer needs: the embedding model, its first run, and the stemmer."""
    check_claim("Ready now.", (), "", [], embedder.embed_sentences)
    content_words("warming up")
    embedder.embed_sentences(["Warming up.", "The first run is slower than the others."])
    embedder.embed_query("warming up")


# --- composing ------------------------------------------------------------------------------------

# A sentence ends with its punctuation and any citation marks behind it, before the next word begins.
_SENTENCE_END = re.compile(r"[.!?](?:\s*\[[\d,\s]+\])*(?=\s+[^\s\[])|\n+")


class Composition:
    """One generated answer while it is being written: buffer, checks, counts."""

    def __init__(self, question: Question, evidence: Evidence, limits: Limits, embedder: Embedder) -> None:
        self._question = question
        self._citations = evidence.citations
        self._passages = prompt_passages(evidence.citations, limits.prompt_tokens, embedder.count_tokens)
        self._buffer = ""
        self._evidence = evidence
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

    def ended(self, search_text: str, failure: ModelUnavailable | None) -> Ended:
        """Return how the answer ended."""
        status, mode, message = self._verdict(failure)
        cited = {n for sentence in self.sentences for n in sentence.citations}
        return Ended(
            search_text=search_text,
            status=status,
            mode=mode,
            message=message,
            notice=not self.sentences or failure is not None,
            evidence=self._evidence,
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


def standalone(question: Question) -> str:
    """Return what to search for: a follow-up takes the question before it along."""
    earlier = [turn.text for turn in question.history if turn.role == "user"]
    if not earlier or not _leans_on_history(question.text):
        return question.text
    return f"{earlier[-1]} {question.text}"


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


def _leans_on_history(text: str) -> bool:
    words = re.findall(r"[a-z']+", text.lower())
    pronouns = {
        "it",
        "its",
        "they",
        "them",
        "their",
        "that",
        "this",
        "those",
        "these",
        "he",
        "she",
        "there",
        "one",
    }
    opener = words[:1] in (["and"], ["but"], ["so"]) or words[:2] in (["what", "about"], ["how", "about"])
    return len(words) <= 4 or opener or not pronouns.isdisjoint(words)


def _without_a_model(
    search_text: str, question: Question, evidence: Evidence, model: LanguageModel | None
) -> Ended | None:
    """Return the end of an answer that needs no model, or None when a model shall speak."""
    if evidence.sufficient and model is not None:
        return None
    if evidence.sufficient:
        asked_for = question.quotes_only
        message = "Verbatim quotes, as asked." if asked_for else _NO_MODEL
        status, cited = Status.ANSWERED, evidence.citations
    else:
        asked_for = False
        message = _NOTHING_NEAR if evidence.citations else _NOTHING_AT_ALL
        status, cited = Status.ABSTAINED, []
    return Ended(
        search_text=search_text,
        status=status,
        mode="quote",
        message=message,
        notice=not asked_for,
        evidence=evidence,
        cited=cited,
    )


async def _asked(ctx: Context) -> Asked:
    asked: Asked = await ctx.store.get("asked")
    return asked
