"""A record as a busy server leaves it, made quickly: searches, answers with their passages, sign-ins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.audit.bundles.export import plan_export, write_bundle
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Actor, Authz, Event, Resource, Retrieved, Tokens
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.database.tables import Base
from infra.keys import MasterKey

ORIGIN = "log.example/made"
WITNESS_SEED = b"\x0b" * 32
ASKER = Actor(sub="6f1c9f3e-52a4-4d0a-9a55-0c6a9b3f0b11", kind="user", auth="session", pset="cd" * 32)


@contextmanager
def made_ledger(file: Path, seed: bytes = b"\x2a" * 32, origin: str = ORIGIN) -> Iterator[Ledger]:
    """Yield an empty ledger in a new SQLite file, with the master key `seed`."""
    database = Database(f"sqlite:///{file}")
    Base.metadata.create_all(database.engine)
    ledger = Ledger(database, MasterKey(seed), origin=origin, source="one", timeout_s=5.0)
    try:
        yield ledger
    finally:
        ledger.close()
        database.close()


def fill(ledger: Ledger, count: int, *, seal_every: int = 50) -> None:
    """Record `count` events, and seal them in steps, so that there are several checkpoints."""
    for start in range(0, count, seal_every):
        with ledger.database.write() as session:
            for number in range(start, min(start + seal_every, count)):
                ledger.record_in(session, busy_event(number))
        ledger.sealer.seal_all()


def busy_event(number: int) -> Event:
    """Return the event at one place of a busy day: every sixth belongs to an answer's course."""
    answer = f"answer-{number // 6}"
    about = Resource("answer", answer)
    passages = tuple(
        Retrieved(doc=f"d-{number}", ver="v-1", chunk=f"c-{number}-{rank}", hash="ab" * 32, rank=rank)
        for rank in (1, 2)
    )
    call = AI(model="sha256:" + "ef" * 32, prompt="12" * 32, params={"temperature": "0.2", "max_tokens": 220})
    called = AI(call.model, call.prompt, call.params, Tokens(read=512, written=48))
    course = (
        Event(EventType.ANSWER_ASKED, Stage.START, answer, ASKER, res=about),
        Event(
            EventType.ANSWER_RETRIEVED,
            Stage.SEGMENT,
            answer,
            ASKER,
            res=about,
            authz=Authz("allow", "acl-v1", 3),
            ret=passages,
        ),
        Event(EventType.ANSWER_GENERATED, Stage.START, answer, ASKER, res=about, ai=call),
        Event(
            EventType.ANSWER_GENERATED,
            Stage.END,
            answer,
            ASKER,
            res=about,
            outcome="ok",
            ai=called,
        ),
        Event(
            EventType.ANSWER_FINISHED,
            Stage.END,
            answer,
            ASKER,
            res=about,
            outcome="answered",
            ret=passages,
            calls=(called,),
        ),
        Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, f"search-{number}", ASKER, outcome="2 found"),
    )
    return course[number % len(course)]


def export(ledger: Ledger, out: Path, start: str | None = None, stop: str | None = None) -> Path:
    """Export a part of a ledger to `out`, and return it."""
    with ledger.database.read() as session:
        write_bundle(session, plan_export(session, start, stop), ledger.signer, out)
    return out
