"""Work of which each person has one under way at most, so that nobody takes every thread of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import Conflict


class OneAtATime:
    """Who has such work under way in this process; each replica counts for itself."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def held_by(self, principal_id: str) -> Iterator[None]:
        """Hold this person's only place; raises Conflict while they hold it already."""
        with self._lock:
            if principal_id in self._busy:
                raise Conflict("You have one of these under way.", hint="Wait until it has ended.")
            self._busy.add(principal_id)
        try:
            yield
        finally:
            with self._lock:
                self._busy.remove(principal_id)
