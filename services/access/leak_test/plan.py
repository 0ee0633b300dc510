"""What one run tests: a canary per group, clearance level and compartment in use, and the other rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from infra.canaries import compartment_of_run, in_use
from services.access.leak_test.canary import Canary, Rule, new_canary

AT_MOST: Final = 50
"""Canaries for groups, levels and compartments, each; the newest groups are tested."""
_MADE_UP_LEVEL: Final = 50


@dataclass(frozen=True)
class Plan:
    """A run before anything is made. Outsiders have the clearance `outside_clearance`, 0 to 99."""

    run_id: str
    canaries: tuple[Canary, ...]
    group_ids: tuple[str, ...]
    compartments: tuple[str, ...]
    outside_clearance: int
    notes: tuple[str, ...]

    @property
    def compartment(self) -> str:
        """The compartment that keeps every real person from the canaries."""
        return compartment_of_run(self.run_id)


def make_plan(session: Session, run_id: str) -> Plan:
    """Return what there is to test now."""
    used = in_use(session, at_most=AT_MOST)
    levels = used.clearances or (_MADE_UP_LEVEL,)
    # One that nobody has used before, so that there always is one, and no file of anybody's carries it.
    compartments = (*used.compartments, f"leak test {run_id}")
    rules = (
        *(Rule("group", group_id) for group_id in used.group_ids),
        Rule("person"),
        *(Rule("clearance", str(level)) for level in levels),
        *(Rule("compartment", name) for name in compartments),
        Rule("collection"),
        Rule("narrowed"),
        Rule("deny"),
    )
    return Plan(
        run_id=run_id,
        canaries=tuple(new_canary(rule) for rule in rules),
        group_ids=used.group_ids,
        compartments=compartments,
        outside_clearance=min(levels) - 1,
        notes=_notes(used.group_count),
    )


def _notes(group_count: int) -> tuple[str, ...]:
    if group_count <= AT_MOST:
        return ()
    return (f"Of {group_count} groups, the {AT_MOST} newest were tested.",)
