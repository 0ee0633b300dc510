"""The name of a log: one of its own for each installation, kept, and never changed under what was signed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from infra.audit.checkpoint import VerifierKey, read_checkpoint
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event
from infra.audit.ledger import Ledger
from infra.audit.origin import INSTALLATION, SHARED, log_origin, name_log
from infra.audit.proofs.tlog_proof import ConsistencyProof
from infra.audit.records import LedgerDamaged
from infra.audit.verify import Verdict
from infra.audit.witness.witness import Witness, WitnessFolder
from infra.database import Database
from infra.database.tables import AuditMark
from infra.master_key import load_master_key
from infra.settings import Settings
from infra.stores import open_database, open_ledger


def installed(folder: Path) -> Ledger:
    """Return the ledger of a data folder, as a start opens it."""
    settings = Settings(data_dir=folder)
    folder.mkdir(exist_ok=True)
    database, master_key = open_database(settings)
    return open_ledger(settings, database, master_key)


def close(ledger: Ledger) -> None:
    ledger.close()
    ledger.database.close()


def write(ledger: Ledger) -> str:
    """Record something and seal it; returns the signed checkpoint."""
    ledger.record(Event(EventType.SERVER_STOP, Stage.SINGLE, "c", SYSTEM))
    ledger.sealer.seal_all()
    return ledger.proofs.checkpoint() or ""


def test_each_installation_names_its_own_log(tmp_path: Path) -> None:
    """Two servers differ in the name, which checkpoints and the verifier key carry; a restart keeps it."""
    one, two = installed(tmp_path / "one"), installed(tmp_path / "two")
    assert one.origin != two.origin
    assert one.origin.startswith(f"{SHARED}/")
    assert read_checkpoint(write(one)).origin == one.origin == VerifierKey.parse(one.verifier_key).name
    close(one)
    again = installed(tmp_path / "one")
    assert again.origin == one.origin
    assert again.verify().verdict is Verdict.SOUND
    close(again)
    close(two)


def test_a_log_from_before_keeps_its_name(tmp_path: Path) -> None:
    """What was signed under the shared name goes on under it."""
    old = installed(tmp_path / "data")
    with old.database.write() as session:
        session.execute(delete(AuditMark))
    close(old)
    settings = Settings(data_dir=tmp_path / "data")
    database = Database(settings.resolved_database_url)
    old = open_ledger(settings, database, load_master_key(settings, create=False))
    write(old)
    close(old)
    again = installed(tmp_path / "data")
    assert again.origin == SHARED
    write(again)
    assert again.verify().verdict is Verdict.SOUND
    close(again)


@pytest.mark.parametrize("change", [delete(AuditMark), update(AuditMark).values(index=7)])
def test_a_name_that_was_changed_signs_nothing(tmp_path: Path, change: object) -> None:
    """Neither without the mark nor with another one does the log go on, and the check says so."""
    ledger = installed(tmp_path / "data")
    write(ledger)
    with ledger.database.write() as session:
        session.execute(change.where(AuditMark.name == INSTALLATION))  # type: ignore[attr-defined]
    close(ledger)
    changed = installed(tmp_path / "data")
    assert changed.verify().verdict is Verdict.UNTRUSTED_KEY
    changed.record(Event(EventType.SERVER_STOP, Stage.SINGLE, "c", SYSTEM))
    with pytest.raises(LedgerDamaged):
        changed.sealer.seal_all()
    close(changed)


def test_first_starts_at_once_agree_on_a_name(tmp_path: Path) -> None:
    """Several processes may begin on one new database."""
    ledger = installed(tmp_path / "data")
    with ledger.database.write() as session:
        session.execute(delete(AuditMark))
    databases = [Database(ledger.database.url) for _ in range(4)]
    starting = [threading.Thread(target=name_log, args=(database,)) for database in databases]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join(30)
    names = {log_origin(database) for database in databases}
    assert len(names) == 1
    assert names != {SHARED}
    for database in databases:
        database.close()
    close(ledger)


def test_one_witness_watches_two_installations(tmp_path: Path) -> None:
    """Each grows by itself, and the other one is no second history of it."""
    folder = WitnessFolder.create(tmp_path / "witness", "witness.example/w")
    logs = [installed(tmp_path / name) for name in ("one", "two")]
    witness = Witness(folder, [VerifierKey.parse(log.verifier_key) for log in logs])
    for log in logs:
        first = ConsistencyProof(0, (), write(log))
        assert witness.add_checkpoint(first.text.encode())
    seen = folder.read_notes()
    assert set(seen) == {log.origin for log in logs}
    for log in logs:
        close(log)
