"""The README's commands do what it says, in a fresh copy of the project with an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ONE_TIME_LINK = re.compile(r"http://127\.0\.0\.1:\d+/join#[\w-]{40,}")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a copy of what Git knows of this tree; whatever was started in it is stopped."""
    folder = tmp_path_factory.mktemp("newcomer") / "strongroom"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    yield folder
    run(folder, "make down")


def commands() -> list[str]:
    """Return the README's commands, in order, without their comments."""
    blocks = SHELL_BLOCK.findall((ROOT / "README.md").read_text())
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run one command as a newcomer would, except for the port and for models that are here already."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    environment |= {"STRONGROOM_PORT": "0", "COLUMNS": "200"}
    models = sorted((ROOT / "models").glob("*0.5b*.gguf"))
    if models:
        environment["STRONGROOM_MODEL_PATH"] = str(models[0])
    else:
        environment["STRONGROOM_QUOTE_ONLY"] = "true"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_readme_has_the_commands_that_this_test_knows() -> None:
    """A command added to the README without an expectation here fails."""
    assert commands() == list(EXPECTED)


EXPECTED = {
    "make up": ONE_TIME_LINK.pattern,
    "make demo": r"travel-policy\.pdf",
    '.venv/bin/strongroom ask --quotes "Who must approve a trip above 4000 euros?"': r"head of finance",
    ".venv/bin/strongroom ingest samples --share everyone": r"unchanged",
    ".venv/bin/strongroom status": r"passages",
    ".venv/bin/strongroom audit verify": r"(?i)sound",
}


def test_the_commands_work_in_order(copy: Path) -> None:
    """Each one succeeds and prints what it is for; a second `make up` finds the server running."""
    for command in commands():
        done = run(copy, command)
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}: {said[-3000:]}"
        assert re.search(EXPECTED[command], said), f"{command}: {said[-3000:]}"
    again = run(copy, "make up")
    assert again.returncode == 0
    assert "already running" in again.stdout
