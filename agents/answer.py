"""How an answer is made, top to bottom; the only door to it is `Answerer.answer`.

ask -> search -> judge -> compose -> finish. The order is fail closed: the question and the retrieved
passages are on the record before a model is called, and every piece of text is on the record before it
is released. Evidence comes first, so that a reader has the verbatim sentences while a model still reads.
Before each release it is looked up anew who asks: an answer takes minutes, and rights can end sooner.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

import anyio
import numpy as np
from numpy.typing import NDArray
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from agents import prompts
from agents.citations import check_claim
from agents.compose import Composition, Limits
from agents.events import Closing, Evidence, Notice, Outcome, Progress, Question, Released, Sentence, Status
from agents.evidence import best_quotes, evidence_of
from agents.history import still_readable
from agents.record import AnswerRecord
from agents.retrieve import Found, Retriever
from agents.wording import content_words
from infra.access import AccessScope, Principal, scope_of
from infra.accounts import SIGNED_OUT
from infra.audit.leaf import Tokens
from infra.audit.ledger import Ledger
from infra.embeddings import Embedder
from infra.errors import AuditUnavailable, Conflict, ModelUnavailable, NotAuthenticated
from infra.llm import LanguageModel
from infra.logs import get_logger

EVIDENCE_PASSAGES: Final = 5
_log = get_logger()

_AS_ASKED: Final = "Verbatim quotes, as asked."
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
    epoch: int


class Ended(Event):
    """Nothing more will be released, but perhaps a notice."""

    search_text: str
    evidence: Evidence
    closing: Closing


class Piece(Event):
    """Something released to the reader."""

    released: Released


class AnswerWorkflow(Workflow):
    """The steps of one answer."""

    def __init__(
        self,
        retriever: Retriever,
        embedder: Embedder,
        model: LanguageModel | None,
        limits: Limits,
        salt: Callable[[AccessScope, int], str],
        no_answer_text: Callable[[], str | None],
        renewed: Callable[[Principal], Principal | None],
    ) -> None:
        super().__init__(timeout=limits.timeout_s + 60)
        self._held: list[Released] = []
        self._retriever = retriever
        self._embedder = embedder
        self._model = model
        self._limits = limits
        self._salt = salt
        self._no_answer_text = no_answer_text
        self._renewed = renewed

    @step
    async def ask(self, ctx: Context, event: Asked) -> SearchWanted:
        """Put the question on the record, with what of its history may be used, and make it stand alone."""
        question = await anyio.to_thread.run_sync(self._checked_history, event.question, event.principal)
        asked = Asked(question=question, principal=event.principal, record=event.record)
        await ctx.store.set("asked", asked)
        await anyio.to_thread.run_sync(asked.record.asked, question)
        return SearchWanted(search_text=standalone(question))

    @step
    async def search(self, ctx: Context, event: SearchWanted) -> PassagesFound:
        """Search as the person who asks."""
        scope = await self._scope_now(ctx)
        found = await anyio.to_thread.run_sync(
            lambda: self._retriever.search(scope, event.search_text, limit=EVIDENCE_PASSAGES)
        )
        return PassagesFound(search_text=event.search_text, found=found)

    @step
    async def judge(self, ctx: Context, event: PassagesFound) -> AnswerWanted | Ended:
        """Put the passages on the record, show the evidence, and decide whether it suffices."""
        asked = await _asked(ctx)
        found = await self._without_hidden(ctx, event.found)
        quotes = await anyio.to_thread.run_sync(
            best_quotes, event.search_text, found.question_vector, found.passages, self._embed
        )
        evidence = evidence_of(quotes)
        await anyio.to_thread.run_sync(asked.record.retrieved, found, evidence.citations)
        if evidence.sufficient:
            await self._release(ctx, evidence, text=evidence.text)
        closing = _without_a_model(asked.question, evidence, self._model)
        if closing is None:
            return AnswerWanted(search_text=event.search_text, evidence=evidence, epoch=found.epoch)
        if closing.status is Status.ABSTAINED:
            closing = _followed_by(closing, await anyio.to_thread.run_sync(self._no_answer_text))
        return Ended(search_text=event.search_text, evidence=evidence, closing=closing)

    @step
    async def compose(self, ctx: Context, event: AnswerWanted) -> Ended:
        """Let the model put the evidence into words; release what passes its check, sentence by sentence."""
        asked = await _asked(ctx)
        scope = scope_of(asked.principal)
        composition = Composition(asked.question, event.evidence, self._limits, self._embedder)
        failure = None
        try:
            async for piece in self._checked(composition, asked.record, self._salt(scope, event.epoch)):
                if not await self._still_readable(ctx, piece, composition):
                    composition.withdraw()
                    continue
                await self._release(ctx, piece, text=piece.text if isinstance(piece, Sentence) else None)
        except ModelUnavailable as error:
            failure = error
        tokens = Tokens(read=composition.prompt_tokens, written=composition.completion_tokens)
        await anyio.to_thread.run_sync(asked.record.called, tokens, failure.code if failure else "ok")
        closing = composition.closing(failure)
        return Ended(search_text=event.search_text, evidence=event.evidence, closing=closing)

    @step
    async def finish(self, ctx: Context, event: Ended) -> StopEvent:
        """Put the end on the record and hand out the receipt."""
        asked, closing = await _asked(ctx), event.closing
        await self._scope_now(ctx)
        if closing.notice:
            await self._release(ctx, Notice(closing.message), text=closing.message)
        await self._refuse_lost_sources(ctx)
        receipt = await anyio.to_thread.run_sync(asked.record.finished, closing.status, closing.cited)
        outcome = Outcome(
            status=closing.status,
            mode=closing.mode,
            message=closing.message,
            looked_for=event.search_text,
            dropped=closing.dropped,
            citations=event.evidence.citations,
            prompt_tokens=closing.prompt_tokens,
            completion_tokens=closing.completion_tokens,
            receipt=receipt,
        )
        for piece in (*self._held, outcome):
            ctx.write_event_to_stream(Piece(released=piece))
        return StopEvent()

    async def _checked(
        self, composition: Composition, record: AnswerRecord, cache_salt: str
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
            cache_salt=cache_salt,
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
        """Record first, release second; the one place where text leaves, if it is not held to the end."""
        asked = await _asked(ctx)
        if text is not None:
            await anyio.to_thread.run_sync(asked.record.segment, text)
        if self._limits.whole and not isinstance(piece, Progress):
            self._held.append(piece)
        else:
            ctx.write_event_to_stream(Piece(released=piece))

    async def _refuse_lost_sources(self, ctx: Context) -> None:
        """Look once more before what was held leaves; raises Conflict when a source is closed by now."""
        held = {c.passage.id for piece in self._held if isinstance(piece, Evidence) for c in piece.citations}
        if not held:
            return
        scope = await self._scope_now(ctx)
        if held - await anyio.to_thread.run_sync(self._retriever.readable_of, scope, sorted(held)):
            raise Conflict("A document that this answer rests on was closed to you.", hint="Ask again.")

    async def _still_readable(
        self, ctx: Context, piece: Sentence | Progress, composition: Composition
    ) -> bool:
        """Look once more before a sentence leaves: its document may have been unshared meanwhile."""
        scope = await self._scope_now(ctx)
        if isinstance(piece, Progress):
            return True
        cited = composition.passages_of(piece)
        return await anyio.to_thread.run_sync(self._retriever.may_still_read, scope, cited)

    async def _without_hidden(self, ctx: Context, found: Found) -> Found:
        """Leave out what was unshared since the search."""
        scope = await self._scope_now(ctx)
        ids = [passage.id for passage in found.passages]
        readable = await anyio.to_thread.run_sync(self._retriever.readable_of, scope, ids)
        return replace(found, passages=[passage for passage in found.passages if passage.id in readable])

    async def _scope_now(self, ctx: Context) -> AccessScope:
        """Return what the person who asks may read at this moment.

        Raises NotAuthenticated when their account is closed, or their key or sign-in has ended: then the
        answer ends here.
        """
        asked = await _asked(ctx)
        principal = await anyio.to_thread.run_sync(self._renewed, asked.principal)
        if principal is None:
            raise NotAuthenticated(SIGNED_OUT)
        return scope_of(principal)

    def _checked_history(self, question: Question, principal: Principal) -> Question:
        """Return the question without earlier answers that rest on what this person may not read now."""
        scope = scope_of(principal)
        history = still_readable(question.history, lambda ids: self._retriever.readable_of(scope, ids))
        return replace(question, history=history)

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
        *,
        renewed: Callable[[Principal], Principal | None],
        no_answer_text: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Bind the collaborators; `salt_key` (32 bytes) separates a server's prefix caches by scope.

        `renewed` returns who somebody is by now, or None when they are not signed in any more.
        `no_answer_text` returns what follows every answer that says that nothing was found, if anything
        does. It is asked each time, and takes no argument, so that it cannot depend on hidden documents.
        """
        self._salt_key = salt_key
        self._retriever = retriever
        self._embedder = embedder
        self._ledger = ledger
        self._model = model
        self._limits = limits
        self._no_answer_text = no_answer_text
        self._renewed = renewed
        self._unended: deque[tuple[AnswerRecord, str]] = deque()
        self._ending = threading.Lock()

    async def answer(self, question: Question, principal: Principal) -> AsyncGenerator[Released]:
        """Yield evidence, progress, checked sentences and last the outcome, each already recorded.

        Raises AuditUnavailable when the ledger does not take a record; nothing is released then. Raises
        NotAuthenticated when the person is not signed in any more, also in the middle of an answer.
        Closing the iterator early cancels the model call and records that the reader left.
        """
        record = AnswerRecord(self._ledger, principal, question.answer_id)
        model = None if question.quotes_only else self._model()
        workflow = AnswerWorkflow(
            self._retriever,
            self._embedder,
            model,
            self._limits,
            self._cache_salt,
            self._no_answer_text,
            self._renewed,
        )
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
                if record.is_in_doubt:
                    # The ledger has just made this request wait, and finding out what it took would
                    # double that.
                    asyncio.get_running_loop().run_in_executor(None, self._close, record, outcome)
                else:
                    await anyio.to_thread.run_sync(self._close, record, outcome)

    def _close(self, record: AnswerRecord, outcome: str) -> None:
        """Put the end of an answer that broke off on the record, with those that could not be written."""
        self._unended.append((record, outcome))
        self.write_missing_ends()

    def write_missing_ends(self) -> None:
        """Put on the record the ends of answers that could not be written before, as far as it takes them.

        One thread writes for all that wait: while the record is away, one waits for it and not everybody.
        """
        while self._unended and self._ending.acquire(blocking=False):
            try:
                if not self._close_next():
                    return
            finally:
                self._ending.release()

    def _close_next(self) -> bool:
        """Write the end that has waited longest; says whether the record took it."""
        if not self._unended:
            return True
        record, outcome = self._unended.popleft()
        try:
            record.interrupted(outcome)
        except AuditUnavailable:
            # Whoever waits for this answer has been told; it is closed when the ledger is found again.
            self._unended.appendleft((record, outcome))
            _log.error("answer.end_unrecorded", answer=record.answer_id, waiting=len(self._unended))
            return False
        return True

    def _cache_salt(self, scope: AccessScope, epoch: int) -> str:
        """Keep a model server's prefix cache within one scope, and one state of the access lists."""
        key = f"{scope.principal_set_hash}:{epoch}"
        return hmac.new(self._salt_key, key.encode(), hashlib.sha256).hexdigest()


def warm_up(embedder: Embedder) -> None:
    """Load what the first answer needs: the embedding model, its first run, and the stemmer."""
    check_claim("Ready now.", (), "", [], embedder.embed_sentences)
    content_words("warming up")
    embedder.embed_sentences(["Warming up.", "The first run is slower than the others."])
    embedder.embed_query("warming up")


def standalone(question: Question) -> str:
    """Return what to search for: a follow-up takes the question before it along."""
    earlier = [turn.text for turn in question.history if turn.role == "user"]
    if not earlier or not _leans_on_history(question.text):
        return question.text
    return f"{earlier[-1]} {question.text}"


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


def _without_a_model(question: Question, evidence: Evidence, model: LanguageModel | None) -> Closing | None:
    """Return the end of an answer that needs no model, or None when a model shall speak."""
    if evidence.sufficient and model is not None:
        return None
    if not evidence.sufficient:
        message = _NOTHING_NEAR if evidence.citations else _NOTHING_AT_ALL
        return Closing(Status.ABSTAINED, "quote", message, notice=True)
    if question.quotes_only:
        return Closing(Status.ANSWERED, "quote", _AS_ASKED, notice=False, cited=evidence.citations)
    return Closing(Status.ANSWERED, "quote", _NO_MODEL, notice=True, cited=evidence.citations)


def _followed_by(closing: Closing, text: str | None) -> Closing:
    return replace(closing, message=f"{closing.message} {text}") if text else closing


async def _asked(ctx: Context) -> Asked:
    asked: Asked = await ctx.store.get("asked")
    return asked
