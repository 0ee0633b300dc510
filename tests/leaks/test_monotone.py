"""Taking something away never adds a result: not a grant, a membership or a clearance, nor a denial more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_worlds import ADA, BEN, BOARD, EVERY_LABEL, LEGAL, Cleared, Plan, Planned, Shelf, build, plans
from small_world import SmallWorld, collection_in, document_in, small_world

from infra import sharing
from infra.access import EVERYONE
from infra.errors import Conflict, NotFound
from infra.sharing import Restriction
from ingest.index import mend

Narrowing = Callable[[SmallWorld], None]
"""Takes something away, of which the index hears later."""

NARROWINGS: Final[dict[str, Narrowing]] = {
    "unshare": lambda world: on_document(world, lambda s, d: sharing.unshare(s, d, LEGAL)),
    "deny": lambda world: on_document(world, lambda s, d: sharing.share(s, d, LEGAL, effect="deny")),
    "clearance": lambda world: narrowed(world, clearance=2),
    "compartment": lambda world: narrowed(world, compartments=EVERY_LABEL),
    "fewer of a collection's readers": lambda world: narrowed(
        world, document="on-shelf", only=frozenset({ADA})
    ),
    "taken out": lambda world: on_document(world, sharing.take_out, document="on-shelf"),
    "unshare the collection": lambda world: on_shelf(
        world, lambda s, c: sharing.unshare_collection(s, c, LEGAL)
    ),
    "deny the collection": lambda world: on_shelf(
        world, lambda s, c: sharing.share_collection(s, c, BEN, effect="deny")
    ),
    "the collection's clearance": lambda world: on_shelf(
        world, lambda s, c: sharing.label_collection(s, c, clearance=2, compartments=frozenset())
    ),
    "the collection's compartment": lambda world: on_shelf(
        world, lambda s, c: sharing.label_collection(s, c, clearance=0, compartments=EVERY_LABEL)
    ),
    "leave": lambda world: world.leave(BEN, LEGAL),
    "the person's clearance": lambda world: world.label_person(BEN, 0, frozenset({"board"})),
    "the person's compartments": lambda world: world.label_person(BEN, 1, frozenset()),
    "delete": lambda world: world.delete("loose", late=True),
}
READS: Final = Plan(
    (Shelf("shelf", allow=frozenset({LEGAL})),),
    (
        Planned(
            "loose",
            ("The canteen serves lunch.",),
            allow=frozenset({LEGAL}),
            clearance=1,
            compartments=frozenset({"board"}),
        ),
        Planned("on-shelf", ("Lunch is at noon.",), shelf="shelf"),
        Planned("for-all", ("Bicycles stand behind the canteen.",), allow=frozenset({EVERYONE})),
    ),
    Cleared(groups=frozenset({LEGAL}), clearance=1, compartments=frozenset({"board"})),
)


@pytest.mark.parametrize("what", NARROWINGS)
def test_each_narrowing_takes_something_and_adds_nothing(what: str) -> None:
    """Hidden at once, and after the index caught up: a document, from Ben. Visible: what is for all."""
    with small_world() as world:
        build(world, READS)
        before = results(world, BEN)
        NARROWINGS[what](world)
        at_once = results(world, BEN)
        mend(world.database, world.index, world.files)
        assert at_once < before
        assert results(world, BEN) == at_once
    assert ("listed", "for-all") in at_once


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plan=plans(), data=st.data())
def test_narrowing_random_worlds_adds_nothing(plan: Plan, data: st.DataObject) -> None:
    """Whatever stands there and whatever is taken away: Ben finds, lists and opens nothing new."""
    with small_world() as world:
        build(world, plan)
        before = results(world, BEN)
        for _ in range(4):
            take_away(world, plan, data)
            if data.draw(st.booleans()):
                mend(world.database, world.index, world.files)
            after = results(world, BEN)
            assert after <= before
            before = after


def take_away(world: SmallWorld, plan: Plan, data: st.DataObject) -> None:
    """Draw a narrowing of anything in the world; where there is nothing to take away it is refused."""
    alive = [planned.id for planned in plan.documents if planned is not None and not planned.deleted]
    document = data.draw(st.sampled_from(alive or ["none"]))
    shelf = data.draw(st.sampled_from([shelf.id for shelf in plan.shelves]))
    principal = data.draw(st.sampled_from([BEN, LEGAL, EVERYONE]))
    steps: dict[str, Callable[[], None]] = {
        # Nobody denies the board here: leaving a group that is denied something does open it.
        "leave": lambda: world.leave(BEN, BOARD),
        "clearance": lambda: world.label_person(BEN, 0, frozenset()),
        "unshare shelf": lambda: on_shelf(
            world, lambda s, c: sharing.unshare_collection(s, c, principal), shelf
        ),
        "deny shelf": lambda: on_shelf(
            world, lambda s, c: sharing.share_collection(s, c, principal, effect="deny"), shelf
        ),
        "label shelf": lambda: on_shelf(
            world, lambda s, c: sharing.label_collection(s, c, clearance=2, compartments=EVERY_LABEL), shelf
        ),
    }
    if alive:
        steps |= {
            "unshare": lambda: on_document(world, lambda s, d: sharing.unshare(s, d, principal), document),
            "deny": lambda: on_document(
                world, lambda s, d: sharing.share(s, d, principal, effect="deny"), document
            ),
            "label": lambda: narrowed(world, document=document, clearance=2, compartments=EVERY_LABEL),
        }
    # Refused: a line that is not there, and labelling what Ada cannot read herself any more.
    with suppress(NotFound, Conflict):
        steps[data.draw(st.sampled_from(sorted(steps)))]()


def results(world: SmallWorld, person: str) -> set[tuple[str, str]]:
    """Return all that a person finds, lists or opens by id."""
    found = {("found", passage.id) for passage in world.search(person)}
    listed = {("listed", document) for document in world.listed(person)}
    shelves = {("shelf", shelf) for shelf in world.listed_collections(person)}
    inside = {
        (f"in {shelf}", place)
        for _, shelf in shelves
        for place in (
            *world.listed_in(person, shelf),
            *(passage.id for passage in world.search(person, collection_id=shelf)),
        )
    }
    opened = {("opened", passage.id) for passage in world.opened(person, world.every_passage_id())}
    return found | listed | shelves | inside | opened


def on_document(world: SmallWorld, act: Callable[[Any, Any], object], document: str = "loose") -> None:
    """Change a document."""
    with world.changing(late=True) as session:
        act(session, document_in(session, document))


def on_shelf(world: SmallWorld, act: Callable[[Any, Any], object], shelf: str = "shelf") -> None:
    """Change a collection."""
    with world.changing(late=True) as session:
        act(session, collection_in(session, shelf))


def narrowed(world: SmallWorld, *, document: str = "loose", **more: Any) -> None:
    """Restrict a document further than it is."""
    ada = world.principal(ADA)

    def act(session: Any, row: Any) -> None:
        now = sharing.restriction_of(session, row)
        values = {name: getattr(now, name) for name in ("only", "deny", "clearance", "compartments")}
        sharing.restrict(session, row, Restriction(**(values | more)), ada)

    on_document(world, act, document)
