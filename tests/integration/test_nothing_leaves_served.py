"""A whole session, from start to stop, sends nothing to the outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sealed_namespace import SealedRun, run_in_sealed_namespace, sealing_problem

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(sealing_problem() is not None, reason=f"{sealing_problem()}"),
    pytest.mark.timeout(400),
]


def _session(folder: Path, *flags: str) -> SealedRun:
    command = [sys.executable, "-m", "tests.integration.sealed_session", str(folder), *flags]
    return run_in_sealed_namespace(command, timeout_s=380, cwd=ROOT)


def test_starting_uploading_and_asking_contacts_nobody(tmp_path: Path) -> None:
    """Server, parsing children and model server together send no packet beyond this machine."""
    run = _session(tmp_path)
    assert run.returncode == 0, run.output[-3000:]
    assert "SESSION answered" in run.output or "SESSION partial" in run.output
    assert run.attempts == []


def test_a_planted_call_in_the_session_is_caught(tmp_path: Path) -> None:
    """The same session with one call home fails the check above."""
    run = _session(tmp_path, "--planted")
    assert [(attempt.address, attempt.port) for attempt in run.attempts] == [("203.0.113.7", 443)]
