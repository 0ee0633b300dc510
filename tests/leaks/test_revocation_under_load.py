"""Threads that ask all the time while access is taken away and given back: nothing leaks after the commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from made_worlds import ADA, BEN, LEGAL, NOBODY, Cleared, Plan, Planned, Shelf, build
from small_world import SmallWorld, collection_in, document_in, small_world

from infra import accounts, sharing
from infra.sharing import Restriction

THREADS: Final = 4
ROUNDS: Final = 28
PATIENCE_S: Final = 60.0
SECRET: Final = "secret"

Change = Callable[[Any, SmallWorld], object]


@dataclass(frozen=True)
class Phase:
    """A time between two changes, in which Ben may not read the secret, or must find it."""

    number: int
    revoked: bool


@dataclass
class Board:
    """What the threads see: the phase that is certain now, if one is, and what they found in each."""

    phase: Phase | None = None
    asked: dict[int, int] = field(default_factory=dict)
    leaks: list[Phase] = field(default_factory=list)
    misses: list[Phase] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, phase: Phase, found: bool) -> None:
        """Judge one search that began and ended in one phase."""
        with self.changed:
            self.asked[phase.number] = self.asked.get(phase.number, 0) + 1
            if found and phase.revoked:
                self.leaks.append(phase)
            if not found and not phase.revoked:
                self.misses.append(phase)
            self.changed.notify_all()

    def watch(self, phase: Phase) -> None:
        """Announce a phase, and end it when enough searches lay within it."""
        self.phase = phase
        with self.changed:
            enough = self.changed.wait_for(
                lambda: self.asked.get(phase.number, 0) >= 2 * THREADS or self.failures, PATIENCE_S
            )
        self.phase = None
        assert not self.failures
        assert enough, "the threads asked too little to show anything"


def _restrict(**more: Any) -> Change:
    def change(session: Any, world: SmallWorld) -> None:
        sharing.restrict(session, document_in(session, SECRET), Restriction(**more), world.principal(ADA))

    return change


WAYS: Final[tuple[tuple[Change, Change], ...]] = (
    (
        lambda s, _: sharing.unshare_collection(s, collection_in(s, "shelf"), LEGAL),
        lambda s, _: sharing.share_collection(s, collection_in(s, "shelf"), LEGAL),
    ),
    (
        lambda s, _: accounts.remove_member(s, LEGAL, "ben"),
        lambda s, _: accounts.add_member(s, LEGAL, "ben"),
    ),
    (_restrict(deny=frozenset({BEN})), _restrict()),
    (_restrict(clearance=2), _restrict()),
    (_restrict(compartments=frozenset({"board"})), _restrict()),
    (_restrict(only=frozenset({ADA})), _restrict()),
    (
        lambda s, _: sharing.share_collection(s, collection_in(s, "shelf"), BEN, effect="deny"),
        lambda s, _: sharing.unshare_collection(s, collection_in(s, "shelf"), BEN, effect="deny"),
    ),
)
"""How access is taken away, and how it is given back."""


def test_nothing_is_found_after_the_revocation_was_committed() -> None:
    """Hidden from searches that begin after a commit, index late or not. Visible while it is granted."""
    with small_world() as world:
        shelf = Shelf("shelf", allow=frozenset({LEGAL}))
        secret = Planned(SECRET, ("The canteen serves lunch.",), shelf="shelf")
        visible = Planned("canteen", ("Lunch is at noon.",), allow=frozenset({BEN}))
        build(world, Plan((shelf,), (secret, visible), Cleared(frozenset({LEGAL}), 1, NOBODY)))
        board = Board()
        threads = [threading.Thread(target=_keep_asking, args=(world, board)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            for number in range(ROUNDS):
                _round(world, board, number)
        finally:
            board.done.set()
            for thread in threads:
                thread.join()
    assert board.failures == []
    assert board.leaks == []
    assert board.misses == []
    assert len(board.asked) == 2 * ROUNDS


def _round(world: SmallWorld, board: Board, number: int) -> None:
    """Take away and give back; in every other round the index hears of the first only with the second."""
    take, give_back = WAYS[number % len(WAYS)]
    late = number // len(WAYS) % 2 == 0
    with world.changing(late=late) as session:
        take(session, world)
    board.watch(Phase(2 * number, revoked=True))
    with world.changing() as session:
        give_back(session, world)
    board.watch(Phase(2 * number + 1, revoked=False))


def _keep_asking(world: SmallWorld, board: Board) -> None:
    try:
        while not board.done.is_set():
            began = board.phase
            found = {passage.document_id for passage in world.search(BEN, limit=5)}
            assert "canteen" in found
            # A search around a change may go either way; one between two changes may not.
            if began is not None and board.phase is began:
                board.note(began, SECRET in found)
    except BaseException as error:
        with board.changed:
            board.failures.append(error)
            board.changed.notify_all()
