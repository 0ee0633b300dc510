"""Tell the job table how far a job is, often enough for people and seldom enough for the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.orm import Session

from infra.database import Database
from ingest import jobs
from ingest.jobs import Claim

TOLD_EVERY_S: Final = 0.5
LOOKED_EVERY_S: Final = 0.25


class Progress:
    """What one job at work tells and asks; for one thread."""

    def __init__(self, database: Database, held: Claim) -> None:
        self._database = database
        self._held = held
        self._stage = "parse"
        self._total: int | None = None
        self._before = 0
        self._told = self._looked = float("-inf")
        self._is_cancelled = False

    def begin(
        self, stage: str, total: int | None = None, *, also: Callable[[Session], object] | None = None
    ) -> None:
        """Enter a stage, whose work is `total` pages or passages; raises LostLease or Cancelled.

        `also` is done in the same transaction, so only while the job is still this worker's.
        """
        self._stage, self._total, self._before = stage, total, 0
        self._tell(0, also)

    def after(self, done: int) -> None:
        """Count what `at` says from `done` on."""
        self._before = done

    def at(self, done: int, total: int | None = None) -> None:
        """Say how far the stage is, and of how much where that shows only now.

        Written down now and then; raises LostLease or Cancelled when it is.
        """
        if total is not None:
            self._total = total
        if time.monotonic() - self._told >= TOLD_EVERY_S:
            self._tell(self._before + done)

    def is_cancelled(self) -> bool:
        """Say whether the job shall stop; may be asked all the time. Keeps the lease; raises LostLease."""
        now = time.monotonic()
        if now - self._told > jobs.LEASE_MS / 3000:
            # One long page tells of no progress for longer than a lease lasts.
            self._told = now
            with self._database.write() as session:
                jobs.renew(session, self._held)
        if now - self._looked >= LOOKED_EVERY_S:
            self._looked = now
            with self._database.read() as session:
                self._is_cancelled = jobs.is_cancelled(session, self._held)
        return self._is_cancelled

    def _tell(self, done: int, also: Callable[[Session], object] | None = None) -> None:
        with self._database.write() as session:
            jobs.progress(session, self._held, stage=self._stage, done=done, total=self._total)
            if also is not None:
                also(session)
        self._told = time.monotonic()
