"""What answers are made of in tests: real stores, a scripted model, and a ledger that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.answer import Answerer
from agents.compose import Limits
from agents.events import Question, Released, Turn
from agents.retrieve import Retriever
from infra import documents
from infra.access import DocumentAccess, Principal, Role
from infra.audit.event_types import EventType
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Chunk
from infra.errors import AuditUnavailable, ModelUnavailable
from infra.llm import Completion
from infra.stores import Stores
from infra.vectors import Point, point_id

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}), auth_method="test")
LEAVE = (
    "Employees receive 25 days of annual leave in each calendar year. "
    "Up to five days of annual leave may be carried over. "
    "Annual leave that was carried over lapses at the end of March."
)
QUESTION = "How many days of annual leave do employees receive?"


class ScriptedModel:
    """Says the given pieces one after the other; an exception among them is raised at its place."""

    def __init__(self, *pieces: str | Exception, hang: bool = False) -> None:
        self.pieces = pieces
        self.hang = hang
        self.asked: list[Sequence[dict[str, str]]] = []
        self.closed = False

    def stream(self, messages: Sequence[dict[str, str]], **_options: Any) -> ScriptedModel:
        """Take the prompt."""
        self.asked.append(messages)
        return self

    async def digest(self) -> str:
        """Name the model."""
        return "scripted"

    @property
    def completion(self) -> Completion:
        """What was said, without the server's counts."""
        return Completion("".join(p for p in self.pieces if isinstance(p, str)), None, None, "stop")

    async def __aenter__(self) -> ScriptedModel:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    async def __aiter__(self) -> AsyncIterator[str]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
        if self.hang:
            await asyncio.sleep(60)


@dataclass
class WatchedLedger:
    """A real ledger that notes every record, and refuses the one numbered `fails_at` and all after it."""

    inner: Ledger
    fails_at: int | None = None
    written: list[tuple[Event, bytes | None]] = field(default_factory=list)

    def identify(self, principal: Principal) -> Any:
        """Pass on."""
        return self.inner.identify(principal)

    def record(self, event: Event, content: bytes | None = None) -> Any:
        """Write, unless this is where it fails."""
        if self.fails_at is not None and len(self.written) >= self.fails_at:
            raise AuditUnavailable("The record could not be written, so nothing was done.")
        recorded = self.inner.record(event, content)
        self.written.append((event, content))
        return recorded

    def healthy(self) -> bool:
        """Say whether the next record would be taken."""
        return self.fails_at is None or len(self.written) < self.fails_at

    @property
    def database(self) -> Database:
        """Where the records are."""
        return self.inner.database

    @property
    def types(self) -> list[str]:
        """The types of what was written, in order."""
        return [event.type.value for event, _ in self.written]

    @property
    def segments(self) -> list[str]:
        """The texts that were recorded as pieces of the answer."""
        kind = EventType.ANSWER_SEGMENT
        return [(content or b"").decode() for event, content in self.written if event.type is kind]

    @property
    def outcome(self) -> str | None:
        """How the last record says that it ended."""
        return self.written[-1][0].outcome


@dataclass
class Desk:
    """An answerer over real stores with one file of Ada's, and what it said."""

    stores: Stores
    ledger: WatchedLedger
    model: ScriptedModel | None
    renewed: Callable[[Principal], Principal | None] = lambda principal: principal
    whole: bool = False

    def answerer(self) -> Answerer:
        """Bind the parts as the server does."""
        stores = self.stores
        retriever = Retriever(stores.database, stores.index, stores.embedder, stores.master_key)
        limits = Limits(prompt_tokens=450, max_tokens=220, timeout_s=30, whole=self.whole)
        find: Callable[[], Any] = lambda: self.model  # noqa: E731 - a name would say no more
        ledger: Any = self.ledger
        return Answerer(
            retriever, stores.embedder, ledger, find, limits, salt_key=b"s" * 32, renewed=self.renewed
        )

    async def ask(self, text: str = QUESTION, *history: Turn, quotes_only: bool = False) -> list[Released]:
        """Ask as Ada; returns everything released."""
        question = Question(new_id(), text, history, quotes_only=quotes_only)
        return [piece async for piece in self.answerer().answer(question, ADA)]


def store_document(stores: Stores, name: str, text: str, owner: Principal = ADA) -> str:
    """Put one file with one passage into database and index, as ingestion does; returns its id."""
    version_id = new_id()
    key, wrapped = documents.new_version_key(stores.master_key, version_id)
    chunk_id = point_id(version_id, 0, "test")
    content = {"text": text, "title": name, "heading": "", "place": {"page": 1}, "lines": []}
    with stores.database.write() as session:
        document = documents.create_document(session, owner=owner.principal_id, name=name)
        version = documents.add_version(
            session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
        )
        version.state, document.version_id = "ready", version_id
        sealed = documents.seal_passage(key, chunk_id, content)
        session.add(
            Chunk(
                id=chunk_id,
                version_id=version_id,
                document_id=document.id,
                ordinal=0,
                sha256=documents.passage_hash(text),
                sealed=sealed,
            )
        )
        document_id = document.id
    access = DocumentAccess(allow=frozenset({owner.principal_id}))
    vector = stores.embedder.embed_passages([text])[0]
    stores.index.upsert([Point(chunk_id, vector, text, document_id, version_id, access)])
    return document_id


def unavailable() -> ModelUnavailable:
    """Return the error of a model that went away."""
    return ModelUnavailable("The language model broke off in the middle of its answer.")
