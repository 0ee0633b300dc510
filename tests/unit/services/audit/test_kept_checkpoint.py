"""`POST /v1/audit/verify` with a checkpoint that an auditor kept: what it shows, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.access import Principal, Role
from infra.audit.checkpoint import Checkpoint, Signer, sign_checkpoint
from infra.audit.event_types import EventType
from infra.audit.ledger import Ledger
from services.audit.endpoints import VerifyRequest, verify
from services.audit.kept_checkpoint import CheckpointRefused
from services.deps import Person
from services.one_at_a_time import OneAtATime
from tests.made_record import fill, made_ledger

AUDITOR = Person(Principal("ada", "user", frozenset({Role.AUDITOR}), auth_method="session"), "ada", None)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A record with several checkpoints."""
    with made_ledger(tmp_path / "ledger.sqlite3") as opened:
        fill(opened, 30, seal_every=10)
        yield opened


def checked(ledger: Ledger, note: str) -> dict[str, Any]:
    # The parts that a check uses; opening all of a server would load models that it has no use for.
    parts: Any = SimpleNamespace(ledger=ledger, exports=OneAtATime())
    return verify(parts, AUDITOR, "r1", VerifyRequest(checkpoint=note))


def signed(ledger: Ledger, size: int, root: bytes) -> str:
    return sign_checkpoint(Checkpoint(ledger.origin, size, root), ledger.signer)


def test_todays_log_continues_the_kept_one(ledger: Ledger) -> None:
    """Each checkpoint of this log does, also without its last newline; the record says which was compared."""
    for note in ledger.proofs.checkpoints():
        assert checked(ledger, note.rstrip("\n"))["result"] == "sound"
    ledger.sealer.seal_all()
    found = [event.leaf for event in ledger.reader.events(limit=100)]
    verified = [leaf for leaf in found if leaf is not None and leaf.type == EventType.AUDIT_VERIFIED]
    assert [(leaf.res and leaf.res.ver, leaf.outcome) for leaf in verified] == [
        ("10", "sound"),
        ("20", "sound"),
        ("30", "sound"),
    ]


def test_the_answer_names_what_was_compared(ledger: Ledger) -> None:
    """The number of records of the kept checkpoint; null without one."""
    assert checked(ledger, list(ledger.proofs.checkpoints())[1])["kept"] == 20
    parts: Any = SimpleNamespace(ledger=ledger, exports=OneAtATime())
    assert verify(parts, AUDITOR, "r1")["kept"] is None


@pytest.mark.parametrize(("size", "result"), [(20, "tampered"), (30, "tampered"), (31, "incomplete")])
def test_another_history_is_found(ledger: Ledger, size: int, result: str) -> None:
    """Signed by this log's own key, and yet not what is here: replaced, or cut off."""
    assert checked(ledger, signed(ledger, size, bytes(32)))["result"] == result


def refused(ledger: Ledger, note: str) -> str:
    with pytest.raises(CheckpointRefused) as caught:
        checked(ledger, note)
    assert caught.value.param == "checkpoint"
    assert caught.value.hint
    return caught.value.code


def test_what_says_nothing_about_this_log_gets_no_verdict(ledger: Ledger) -> None:
    """A forged one, one of another log, one by another key under this log's name, and nonsense."""
    note = list(ledger.proofs.checkpoints())[1]
    forged = note.replace("\n20\n", "\n21\n")
    impostor = Signer(ledger.origin, b"\x07" * 32)
    other = Signer("log.example/other", b"\x07" * 32)
    assert refused(ledger, forged) == "signature_wrong"
    assert (
        refused(ledger, sign_checkpoint(Checkpoint(ledger.origin, 20, bytes(32)), impostor))
        == "note_untrusted"
    )
    assert (
        refused(ledger, sign_checkpoint(Checkpoint("log.example/other", 20, bytes(32)), other))
        == "another_log"
    )
    for nonsense in ("x", "\n\n\n", note[:60], note.replace("\n20\n", "\n-20\n")):
        assert refused(ledger, nonsense) == "note_unreadable"
