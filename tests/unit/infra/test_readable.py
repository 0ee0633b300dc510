"""The list of what a scope may read never outlives a write, and does not grow without bound."""

from __future__ import annotations

from infra.vectors.conditions import Conditions, HasAny, having
from infra.vectors.readable import ReadableDocuments

ANN, BOB, EVE = (having("allow", f"user:{name}") for name in ("ann", "bob", "eve"))


class Index:
    """Says what each conditions find, and counts how often it was asked."""

    def __init__(self, *found: str) -> None:
        self.found = frozenset(found)
        self.asked: list[Conditions] = []

    def find(self, wanted: Conditions) -> frozenset[str]:
        self.asked.append(wanted)
        return self.found


def test_the_index_is_asked_once_for_equal_conditions() -> None:
    """Conditions made anew but equal are the same question."""
    index = Index("a", "b")
    readable = ReadableDocuments(index.find)
    same = Conditions((HasAny("allow", ("user:ann",)),))
    assert readable.meeting(ANN) == readable.meeting(same) == {"a", "b"}
    assert index.asked == [ANN]


def test_scopes_do_not_share_an_answer() -> None:
    """Bob is never given Ann's list."""
    index = Index("a")
    readable = ReadableDocuments(index.find)
    readable.meeting(ANN)
    index.found = frozenset({"b"})
    assert readable.meeting(BOB) == {"b"}


def test_a_write_ends_every_answer() -> None:
    """After `forget` the index is asked again, for everybody."""
    index = Index("a")
    readable = ReadableDocuments(index.find)
    readable.meeting(ANN)
    readable.meeting(BOB)
    index.found = frozenset()
    readable.forget()
    assert readable.meeting(ANN) == readable.meeting(BOB) == frozenset()


def test_what_was_found_during_a_write_is_not_kept() -> None:
    """An answer that a write overtook serves its own search only."""
    asked = 0

    def find(wanted: Conditions) -> frozenset[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            readable.forget()
            return frozenset({"before"})
        return frozenset({"after"})

    readable = ReadableDocuments(find)
    assert readable.meeting(ANN) == {"before"}
    assert readable.meeting(ANN) == {"after"}


def test_the_least_recently_used_goes_first() -> None:
    """At most `most` ids stay: Ann, used last, is kept; Bob has to be asked for again."""
    index = Index("a", "b")
    readable = ReadableDocuments(index.find, most=4)
    for wanted in (ANN, BOB, ANN, EVE, ANN):
        readable.meeting(wanted)
    assert index.asked == [ANN, BOB, EVE]
    readable.meeting(BOB)
    assert index.asked == [ANN, BOB, EVE, BOB]


def test_a_list_beyond_the_bound_is_used_and_not_kept() -> None:
    """A scope of more documents than fit is answered all the same."""
    index = Index("a", "b", "c")
    readable = ReadableDocuments(index.find, most=2)
    assert readable.meeting(ANN) == readable.meeting(ANN) == {"a", "b", "c"}
    assert index.asked == [ANN, ANN]
