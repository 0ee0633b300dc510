"""A made log of records, and what each filter should find in it, judged leaf by leaf without any index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from infra.access import Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Actor, Event, Leaf, Resource, Retrieved
from infra.audit.ledger import Ledger
from infra.audit.reading.filters import EventFilter, Place, find_page
from infra.database import Database

SEED = 20261122
RECORDS = 700
"""More than one window of a scan."""
DOCUMENTS = ("doc-a", "doc-b", "doc-c")
TYPES = (
    EventType.SIGNIN_OK,
    EventType.FILE_SHARED,
    EventType.FILE_UPLOADED,
    EventType.SEARCH_PERFORMED,
    EventType.SOURCE_OPENED,
)


def made_event(random: Random, actors: list[Actor]) -> Event:
    """Return one event of a small world, with or without a document in it."""
    kind, document = random.choice(TYPES), random.choice(DOCUMENTS)
    version = f"{document}-v{random.randint(1, 2)}"
    res, ret = Resource("answer", "a-1"), ()
    if kind in {EventType.FILE_UPLOADED, EventType.FILE_SHARED}:
        res = Resource("file", document, version)
    elif kind is EventType.SOURCE_OPENED:
        res = Resource("source", f"passage-{random.randint(1, 9)}", version)
    elif kind is EventType.SEARCH_PERFORMED:
        both = {version, f"{document}-v1"}
        ret = tuple(
            Retrieved(doc=document, ver=ver, chunk="c", hash="ab" * 32, rank=rank)
            for rank, ver in enumerate(sorted(both), start=1)
        )
    return Event(
        kind,
        Stage.SINGLE,
        corr=f"request-{random.randint(1, 200)}",
        actor=random.choice(actors),
        res=res,
        outcome=random.choice(("ok", "ok", "ok", "failed")),
        ret=ret,
    )


@dataclass
class Log:
    """A ledger with a sealed log."""

    ledger: Ledger
    database: Database
    actors: list[Actor]
    leaves: list[Leaf]

    def add(self, random: Random) -> str:
        """Seal one more event; returns its id."""
        added = self.ledger.record(made_event(random, self.actors))
        self.ledger.sealer.seal_all()
        return added.id


def made_log(ledger: Ledger, *people: Principal) -> Log:
    """Fill a ledger."""
    random, actors = Random(SEED), [ledger.identify(person) for person in people]
    with ledger.database.write() as session:
        for _ in range(RECORDS):
            ledger.record_in(session, made_event(random, actors))
    ledger.sealer.seal_all()
    return Log(ledger, ledger.database, actors, leaves_of(ledger))


def leaves_of(ledger: Ledger) -> list[Leaf]:
    """Return every readable leaf, in order."""
    found = ledger.reader.events(limit=10_000)
    return [each.leaf for each in found if each.leaf is not None]


def is_wanted(leaf: Leaf, wanted: EventFilter) -> bool:
    """Judge one leaf by itself, without any index."""
    res = leaf.res or Resource("", "")
    is_document = (
        wanted.document is None
        or res.id == wanted.document
        or any(passage.doc == wanted.document for passage in leaf.ret)
        or (res.ver or "").startswith(f"{wanted.document}-")
    )
    return (
        (wanted.subject is None or leaf.actor.sub == wanted.subject)
        and (wanted.type is None or leaf.type == wanted.type or _begins(leaf.type, wanted.type))
        and (not any(leaf.type == name or _begins(leaf.type, name) for name in wanted.without))
        and is_document
        and (wanted.since is None or leaf.time >= wanted.since)
        and (wanted.until is None or leaf.time < wanted.until)
        and (wanted.outcome is None or leaf.outcome == wanted.outcome)
        and (wanted.corr is None or leaf.corr == wanted.corr)
    )


def _begins(kind: str, wanted: str) -> bool:
    return wanted.endswith(".") and kind.startswith(wanted)


def walk(
    database: Database, wanted: EventFilter, *, newest_first: bool, limit: int = 40
) -> Iterator[list[str]]:
    """Yield the ids of every page, from the list's beginning to its end."""
    place: Place | None = None
    while True:
        with database.read() as session:
            page = find_page(session, wanted, place, limit=limit, newest_first=newest_first)
        yield [each.id for each in page.events]
        if not page.has_more:
            return
        place = page.older if newest_first else page.newer


def wanted_ones(leaves: list[Leaf], wanted: EventFilter, *, newest_first: bool) -> list[str]:
    found = [leaf.id for leaf in leaves if is_wanted(leaf, wanted)]
    return found[::-1] if newest_first else found


FILTERS: dict[str, Callable[[list[Leaf]], dict[str, Any]]] = {
    "everything": lambda _: {},
    "who": lambda log: {"subject": log[5].actor.sub},
    "a type": lambda _: {"type": "file.shared"},
    "the beginning of types": lambda _: {"type": "file."},
    "without a type": lambda _: {"without": ("search.performed",)},
    "without several types": lambda _: {"without": ("file.", "signin.ok")},
    "a document": lambda _: {"document": "doc-b"},
    "an outcome": lambda _: {"outcome": "failed"},
    "one request": lambda log: {"corr": log[77].corr},
    "a time": lambda log: {"since": log[200].time, "until": log[500].time},
    "from a time on": lambda log: {"since": log[650].time},
    "before a time": lambda log: {"until": log[30].time},
    "all of it": lambda log: {
        "subject": log[5].actor.sub,
        "type": "file.",
        "document": "doc-a",
        "since": log[10].time,
        "outcome": "ok",
    },
    "nothing": lambda _: {"outcome": "never happened"},
}
