"""Make a long log, and measure what checking it takes, in the database and as an exported bundle.

The log is what answers leave behind: a question with its sealed text, the passages, the model's call, sealed
segments, an end. It is written by the ledger itself. Each step runs in a process of its own
(`python -m bench.audit_log STEP FOLDER`), whose time and peak memory are taken.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from infra.access import Principal, Role
from infra.audit.bundles.bundle import verify_bundle
from infra.audit.bundles.export import plan_export, write_bundle
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Actor, Authz, Event, Resource, Retrieved, Tokens
from infra.audit.ledger import Ledger
from infra.clock import new_id
from infra.database import Database
from infra.database.migrate import upgrade
from infra.keys import MasterKey

MOST_SECONDS: Final = 120.0
MOST_BYTES: Final = 1024**3
RECORDS_OF_TARGET: Final = 1_000_000
BUNDLE: Final = "bundle"
PEOPLE: Final = 100
PASSAGES: Final = 8
SEGMENTS: Final = 4
TRANSACTION: Final = 2000
KEY: Final = MasterKey(bytes(range(32)))
ALLOWED: Final = Authz(decision="allow", policy="acl-v1", epoch=7)


def somebody(number: int = 0) -> Principal:
    """Return one of the people who ask."""
    return Principal(
        user_id=f"person-{number}",
        kind="user",
        roles=frozenset({Role.EMPLOYEE}),
        group_ids=frozenset({"group:local:everybody"}),
        auth_method="session",
        session_hash="5e55" * 16,
    )


def shared_document_event(actor: Actor) -> Event:
    """Return what most routes record: somebody did something to a thing."""
    what = Resource("document", new_id(), "3")
    return Event(EventType.FILE_SHARED, Stage.SINGLE, new_id(), actor, what, ALLOWED, outcome="ok")


def segment_event(actor: Actor) -> Event:
    """Return what is recorded before a part of an answer is released."""
    corr = new_id()
    return Event(EventType.ANSWER_SEGMENT, Stage.SEGMENT, corr, actor, Resource("answer", corr))


def answer_events(actor: Actor) -> Iterator[tuple[Event, bytes | None]]:
    """Yield the records of one answer with their contents: nine, six of them with a sealed text."""
    corr = new_id()
    what = Resource("answer", corr)
    model = AI("ab" * 32, "cd" * 32, {"temperature": "0.2", "max_tokens": 220})
    passages = tuple(
        Retrieved(new_id(), new_id(), new_id(), "ef" * 32, rank) for rank in range(1, PASSAGES + 1)
    )
    yield Event(EventType.ANSWER_ASKED, Stage.START, corr, actor, what, ALLOWED), b"How long is the notice?"
    yield Event(EventType.ANSWER_RETRIEVED, Stage.SEGMENT, corr, actor, what, ALLOWED, ret=passages), None
    yield Event(EventType.ANSWER_GENERATED, Stage.SINGLE, corr, actor, what, ai=model), None
    for _ in range(SEGMENTS):
        yield Event(EventType.ANSWER_SEGMENT, Stage.SEGMENT, corr, actor, what), b"Three months. " * 20
    used = AI(model.model, model.prompt, tokens=Tokens(900, 180))
    yield Event(EventType.ANSWER_GENERATED, Stage.END, corr, actor, what, ai=used), None
    done = Event(
        EventType.ANSWER_FINISHED, Stage.END, corr, actor, what, outcome="answered", ret=passages[:2]
    )
    yield done, b"Three months to the end of a quarter."


def write_log(folder: Path, records: int) -> None:
    """Write `records` records into a new SQLite database in `folder`, and seal them."""
    with _opened_ledger(folder) as ledger:
        upgrade(ledger.database)
        actors = cycle([ledger.identify(somebody(number)) for number in range(PEOPLE)])
        answers = (made for actor in actors for made in answer_events(actor))
        written = 0
        while written < records:
            with ledger.database.write() as session:
                for made, content in islice(answers, min(TRANSACTION, records - written)):
                    ledger.record_in(session, made, content)
                    written += 1
            ledger.sealer.seal_all()


def measure_verification(records: int) -> list[str]:
    """Write a log, check it and its bundle, print the figures; returns the targets that were missed."""
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as name:
        folder = Path(name)
        began = time.perf_counter()
        write_log(folder, records)
        took = time.perf_counter() - began
        print(f"\n{records:,} records written and sealed in {took:.0f} s, {records / took:,.0f} a second")
        print(f"\n| {records:,} records | seconds | processor seconds | MiB at the most |")
        print("|---|---|---|---|")
        for step, what in (
            ("live", "check the live log"),
            ("export", "export a bundle"),
            ("bundle", "check the bundle"),
        ):
            figures = _step_alone(step, folder)
            times = f"{figures.seconds:.1f} | {figures.processor_s:.1f}"
            print(f"| {what} | {times} | {figures.bytes / 2**20:.0f} |")
            missed += [] if step == "export" else _missed(what, records, figures)
    return missed


@dataclass(frozen=True)
class Figures:
    """What one step took."""

    seconds: float
    processor_s: float
    """Seconds of processor time, which a busy machine distorts less."""
    bytes: int
    """Most memory that the process held, in bytes."""
    records: int
    """Records that it looked at."""


def _step_alone(step: str, folder: Path) -> Figures:
    command = [sys.executable, "-m", "bench.audit_log", step, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Figures(**json.loads(done.stdout))


def _missed(what: str, records: int, figures: Figures) -> list[str]:
    if figures.records != records:
        raise RuntimeError(f"{figures.records} of {records} records were looked at to {what}")
    allowed_s = MOST_SECONDS * max(1.0, records / RECORDS_OF_TARGET)
    missed = []
    if figures.seconds > allowed_s:
        missed.append(f"{figures.seconds:.0f} s to {what}, {allowed_s:.0f} wanted")
    if figures.bytes > MOST_BYTES:
        missed.append(f"{figures.bytes / 2**20:.0f} MiB to {what}, 1,024 wanted")
    return missed


# --- one step in a process of its own -------------------------------------------------------------


def main() -> int:
    """Do the step that is named on the log in the folder that is named, and print its figures as JSON."""
    step, folder = sys.argv[1], Path(sys.argv[2])
    began = time.perf_counter()
    records = STEPS[step](folder)
    seconds = time.perf_counter() - began
    print(json.dumps(asdict(Figures(seconds, time.process_time(), _peak_bytes(), records))))
    return 0


def _peak_bytes() -> int:
    """Return the most memory that this program held; `getrusage` would count its parent's as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def check_live(folder: Path) -> int:
    """Check the log in the database; returns how many records were looked at."""
    with _opened_ledger(folder) as ledger:
        report = ledger.verify()
    if not report.is_sound:
        raise RuntimeError(report.sentence)
    return report.checked


def export(folder: Path) -> int:
    """Write the whole log as a bundle; returns how many records it holds."""
    with _opened_ledger(folder) as ledger, ledger.database.read() as session:
        plan = plan_export(session)
        write_bundle(session, plan, ledger.signer, folder / BUNDLE)
    return plan.records


def check_bundle(folder: Path) -> int:
    """Check the bundle without the database; returns how many records were looked at."""
    report = verify_bundle(folder / BUNDLE)
    if not report.is_sound:
        raise RuntimeError(report.sentence)
    return report.checked


STEPS: Final = {"live": check_live, "export": export, "bundle": check_bundle}


@contextmanager
def _opened_ledger(folder: Path) -> Iterator[Ledger]:
    database = Database(f"sqlite:///{folder / 'log.sqlite3'}")
    ledger = Ledger(database, KEY, origin="bench.example/log", source="bench", timeout_s=30)
    try:
        yield ledger
    finally:
        ledger.close()
        database.close()


if __name__ == "__main__":
    sys.exit(main())
