"""Look at every watched folder and bucket at its pace, or when somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from infra.clock import now_ms
from infra.errors import StrongroomError
from infra.logs import get_logger
from infra.queue import Ticker
from infra.settings import Settings
from infra.sources import WatchedBucket, WatchedFolder
from infra.stores import Stores
from ingest.sync import standing
from ingest.sync.folder import Folder
from ingest.sync.source import Source, Stopping
from ingest.sync.standing import LostLease
from ingest.sync.syncing import look_once

PERIOD_S: Final = 1.0
"""How often it is asked whether a source is due, in seconds."""
_log = get_logger()


class Watch:
    """Looks at the sources of the settings on a thread of its own; does nothing where there are none."""

    def __init__(self, stores: Stores, settings: Settings, kick: Callable[[], None]) -> None:
        """Prepare; `kick` delivers the wake-ups of new jobs at once."""
        self._stores = stores
        self._settings = settings
        self._kick = kick
        self._stopping = threading.Event()
        self._opened: dict[str, Source] = {}
        self._ticker = Ticker(self.turn, period_s=PERIOD_S, name="sync")

    def start(self) -> None:
        """Begin to look."""
        if self._settings.sources:
            self._ticker.start()

    def stop(self) -> None:
        """Stop after the piece at hand."""
        self._stopping.set()
        if self._settings.sources:
            self._ticker.stop()
        for source in self._opened.values():
            source.close()

    def turn(self) -> None:
        """Look at each source that is due or asked for."""
        for watched in self._settings.sources:
            if self._stopping.is_set():
                return
            if self._is_due(watched):
                self._look(watched)

    def _is_due(self, watched: WatchedFolder | WatchedBucket) -> bool:
        now = now_ms()
        with self._stores.database.read() as session:
            stands = standing.standing_of(session, watched.name)
        if stands.is_being_looked_at(now):
            return False
        return stands.is_asked_for or now - stands.looked_at >= watched.every_s * 1000

    def _look(self, watched: WatchedFolder | WatchedBucket) -> None:
        try:
            looked = look_once(
                self._stores,
                watched,
                self._source(watched),
                max_bytes=self._settings.upload_max_bytes,
                check=self._check,
            )
        except (Stopping, LostLease):
            return
        except StrongroomError as error:
            _log.error("sync.failed", source=watched.name, error=error.code)
            return
        if looked is not None and looked.taken:
            self._kick()

    def _source(self, watched: WatchedFolder | WatchedBucket) -> Source:
        if watched.name not in self._opened:
            self._opened[watched.name] = self._open(watched)
        return self._opened[watched.name]

    def _open(self, watched: WatchedFolder | WatchedBucket) -> Source:
        if isinstance(watched, WatchedFolder):
            return Folder(watched)
        # Its libraries take a while to load, and most servers watch no bucket.
        from ingest.sync.bucket import Bucket

        return Bucket(watched, self._settings.model_hosts)

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Stopping
