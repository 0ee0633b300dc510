"""The opened parts of a running server, handed to the endpoints through `app.state.parts`."""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio import CapacityLimiter

from agents.answer import Answerer
from agents.retrieve import Retriever
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.embeddings import Embedder
from infra.files import FileStore
from infra.keys import MasterKey
from infra.queue import OutboxRelay
from infra.settings import Settings
from infra.vectors import VectorIndex
from ingest.parse.limits import ParseLimits
from services.accounts.directories import Directories
from services.model import ModelServer
from services.one_at_a_time import OneAtATime


@dataclass(frozen=True)
class Parts:
    """Everything an endpoint may need; opened and closed by `services.app`."""

    settings: Settings
    database: Database
    master_key: MasterKey
    ledger: Ledger
    files: FileStore
    index: VectorIndex
    embedder: Embedder
    relay: OutboxRelay
    model: ModelServer
    retriever: Retriever
    answerer: Answerer
    parse_limits: ParseLimits
    renderers: CapacityLimiter
    suggesters: CapacityLimiter
    directories: Directories
    imports: OneAtATime = field(default_factory=OneAtATime)
    exports: OneAtATime = field(default_factory=OneAtATime)
