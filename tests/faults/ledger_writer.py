"""A process that records and seals as fast as it can, until it is killed.

    python -m tests.faults.ledger_writer DATABASE_URL [DYING_SEAL]

Each record's id is written to the output once the record is durable. With DYING_SEAL the process kills itself
in that sealing, counted from one: when the records have left the inbox and stand in the log, and the
transaction that moves them is about to store its checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from itertools import count

from sqlalchemy import event as listening

from infra.access import Principal, Role
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.sequencer import Sequencer
from infra.database import Database
from infra.keys import MasterKey

THREADS = 4
KEY = MasterKey(b"\x2a" * 32)
ASKER = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))


def open_ledger(url: str) -> Ledger:
    """Open the ledger that the writer and its test share."""
    return Ledger(Database(url), KEY, origin="log.example/test", source="one", timeout_s=30)


def main() -> None:
    """Write until the end."""
    ledger = open_ledger(sys.argv[1])
    if len(sys.argv) > 2:
        _die_in_the_seal(ledger.database, int(sys.argv[2]))
    actor = ledger.identify(ASKER)
    announcing = threading.Lock()

    def write(thread: int) -> None:
        for number in count():
            made = Event(EventType.ANSWER_SEGMENT, Stage.SEGMENT, f"{thread}-{number}", actor)
            recorded = ledger.record(made, b"three months" if number % 2 else None)
            with announcing:
                sys.stdout.write(f"{recorded.id}\n")
                sys.stdout.flush()

    Sequencer(ledger.sealer, interval_s=0.001, retry_s=0.001).start()
    for thread in range(THREADS):
        threading.Thread(target=write, args=(thread,)).start()


def _die_in_the_seal(database: Database, last: int) -> None:
    seals = count(1)

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO audit_checkpoints") and next(seals) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    listening.listen(database.engine, "before_cursor_execute", before)


if __name__ == "__main__":
    main()
