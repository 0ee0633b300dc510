"""Whether the ledger takes records now; while it does not, nothing is begun that would wait for it."""

from __future__ import annotations

import threading
from typing import Final

from infra.audit.ledger import Ledger
from infra.logs import get_logger

PERIOD_S: Final = 2.0
"""How often a ledger that answers is asked, in seconds; each time costs one small commit."""
RETRY_S: Final = 0.5
"""How often one that does not answer is asked, in seconds; recovery is noticed within this time."""
_log = get_logger()


class Pulse:
    """Asks the ledger at a steady pace on a thread of its own. Before `start` it counts as beating."""

    def __init__(self) -> None:
        self.is_beating = True
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, ledger: Ledger) -> None:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._loop, args=(ledger,), name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the question under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self, ledger: Ledger) -> None:
        while not self._stopping.wait(PERIOD_S if self.is_beating else RETRY_S):
            self._note(ledger.healthy())

    def _note(self, is_beating: bool) -> None:
        if is_beating and not self.is_beating:
            _log.info("ledger.found")
        elif self.is_beating and not is_beating:
            _log.error("ledger.lost")
        self.is_beating = is_beating
