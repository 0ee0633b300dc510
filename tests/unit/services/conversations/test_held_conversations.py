"""A legal hold keeps conversations: nobody under one deletes their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from infra.access import Principal, Role, scope_of
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.removal.holds import LegalHoldStands, hold_resource, lift_hold, place_hold
from infra.clock import new_id
from infra.conversations import create_conversation
from infra.database.tables import AccessEpoch, Conversation
from infra.errors import NotFound
from infra.keys import MasterKey
from services.conversations import service
from services.deps import Person
from tests.made_record import ASKER, made_ledger

ADA = Principal("ada", "user", frozenset({Role.EMPLOYEE}), auth_method="session")
BEN = Principal("ben", "user", frozenset({Role.EMPLOYEE}), auth_method="session")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Any]:
    """The parts that keeping takes: a database, its record and the master key."""
    with made_ledger(tmp_path / "ledger.sqlite3") as ledger:
        with ledger.database.write() as session:
            session.execute(insert(AccessEpoch).values(id=1, epoch=0))
        yield SimpleNamespace(ledger=ledger, database=ledger.database, master_key=MasterKey(b"\x2a" * 32))


def keep(parts: Any) -> str:
    """Keep a conversation of ada's; returns its id."""
    with parts.database.write() as session:
        return create_conversation(session, parts.master_key, owner="user:ada", title="Mine").id


def delete(parts: Any, conversation_id: str, by: Principal = ADA) -> None:
    """Ask for its deletion."""
    service.delete(parts, Person(by, by.user_id, None), scope_of(by), "r", conversation_id)


def place(parts: Any, principal_id: str | None) -> str:
    """Place a hold as an auditor does, with its record."""
    subject = parts.ledger.identify(ADA).sub if principal_id else None
    with parts.database.write() as session:
        hold = place_hold(session, principal_id, "litigation")
        what = hold_resource(hold.id, subject)
        placed = Event(EventType.HOLD_PLACED, Stage.SINGLE, new_id(), ASKER, res=what, outcome="ok")
        parts.ledger.record_in(session, placed)
    return hold.id


def lift(parts: Any, hold_id: str) -> None:
    """Lift a hold, with its record."""
    what = hold_resource(hold_id, parts.ledger.identify(ADA).sub)
    with parts.database.write() as session:
        lift_hold(session, hold_id)
        lifted = Event(EventType.HOLD_LIFTED, Stage.SINGLE, new_id(), ASKER, res=what, outcome="ok")
        parts.ledger.record_in(session, lifted)


def kept(parts: Any) -> int:
    """Return how many conversations there are."""
    with parts.database.read() as session:
        return session.scalar(select(func.count()).select_from(Conversation)) or 0


@pytest.mark.parametrize("held", ["user:ada", None])
def test_whoever_is_held_deletes_no_conversation(parts: Any, held: str | None) -> None:
    """Held themselves, or with everybody: the conversation stays."""
    talk = keep(parts)
    place(parts, held)
    with pytest.raises(LegalHoldStands):
        delete(parts, talk)
    assert kept(parts) == 1


def test_a_lifted_hold_is_in_nobodys_way(parts: Any) -> None:
    """Afterwards a conversation can be deleted as ever."""
    talk = keep(parts)
    lift(parts, place(parts, "user:ada"))
    delete(parts, talk)
    assert kept(parts) == 0


def test_a_hold_tells_a_stranger_nothing(parts: Any) -> None:
    """Somebody else's conversation is not there, held or not."""
    talk = keep(parts)
    place(parts, None)
    with pytest.raises(NotFound):
        delete(parts, talk, by=BEN)
