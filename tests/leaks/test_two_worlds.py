"""Two worlds that differ only in documents which Ben may not read look the same to him, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_worlds import ADA, BEN, CLEO, LEGAL, Cleared, Plan, Planned, Shelf, build, is_hidden, plans
from small_world import QUESTION, SmallWorld, small_world, version_id

from infra import collections, documents
from infra.access import EVERYONE
from infra.errors import NotFound
from infra.vectors import point_id

HALDEN: Final = "When is the merger with Halden Foods planned?"
QUESTIONS: Final = (QUESTION, HALDEN, "Where do bicycles stand?")
CANTEEN: Final = "The canteen serves lunch from half past eleven until two."
BICYCLES: Final = "Bicycles stand behind the house."
# Nearer to every question than what Ben may read, and more of it than one search looks at.
CROWD: Final = tuple(
    f"When does the canteen serve lunch, and where do bicycles stand? Strictly for the board, number {n}: "
    "the merger with Halden Foods is planned for October."
    for n in range(70)
)

SHELVES: Final = (
    Shelf("cellar", allow=frozenset({LEGAL})),
    Shelf("reading-room", allow=frozenset({EVERYONE})),
    Shelf("refused", allow=frozenset({EVERYONE}), deny=frozenset({LEGAL})),
    Shelf("upstairs", allow=frozenset({EVERYONE}), clearance=2),
    Shelf("marked", allow=frozenset({EVERYONE}), compartments=frozenset({"board"})),
)
BEN_READS: Final = frozenset({BEN})
HIDDEN: Final = {
    "no grant": Planned("hidden", CROWD),
    "another person's grant": Planned("hidden", CROWD, allow=frozenset({CLEO})),
    "a denial": Planned("hidden", CROWD, allow=BEN_READS, deny=BEN_READS),
    "a group's denial": Planned("hidden", CROWD, allow=BEN_READS, deny=frozenset({LEGAL})),
    "clearance": Planned("hidden", CROWD, allow=BEN_READS, clearance=2),
    "a compartment": Planned("hidden", CROWD, allow=BEN_READS, compartments=frozenset({"board", "merger"})),
    "a collection that denies": Planned("hidden", CROWD, shelf="refused"),
    "a collection's clearance": Planned("hidden", CROWD, shelf="upstairs"),
    "a collection's compartment": Planned("hidden", CROWD, shelf="marked"),
    "a list narrower than the collection's": Planned(
        "hidden", CROWD, shelf="reading-room", only=frozenset({CLEO})
    ),
    "deletion": Planned("hidden", CROWD, allow=BEN_READS, deleted=True),
}
VISIBLE: Final = (
    Planned("canteen", (CANTEEN, "It is closed on Sundays."), allow=BEN_READS),
    Planned("bicycles", (BICYCLES,), shelf="reading-room"),
    Planned("contract", ("Halden Foods delivers to the canteen.",), allow=frozenset({LEGAL})),
)
BEN_IS: Final = Cleared(groups=frozenset({LEGAL}), clearance=1, compartments=frozenset({"merger"}))


@pytest.fixture(scope="module")
def without() -> str:
    """What Ben sees where nothing is hidden from him."""
    with small_world() as world:
        return seen(world, Plan(SHELVES, (VISIBLE[0], None, *VISIBLE[1:]), BEN_IS))


@pytest.mark.parametrize("reason", HIDDEN)
def test_a_hidden_document_changes_nothing(without: str, reason: str) -> None:
    """Hidden for each reason, and ten times as much as is visible. Visible: canteen, bicycles, contract."""
    plan = Plan(SHELVES, (VISIBLE[0], HIDDEN[reason], *VISIBLE[1:]), BEN_IS)
    assert is_hidden(plan, HIDDEN[reason])
    with small_world() as world:
        assert seen(world, plan) == without
        assert "Strictly for the board" not in str(world.model.prompts)
        theirs = {passage.text for passage in world.search(ADA)}
    assert all(text in without for document in VISIBLE for text in document.texts)
    if reason != "deletion":
        assert set(CROWD) & theirs


def test_a_hidden_collection_changes_nothing(without: str) -> None:
    """Hidden: a collection, its name and what stands in it. Visible: the others, as before."""
    vault = (*SHELVES[:2], Shelf("vault", allow=frozenset({CLEO})), *SHELVES[2:])
    hidden = Planned("hidden", CROWD, shelf="vault")
    with small_world() as world:
        shown = seen(world, Plan(vault, (VISIBLE[0], hidden, *VISIBLE[1:]), BEN_IS))
        assert "vault" in world.listed_collections(ADA)
    assert "reading-room" in shown
    assert shown == without


def test_a_readable_document_does_change_something(without: str) -> None:
    """The comparison can fail: with a grant, the same document is all over what Ben sees."""
    granted = replace(HIDDEN["no grant"], allow=BEN_READS)
    with small_world() as world:
        shown = seen(world, Plan(SHELVES, (VISIBLE[0], granted, *VISIBLE[1:]), BEN_IS))
    assert shown != without
    assert "Strictly for the board" in shown


def test_a_deletion_leaves_no_hole_in_what_is_remembered() -> None:
    """Hidden: that a document was there, although it was all that a remembered search had found."""
    crowd = replace(HIDDEN["no grant"], allow=BEN_READS)
    with small_world() as world:
        build(world, Plan((), (VISIBLE[0], crowd)))
        before = [passage.document_id for passage in world.search(BEN, HALDEN, limit=5)]
        world.delete(crowd.id)
        after = [passage.document_id for passage in world.search(BEN, HALDEN, limit=5)]
    assert before == [crowd.id] * 5
    assert after == ["canteen"] * 2


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plan=plans(), data=st.data())
def test_random_worlds_look_the_same(plan: Plan, data: st.DataObject) -> None:
    """Hidden documents are absent, or say something else, in the other world. Visible: all the rest."""

    def other(planned: Planned | None) -> Planned | None:
        if planned is None or not is_hidden(plan, planned):
            return planned
        return data.draw(st.sampled_from([None, planned, replace(planned, texts=CROWD)]))

    elsewhere = replace(plan, documents=tuple(other(planned) for planned in plan.documents))
    with small_world() as world:
        here = seen(world, plan)
    with small_world() as world:
        assert seen(world, elsewhere) == here


def test_people_with_different_scopes_share_no_prefix_cache() -> None:
    """A model server's cache is separated by scope: a prompt's timing tells nobody what others asked."""
    shared = Planned("canteen", (CANTEEN,), allow=frozenset({EVERYONE}))
    with small_world() as world:
        build(world, Plan((), (shared,)))
        for person in (BEN, BEN, CLEO):
            world.ask(person)
        first, again, of_cleo = world.model.salts
        world.label_person(BEN, 1, frozenset())
        world.ask(BEN)
        assert world.model.prompts[0] == world.model.prompts[2]
        assert first == again
        assert len({first, of_cleo, world.model.salts[-1]}) == 3


def seen(world: SmallWorld, plan: Plan) -> str:
    """Return all that Ben gets to see, as text; Ada, who reads everything, asks the same before him."""
    build(world, plan)
    for question in QUESTIONS:
        world.search(ADA, question, limit=5)
    world.ask(ADA, HALDEN)
    world.model.prompts.clear()
    parts = {
        "found": [world.search(BEN, question, limit=limit) for question in QUESTIONS for limit in (5, 200)],
        "again": [world.search(BEN, question, limit=5) for question in QUESTIONS],
        "listed": world.listed(BEN),
        "collections": [
            (shelf, world.listed_in(BEN, shelf), world.search(BEN, limit=5, collection_id=shelf))
            for shelf in world.listed_collections(BEN)
        ],
        "answers": [world.ask(BEN, question) for question in QUESTIONS],
        "prompts": world.model.prompts,
        "by id": [by_id(world, document_id) for document_id in ("hidden", "vault", "no-such-thing")],
    }
    return json.dumps(parts, default=as_json, indent=1)


def by_id(world: SmallWorld, identifier: str) -> list[str]:
    """Return what Ben gets for a guessed id of a document, of a passage in it, and of a collection."""
    passage = point_id(version_id(identifier), 0, "small")
    scope = world.scope(BEN)
    with world.database.read() as session:
        return [
            reply(lambda: documents.get_document(session, scope, identifier)),
            reply(lambda: collections.get_collection(session, scope, identifier)),
            reply(lambda: world.search(BEN, collection_id=identifier)),
            str(world.opened(BEN, [passage])),
            str(world.retriever.may_still_read(scope, [passage])),
        ]


def reply(act: Callable[[], object]) -> str:
    """Return the words of a refusal, or that there was none."""
    try:
        act()
    except NotFound as refused:
        return f"{refused.message} {refused.hint} {refused.param}"
    return "found"


def as_json(value: Any) -> Any:
    """Write dataclasses as objects, with every field."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
