"""`POST /v1/audit/verify`: one check at a time for each auditor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.access import Principal, Role
from infra.audit.ledger import Ledger
from infra.audit.verify import Report
from infra.errors import Conflict
from services.audit.endpoints import verify
from services.deps import Person
from services.one_at_a_time import OneAtATime
from tests.made_record import fill, made_ledger

WAIT_S = 10


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A small record."""
    with made_ledger(tmp_path / "ledger.sqlite3") as opened:
        fill(opened, 12)
        yield opened


def auditor(name: str) -> Person:
    roles = frozenset({Role.AUDITOR})
    return Person(Principal(name, "user", roles, auth_method="session"), name, None)


def test_a_second_check_of_one_auditor_is_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one reads the whole record: another auditor's is not in its way, nor is an export."""
    # The parts that a check uses; opening all of a server would load models that it has no use for.
    parts: Any = SimpleNamespace(ledger=ledger, exports=OneAtATime())
    check, reading, go_on, verdicts = ledger.verify, threading.Event(), threading.Event(), []

    def slowly(**kept: Any) -> Report:
        reading.set()
        assert go_on.wait(WAIT_S)
        return check(**kept)

    monkeypatch.setattr(ledger, "verify", slowly)
    first = threading.Thread(target=lambda: verdicts.append(verify(parts, auditor("ada"), "r1")))
    first.start()
    assert reading.wait(WAIT_S)
    with pytest.raises(Conflict), pytest.MonkeyPatch.context() as quick:
        quick.setattr(ledger, "verify", check)
        verify(parts, auditor("ada"), "r2")
    with pytest.MonkeyPatch.context() as quick, parts.exports.held_by("user:ben"):
        quick.setattr(ledger, "verify", check)
        verdicts.append(verify(parts, auditor("ben"), "r3"))
    go_on.set()
    first.join(WAIT_S)
    verdicts.append(verify(parts, auditor("ada"), "r4"))
    assert [verdict["result"] for verdict in verdicts] == ["sound"] * 3
