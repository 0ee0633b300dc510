"""Worlds from a plan: what stands in them, for which reason somebody cannot read it, and how to draw one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st
from reference_model import Item, Reader, may_read
from small_world import GROUPS, PEOPLE, SmallWorld, collection_in, document_in

from infra import sharing
from infra.access import EVERYONE
from infra.sharing import Restriction

ADA, BEN, CLEO = PEOPLE
LEGAL, BOARD = GROUPS
NOBODY: Final[frozenset[str]] = frozenset()
EVERY_LABEL: Final = frozenset({"board", "merger"})


@dataclass(frozen=True)
class Shelf:
    """A collection of Ada's, and whom she lets in beside herself."""

    id: str
    allow: frozenset[str] = NOBODY
    deny: frozenset[str] = NOBODY
    clearance: int = 0
    compartments: frozenset[str] = NOBODY


@dataclass(frozen=True)
class Planned:
    """A document of Ada's. On a shelf, `only` are the shelf's readers who may read it; elsewhere `allow`."""

    id: str
    texts: tuple[str, ...]
    allow: frozenset[str] = NOBODY
    deny: frozenset[str] = NOBODY
    clearance: int = 0
    compartments: frozenset[str] = NOBODY
    shelf: str | None = None
    only: frozenset[str] | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Cleared:
    """What Ben is cleared for."""

    groups: frozenset[str] = NOBODY
    clearance: int = 0
    compartments: frozenset[str] = NOBODY


@dataclass(frozen=True)
class Plan:
    """A world. Documents come into being in this order; one that is None leaves its place in time empty."""

    shelves: tuple[Shelf, ...]
    documents: tuple[Planned | None, ...]
    ben: Cleared = Cleared()


def build(world: SmallWorld, plan: Plan) -> None:
    """Make a planned world; Ada may read all of it."""
    world.label_person(ADA, 2, EVERY_LABEL)
    world.label_person(BEN, plan.ben.clearance, plan.ben.compartments)
    for group in plan.ben.groups:
        world.join(BEN, group)
    for at, shelf in enumerate(plan.shelves):
        _put_up(world, shelf, at)
    for at, document in enumerate(plan.documents):
        if document is not None:
            _store(world, document, at)


def _put_up(world: SmallWorld, shelf: Shelf, at: int) -> None:
    world.create_collection(shelf.id, ADA, at=at)
    with world.changing() as session:
        collection = collection_in(session, shelf.id)
        for principal in shelf.allow:
            sharing.share_collection(session, collection, principal)
        for principal in shelf.deny:
            sharing.share_collection(session, collection, principal, effect="deny")
        sharing.label_collection(
            session, collection, clearance=shelf.clearance, compartments=shelf.compartments
        )


def _store(world: SmallWorld, planned: Planned, at: int) -> None:
    world.upload(planned.id, ADA, planned.texts, at=at)
    ada = world.principal(ADA)
    only = planned.only | {ADA} if planned.shelf and planned.only is not None else None
    wanted = Restriction(only, planned.deny, planned.clearance, planned.compartments)
    with world.changing() as session:
        document = document_in(session, planned.id)
        if planned.shelf is not None:
            sharing.put_into(session, document, collection_in(session, planned.shelf))
        else:
            for principal in planned.allow:
                sharing.share(session, document, principal)
        sharing.restrict(session, document, wanted, ada)
    if planned.deleted:
        world.delete(planned.id)


def is_hidden(plan: Plan, planned: Planned) -> bool:
    """Say by the reference model whether Ben may not read a planned document."""
    ben = Reader({BEN, EVERYONE, *plan.ben.groups}, plan.ben.clearance, set(plan.ben.compartments))
    shelves = {
        shelf.id: Item(ADA, {ADA, *shelf.allow}, set(shelf.deny), shelf.clearance, set(shelf.compartments))
        for shelf in plan.shelves
    }
    inside = shelves.get(planned.shelf or "")
    allow = {ADA, *planned.allow} if inside is None else {ADA, *(planned.only or ())}
    inherits = inside is not None and planned.only is None
    labels = set(planned.compartments)
    item = Item(ADA, allow, set(planned.deny), planned.clearance, labels, inside, inherits)
    return planned.deleted or not may_read(ben, item)


# --- plans drawn at random ------------------------------------------------------------------------

_TEXTS: Final = (
    "The canteen serves lunch from noon until two.",
    "Lunch in the canteen is planned by Halden Foods.",
    "Bicycles stand behind the canteen.",
    "The merger with Halden Foods is planned for October.",
)
_readers = st.frozensets(st.sampled_from([BEN, LEGAL, BOARD, EVERYONE]), max_size=2)
_refused = st.frozensets(st.sampled_from([BEN, LEGAL]), max_size=1)
_clearances = st.sampled_from([0, 0, 1, 2])
_labels = st.sampled_from([NOBODY, NOBODY, frozenset({"board"}), EVERY_LABEL])
_MOST_PASSAGES: Final = 3


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a world of up to seven documents, some on two shelves."""
    shelves = tuple(
        draw(
            st.builds(
                Shelf,
                id=st.just(name),
                allow=_readers,
                deny=_refused,
                clearance=_clearances,
                compartments=_labels,
            )
        )
        for name in ("shelf-1", "shelf-2")
    )
    documents = tuple(
        draw(
            st.builds(
                Planned,
                id=st.just(f"document-{n}"),
                texts=_texts(n),
                allow=_readers,
                deny=_refused,
                clearance=_clearances,
                compartments=_labels,
                shelf=st.sampled_from([None, None, "shelf-1", "shelf-2"]),
                only=st.none() | _readers,
                deleted=st.sampled_from([False, False, False, True]),
            )
        )
        for n in range(draw(st.integers(2, 7)))
    )
    groups = st.frozensets(st.sampled_from(GROUPS))
    ben = draw(st.builds(Cleared, groups=groups, clearance=_clearances, compartments=_labels))
    return Plan(shelves, documents, ben)


def _texts(document: int) -> st.SearchStrategy[tuple[str, ...]]:
    """Draw passages, each of a length of its own.

    Passages with equal scores stand in an order that the engine chooses anew in each index, with and
    without hidden documents; the lengths keep scores apart.
    """
    drawn = st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=_MOST_PASSAGES)
    return drawn.map(
        lambda texts: tuple(
            text + " aside" * (16 * (_MOST_PASSAGES * document + n)) for n, text in enumerate(texts)
        )
    )
