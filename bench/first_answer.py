"""Measure the way of a newcomer: from `git clone` to the first cited answer, with empty caches.

    python -m bench.first_answer [--small | --quote-only]

Clones this repository's committed state into an empty folder, runs the README's commands there with an empty
installer cache, asks one question, and prints how long each step took, what stands on disk, and how much
memory server and model hold when idle. Everything is stopped and removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.serving import ROOT

QUESTION = "How many days of annual leave do employees get?"
IDLE_S = 20


def main() -> int:
    """Run the steps and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_const", dest="flag", const="--small")
    size.add_argument("--quote-only", action="store_const", dest="flag", const="--quote-only")
    flags = f"--port 0 {parser.parse_args().flag or ''}".strip()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "strongroom"
        environment = {**os.environ, "UV_CACHE_DIR": f"{folder}/cache", "PIP_NO_CACHE_DIR": "1"}
        for name in [name for name in environment if name.startswith("STRONGROOM_")]:
            del environment[name]
        try:
            _walk(clone, environment, flags)
        finally:
            if (clone / "Makefile").exists():
                subprocess.run(["make", "down"], cwd=clone, env=environment, check=False, capture_output=True)
    return 0


def _walk(clone: Path, environment: dict[str, str], flags: str) -> None:
    steps: list[tuple[str, float]] = []

    def run(name: str, command: list[str], cwd: Path) -> str:
        started = time.monotonic()
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        steps.append((name, time.monotonic() - started))
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    run("git clone", ["git", "clone", "--quiet", str(ROOT), str(clone)], ROOT)
    run(f"make up UP_FLAGS='{flags}'", ["make", "up", f"UP_FLAGS={flags}"], clone)
    run("make demo", ["make", "demo"], clone)
    answer = run("first cited answer", [".venv/bin/strongroom", "ask", "--json", QUESTION], clone)
    print("| step | seconds |\n|---|---|")
    for name, took in steps:
        print(f"| {name} | {took:.1f} |")
    print(f"| **in all** | **{sum(took for _, took in steps):.1f}** |\n")
    outcome = json.loads(answer)["x_answer"]
    print(f"The answer: {outcome['status']}, {outcome['mode']}\n")
    started = time.monotonic()
    run("make up, again", ["make", "up", f"UP_FLAGS={flags}"], clone)
    print(f"make up, again: {time.monotonic() - started:.1f} s\n")
    for part in (".venv", "models", "data"):
        print(f"{part}: {_size(clone / part) / 2**20:.0f} MiB on disk")
    time.sleep(IDLE_S)
    pid = json.loads((clone / "data" / "run" / "server.json").read_text())["pid"]
    server = psutil.Process(pid)
    print(f"server, idle: {server.memory_info().rss / 2**20:.0f} MiB resident")
    for child in server.children(recursive=True):
        print(f"model server, idle: {child.memory_info().rss / 2**20:.0f} MiB resident")


def _size(folder: Path) -> int:
    files = {path.stat().st_ino: path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()}
    return sum(files.values())


if __name__ == "__main__":
    sys.exit(main())
