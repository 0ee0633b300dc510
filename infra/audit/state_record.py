"""Put it on the record when something outside is lost or found again: once each time, not each attempt."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.errors import StrongroomError
from infra.logs import get_logger

REACHED = "reached"


class StateRecord:
    """Records changes of the state of one thing outside, which begins as reached."""

    def __init__(self, ledger: Ledger, event_type: EventType, what: Resource) -> None:
        """Write events of `event_type` about `what`."""
        self._ledger = ledger
        self._event_type = event_type
        self._what = what
        self._recorded = REACHED

    def note(self, state: str, reason: str = "") -> None:
        """Record `state` if it is another one than before; `reason` holds no content.

        A ledger that does not take the record now is asked again with the next call.
        """
        if state == self._recorded:
            return
        outcome = f"{state}: {reason}" if reason else state
        event = Event(self._event_type, Stage.SINGLE, new_id(), SYSTEM, res=self._what, outcome=outcome)
        try:
            self._ledger.record(event)
        except (StrongroomError, SQLAlchemyError) as error:
            get_logger().error("state.unrecorded", event_type=event.type, error=type(error).__name__)
        else:
            self._recorded = state
