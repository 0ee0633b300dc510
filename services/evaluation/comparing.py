"""Compare two runs question by question: only what both measured on the same questions counts."""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import InvalidInput
from services.evaluation.chance import Paired, paired_test
from services.evaluation.results import MEASURES, Row, Run, SetResult


@dataclass(frozen=True)
class Compared:
    """One measure of one set in both runs. `paired` is None for measures that no single question has."""

    set_name: str
    measure: str
    base: float
    new: float
    paired: Paired | None


def compare(base: Run, new: Run, *, seed: int) -> list[Compared]:
    """Return every measure that both runs have, set by set.

    Raises InvalidInput when they share no set, or when a set's files changed between them.
    """
    before = {each.name: each for each in base.sets}
    found: list[Compared] = []
    for after in new.sets:
        if after.name not in before:
            continue
        if before[after.name].sha256 != after.sha256:
            raise InvalidInput(
                f"The files of the set {after.name} changed between the two runs.",
                hint="Run both configurations on the same files.",
            )
        found += _compared(before[after.name], after, seed)
    if not found:
        raise InvalidInput("The two runs have no set in common.", hint="Run both on the same sets.")
    return found


def _compared(before: SetResult, after: SetResult, seed: int) -> list[Compared]:
    earlier = {row.id: row for row in before.rows}
    pairs = [(earlier[row.id], row) for row in after.rows if row.id in earlier]
    found = []
    for name in MEASURES:
        if name not in before.measures or name not in after.measures:
            continue
        paired = _paired(name, pairs, seed)
        values = before.measures[name].value, after.measures[name].value
        found.append(Compared(after.name, name, *values, paired))
    return found


def _paired(name: str, pairs: list[tuple[Row, Row]], seed: int) -> Paired | None:
    of_row = MEASURES[name].of_row
    if of_row is None:
        return None
    values = [(of_row(one), of_row(other)) for one, other in pairs]
    known = [(one, other) for one, other in values if one is not None and other is not None]
    if not known:
        return None
    return paired_test([one for one, _ in known], [other for _, other in known], seed=seed)
