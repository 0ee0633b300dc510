"""Which documents a scope may read, by the index's own account, remembered until the next write.

The engine tests a filter of six conditions point by point, and a hybrid search does so four times (in both
searches, for the word statistics, for the fusion). That made a search in a tenth of 100,000 passages seven
times as slow as one without a filter; a list of documents in its place costs next to nothing (the figures
are in `bench/README.md`). The list is what the same filter found, so it widens nothing, and whatever a
search finds through it is held against the filter itself before it is returned.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from infra.vectors.conditions import Conditions

MOST_REMEMBERED: Final = 200_000
"""How many document ids are kept for all scopes together, about 20 MB."""


class ReadableDocuments:
    """The documents that meet some conditions, least recently used forgotten first; safe for threads."""

    def __init__(self, find: Callable[[Conditions], frozenset[str]], most: int = MOST_REMEMBERED) -> None:
        self._find = find
        self._most = most
        self._kept: OrderedDict[Conditions, frozenset[str]] = OrderedDict()
        self._writes = 0
        self._lock = threading.Lock()

    def meeting(self, wanted: Conditions) -> frozenset[str]:
        """Return the ids of the documents that meet `wanted`, as of the last finished write or later."""
        with self._lock:
            writes = self._writes
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        found = self._find(wanted)
        with self._lock:
            # What was found while a write finished may be older than that write.
            if writes == self._writes:
                self._keep(wanted, found)
        return found

    def forget(self) -> None:
        """Drop everything; called after every write, and before that write returns."""
        with self._lock:
            self._writes += 1
            self._kept.clear()

    def _keep(self, wanted: Conditions, found: frozenset[str]) -> None:
        self._kept[wanted] = found
        while sum(map(len, self._kept.values())) > self._most:
            self._kept.popitem(last=False)
