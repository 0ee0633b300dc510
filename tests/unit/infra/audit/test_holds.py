"""Legal holds: whom they cover, and that one that was lifted is over."""

from __future__ import annotations

import pytest

from infra.audit.removal.holds import (
    LegalHoldStands,
    lift_hold,
    list_holds,
    place_hold,
    refuse_while_held,
    standing_holds,
)
from infra.database import Database
from infra.errors import InvalidInput, NotFound


def test_a_hold_covers_its_principal(database: Database) -> None:
    """One person's hold says nothing about anybody else."""
    with database.write() as session:
        place_hold(session, "user:alice", "litigation")
        standing = standing_holds(session)
        with pytest.raises(LegalHoldStands):
            refuse_while_held(session, "user:alice")
        refuse_while_held(session, "user:bob")
    assert (bool(standing), standing.covers("user:alice"), standing.covers("user:bob")) == (True, True, False)


def test_a_hold_without_a_principal_covers_everybody(database: Database) -> None:
    """Also people who are not there yet."""
    with database.write() as session:
        place_hold(session, None, "litigation")
        assert standing_holds(session).covers("user:tomorrow")


def test_a_lifted_hold_covers_nobody(database: Database) -> None:
    """It stays in the list, with the time when it ended, and cannot be lifted again."""
    with database.write() as session:
        hold = place_hold(session, "user:alice", "litigation")
        lift_hold(session, hold.id)
        assert not standing_holds(session)
        assert [one.lifted_at is not None for one in list_holds(session)] == [True]
        with pytest.raises(NotFound):
            lift_hold(session, hold.id)


def test_two_holds_end_one_by_one(database: Database) -> None:
    """While one of two stands, nothing may go."""
    with database.write() as session:
        first = place_hold(session, "user:alice", "litigation")
        place_hold(session, "user:alice", "an inspection")
        lift_hold(session, first.id)
        assert standing_holds(session).covers("user:alice")


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 501])
def test_a_hold_needs_a_short_reason(database: Database, reason: str) -> None:
    """Whoever lifts it later has to know what it was for."""
    with database.write() as session, pytest.raises(InvalidInput):
        place_hold(session, None, reason)
