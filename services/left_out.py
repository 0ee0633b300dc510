"""What strangers did beyond the bound of their records: once a minute, the number goes on the record."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from infra.audit.event_types import Stage
from infra.audit.leaf import ANONYMOUS, Event, Resource
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.errors import StrongroomError
from infra.logs import get_logger
from infra.queue import Ticker
from services.refusals import StrangersRecords

PERIOD_S: Final = 60.0
"""How often the number is recorded, in seconds; nothing is written where nothing was left out."""
SEVERAL: Final = Resource("operation", "several")
"""What such a record is about."""
_log = get_logger()


class LeftOut:
    """Writes one record a minute for each kind of what was counted only."""

    def __init__(self, ledger: Ledger, *counted: StrangersRecords) -> None:
        """Sum up what `counted` let through without a record of its own."""
        self._ledger = ledger
        self._counted = counted
        self._ticker = Ticker(self.sum_up, period_s=PERIOD_S, name="left out")

    def start(self) -> None:
        """Begin; the first record comes after a minute."""
        self._ticker.start()

    def stop(self) -> None:
        """Stop, after a last record of what was left out since the one before."""
        self._ticker.stop()
        self.sum_up()

    def sum_up(self) -> None:
        """Record the numbers. What the ledger does not take now is counted on, and tried a minute later."""
        for counted in self._counted:
            number = counted.take_left_out()
            if number and not self._is_recorded(counted, number):
                counted.put_back(number)

    def _is_recorded(self, counted: StrangersRecords, number: int) -> bool:
        outcome = f"{number} more not recorded one by one"
        event = Event(counted.summed_up_as, Stage.SINGLE, new_id(), ANONYMOUS, res=SEVERAL, outcome=outcome)
        try:
            self._ledger.record(event)
        except (StrongroomError, SQLAlchemyError) as failure:
            _log.error("left_out.unrecorded", number=number, error=type(failure).__name__)
            return False
        return True
