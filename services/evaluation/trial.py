"""A throw-away Strongroom around a set's own documents, in which an ordinary person searches and asks.

Database, index, record, retriever and answerer are the real ones. Nothing of the operator's own stores is
opened.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents import prompts
from agents.answer import EVIDENCE_PASSAGES, Answerer, warm_up
from agents.compose import Limits
from agents.events import Citation, Evidence, Outcome, Question, Sentence
from agents.evidence import best_quotes
from agents.retrieve import Retriever
from agents.wording import split_marks
from infra import accounts
from infra.access import Principal, Role, scope_of
from infra.clock import new_id
from infra.documents import Passage
from infra.embeddings import Embedder
from infra.errors import ModelUnavailable, NotAuthenticated
from infra.llm import LanguageModel
from infra.settings import Settings
from infra.stores import Stores, open_stores
from services.evaluation.filling import OnProgress, store_documents
from services.evaluation.sets import SetDocument, SetQuestion
from services.evaluation.subject import DEPTH, Given, Ranking, Statement
from services.model import ModelServer

PATIENCE_S: Final = 60.0
"""Longest wait for the record; a busy machine must not end a measurement."""
MODEL_START_S: Final = 600.0

TAKEN: Final = frozenset(
    """models_dir model_path model_base_url model_name model_api_key model_hosts model_threads
    model_timeout_s model_max_tokens prompt_tokens embedding_model embedding_dtype""".split()
)
"""The operator's settings that decide how good answers are; a trial takes no others, above all no store."""

Model = Callable[[], LanguageModel | None]


@contextmanager
def trial_of(settings: Settings, embedder: Embedder, *, generated: bool) -> Iterator[Trial]:
    """Yield an empty trial, and remove all of it afterwards; it is filled once.

    With `generated` the configured language model puts answers into words. Raises ModelUnavailable when there
    is no such model.
    """
    with tempfile.TemporaryDirectory(prefix="strongroom-trial-") as folder:
        own = trial_settings(settings, Path(folder), generated=generated)
        opened = open_stores(own)
        try:
            # The embedder that was opened with the stores is never loaded: one serves all sets.
            stores = replace(opened, embedder=embedder)
            with asyncio.Runner() as runner, _model_of(own, runner) as model:
                yield Trial(stores, own, model, runner)
        finally:
            opened.close()


def trial_settings(settings: Settings, folder: Path, *, generated: bool) -> Settings:
    """Return settings for a trial in `folder`; whatever is not taken has its default, not the operator's."""
    taken = {name: getattr(settings, name) for name in TAKEN}
    return Settings.model_construct(
        data_dir=folder, audit_timeout_s=PATIENCE_S, quote_only=not generated, **taken
    )


class Trial:
    """A Strongroom with one person, who owns all documents; a subject of measurement."""

    def __init__(self, stores: Stores, settings: Settings, model: Model, runner: asyncio.Runner) -> None:
        self._stores = stores
        self._settings = settings
        self._runner = runner
        chosen = model()
        # Asked at the start, so that a model server that does not answer ends the run before it begins.
        self._model_digest = runner.run(chosen.digest()) if chosen else None
        self._names: dict[str, str] = {}
        self._vectors: NDArray[np.float32] = np.empty((0, stores.embedder.dimensions), dtype=np.float32)
        self._person = _newcomer(stores)
        self._retriever = self._new_retriever()
        # A memory of its own: what was searched for a ranking must not make the answer look fast.
        self._answering = self._new_retriever()
        self._answerer = Answerer(
            self._answering,
            stores.embedder,
            stores.ledger,
            model,
            Limits(settings.prompt_tokens, settings.model_max_tokens, settings.model_timeout_s),
            salt_key=secrets.token_bytes(32),
            renewed=self._renewed,
        )

    @property
    def configuration(self) -> dict[str, str]:
        """What decides the results: the models by their digests, the prompt, and the budgets."""
        chosen = self._settings.embedding_model
        told = {
            "documents": "in a trial of their own",
            "answers": "quotes" if self._model_digest is None else "generated",
            "embedding model": chosen.name if chosen else "built in",
            "embedding digest": self._stores.embedder.tag,
        }
        if self._model_digest is not None:
            told |= {
                "language model": self._model_digest,
                "prompt digest": prompts.template_hash(),
                "prompt tokens": str(self._settings.prompt_tokens),
                "answer tokens": str(self._settings.model_max_tokens),
            }
        return told

    @property
    def passages(self) -> int:
        """How many passages the documents were cut into."""
        return len(self._vectors)

    def fill(self, entries: Sequence[SetDocument], on_progress: OnProgress) -> None:
        """Put documents into database and index, once; `on_progress` hears how many of how many are in."""
        filled = store_documents(self._stores, self._person, entries, on_progress)
        self._names, self._vectors = filled.names, filled.vectors
        # The first question must not wait for what a server has loaded long before.
        warm_up(self._stores.embedder)

    def rank(self, question: SetQuestion) -> Ranking:
        """Search as the person; a document ranks where its best passage does."""
        scope = scope_of(self._person)
        started = time.perf_counter()
        found = self._retriever.search(scope, question.text, limit=DEPTH)
        seconds = time.perf_counter() - started
        ranked = tuple(dict.fromkeys(self._names[passage.document_id] for passage in found.passages))
        return Ranking(ranked, seconds, self._raw_scores(question.text, found.question_vector))

    def answer(self, question: SetQuestion) -> Given:
        """Ask as the person, and wait for the whole answer."""
        given = self._runner.run(self._ask(question.text))
        found = self._answering.search(scope_of(self._person), question.text, limit=EVIDENCE_PASSAGES)
        embed = self._stores.embedder.embed_sentences
        quotes = best_quotes(question.text, found.question_vector, found.passages, embed)
        score = max((quote.score for quote in quotes), default=0.0)
        return replace(given, evidence_score=score)

    async def _ask(self, text: str) -> Given:
        started = time.perf_counter()
        first: float | None = None
        evidence: Evidence | None = None
        outcome: Outcome | None = None
        sentences: list[Sentence] = []
        question = Question(new_id(), text, quotes_only=self._settings.quote_only)
        async for piece in self._answerer.answer(question, self._person):
            if isinstance(piece, Evidence):
                evidence, first = piece, time.perf_counter() - started
            elif isinstance(piece, Sentence):
                sentences.append(piece)
            elif isinstance(piece, Outcome):
                outcome = piece
        seconds = time.perf_counter() - started
        if outcome is None:
            raise ModelUnavailable("An answer had no end.")
        shown = [citation for citation in (evidence.citations if evidence else []) if citation.shown]
        statements = _sentences(sentences, outcome.citations) if sentences else _quotes(shown)
        numbers = {n for sentence in sentences for n in sentence.citations}
        cited = [citation for citation in outcome.citations if citation.n in numbers] if sentences else shown
        return Given(
            status=outcome.status.value,
            mode=outcome.mode,
            cited=tuple(self._names[citation.passage.document_id] for citation in cited),
            statements=statements,
            evidence_score=None,
            first_s=first,
            seconds=seconds,
        )

    def _raw_scores(self, text: str, vector: NDArray[np.float32]) -> dict[str, float]:
        """Return the best fused score of the index, and the greatest cosine of question and passage."""
        hits = self._stores.index.search(scope_of(self._person), vector, text, limit=DEPTH)
        cosines = self._vectors @ vector
        return {
            "fused": max((hit.score for hit in hits), default=0.0),
            "cosine": float(cosines.max(initial=-1.0)),
        }

    def _new_retriever(self) -> Retriever:
        stores = self._stores
        return Retriever(stores.database, stores.index, stores.embedder, stores.master_key)

    def _renewed(self, principal: Principal) -> Principal | None:
        with self._stores.database.read() as session:
            return accounts.renewed(session, principal)


def _newcomer(stores: Stores) -> Principal:
    """Have somebody join with the role of an employee, and return who their key says they are."""
    with stores.database.write() as session:
        token, _ = accounts.invite(session, [Role.EMPLOYEE], created_by="trial")
        password = accounts.hash_password(new_id())
        user = accounts.accept_invitation(
            session, token, name="Trial", email="trial@localhost.localdomain", password_hash=password
        )
        _, secret = accounts.create_key(session, user.id, "trial")
        session.flush()
        principal = accounts.principal_of_key(session, secret)
    if principal is None:
        raise NotAuthenticated("The person of the trial was not let in.")
    return principal


@contextmanager
def _model_of(settings: Settings, runner: asyncio.Runner) -> Iterator[Model]:
    """Yield what finds the language model: none with quotes only, else the configured one, ready."""
    if settings.quote_only:
        yield lambda: None
        return
    server = ModelServer(settings)
    server.start()
    try:
        _wait_for(server)
        yield server.current
    finally:
        runner.run(server.close())
        server.stop()


def _wait_for(server: ModelServer) -> None:
    deadline = time.monotonic() + MODEL_START_S
    while server.status().state == "starting" and time.monotonic() < deadline:
        time.sleep(0.2)
    if server.current() is None:
        raise ModelUnavailable(
            "There is no language model that could be measured.",
            hint="Fetch one with `strongroom models fetch`, or measure quotes.",
        )


def _quotes(shown: Sequence[Citation]) -> tuple[Statement, ...]:
    return tuple(Statement(citation.quote, (_source(citation.passage),)) for citation in shown)


def _sentences(sentences: Sequence[Sentence], citations: Sequence[Citation]) -> tuple[Statement, ...]:
    sources = {citation.n: _source(citation.passage) for citation in citations}
    return tuple(
        Statement(split_marks(each.text)[0], tuple(sources[n] for n in each.citations if n in sources))
        for each in sentences
    )


def _source(passage: Passage) -> str:
    return "\n".join((passage.title, passage.heading, passage.text))
