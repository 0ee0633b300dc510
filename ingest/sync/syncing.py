"""One look at one source: compare what it holds with what was taken in, and bring the two in step.

Removal is the dangerous half. A source that cannot be listed, or only in part, or that is empty all of a
sudden (a folder that is not mounted), removes nothing; neither does the loss of more than half of more than
MANY files, until an administrator confirms it. A file that has only moved is no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.clock import new_id, now_ms
from infra.database.tables import SyncedItem
from infra.errors import StrongroomError
from infra.logs import get_logger
from infra.sources import WatchedBucket, WatchedFolder
from infra.stores import Stores
from ingest.sync import standing
from ingest.sync.source import Listing, Seen, Source, Stopping, Unsettled
from ingest.sync.standing import ITSELF, Lease, LostLease
from ingest.sync.taking import Taking, target_of

MANY: Final = 20
"""From more known files than this, the loss of more than half at once has to be confirmed."""
RETRY_MS: Final = 600_000
"""After how long a file is tried again that could not be read although it looks the same."""
_log = get_logger()


@dataclass
class Looked:
    """What one look did. `missing` files are gone from the source and still here; `reason` says why."""

    taken: int = 0
    aside: int = 0
    waiting: int = 0
    removed: int = 0
    missing: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Known:
    """A file as it was when it was last taken in or left aside."""

    state: str
    reason: str | None
    seen_at: int


def look_once(
    stores: Stores,
    watched: WatchedFolder | WatchedBucket,
    source: Source,
    *,
    max_bytes: int,
    check: Callable[[], None] = lambda: None,
) -> Looked | None:
    """Look at a source once, and bring our documents in step; None while another worker is at it.

    What stops a look is kept with the source, and on the record when it is new. `check` is called often, and
    may raise Stopping. Raises that, LostLease when another worker took over, and whatever nobody thought of.
    """
    lease = standing.take(stores.database, watched.name)
    if lease is None:
        return None
    taking = Taking(stores, watched, source, lease, max_bytes, new_id(), check)
    looked = Looked()
    try:
        _bring_in_step(taking, looked)
    except StrongroomError as error:
        looked.reason = error.code
    except (Stopping, LostLease):
        _give_up(taking)
        raise
    except Exception:
        looked.reason = "failed"
        _end(taking, looked)
        raise
    _end(taking, looked)
    return looked


def _bring_in_step(taking: Taking, looked: Looked) -> None:
    with taking.stores.database.read() as session:
        target_of(session, taking.watched)
    listing = taking.source.look()
    known = _known(taking)
    _take_in(taking, listing.found.values(), known, looked)
    gone = taking.places_of(known.keys() - listing.found.keys())
    lost = taking.count_lost(gone)
    looked.reason = _why_kept(listing, len(known), len(gone), lost, taking.lease)
    if looked.reason is not None:
        looked.missing = lost
        return
    for item, left in sorted(gone.items()):
        taking.check()
        looked.removed += taking.take_out(item, left)


def _known(taking: Taking) -> dict[str, Known]:
    wanted = select(SyncedItem.item, SyncedItem.state, SyncedItem.reason, SyncedItem.seen_at).where(
        SyncedItem.source == taking.watched.name, SyncedItem.item != ITSELF
    )
    with taking.stores.database.read() as session:
        return {
            item: Known(state, reason, seen_at) for item, state, reason, seen_at in session.execute(wanted)
        }


def _take_in(taking: Taking, found: Iterable[Seen], known: Mapping[str, Known], looked: Looked) -> None:
    # In the order of names, so that of two copies the same one names the document on every machine.
    for seen in sorted(found, key=lambda each: each.name):
        taking.check()
        if not _is_new(seen, known.get(seen.item), was_asked=taking.lease.before.is_asked_for):
            continue
        if not seen.settled:
            looked.waiting += 1
            continue
        try:
            is_in = taking.take_in(seen)
        except Unsettled:
            looked.waiting += 1
            continue
        looked.taken += is_in
        looked.aside += not is_in


def _is_new(seen: Seen, before: Known | None, *, was_asked: bool) -> bool:
    if before is None:
        return True
    if before.reason is not None and not before.state:
        return was_asked or now_ms() - before.seen_at >= RETRY_MS
    return before.state != seen.state


def _why_kept(listing: Listing, known: int, gone: int, lost: int, lease: Lease) -> str | None:
    """Return why what is gone is not removed, or None when it may be."""
    if gone == 0:
        return None
    if not listing.complete:
        return "incomplete"
    # A confirmation is for what was missing then: should more be missing by now, somebody looks again.
    if 0 < lost <= lease.before.accepted:
        return None
    if not listing.found:
        return "empty"
    return "many_missing" if known > MANY and lost > known / 2 else None


def _end(taking: Taking, looked: Looked) -> None:
    """Keep how the look ended; a reason that is new goes on the record, and loudly into the log."""
    name, lease = taking.watched.name, taking.lease
    is_new = looked.reason is not None and looked.reason != lease.before.reason
    with taking.stores.database.write() as session:
        standing.end(session, lease, reason=looked.reason, missing=looked.missing)
        if is_new:
            what = Resource("watched", name)
            event = Event(
                EventType.SYNC_HALTED, Stage.SINGLE, taking.corr, SYSTEM, res=what, outcome=looked.reason
            )
            taking.stores.ledger.record_in(session, event)
    if looked.reason is not None:
        _log.error("sync.halted", source=name, reason=looked.reason, missing=looked.missing)
    elif looked.taken or looked.removed or looked.aside:
        _log.info("sync.done", source=name, taken=looked.taken, removed=looked.removed, aside=looked.aside)


def _give_up(taking: Taking) -> None:
    with suppress(LostLease), taking.stores.database.write() as session:
        standing.release(session, taking.lease)
