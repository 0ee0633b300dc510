"""A language model on the public internet is refused before anything is opened or looked up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sealed_namespace import run_in_sealed_namespace, sealing_problem

from tests.serving import ROOT

ADDRESSES = ["https://api.openai.com/v1", "http://8.8.8.8/v1", "https://[2606:4700::1111]/v1"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_public_model_address_is_refused_kindly(address: str, tmp_path: Path) -> None:
    """The start ends with one sentence that names the setting, and creates no data folder."""
    start = command(address, tmp_path / "data")
    done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "STRONGROOM_MODEL_BASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "strongroom.sqlite3").exists()


def test_refusing_looks_no_name_up(tmp_path: Path) -> None:
    """In a namespace that notices every packet, the refusal causes none."""
    problem = sealing_problem()
    if problem:
        pytest.skip(f"sealed namespace: {problem}")
    run = run_in_sealed_namespace(command(ADDRESSES[0], tmp_path / "data"), cwd=ROOT)
    assert run.returncode != 0
    assert "STRONGROOM_MODEL_BASE_URL" in run.output
    assert run.attempts == []


def command(address: str, data_dir: Path) -> list[str]:
    """Return the command that starts a server with this model address."""
    program = (
        "import os, sys;"
        f"os.environ['STRONGROOM_MODEL_BASE_URL'] = {address!r};"
        f"sys.argv = ['strongroom', 'up', '--port', '0', '--data-dir', {str(data_dir)!r}];"
        "from services.cli import main; main()"
    )
    return [sys.executable, "-c", program]
