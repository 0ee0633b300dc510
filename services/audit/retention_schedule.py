"""When retention is kept: contents and records once a night, backups of keys and open erasures all day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from infra.audit.ledger import Ledger
from infra.audit.removal.erasure import finish_unfinished
from infra.audit.removal.key_backups import expire_backups
from infra.audit.removal.retention import prune
from infra.clock import new_id
from infra.database.traces import empty_write_ahead_log
from infra.logs import get_logger
from infra.queue import Ticker
from infra.settings import Settings
from services.outposts import outside_of

PERIOD_S: Final = 600.0
"""How often it is looked whether something is due, in seconds."""
_log = get_logger()


class RetentionSchedule:
    """The retention of one server's record."""

    def __init__(
        self, ledger: Ledger, settings: Settings, *, clock: Callable[[], datetime] | None = None
    ) -> None:
        """Keep the retention of `settings`; `clock` tells the local time, by default the machine's."""
        self._ledger = ledger
        self._clock = clock or _local_time
        self._settings = settings
        self._ticker = Ticker(self._look, period_s=PERIOD_S, name="retention")
        self._last_night: str | None = None

    def start(self) -> None:
        """Begin to look at the clock."""
        self._ticker.start()

    def stop(self) -> None:
        """Stop looking at it."""
        self._ticker.stop()

    def _look(self) -> None:
        """Do what is due; called on the ticker's thread, which outlives what this raises."""
        expired = expire_backups(self._ledger, corr=new_id())
        finished = finish_unfinished(self._ledger.database)
        now = self._clock()
        if is_due(now, self._settings.retention_hour, self._last_night):
            self._prune()
            self._last_night = now.date().isoformat()
        if expired or finished:
            empty_write_ahead_log(self._ledger.database)
            _log.info("retention.kept", backups_expired=expired, erasures_finished=finished)

    def _prune(self) -> None:
        days = {str(name): count for name, count in self._settings.retention_days.items()}
        done = prune(self._ledger, days, corr=new_id(), outside=outside_of(self._settings))
        if done.records or any(done.contents.values()):
            # What was deleted lies in the log of SQLite until that is emptied.
            empty_write_ahead_log(self._ledger.database)
        counts = {"contents": sum(done.contents.values()), "records": done.records}
        _log.info("retention.pruned", **counts, minimum=done.minimum, held=done.is_held)


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


def is_due(now: datetime, hour: int, last_night: str | None) -> bool:
    """Say whether the night's run has to begin: within its hour, once a day."""
    return now.hour == hour and last_night != now.date().isoformat()
