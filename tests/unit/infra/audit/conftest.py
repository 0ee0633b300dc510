"""A ledger on a real SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.access import Principal, Role
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Authz, Event, Resource, Retrieved
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.database.tables import Base
from infra.keys import MasterKey

ALICE = Principal(
    user_id="alice",
    kind="user",
    roles=frozenset({Role.EMPLOYEE}),
    group_ids=frozenset({"group:local:legal"}),
    auth_method="password",
    session_hash="5e55" * 16,
)
BOB = Principal(user_id="bob", kind="user", roles=frozenset({Role.EMPLOYEE}), auth_method="key")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with every table and nothing in it."""
    opened = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def master_key() -> MasterKey:
    """A fixed master key, so that two ledgers on one database can share it."""
    return MasterKey(b"\x2a" * 32)


@pytest.fixture
def open_ledger(database: Database, master_key: MasterKey) -> Iterator[Callable[..., Ledger]]:
    """Open ledgers on the one database, as restarts and replicas do."""
    opened: list[Ledger] = []

    def _open(source: str = "one", timeout_s: float = 5.0) -> Ledger:
        ledger = Ledger(database, master_key, origin="log.example/test", source=source, timeout_s=timeout_s)
        opened.append(ledger)
        return ledger

    yield _open
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger]) -> Ledger:
    """The ledger of one server."""
    return open_ledger()


@pytest.fixture
def alice() -> Principal:
    """A person."""
    return ALICE


@pytest.fixture
def bob() -> Principal:
    """Another person."""
    return BOB


@pytest.fixture
def event(ledger: Ledger, alice: Principal) -> Callable[..., Event]:
    """Make events of alice, with the fields that a test names."""
    actor = ledger.identify(alice)

    def _event(kind: EventType = EventType.SEARCH_PERFORMED, **fields: Any) -> Event:
        plain: dict[str, Any] = {
            "stage": Stage.SINGLE,
            "corr": "request-1",
            "actor": actor,
            "res": Resource(type="answer", id="a-1"),
            "authz": Authz(decision="allow", policy="acl-v1", epoch=3),
            "ret": (Retrieved(doc="d", ver="v", chunk="c", hash="ab" * 32, rank=1),),
        }
        return Event(type=kind, **(plain | fields))

    return _event
