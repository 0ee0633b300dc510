"""What a run found out, as it is put on the record and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from services.access.leak_test.canary import Rule

Outcome = Literal["clean", "leak", "inconclusive"]
SHOWN: Final = 200
"""Most findings that a result lists; it says how many there were in all."""


@dataclass(frozen=True)
class Leak:
    """An outsider was told something: through which interface, in which role, against which rule."""

    interface: str
    operation: str
    role: str
    rule: Rule
    what: str


@dataclass(frozen=True)
class Unproven:
    """Where nothing was proved: whoever had to find a canary did not, or an outsider could not ask."""

    interface: str
    rule: Rule
    why: str


@dataclass
class Result:
    """One run. Times are UTC ms; `asked` counts the requests that were judged."""

    id: str
    cause: str
    started_at: int
    ended_at: int = 0
    asked: int = 0
    rules: list[Rule] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)
    leaks: Sequence[Leak] = ()
    unproven: Sequence[Unproven] = ()
    failure: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """`leak` for the smallest leak, `clean` only when everything was proved."""
        if self.leaks:
            return "leak"
        return "inconclusive" if self.unproven or self.failure else "clean"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON; it holds ids of groups and names of compartments, never content."""
        return {
            "object": "access.leak_test.result",
            "id": self.id,
            "outcome": self.outcome,
            "cause": self.cause,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "asked": self.asked,
            "canaries": [asdict(rule) for rule in self.rules],
            # Whom the record means: these accounts are gone when somebody reads this.
            "accounts": self.accounts,
            "leak_count": len(self.leaks),
            "leaks": [asdict(leak) for leak in self.leaks[:SHOWN]],
            "unproven_count": len(self.unproven),
            "unproven": [asdict(each) for each in self.unproven[:SHOWN]],
            "failure": self.failure,
            "notes": self.notes,
        }
