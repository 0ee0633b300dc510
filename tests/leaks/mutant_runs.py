"""Run tests once for each mutant, each in a fork of a process that has imported the program already.

Imports take most of such a run's time. Standard input holds a list of [mutant or null, tests]; each result,
[exit status, output], goes to standard output, all as JSON. Nothing is forked after a thread was started.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import Final

import pytest

FOLDER: Final = "tests/leaks"
PRELOADED: Final = (
    *("agents.answer", "hypothesis.stateful", "infra.database.migrate", "ingest.index", "qdrant_edge"),
    *("tests.made_documents", "tests.preloaded"),
)
OPTIONS: Final = (
    # Loading every installed plugin would take longer than a test; pyproject.toml has settings of this one.
    *("--disable-plugin-autoload", "-p", "pytest_timeout", "-p", "tests.leaks.mutations"),
    *("-q", "-x", "-p", "no:cacheprovider", "--leak-steps", "150", "--leak-seed", "1"),
)


def main() -> None:
    """Read what to run, and run one after the other."""
    for module in PRELOADED:
        importlib.import_module(module)
    results = [_run(mutant, tests) for mutant, tests in json.load(sys.stdin)]
    json.dump(results, sys.stdout)


def _run(mutant: str | None, tests: list[str]) -> tuple[int, str]:
    chosen = ("--mutant", mutant) if mutant else ()
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            # The child ends here, and clears away what its worlds left.
            sys.exit(pytest.main([*OPTIONS, *chosen, *(f"{FOLDER}/{test}" for test in tests)]))
        _, ended = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(ended), output.read()


if __name__ == "__main__":
    main()
