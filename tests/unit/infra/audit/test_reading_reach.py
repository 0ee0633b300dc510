"""How far a document reached, and the lineage of an answer, from the records alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.access import Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Event, Resource, Retrieved, Tokens
from infra.audit.ledger import Ledger
from infra.audit.reading.filters import Page
from infra.audit.reading.lineage import lineage_of
from infra.audit.reading.reach import cited_chunks, people_reached, reach_counts, reach_page, target_of
from infra.database import Database
from infra.database.tables import Document
from infra.errors import NotFound

MakeEvent = Callable[..., Event]
LEAKED = Retrieved(doc="plan", ver="plan-1", chunk="p-1", hash="ab" * 32, rank=1)
NEVER = {"answers": 0, "searches": 0, "openings": 0, "conversations": 0, "other": 0}
OTHER = Retrieved(doc="menu", ver="menu-1", chunk="m-1", hash="cd" * 32, rank=2)


class Story:
    """Writes what people did, as the server does."""

    def __init__(self, ledger: Ledger, event: MakeEvent) -> None:
        self._ledger = ledger
        self._event = event

    def answer(self, who: Principal, answer_id: str, *found: Retrieved, cited: int | None = 1) -> None:
        """Ask and retrieve; with `cited`, also finish."""
        for kind, stage, ret, outcome in (
            (EventType.ANSWER_ASKED, Stage.START, (), None),
            (EventType.ANSWER_RETRIEVED, Stage.SEGMENT, found, None),
            (
                EventType.ANSWER_FINISHED,
                Stage.END,
                tuple(replace(passage, cited=cited or 0) for passage in found),
                "answered",
            ),
        ):
            if kind is not EventType.ANSWER_FINISHED or cited is not None:
                self.note(
                    who, kind, stage=stage, corr=answer_id, res=Resource("answer", answer_id), ret=ret,
                    outcome=outcome,
                )  # fmt: skip

    def search(self, who: Principal, corr: str, *found: Retrieved) -> None:
        """Search."""
        self.note(who, EventType.SEARCH_PERFORMED, corr=corr, res=Resource("search", corr), ret=found)

    def opening(self, who: Principal, kind: str, identifier: str, version: str) -> None:
        """Open a source, a page or a file."""
        what = Resource(kind, identifier, version)
        self.note(who, EventType.SOURCE_OPENED, corr="looking", res=what, ret=(), outcome="ok")

    def conversation(self, who: Principal, corr: str, *shown: Retrieved) -> None:
        """Open a kept conversation."""
        what = Resource("conversation", "talk")
        self.note(who, EventType.CONVERSATION_OPENED, corr=corr, res=what, ret=shown, outcome="ok")

    def note(self, who: Principal, kind: EventType, **fields: object) -> None:
        """Record one event."""
        self._ledger.record(self._event(kind, actor=self._ledger.identify(who), **fields))

    def seal(self) -> None:
        """Give everything its place."""
        self._ledger.sealer.seal_all()


@pytest.fixture
def story(ledger: Ledger, event: MakeEvent) -> Story:
    """Alice uploads a plan and asks about it; bob searches and opens it, and looks at a kept answer about it.

    Both also read other things.
    """
    told = Story(ledger, event)
    alice, bob = PEOPLE
    told.note(alice, EventType.FILE_UPLOADED, res=Resource("file", "plan", "plan-1"), ret=())
    told.answer(alice, "answer-1", LEAKED, OTHER)
    told.answer(alice, "answer-2", OTHER)
    told.search(bob, "search-1", OTHER, replace(LEAKED, rank=2))
    told.search(bob, "search-2", OTHER)
    told.opening(bob, "source", "p-1", "plan-1")
    told.opening(bob, "page", "p-1", "plan-1")
    told.opening(bob, "source", "m-1", "menu-1")
    told.conversation(bob, "talk-1", OTHER, LEAKED)
    told.conversation(bob, "talk-2", OTHER)
    told.answer(bob, "answer-3", replace(LEAKED, ver="plan-2"), cited=None)
    told.seal()
    return told


PEOPLE = (
    Principal("alice", "user", frozenset(), auth_method="password"),
    Principal("bob", "user", frozenset(), auth_method="key"),
)


def reached(page: Page) -> list[tuple[str, str]]:
    """Return type and correlation id of each record of a page."""
    return [(each.leaf.type, each.leaf.corr) for each in page.events if each.leaf is not None]


def test_reach_names_every_answer_search_opening_and_conversation(database: Database, story: Story) -> None:
    """Each stands there once, with nothing of other documents, and an upload reaches nobody."""
    with database.read() as session:
        page = reach_page(session, target_of(session, "plan", None), None, limit=50, newest_first=False)
    assert reached(page) == [
        ("answer.retrieved", "answer-1"),
        ("search.performed", "search-1"),
        ("source.opened", "looking"),
        ("source.opened", "looking"),
        ("conversation.opened", "talk-1"),
        ("answer.retrieved", "answer-3"),
    ]
    assert not page.has_more


def test_reach_of_one_version_leaves_the_others_out(database: Database, story: Story) -> None:
    """The second version reached one answer, and nobody opened it."""
    with database.read() as session:
        target = target_of(session, "plan", "plan-2")
        page = reach_page(session, target, None, limit=50, newest_first=True)
        counts = reach_counts(session, target)
    assert reached(page) == [("answer.retrieved", "answer-3")]
    assert counts == {**NEVER, "people": 1, "answers": 1}


def test_reach_counts_people_and_kinds(database: Database, ledger: Ledger, story: Story) -> None:
    """The counts agree with the list, in all and for each person."""
    with database.read() as session:
        target = target_of(session, "plan", None)
        counts = reach_counts(session, target)
        people = people_reached(session, target, after=None, limit=10)
    once = {"searches": 1, "conversations": 1}
    assert counts == {**NEVER, **once, "people": 2, "answers": 2, "openings": 2}
    alice, bob = (ledger.identify(person).sub for person in PEOPLE)
    by_subject = {person.subject: person.counts for person in people}
    assert by_subject[alice] == {**NEVER, "answers": 1}
    assert by_subject[bob] == {**NEVER, **once, "answers": 1, "openings": 2}


def test_people_come_in_pages(database: Database, story: Story) -> None:
    """The subject id that a page ends with leads to the next one."""
    with database.read() as session:
        target = target_of(session, "plan", None)
        (first,) = people_reached(session, target, after=None, limit=1)
        rest = people_reached(session, target, after=first.subject, limit=10)
        everybody = people_reached(session, target, after=None, limit=10)
    assert [first, *rest] == everybody


def test_reach_comes_in_pages(database: Database, story: Story) -> None:
    """Page by page, the same records come as at once."""
    with database.read() as session:
        target = target_of(session, "plan", None)
        whole = reach_page(session, target, None, limit=50, newest_first=True)
        first = reach_page(session, target, None, limit=2, newest_first=True)
        rest = reach_page(session, target, first.older, limit=50, newest_first=True)
    assert reached(first) + reached(rest) == reached(whole)
    assert (first.has_more, rest.has_more) == (True, False)


def test_reach_says_what_was_cited(database: Database, story: Story) -> None:
    """An answer that ended says which passages it cites; of one that did not, nothing is claimed."""
    with database.read() as session:
        page = reach_page(session, target_of(session, "plan", None), None, limit=50, newest_first=False)
        cited = cited_chunks(session, page.events)
    assert cited == {"answer-1": frozenset({"p-1", "m-1"})}


def test_a_deleted_document_is_told_from_one_that_stands(database: Database, story: Story) -> None:
    """What was removed from every store is still known to the record, with its versions."""
    with database.write() as session:
        session.add(Document(id="menu", owner="user:alice", name="menu.txt", created_at=1, compartments=[]))
    with database.read() as session:
        gone, here = target_of(session, "plan", None), target_of(session, "menu", None)
    assert (gone.is_deleted, gone.versions) == (True, ["plan-1", "plan-2"])
    assert (here.is_deleted, here.versions) == (False, ["menu-1"])


@pytest.mark.parametrize(("document", "version"), [("nothing", None), ("plan", "menu-1")])
def test_an_unknown_document_or_version_is_not_found(
    database: Database, story: Story, document: str, version: str | None
) -> None:
    """What neither exists nor ever stood on the record reached nobody, and is no empty list."""
    with database.read() as session, pytest.raises(NotFound):
        target_of(session, document, version)


# --- the lineage of an answer ---------------------------------------------------------------------


def test_a_lineage_holds_every_step(database: Database, story: Story) -> None:
    """Question, passages with what was cited, model call with tokens, text, end, and what came later."""
    alice, bob = PEOPLE
    call = AI(model="a model", prompt="ef" * 32, params={"max_tokens": 64})
    what = Resource("answer", "answer-9")
    steps = (
        (EventType.ANSWER_ASKED, {"stage": Stage.START, "ret": ()}),
        (EventType.ANSWER_RETRIEVED, {"stage": Stage.SEGMENT, "ret": (LEAKED, OTHER)}),
        (EventType.ANSWER_GENERATED, {"stage": Stage.START, "ret": (), "ai": call}),
        (EventType.ANSWER_SEGMENT, {"stage": Stage.SEGMENT, "ret": ()}),
        (EventType.ANSWER_SEGMENT, {"stage": Stage.SEGMENT, "ret": ()}),
        (
            EventType.ANSWER_GENERATED,
            {"stage": Stage.END, "ret": (), "ai": replace(call, tokens=Tokens(9, 5)), "outcome": "ok"},
        ),
        (
            EventType.ANSWER_FINISHED,
            {
                "stage": Stage.END,
                "ret": (replace(LEAKED, cited=1), replace(OTHER, cited=0)),
                "outcome": "answered",
            },
        ),
        (EventType.CONVERSATION_KEPT, {"ret": (), "res": Resource("conversation", "talk")}),
    )
    for kind, fields in steps:
        story.note(alice, kind, **({"corr": "answer-9", "res": what} | fields))
    story.note(bob, EventType.AUDIT_READ, corr="later", res=what, ret=())
    story.seal()
    with database.read() as session:
        lineage = lineage_of(session, "answer-9")
    assert [passage.cited for passage in lineage.passages] == [1, 0]
    (made,) = lineage.calls
    assert (made.began.leaf.stage, made.ai.tokens) == (Stage.START, Tokens(9, 5))
    assert len(lineage.segments) == 2
    assert lineage.finished is not None
    assert lineage.finished.leaf.outcome == "answered"
    assert lineage.retrieved is not None
    assert lineage.authz == lineage.retrieved.leaf.authz
    assert [step.leaf.type for step in lineage.others] == ["conversation.kept"]
    assert [step.leaf.corr for step in lineage.later] == ["later"]


def test_a_lineage_without_an_end_says_what_was_found(database: Database, story: Story) -> None:
    """An answer that broke off has its passages, of which nobody knows what was cited."""
    with database.read() as session:
        lineage = lineage_of(session, "answer-3")
    assert lineage.finished is None
    assert [passage.cited for passage in lineage.passages] == [-1]


@pytest.mark.parametrize("answer_id", ["nothing", "search-1"])
def test_what_is_no_answer_has_no_lineage(database: Database, story: Story, answer_id: str) -> None:
    """An unknown id, and that of another request, are not found."""
    with database.read() as session, pytest.raises(NotFound):
        lineage_of(session, answer_id)
