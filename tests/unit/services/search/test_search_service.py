"""How several searches become one list, and that the longest record still fits."""

from __future__ import annotations

from dataclasses import replace

from agents.record import as_recorded
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Actor, Authz, Leaf, Resource, canonical
from infra.clock import new_id, now_ms
from infra.documents import Passage, passage_hash
from services.search.service import MAX_RESULTS, _fused


def passage(name: str) -> Passage:
    """Return a passage with an id of the real length."""
    return Passage(
        id=f"{name:0>36}",
        document_id=new_id(),
        version_id=new_id(),
        version_number=1,
        document_name="a.md",
        media_type="text/markdown",
        ordinal=0,
        sha256=passage_hash(name),
        text=name,
        title="",
        heading="",
        place={},
        lines=[],
        created_at=0,
    )


A, B, C = passage("a"), passage("b"), passage("c")


def test_one_list_keeps_its_order() -> None:
    """A single query is ranked as the retriever ranks it."""
    assert _fused([[C, A, B]]) == [C, A, B]


def test_what_several_queries_find_comes_first() -> None:
    """Each passage stands once; agreement outweighs a single place, and ties keep the first query's order."""
    assert _fused([[A, B], [C, B]]) == [B, A, C]
    assert _fused([[A], [], [A]]) == [A]
    assert _fused([]) == []


def test_the_longest_search_fits_into_one_record() -> None:
    """Fifty passages, and every other field as long as it gets, are less than 16 KiB."""
    passages = [replace(passage(str(number)), document_id=new_id()) for number in range(MAX_RESULTS)]
    actor = Actor(sub=new_id(), kind="service", auth="x" * 48, sess="0" * 64, pset="0" * 64)
    leaf = Leaf(
        id=new_id(),
        type=EventType.SEARCH_PERFORMED,
        stage=Stage.SINGLE,
        corr=new_id(),
        time=now_ms(),
        src="s" * 64,
        actor=actor,
        res=Resource("collection", new_id()),
        authz=Authz("allow", "p" * 64, 2**53 - 1),
        outcome="ok",
        ret=as_recorded(passages),
    )
    assert len(canonical(leaf)) < 16 * 1024
