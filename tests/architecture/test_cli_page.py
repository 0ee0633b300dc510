"""docs/cli.md shows what the command really prints."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cli.md"
BLOCK = re.compile(
    r"^```console\n\$ (strongroom(?: [a-z][a-z-]*)* --help)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = dict(BLOCK.findall(PAGE.read_text()))
LIGHT_CPU_S = 1.0


def printed(command: str) -> str:
    """Run `strongroom …` on a terminal of 100 columns, without colours."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *command.split()[1:]],
        cwd=ROOT,
        env={**keep, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def commands() -> set[str]:
    """Return `strongroom … --help` for every command and group that there is."""
    from typer.main import get_command

    from services.cli.program import app

    found = {"strongroom --help"}
    for name, command in get_command(app).commands.items():
        found.add(f"strongroom {name} --help")
        found |= {f"strongroom {name} {inner} --help" for inner in getattr(command, "commands", {})}
    return found


def test_every_command_is_on_the_page():
    """Each command and group has its block, and no block is about a command that went."""
    assert set(BLOCKS) == commands()


@pytest.mark.parametrize("command", sorted(BLOCKS))
def test_the_help_block_is_what_is_printed(command):
    """The block equals the output, but for the usage line's program name and blanks at line ends."""
    expected = printed(command).replace("python -m services.cli", "strongroom")
    assert BLOCKS[command].strip() == expected


def test_help_starts_at_once():
    """The light commands take less than a second of processor time, however busy the machine is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed("strongroom --help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < LIGHT_CPU_S
