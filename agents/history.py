"""A conversation's history, checked again before it is used: what was revoked since does not come back.

A client sends earlier answers along with its question. They may quote passages that the person could read
then and cannot read now, so each answer's citations are looked up again, and an answer that cites anything
unreadable is dropped whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from agents.events import Turn

# Citations are links to `/sources/<id>` on any host: the server may have had another address then.
_CITATION = re.compile(r"/sources/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)


def still_readable(
    history: Sequence[Turn], readable_of: Callable[[Sequence[str]], Collection[str]]
) -> tuple[Turn, ...]:
    """Return the turns without the answers that cite a passage which is not readable now.

    `readable_of` takes passage ids and returns those that may be read at this moment.
    """
    cited = {number: _cited_by(turn) for number, turn in enumerate(history)}
    wanted = sorted({passage_id for ids in cited.values() for passage_id in ids})
    if not wanted:
        return tuple(history)
    readable = set(readable_of(wanted))
    return tuple(turn for number, turn in enumerate(history) if cited[number] <= readable)


def _cited_by(turn: Turn) -> set[str]:
    """Return the ids that an answer cites; what the person wrote themself is theirs to repeat."""
    if turn.role != "assistant":
        return set()
    return {match.group(1).lower() for match in _CITATION.finditer(turn.text)}
