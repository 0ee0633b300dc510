"""Each rule holds in each layer alone: in the index's filter, in the re-check's SQL, and in its decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from made_worlds import ADA, BEN, CLEO, LEGAL, Cleared, Plan, Planned, Shelf, build
from small_world import QUESTION, SmallWorld, document_in, small_world
from sqlalchemy import true

from infra import documents, sharing
from infra.access import EVERYONE, may_read

TEXT: Final = ("The canteen serves lunch.",)
BEN_READS: Final = frozenset({BEN})
SHELVES: Final = (
    Shelf("open", allow=frozenset({EVERYONE})),
    Shelf("closed", allow=frozenset({CLEO})),
    Shelf("refused", allow=frozenset({EVERYONE}), deny=frozenset({LEGAL})),
    Shelf("upstairs", allow=frozenset({EVERYONE}), clearance=2),
    Shelf("marked", allow=frozenset({EVERYONE}), compartments=frozenset({"board"})),
)
SECRETS: Final = {
    "allow": Planned("secret", TEXT, allow=frozenset({CLEO})),
    "allow on a shelf": Planned("secret", TEXT, shelf="open", only=frozenset({CLEO})),
    "within": Planned("secret", TEXT, shelf="closed", only=frozenset({BEN})),
    "deny": Planned("secret", TEXT, allow=BEN_READS, deny=frozenset({LEGAL})),
    "deny of a shelf": Planned("secret", TEXT, shelf="refused"),
    "clearance": Planned("secret", TEXT, allow=BEN_READS, clearance=2),
    "clearance of a shelf": Planned("secret", TEXT, shelf="upstairs"),
    "compartments": Planned("secret", TEXT, allow=BEN_READS, compartments=frozenset({"board"})),
    "compartments of a shelf": Planned("secret", TEXT, shelf="marked"),
}
IN_SQL: Final = [reason for reason in SECRETS if not reason.startswith("compartments")]
"""Compartments stand in a JSON list, which SQL leaves to the decision."""
VISIBLE: Final = Planned("canteen", TEXT, allow=BEN_READS)
BEN_IS: Final = Cleared(groups=frozenset({LEGAL}), clearance=1)


@pytest.mark.parametrize("reason", SECRETS)
def test_the_filter_alone(reason: str) -> None:
    """Hidden from Ben in the index, whatever the database would say. Visible: the canteen; both to Ada."""
    with archive(reason) as world:
        assert hits(world, BEN) == {"canteen"}
        assert hits(world, ADA) == {"canteen", "secret"}


def test_the_filter_of_somebody_with_another_compartment() -> None:
    """Hidden from Ben, who is cleared for one compartment and not for this one. Visible: the canteen."""
    with archive("compartments") as world:
        world.label_person(BEN, 1, frozenset({"merger"}))
        assert hits(world, BEN) == {"canteen"}


@pytest.mark.parametrize("reason", IN_SQL)
def test_the_sql_alone(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Hidden from Ben where the decision says yes to everything. Visible: the canteen."""
    with archive(reason) as world:
        monkeypatch.setattr(documents, "may_read", lambda _scope, _access: True)
        assert opened(world, BEN) == {"canteen"}
        assert opened(world, ADA) == {"canteen", "secret"}


@pytest.mark.parametrize("reason", SECRETS)
def test_the_decision_alone(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Hidden from Ben where the SQL lets everything through. Visible: the canteen."""
    with archive(reason) as world:
        monkeypatch.setattr(documents, "readable", lambda _scope: true())
        assert opened(world, BEN) == {"canteen"}
        assert opened(world, ADA) == {"canteen", "secret"}


@pytest.mark.parametrize("reason", SECRETS)
def test_the_rule_itself(reason: str) -> None:
    """Hidden from Ben by the rule on what the database holds. Visible: the canteen."""
    with archive(reason) as world, world.database.read() as session:
        access = documents.access_of(session, ["canteen", "secret"])
        scope = world.scope(BEN)
        assert {key for key in access if may_read(scope, access[key])} == {"canteen"}


def test_a_deletion_that_was_interrupted() -> None:
    """Hidden from everybody: a document that is marked as deleted, while its passages are in both stores."""
    with archive("allow") as world:
        world.delete("canteen", late=True)
        assert "canteen" in hits(world, BEN)
        assert opened(world, BEN) == set()
        assert world.search(BEN) == []
        assert opened(world, ADA) == {"secret"}


def test_a_version_that_was_replaced() -> None:
    """Hidden from search: an older version, which the index still has. Visible: it, to who cites it."""
    with archive("allow") as world:
        with world.database.write() as session:
            document_in(session, "canteen").version_id = None
        assert "canteen" in hits(world, BEN)
        assert world.search(BEN) == []
        assert {p.document_id for p in world.opened(BEN, world.passage_ids("canteen"))} == {"canteen"}


def test_one_person_does_not_get_what_another_search_remembered() -> None:
    """Visible to each: exactly theirs, although another asked the same question just before."""
    with archive("allow") as world:
        orders = ([BEN, CLEO, ADA], [CLEO, BEN, ADA], [ADA, BEN, CLEO])
        for order in orders:
            # A new epoch: nothing is remembered.
            world.label_person(CLEO, 1, frozenset())
            found = {person: {p.document_id for p in world.search(person)} for person in order}
            assert found == {BEN: {"canteen"}, CLEO: {"secret"}, ADA: {"canteen", "secret"}}


def test_a_change_is_seen_by_a_question_that_was_asked_before() -> None:
    """Visible after the share: the document, to the question that found nothing before it."""
    with small_world() as world:
        build(world, Plan((), (Planned("canteen", TEXT, allow=frozenset({CLEO})),)))
        assert world.search(BEN) == []
        with world.changing() as session:
            sharing.share(session, document_in(session, "canteen"), BEN)
        assert [p.document_id for p in world.search(BEN)] == ["canteen"]


@contextmanager
def archive(reason: str) -> Iterator[SmallWorld]:
    """Yield a world with a document that Ben may read and a secret that he may not, for one reason."""
    with small_world() as world:
        build(world, Plan(SHELVES, (VISIBLE, SECRETS[reason]), BEN_IS))
        yield world


def hits(world: SmallWorld, person: str) -> set[str]:
    """Search the index alone; returns document ids."""
    vector = world.embedder.embed_query(QUESTION)
    return {hit.document_id for hit in world.index.search(world.scope(person), vector, QUESTION, limit=50)}


def opened(world: SmallWorld, person: str) -> set[str]:
    """Ask the re-check alone for every passage that there is; returns document ids."""
    passages = world.opened(person, world.every_passage_id(), current_only=True)
    return {passage.document_id for passage in passages}
