"""Ask for every canary through every interface, and judge what the answers told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import anyio
import httpx2

from infra.access import Role
from services.access.leak_test.asking import Ask, Told, told
from services.access.leak_test.canary import Canary
from services.access.leak_test.interfaces import INTERFACES, Interface
from services.access.leak_test.people import Cast, Player
from services.access.leak_test.results import Leak, Unproven


@dataclass
class Inquiry:
    """One round of questions about planted canaries; `on_ask` hears of each request that was judged."""

    client: httpx2.AsyncClient
    cast: Cast
    canaries: Sequence[Canary]
    on_ask: Callable[[], None]
    interfaces: Sequence[Interface] = INTERFACES
    leaks: list[Leak] = field(default_factory=list)
    unproven: list[Unproven] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many requests will be judged."""
        controls = sum(len(self._asked(each)) for each in self.interfaces if each.control)
        return controls + len(self.cast.outsiders) * sum(len(self._asked(each)) for each in self.interfaces)

    async def hold(self) -> None:
        """Ask as the insider and the owner, who must find, then as the outsiders, who must not."""
        self._nowhere = next(canary for canary in self.canaries if canary.open_collection).unknown_twin()
        for interface in self.interfaces:
            await self._prove(interface)
        async with anyio.create_task_group() as everybody:
            for role, player in self.cast.outsiders.items():
                everybody.start_soon(self._tempt, role, player)

    def _asked(self, interface: Interface) -> Sequence[Canary]:
        """Return the canaries to ask for: each that has what it takes, or one for a list that holds all."""
        concerned = [canary for canary in self.canaries if interface.concerns(canary)]
        return concerned if interface.per_canary else concerned[:1]

    # --- those who must find ----------------------------------------------------------------------

    async def _prove(self, interface: Interface) -> None:
        """Make sure that a canary can be found here by whoever may."""
        if interface.control is None:
            return
        player = self.cast.insider if interface.control == "insider" else self.cast.owner
        nothing = await self._unknown(interface, player) if interface.by_id else None
        for canary in self._asked(interface):
            ask = interface.ask(canary)
            answer = await told(self.client, player, ask)
            wanted = [canary] if interface.per_canary else self.canaries
            is_found = any(self._given_away(interface, ask, answer, wanted)) or (
                nothing is not None and _anonymous(answer, canary) != nothing
            )
            if answer.is_busy or not is_found:
                self.unproven.append(Unproven(interface.name, canary.rule, _why(answer)))
            self.on_ask()

    # --- those who must not -----------------------------------------------------------------------

    async def _tempt(self, role: Role, player: Player) -> None:
        for interface in self.interfaces:
            compared = interface.by_id and role not in interface.open_to
            nothing = await self._unknown(interface, player) if compared else None
            for canary in self._asked(interface):
                ask = interface.ask(canary)
                self._judge(interface, role, canary, ask, await told(self.client, player, ask), nothing)
                self.on_ask()

    def _judge(
        self,
        interface: Interface,
        role: Role,
        canary: Canary,
        ask: Ask,
        answer: Told,
        nothing: tuple[int, str] | None,
    ) -> None:
        found = list(self._given_away(interface, ask, answer, self.canaries))
        if not found and nothing is not None and _anonymous(answer, canary) != nothing:
            found = [(canary, "that it exists")]
        if answer.is_busy or (not interface.by_id and answer.status >= 400):
            self.unproven.append(Unproven(interface.name, canary.rule, f"{_why(answer)} to the {role}"))
            return
        # A list tells of other canaries than the one that was asked for, each of them under its own rule.
        self.leaks += [
            Leak(interface.name, interface.operation, role.value, whose.rule, what) for whose, what in found
        ]

    def _given_away(
        self, interface: Interface, ask: Ask, answer: Told, canaries: Sequence[Canary]
    ) -> Iterator[tuple[Canary, str]]:
        """Yield what the answer tells that the request did not say already."""
        text = f"{answer.head}\n\n{answer.body}"
        for canary in canaries:
            for what, mark in canary.marks().items():
                if mark in text and what not in interface.may_tell and not ask.says(mark):
                    yield canary, what
            if interface.telling and interface.concerns(canary) and interface.telling.search(answer.body):
                yield canary, "a count"

    async def _unknown(self, interface: Interface, player: Player) -> tuple[int, str]:
        """Return what the interface says to `player` of a canary that does not exist."""
        answer = await told(self.client, player, interface.ask(self._nowhere))
        return _anonymous(answer, self._nowhere)


def _anonymous(answer: Told, canary: Canary) -> tuple[int, str]:
    """Return an answer without what is the canary's own, to compare it with that about another one."""
    return answer.status, canary.anonymous(f"{answer.head}\n\n{answer.body}")


def _why(answer: Told) -> str:
    return f"status {answer.status}" if answer.status >= 400 else "not found"
