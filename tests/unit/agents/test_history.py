"""History that re-enters: answers that rest on something unreadable are dropped, before any use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from answer_parts import ADA, LEAVE, QUESTION, Desk, ScriptedModel, WatchedLedger, store_document
from sqlalchemy import delete, select

from agents.events import Question, Turn
from agents.history import still_readable
from infra.access import Principal, scope_of
from infra.clock import new_id
from infra.database.tables import Chunk, DocumentGrant
from infra.epoch import current_epoch, raise_epoch
from infra.stores import Stores

READABLE = "11111111-1111-5111-8111-111111111111"
REVOKED = "22222222-2222-5222-8222-222222222222"
SECRET = "Project Nightingale moves to Halden in October."


def link(passage_id: str, base: str = "http://127.0.0.1:8710") -> str:
    """Return a citation as an answer has it."""
    return f"[[1]]({base}/sources/{passage_id}?start=0&end=5)"


def kept(*turns: Turn) -> list[str]:
    """Return the texts that are left when only one passage is readable."""
    return [turn.text for turn in still_readable(turns, lambda ids: {READABLE} & set(ids))]


def test_an_answer_that_cites_something_unreadable_is_dropped() -> None:
    """Hidden: the whole answer, though one of its citations is fine. Visible: the others, in order."""
    fine, plain = f"Twenty-five {link(READABLE)}", "Good morning."
    mixed = f"{link(READABLE)} {link(REVOKED)}"
    assert kept(
        Turn("user", "a"), Turn("assistant", fine), Turn("assistant", mixed), Turn("assistant", plain)
    ) == [
        "a",
        fine,
        plain,
    ]


@pytest.mark.parametrize(
    "text",
    [
        link(REVOKED),
        link(REVOKED, base="https://old-name.example"),
        link(REVOKED.upper()),
        f"/sources/{REVOKED}",
        f"GET /v1/sources/{REVOKED}/page.png",
    ],
)
def test_a_citation_is_recognised_on_any_host(text: str) -> None:
    """The server may have had another address, and clients rewrite links."""
    assert kept(Turn("assistant", text)) == []


def test_what_a_person_wrote_stays() -> None:
    """A link that somebody typed into a question is not an answer of ours."""
    assert kept(Turn("user", link(REVOKED))) == [link(REVOKED)]


def test_without_citations_nothing_is_looked_up() -> None:
    """A conversation without citations costs no query."""

    def refuse(_ids: Sequence[str]) -> set[str]:
        raise AssertionError("looked up")

    assert len(still_readable([Turn("assistant", "Good morning.")], refuse)) == 1


# --- in an answer ---------------------------------------------------------------------------------


@pytest.fixture
def desk(stores: Stores) -> Callable[..., Desk]:
    """Make a desk with two of Ada's files and a model."""
    store_document(stores, "leave.md", LEAVE)
    return lambda: Desk(stores, WatchedLedger(stores.ledger), ScriptedModel("Anything."))


def secret_of(stores: Stores, *, readable: bool) -> str:
    """Store a file whose passage an earlier answer quoted; returns the passage's id."""
    document_id = store_document(stores, "secret.md", SECRET)
    with stores.database.write() as session:
        if not readable:
            session.execute(delete(DocumentGrant).where(DocumentGrant.document_id == document_id))
        return session.scalars(select(Chunk.id).where(Chunk.document_id == document_id)).one()


@pytest.mark.parametrize("readable", [True, False], ids=["readable", "revoked"])
def test_a_revoked_answer_is_neither_used_nor_recorded(
    desk: Callable[..., Desk], stores: Stores, readable: bool
) -> None:
    """Hidden after a share ended: the old answer, from prompt and record. Visible before: to the record.

    No earlier answer stands in a prompt at all; only earlier questions do, and passages found anew.
    """
    at = desk()
    told = Turn("assistant", f"Kestrel. {SECRET} {link(secret_of(stores, readable=readable))}")
    asyncio.run(at.ask("And how many days of annual leave?", Turn("user", QUESTION), told))
    assert at.model is not None
    prompt = json.dumps(at.model.asked)
    assert QUESTION in prompt
    assert "Kestrel" not in prompt
    assert ("Nightingale" in prompt) is readable
    asked: dict[str, Any] = json.loads(at.ledger.written[0][1] or b"{}")
    texts = [turn["text"] for turn in asked["history"]]
    assert texts == ([QUESTION, told.text] if readable else [QUESTION])


# --- caches and the record ------------------------------------------------------------------------


class ListeningModel(ScriptedModel):
    """Remembers the cache salts that it was given."""

    def __init__(self) -> None:
        super().__init__("Anything.")
        self.salts: list[str] = []

    def stream(self, messages: Sequence[dict[str, str]], **options: Any) -> ScriptedModel:
        """Take the prompt."""
        self.salts.append(options["cache_salt"])
        return super().stream(messages, **options)


def salt_for(stores: Stores, who: Principal = ADA) -> str:
    """Ask as somebody; returns the salt of the model server's prefix cache."""
    model = ListeningModel()
    answerer = Desk(stores, WatchedLedger(stores.ledger), model).answerer()

    async def read() -> None:
        async for _ in answerer.answer(Question(new_id(), QUESTION), who):
            pass

    asyncio.run(read())
    (salt,) = model.salts
    return salt


def test_the_prefix_cache_ends_with_every_change_of_access(stores: Stores) -> None:
    """The same person keeps their cache until anybody's access changes."""
    store_document(stores, "leave.md", LEAVE)
    first, again = salt_for(stores), salt_for(stores)
    with stores.database.write() as session:
        raise_epoch(session)
    assert first == again
    assert salt_for(stores) != first


def test_two_people_share_no_prefix_cache(stores: Stores) -> None:
    """At the same epoch, another set of principals is another salt; the set itself is not told."""
    ben = replace(ADA, user_id="ben")
    for who in (ADA, ben):
        store_document(stores, "leave.md", LEAVE, owner=who)
    salts = {salt_for(stores), salt_for(stores, ben)}
    assert len(salts) == 2
    assert salts.isdisjoint({scope_of(ADA).principal_set_hash, scope_of(ben).principal_set_hash})


def test_the_record_names_the_epoch_that_was_used(desk: Callable[..., Desk], stores: Stores) -> None:
    """The state of the access lists stands with the passages that were chosen under it."""
    with stores.database.write() as session:
        raise_epoch(session)
        epoch = current_epoch(session)
    at = desk()
    asyncio.run(at.ask())
    retrieved = next(event for event, _ in at.ledger.written if event.type == "answer.retrieved")
    assert retrieved.authz is not None
    assert retrieved.authz.epoch == epoch > 0


# --- the neutral text -----------------------------------------------------------------------------

ELSEWHERE = "Which telescope discovered the moons of Jupiter?"
NEUTRAL = "Ask the archive, room 12."


def said(at: Desk, text: str | None, question: str) -> list[str]:
    """Ask with a neutral text; returns every text that was released."""
    answerer = at.answerer()
    answerer._no_answer_text = lambda: text

    async def read() -> list[str]:
        pieces = answerer.answer(Question(new_id(), question), ADA)
        return [getattr(piece, "text", getattr(piece, "message", "")) async for piece in pieces]

    return asyncio.run(read())


@pytest.mark.parametrize("files", [0, 1], ids=["nothing readable", "nothing near"])
def test_the_neutral_text_follows_every_abstention(stores: Stores, files: int) -> None:
    """After both notices, in what is released and in the outcome; each is on the record before it leaves."""
    if files:
        store_document(stores, "leave.md", LEAVE)
    at = Desk(stores, WatchedLedger(stores.ledger), None)
    plain = said(at, None, ELSEWHERE)
    assert len(plain) == 2
    assert NEUTRAL not in " ".join(plain)
    followed = said(at, NEUTRAL, ELSEWHERE)
    assert followed == [f"{text} {NEUTRAL}" for text in plain]
    assert at.ledger.segments == [plain[0], followed[0]]


def test_an_answer_has_no_neutral_text(desk: Callable[..., Desk]) -> None:
    """Whoever got an answer is not sent to anybody."""
    assert NEUTRAL not in " ".join(said(desk(), NEUTRAL, QUESTION))
