"""A whole archive at the level of functions, quick enough for thousands of steps.

Database, index, file store and ledger are the real ones; only the two models are small. The embedder hashes
words, so that texts with common words are near each other, and the language model copies from its prompt.
What follows a change is what the endpoints do: change in a transaction, then bring the index up to date.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import re
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, Final, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select

from agents.answer import Answerer
from agents.compose import Limits
from agents.events import Outcome, Question, Released
from agents.retrieve import Retriever
from infra import accounts, collections, documents
from infra.access import AccessScope, Principal, Role, scope_of
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import AccessEpoch, Base, Chunk, Collection, Document, Group, User
from infra.documents import Passage
from infra.embeddings import Embedder
from infra.epoch import raise_epoch
from infra.files import FileStore
from infra.keys import MasterKey
from infra.llm import Completion, LanguageModel
from infra.vectors import EdgeIndex, Point, point_id
from ingest.index import refresh_access, refresh_lagging, remove_document
from tests.scripted_model import obedient

_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory on Linux, where a durable write takes a tenth of a millisecond instead of fifteen."""
NAMES: Final = uuid.UUID("5ca1ab1e-0000-4000-8000-000000000000")
DIMENSIONS: Final = 64
QUESTION: Final = "When does the canteen serve lunch?"
PEOPLE: Final = ("user:ada", "user:ben", "user:cleo")
GROUPS: Final = ("group:local:legal", "group:local:board")


class SmallWorld:
    """Three people, two groups, and whatever a test puts in. Every id follows from the name it is given."""

    def __init__(self, folder: Path) -> None:
        self.database = _empty_database()
        self.index = EdgeIndex(folder / "index", DIMENSIONS, "hashing")
        self.files = FileStore(folder / "files")
        self.master_key = MasterKey(b"k" * 32)
        self.embedder = cast(Embedder, HashingEmbedder())
        self.model = RecordingModel()
        self.retriever = Retriever(self.database, self.index, self.embedder, self.master_key)
        self._ledger: Ledger | None = None
        self._keys: dict[str, str] = {}
        self._add_people()

    def close(self) -> None:
        """Release the stores."""
        if self._ledger is not None:
            self._ledger.close()
        self.index.close()

    # --- changing ---------------------------------------------------------------------------------

    @contextmanager
    def changing(self, *, late: bool = False) -> Any:
        """Yield a write transaction, after which the index follows at once, unless it is to be late."""
        with self.database.write() as session:
            yield session
        if not late:
            refresh_lagging(self.database, self.index)

    def upload(self, document_id: str, owner: str, texts: Sequence[str], *, at: int = 0) -> None:
        """Store a document's next version, a passage on each page, in the order that ingestion keeps."""
        with self.database.write() as session:
            document = session.get(Document, document_id)
            if document is None:
                with named(documents.create_document, document_id, at):
                    document = documents.create_document(session, owner=owner, name=f"{document_id}.md")
            replaced = document.version_id
            number = documents.latest_version(session, document_id).number + 1 if replaced else 1
            made = version_id(document_id, number)
            key, wrapped = documents.new_version_key(self.master_key, made)
            with named(documents.add_version, made, at):
                version = documents.add_version(
                    session, document, version_id=made, sha256="0" * 64, size=1, wrapped_key=wrapped
                )
            chunks = [_chunk(made, document_id, n, text, key) for n, text in enumerate(texts)]
            session.add_all(chunks)
            session.flush()
            access = documents.access_of(session, [document_id])[document_id]
        vectors = self.embedder.embed_passages(texts)
        self.index.upsert(
            [
                Point(chunk.id, vector, text, document_id, made, access)
                for chunk, vector, text in zip(chunks, vectors, texts, strict=True)
            ]
        )
        with self.database.write() as session:
            document, version = session.merge(document), session.merge(version)
            version.state, document.version_id, document.indexed_epoch = "ready", made, -1
        if replaced is not None:
            self.index.delete_version(replaced)
        refresh_access(self.database, self.index, [document_id])

    def delete(self, document_id: str, *, late: bool = False) -> None:
        """Mark a document as deleted and remove it, or leave the removal to somebody who mends."""
        with self.database.write() as session:
            session.get_one(Document, document_id).deleted_at = 1
        if not late:
            remove_document(self.database, self.index, self.files, document_id)

    def create_collection(self, collection_id: str, owner: str, *, at: int = 0) -> None:
        """Add a collection."""
        with self.database.write() as session, named(collections.create_collection, collection_id, at):
            collections.create_collection(session, owner=owner, name=collection_id)

    def label_person(self, person: str, clearance: int, compartments: frozenset[str]) -> None:
        """Set what a person is cleared for."""
        with self.database.write() as session:
            user = session.get_one(User, person.partition(":")[2])
            user.clearance, user.compartments = clearance, sorted(compartments)
            raise_epoch(session)

    def join(self, person: str, group: str) -> None:
        """Put a person into a group."""
        with self.database.write() as session:
            accounts.add_member(session, group, person.partition(":")[2])

    def leave(self, person: str, group: str) -> None:
        """Take a person out of a group; raises NotFound when they are not in it."""
        with self.database.write() as session:
            accounts.remove_member(session, group, person.partition(":")[2])

    # --- reading ----------------------------------------------------------------------------------

    def principal(self, person: str) -> Principal:
        """Return who somebody is at this moment, as their key says."""
        with self.database.read() as session:
            found = accounts.principal_of_key(session, self._keys[person])
        assert found is not None
        return found

    def scope(self, person: str) -> AccessScope:
        """Return what somebody may read at this moment."""
        return scope_of(self.principal(person))

    def search(
        self, person: str, question: str = QUESTION, *, limit: int = 200, collection_id: str | None = None
    ) -> list[Passage]:
        """Search as a person; by default for more than there is, so that everything readable is found."""
        found = self.retriever.search(self.scope(person), question, limit=limit, collection_id=collection_id)
        return found.passages

    def listed(self, person: str) -> list[str]:
        """Return the ids of the documents that a person sees, in order."""
        with self.database.read() as session:
            return [document.id for document in documents.list_documents(session, self.scope(person))]

    def listed_collections(self, person: str) -> list[str]:
        """Return the ids of the collections that a person sees, in order."""
        with self.database.read() as session:
            return [found.id for found in collections.list_collections(session, self.scope(person))]

    def listed_in(self, person: str, collection_id: str) -> list[str]:
        """Return the ids of the documents that a person sees in a collection; raises NotFound."""
        with self.database.read() as session:
            inside = collections.documents_in(session, self.scope(person), collection_id)
            return [document.id for document in inside]

    def opened(self, person: str, passage_ids: Sequence[str], *, current_only: bool = False) -> list[Passage]:
        """Open sources by their ids, as following a citation does."""
        with self.database.read() as session:
            return documents.open_passages(
                session, self.scope(person), passage_ids, self.master_key, current_only=current_only
            )

    def passage_ids(self, document_id: str) -> list[str]:
        """Return the ids of a document's passages, over all versions; for comparing, not for people."""
        with self.database.read() as session:
            mine = select(Chunk.id).where(Chunk.document_id == document_id)
            return list(session.scalars(mine.order_by(Chunk.ordinal)))

    def every_passage_id(self) -> list[str]:
        """Return the ids of all passages that there are; for comparing, not for people."""
        with self.database.read() as session:
            return list(session.scalars(select(Chunk.id).order_by(Chunk.id)))

    def lagging(self) -> set[str]:
        """Return the documents whose access list the index has not got yet."""
        with self.database.read() as session:
            behind = select(Document.id).where(Document.indexed_epoch < Document.acl_epoch)
            return set(session.scalars(behind))

    def ask(self, person: str, question: str = QUESTION) -> list[Released]:
        """Have a question answered; returns all that is released, the outcome without its random receipt."""
        return asyncio.run(self._ask(self.principal(person), question))

    async def _ask(self, principal: Principal, question: str) -> list[Released]:
        asked = Question(str(uuid.uuid5(NAMES, question)), question)
        answer = self._answerer().answer(asked, principal)
        return [replace(piece, receipt={}) if isinstance(piece, Outcome) else piece async for piece in answer]

    def _answerer(self) -> Answerer:
        if self._ledger is None:
            # A busy machine must not end an answer early: that would be a difference between two worlds.
            self._ledger = Ledger(
                self.database, self.master_key, origin="small/world", source="test", timeout_s=60
            )
        limits = Limits(prompt_tokens=450, max_tokens=220, timeout_s=60)
        model = cast(LanguageModel, self.model)
        return Answerer(
            self.retriever,
            self.embedder,
            self._ledger,
            lambda: model,
            limits,
            salt_key=b"s" * 32,
            renewed=self._renewed,
        )

    def _renewed(self, principal: Principal) -> Principal | None:
        with self.database.read() as session:
            return accounts.renewed(session, principal)

    def _add_people(self) -> None:
        with self.database.write() as session:
            for person in PEOPLE:
                name = person.partition(":")[2]
                session.add(
                    User(
                        id=name, kind="user", name=name, roles=[Role.EMPLOYEE], compartments=[], created_at=0
                    )
                )
                session.flush()
                self._keys[person] = accounts.create_key(session, name, "test")[1]
            session.add_all(Group(id=group, name=group, created_at=0) for group in GROUPS)


@contextmanager
def small_world() -> Iterator[SmallWorld]:
    """Yield an empty world, in memory where the machine has such a folder; one at a time."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        world = SmallWorld(Path(folder))
        try:
            yield world
        finally:
            world.close()


def _empty_database() -> Database:
    database = _database()
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
        session.add(AccessEpoch(id=1, epoch=1))
    return database


@cache
def _database() -> Database:
    """Return the database of all worlds: one engine each would compile every statement again in each."""
    folder = tempfile.mkdtemp(dir=_MEMORY)
    atexit.register(shutil.rmtree, folder)
    database = Database(f"sqlite:///{folder}/world.sqlite3")
    upgrade(database)
    return database


def version_id(document_id: str, number: int = 1) -> str:
    """Return the id of a document's version."""
    return str(uuid.uuid5(NAMES, f"{document_id}:{number}"))


def document_in(session: Any, document_id: str) -> Document:
    """Return a row to change."""
    found: Document = session.get_one(Document, document_id)
    return found


def collection_in(session: Any, collection_id: str) -> Collection:
    """Return a row to change."""
    found: Collection = session.get_one(Collection, collection_id)
    return found


@contextmanager
def named(creates: Any, name: str, at: int) -> Iterator[None]:
    """Have a function give what it creates this id and this time, so that two worlds can agree on them."""
    assert isinstance(creates, FunctionType)
    with patch.dict(creates.__globals__, new_id=lambda: name, now_ms=lambda: at):
        yield


def _chunk(version: str, document_id: str, ordinal: int, text: str, key: bytes) -> Chunk:
    chunk_id = point_id(version, ordinal, "small")
    content = {"text": text, "title": "", "heading": "", "place": {"page": ordinal + 1}, "lines": []}
    return Chunk(
        id=chunk_id,
        version_id=version,
        document_id=document_id,
        ordinal=ordinal,
        sha256=documents.passage_hash(text),
        sealed=documents.seal_passage(key, chunk_id, content),
    )


class HashingEmbedder:
    """Stands in for `infra.embeddings.Embedder`: each word is a fixed direction, a text is their sum."""

    dimensions = DIMENSIONS
    max_tokens = 256
    tag = "hashing"

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return a unit vector, shape (dimensions,)."""
        total = np.sum([_direction(word) for word in _words(text)] or [_direction("")], axis=0)
        unit: NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
        return unit

    def embed_passages(
        self, texts: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return unit vectors, shape (texts, dimensions)."""
        on_progress(len(texts))
        return np.stack([self.embed_query(text) for text in texts])

    def embed_sentences(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (texts, dimensions)."""
        return self.embed_passages(texts)

    def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(_words(text))


@cache
def _direction(word: str) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


class RecordingModel:
    """Answers by copying out of its prompt, and keeps what it was sent."""

    def __init__(self) -> None:
        self.prompts: list[Sequence[Mapping[str, str]]] = []
        self.salts: list[str] = []

    def stream(
        self, messages: Sequence[Mapping[str, str]], *, cache_salt: str, **_options: Any
    ) -> _CopiedStream:
        """Take the prompt."""
        self.prompts.append(messages)
        self.salts.append(cache_salt)
        return _CopiedStream(obedient(messages[-1]["content"]))

    async def digest(self) -> str:
        """Name the model."""
        return "recording"


class _CopiedStream:
    def __init__(self, text: str) -> None:
        self.completion = Completion(text, None, None, "stop")

    async def __aenter__(self) -> _CopiedStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self.completion.text
