"""Whether the ledger takes records now; while it does not, nothing is begun that would wait for it.

Whatever could not be written meanwhile is written as soon as the ledger takes records again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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
        self._beats = True
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._overdue: Callable[[], None] = lambda: None

    @property
    def is_beating(self) -> bool:
        """Whether the ledger took the last record that it was asked for, and somebody still asks."""
        return self._beats and (self._thread is None or self._thread.is_alive())

    def start(self, ledger: Ledger) -> None:
        """Begin to ask."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._loop, args=(ledger,), name="pulse", daemon=True)
        self._thread.start()

    def after_each_beat(self, write_overdue: Callable[[], None]) -> None:
        """Call `write_overdue` whenever the ledger was found to take records, on the pulse's thread.

        It waits for the ledger itself no longer than a record may take, and does nothing when nothing waits.
        """
        self._overdue = write_overdue

    def stop(self) -> None:
        """Stop after the question under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self, ledger: Ledger) -> None:
        while not self._stopping.wait(PERIOD_S if self._beats else RETRY_S):
            self._note(_answers(ledger))
            if self._beats:
                self._write_overdue()

    def _write_overdue(self) -> None:
        try:
            self._overdue()
        except Exception as error:  # noqa: BLE001
            # The edge of the thread: without it nobody would notice a ledger that is lost.
            _log.error("ledger.overdue_unwritten", error=type(error).__name__)

    def _note(self, is_beating: bool) -> None:
        if is_beating and not self._beats:
            _log.info("ledger.found")
        elif self._beats and not is_beating:
            _log.error("ledger.lost")
        self._beats = is_beating


def _answers(ledger: Ledger) -> bool:
    try:
        return ledger.healthy()
    except Exception as error:  # noqa: BLE001
        # The edge of the thread: a ledger that fails in a way nobody thought of takes no records either.
        _log.error("ledger.broken", error=type(error).__name__)
        return False
