"""Thousands of random changes and reads against a reference model: no result more, and none less.

`--leak-steps 100000` makes it the nightly run, with a new seed that it prints; `--leak-seed` repeats one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from reference_model import Item, Reader, may_read
from small_world import GROUPS, PEOPLE, collection_in, document_in, small_world

from infra import collections, documents, sharing
from infra.access import EVERYONE
from infra.errors import Conflict, InvalidInput, NotFound, StrongroomError
from infra.sharing import Effect, Restriction
from ingest.index import mend

ORDINARY_STEPS: Final = 1000
STEPS_A_WORLD: Final = 100
SLOTS: Final = 4
QUESTIONS: Final = ("When does the canteen serve lunch?", "Which passage is new?")

people = st.sampled_from(PEOPLE)
groups = st.sampled_from(GROUPS)
principals = st.sampled_from((*PEOPLE, *GROUPS, EVERYONE))
effects: st.SearchStrategy[Effect] = st.sampled_from(["allow", "deny"])
slots = st.integers(0, SLOTS - 1)
shelves = st.integers(0, 1)
lateness = st.booleans()
clearances = st.integers(0, 2)
compartments = st.frozensets(st.sampled_from(["board", "merger"]))


class Archive(RuleBasedStateMachine):
    """The program and the model, changed side by side. A late change reaches the index some steps later."""

    done = 0

    def __init__(self) -> None:
        super().__init__()
        self.steps = -1  # The invariant is checked once before the first step.
        self.made = 0
        self.open = ExitStack()
        self.world = self.open.enter_context(small_world())
        self.readers = {person: Reader({person, EVERYONE}) for person in PEOPLE}
        self.documents: dict[str, Item] = {}
        self.versions: dict[str, int] = {}
        self.collections: dict[str, Item] = {}
        self.passages: dict[str, tuple[str, int]] = {}
        self.slots = [self.new_document(PEOPLE[n % len(PEOPLE)]) for n in range(SLOTS)]
        self.shelves = [self.new_collection(PEOPLE[n]) for n in range(2)]

    def teardown(self) -> None:
        """Count, and clear away."""
        type(self).done += self.steps
        self.open.close()

    # --- changes ----------------------------------------------------------------------------------

    @rule(slot=slots, principal=principals, effect=effects, late=lateness)
    def share(self, slot: int, principal: str, effect: Effect, late: bool) -> None:
        """Grant or deny; a document in a collection takes no allow line of its own."""
        document = self.slots[slot]
        item = self.documents[document]
        refused = Conflict if effect == "allow" and item.inside is not None else None
        if self.change(
            refused, lambda s: sharing.share(s, document_in(s, document), principal, effect=effect), late
        ):
            lines(item, effect).add(principal)

    @rule(slot=slots, principal=principals, effect=effects, late=lateness)
    def unshare(self, slot: int, principal: str, effect: Effect, late: bool) -> None:
        """Take back a grant or a denial."""
        document = self.slots[slot]
        item = self.documents[document]
        refused = refusal_to_unshare(item, principal, effect)
        if self.change(
            refused, lambda s: sharing.unshare(s, document_in(s, document), principal, effect=effect), late
        ):
            lines(item, effect).remove(principal)

    @rule(
        slot=slots,
        only=st.none() | st.frozensets(principals, max_size=3),
        deny=st.frozensets(principals, max_size=2),
        clearance=clearances,
        labels=compartments,
        late=lateness,
    )
    def restrict(
        self,
        slot: int,
        only: frozenset[str] | None,
        deny: frozenset[str],
        clearance: int,
        labels: frozenset[str],
        late: bool,
    ) -> None:
        """Replace a restriction, unless its owner would lock themselves out."""
        document = self.slots[slot]
        item = self.documents[document]
        wanted = copy(item)
        wanted.deny, wanted.clearance, wanted.compartments = set(deny), clearance, set(labels)
        if item.inside is not None:
            wanted.allow, wanted.inherits = set(only or ()), only is None
        beside = only is not None and item.inside is None
        refused = Conflict if beside or not may_read(self.readers[item.owner], wanted) else None
        by, restriction = self.world.principal(item.owner), Restriction(only, deny, clearance, labels)
        if self.change(
            refused, lambda s: sharing.restrict(s, document_in(s, document), restriction, by), late
        ):
            self.documents[document] = wanted

    @rule(slot=slots, shelf=shelves, late=lateness)
    def put_into(self, slot: int, shelf: int, late: bool) -> None:
        """Put a document into a collection."""
        document, collection = self.slots[slot], self.shelves[shelf]
        item, into = self.documents[document], self.collections[collection]
        made = self.change(
            Conflict if item.inside not in (None, into) else None,
            lambda s: sharing.put_into(s, document_in(s, document), collection_in(s, collection)),
            late,
        )
        if made and item.inside is None:
            item.allow, item.inherits, item.inside = set(), True, into

    @rule(slot=slots, late=lateness)
    def take_out(self, slot: int, late: bool) -> None:
        """Take a document out of its collection, if it stands in one."""
        document = self.slots[slot]
        if self.documents[document].inside is not None:
            self.change(None, lambda s: sharing.take_out(s, document_in(s, document)), late)
            stands_alone(self.documents[document])

    @rule(shelf=shelves, principal=principals, effect=effects, late=lateness)
    def share_collection(self, shelf: int, principal: str, effect: Effect, late: bool) -> None:
        """Grant or deny a collection."""
        key = self.shelves[shelf]
        self.change(
            None,
            lambda s: sharing.share_collection(s, collection_in(s, key), principal, effect=effect),
            late,
        )
        lines(self.collections[key], effect).add(principal)

    @rule(shelf=shelves, principal=principals, effect=effects, late=lateness)
    def unshare_collection(self, shelf: int, principal: str, effect: Effect, late: bool) -> None:
        """Take back a collection's grant or denial."""
        key = self.shelves[shelf]
        item = self.collections[key]
        if self.change(
            refusal_to_unshare(item, principal, effect),
            lambda s: sharing.unshare_collection(s, collection_in(s, key), principal, effect=effect),
            late,
        ):
            lines(item, effect).remove(principal)

    @rule(shelf=shelves, clearance=clearances, labels=compartments, late=lateness)
    def label_collection(self, shelf: int, clearance: int, labels: frozenset[str], late: bool) -> None:
        """Change what readers of a collection need."""
        key = self.shelves[shelf]
        self.change(
            None,
            lambda s: sharing.label_collection(
                s, collection_in(s, key), clearance=clearance, compartments=labels
            ),
            late,
        )
        item = self.collections[key]
        item.clearance, item.compartments = clearance, set(labels)

    @rule(shelf=shelves, owner=people, late=lateness)
    def delete_collection(self, shelf: int, owner: str, late: bool) -> None:
        """Delete a collection, and put a new and empty one in its place."""
        key = self.shelves[shelf]
        self.change(None, lambda s: collections.delete_collection(s, collection_in(s, key)), late)
        gone = self.collections.pop(key)
        for item in self.documents.values():
            if item.inside is gone:
                stands_alone(item)
        self.shelves[shelf] = self.new_collection(owner)

    @rule(person=people, group=groups)
    def join_or_leave(self, person: str, group: str) -> None:
        """Change a membership."""
        names = self.readers[person].names
        if group in names:
            self.world.leave(person, group)
        else:
            self.world.join(person, group)
        names ^= {group}

    @rule(person=people, clearance=clearances, labels=compartments)
    def label_person(self, person: str, clearance: int, labels: frozenset[str]) -> None:
        """Change what somebody is cleared for."""
        self.world.label_person(person, clearance, labels)
        self.readers[person].clearance, self.readers[person].compartments = clearance, set(labels)

    @rule(slot=slots)
    def upload_version(self, slot: int) -> None:
        """Replace a document's content."""
        self.new_version(self.slots[slot], self.documents[self.slots[slot]].owner)

    @rule(slot=slots, owner=people, late=lateness)
    def delete(self, slot: int, owner: str, late: bool) -> None:
        """Delete a document, and upload another one in its place; a late removal is mended later."""
        self.world.delete(self.slots[slot], late=late)
        del self.documents[self.slots[slot]]
        self.slots[slot] = self.new_document(owner)

    @rule()
    def mend(self) -> None:
        """Let the index catch up, and finish removals."""
        mend(self.world.database, self.world.index, self.world.files)
        assert self.world.lagging() == set()

    # --- reads ------------------------------------------------------------------------------------

    @rule(person=people, question=st.sampled_from(QUESTIONS), shelf=shelves)
    def search_in_a_collection(self, person: str, question: str, shelf: int) -> None:
        """Search one collection; one that is not theirs is not found."""
        key = self.shelves[shelf]
        inside = {d for d in self.readable(person) if self.documents[d].inside is self.collections[key]}
        if may_read(self.readers[person], self.collections[key]):
            found = self.world.search(person, question, collection_id=key)
            self.check_found(found, inside)
            assert self.world.listed_in(person, key) == sorted(inside, reverse=True)
        else:
            assert inside == set()
            with pytest.raises(NotFound):
                self.world.search(person, question, collection_id=key)

    @rule(person=people)
    def list_everything(self, person: str) -> None:
        """List documents and collections, newest first."""
        assert self.world.listed(person) == sorted(self.readable(person), reverse=True)
        theirs = [key for key, item in self.collections.items() if may_read(self.readers[person], item)]
        assert self.world.listed_collections(person) == sorted(theirs, reverse=True)

    @rule(person=people, data=st.data())
    def open_by_id(self, person: str, data: st.DataObject) -> None:
        """Open a document and a passage that once existed, whatever became of them."""
        readable = self.readable(person)
        passage = data.draw(st.sampled_from(sorted(self.passages)))
        document, version = self.passages[passage]
        scope = self.world.scope(person)
        current = document in readable and version == self.versions[document]
        assert self.world.retriever.may_still_read(scope, [passage]) == current
        with self.world.database.read() as session:
            if document in readable:
                assert documents.get_document(session, scope, document).id == document
            else:
                with pytest.raises(NotFound):
                    documents.get_document(session, scope, document)

    @invariant()
    def everybody_gets_what_they_may_read(self) -> None:
        """After every step somebody asks what they asked before, and follows every citation ever made."""
        self.steps += 1
        person = PEOPLE[self.steps % len(PEOPLE)]
        readable = self.readable(person)
        self.check_found(self.world.search(person, QUESTIONS[0]), readable)
        theirs = {passage for passage, (document, _) in self.passages.items() if document in readable}
        assert {passage.id for passage in self.world.opened(person, list(self.passages))} == theirs

    # --- both sides of it -------------------------------------------------------------------------

    def change(self, refused: type[StrongroomError] | None, act: Callable[[Any], object], late: bool) -> bool:
        """Make a change, which must be refused exactly as the model says; returns whether it was made."""
        try:
            with self.world.changing(late=late) as session:
                act(session)
        except StrongroomError as error:
            assert type(error) is refused, error
            return False
        assert refused is None, f"this should have been refused: {refused}"
        return True

    def readable(self, person: str) -> set[str]:
        """Return what the model lets a person read."""
        return {key for key, item in self.documents.items() if may_read(self.readers[person], item)}

    def check_found(self, found: list[documents.Passage], wanted: set[str]) -> None:
        """Compare with all current passages of the wanted documents; the index may still lack late grants."""
        places = [(passage.document_id, passage.version_number, passage.ordinal) for passage in found]
        expected = {(key, self.versions[key], ordinal) for key in wanted for ordinal in range(2)}
        assert len(places) == len(set(places))
        assert set(places) <= expected, "somebody found what they may not read"
        lagging = self.world.lagging()
        assert {key for key, _, _ in expected - set(places)} <= lagging, "something readable was not found"

    def new_document(self, owner: str) -> str:
        """Upload a document that its owner alone may read; returns its id, which no other ever had."""
        self.made += 1
        key = f"document-{self.made:05}"
        self.documents[key] = Item(owner, {owner})
        self.versions[key] = 0
        self.new_version(key, owner)
        return key

    def new_version(self, key: str, owner: str) -> None:
        self.versions[key] += 1
        text = f"Passage {self.versions[key]} is new."
        self.world.upload(key, owner, [f"The canteen serves lunch. {text}", text], at=self.made)
        for passage in self.world.opened(owner, self.world.passage_ids(key)):
            self.passages[passage.id] = (key, passage.version_number)

    def new_collection(self, owner: str) -> str:
        """Create a collection; returns its id, which no other ever had."""
        self.made += 1
        key = f"collection-{self.made:05}"
        self.world.create_collection(key, owner, at=self.made)
        self.collections[key] = Item(owner, {owner})
        return key


def lines(item: Item, effect: Effect) -> set[str]:
    """Return one half of an access list."""
    return item.allow if effect == "allow" else item.deny


def refusal_to_unshare(item: Item, principal: str, effect: Effect) -> type[StrongroomError] | None:
    """Return why a line cannot be taken back, if it cannot."""
    if effect == "allow" and principal == item.owner:
        return InvalidInput
    return None if principal in lines(item, effect) else NotFound


def stands_alone(item: Item) -> None:
    """Have a document leave its collection: its owner's alone, under every restriction that it had."""
    assert item.inside is not None
    item.deny |= item.inside.deny
    item.clearance = max(item.clearance, item.inside.clearance)
    item.compartments |= item.inside.compartments
    item.allow, item.inside, item.inherits = {item.owner}, None, False


def test_the_program_agrees_with_the_model(request: pytest.FixtureRequest) -> None:
    """Hidden and visible, after each of thousands of changes: exactly what the reference model says."""
    steps = request.config.getoption("leak_steps", None) or ORDINARY_STEPS
    chosen = request.config.getoption("leak_seed", None)
    if chosen is None:
        chosen = 0 if steps == ORDINARY_STEPS else secrets.randbits(32)
    print(f"--leak-steps {steps} --leak-seed {chosen}")

    class Counted(Archive):
        done = 0

    # Hypothesis may end an example early, so one run can come out short of its steps.
    while Counted.done < steps:
        run_state_machine_as_test(
            seed(chosen + Counted.done)(Counted),
            settings=settings(
                max_examples=-(-(steps - Counted.done) // STEPS_A_WORLD),
                stateful_step_count=STEPS_A_WORLD,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_the_reference_model_is_small_enough_to_check_by_eye() -> None:
    """At most 30 lines, blank ones and the module's docstring and imports aside."""
    source = (Path(__file__).parent / "reference_model.py").read_text()
    code = source.partition("from dataclasses")[2].splitlines()[1:]
    counted = [line for line in code if line.strip()]
    assert 15 < len(counted) <= 30
