"""Open what both the web process and a worker stand on, from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from infra.audit.ledger import Ledger
from infra.audit.origin import log_origin, name_log
from infra.database import Database
from infra.database.migrate import is_empty, upgrade
from infra.embeddings import Embedder
from infra.errors import ConfigurationError
from infra.files import FileStore
from infra.keys import MasterKey
from infra.master_key import load_master_key
from infra.settings import Settings
from infra.vectors import EdgeIndex, ServerIndex, VectorIndex, connect_server


@dataclass(frozen=True)
class Stores:
    """The opened stores of one process."""

    database: Database
    master_key: MasterKey
    ledger: Ledger
    files: FileStore
    embedder: Embedder
    index: VectorIndex

    def close(self) -> None:
        """Close what holds files or connections, the ledger last."""
        self.embedder.close()
        self.index.close()
        self.ledger.close()
        self.database.close()


def open_stores(settings: Settings) -> Stores:
    """Open the stores, creating what a first start lacks; raises ConfigurationError."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_profile(settings)
    database, master_key = open_database(settings)
    embedder = Embedder(settings.embedding_model, settings.embedding_dtype, apart=True)
    return Stores(
        database=database,
        master_key=master_key,
        ledger=open_ledger(settings, database, master_key),
        files=FileStore(settings.data_dir / "files"),
        embedder=embedder,
        index=_open_index(settings, embedder),
    )


def open_database(settings: Settings) -> tuple[Database, MasterKey]:
    """Open and migrate the database, name a new log, and load the key that contents are sealed with."""
    database = Database(settings.resolved_database_url)
    # The key comes before the first table: a crash in between leaves a folder that can still start.
    master_key = load_master_key(settings, create=is_empty(database))
    upgrade(database)
    name_log(database)
    return database, master_key


def open_ledger(settings: Settings, database: Database, master_key: MasterKey) -> Ledger:
    """Open the record."""
    return Ledger(
        database,
        master_key,
        origin=log_origin(database),
        source=settings.replica,
        timeout_s=settings.audit_timeout_s,
    )


def _open_index(settings: Settings, embedder: Embedder) -> VectorIndex:
    if settings.qdrant_url is None:
        return EdgeIndex(settings.data_dir / "index", embedder.dimensions, embedder.tag)
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    client = connect_server(settings.qdrant_url, key, allowed_hosts=settings.model_hosts)
    return ServerIndex(client, embedder.dimensions, embedder.tag)


def _check_profile(settings: Settings) -> None:
    needed = {
        "STRONGROOM_DATABASE_URL": settings.database_url,
        "STRONGROOM_QDRANT_URL": settings.qdrant_url,
        "STRONGROOM_BROKER_URL": settings.broker_url,
    }
    missing = [name for name, value in needed.items() if value is None]
    if settings.profile == "server" and missing:
        raise ConfigurationError(
            f"The server profile needs {', '.join(missing)}.",
            hint="Set them, or use STRONGROOM_PROFILE=embedded on one machine.",
        )
