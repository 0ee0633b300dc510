"""The model calls and the released segments of an answer, from its records.

The end of an answer tells of both, so that their records cannot be left out without its end saying so.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Leaf


def calls_of(leaves: Iterable[Leaf]) -> tuple[AI, ...]:
    """Return the model calls that the records of one answer tell of, in their order.

    Each is as its end says it, with its token counts, or as its begin does while it has no end.
    """
    begun, ended = begun_and_ended(leaves)
    # Calls follow each other: each but the last has ended before the next begins.
    return ended + begun[len(ended) :]


def segments_of(leaves: Iterable[Leaf]) -> int:
    """Return how many released segments the records of one answer tell of."""
    return sum(leaf.type == EventType.ANSWER_SEGMENT for leaf in leaves)


def begun_and_ended(leaves: Iterable[Leaf]) -> tuple[tuple[AI, ...], tuple[AI, ...]]:
    """Return what the begins of model calls say, and what their ends do."""
    generated = [leaf for leaf in leaves if leaf.type == EventType.ANSWER_GENERATED]
    begun, ended = (
        tuple(leaf.ai for leaf in generated if leaf.stage is stage and leaf.ai is not None)
        for stage in (Stage.START, Stage.END)
    )
    return begun, ended
