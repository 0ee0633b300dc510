"""Take out any one layer, and a test of this folder fails: each layer alone is tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.leaks.mutations import MUTANTS

ROOT: Final = Path(__file__).resolve().parents[2]
TIME_S: Final = 600
"""A minute on a machine of its own; the rest is for a shared one."""
Runs = dict[str | None, tuple[int, str]]
"""By mutant, or None for the program as it is: exit status and output."""
STATEFUL: Final = "test_stateful_access.py::test_the_program_agrees_with_the_model"
GATES: Final = "test_each_gate.py::"
WORLDS: Final = "test_two_worlds.py::"
pytestmark = pytest.mark.timeout(TIME_S)

KILLED_BY: Final = {
    "filter": f"{WORLDS}test_a_hidden_document_changes_nothing[no grant]",
    "filter-within": f"{GATES}test_the_filter_alone[within]",
    "filter-deny": f"{GATES}test_the_filter_alone[deny]",
    "re-check": STATEFUL,
    "re-check-sql": STATEFUL,
    "re-check-decision": f"{GATES}test_the_decision_alone[compartments]",
    "re-check-version": f"{GATES}test_a_version_that_was_replaced",
    "sql-within": f"{GATES}test_the_sql_alone[within]",
    "sql-deny": f"{GATES}test_the_sql_alone[deny]",
    "sql-collection-deny": f"{GATES}test_the_sql_alone[deny of a shelf]",
    "sql-deleted": f"{GATES}test_a_deletion_that_was_interrupted",
    "rule-within": f"{GATES}test_the_rule_itself[within]",
    "rule-deny": f"{GATES}test_the_rule_itself[deny]",
    "memory-scope": f"{GATES}test_one_person_does_not_get_what_another_search_remembered",
    "memory-epoch": f"{GATES}test_a_change_is_seen_by_a_question_that_was_asked_before",
    "cache-salt": f"{WORLDS}test_people_with_different_scopes_share_no_prefix_cache",
}


def test_every_mutant_has_its_test() -> None:
    """No mutant is left out below."""
    assert set(KILLED_BY) == set(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_tests_notice_that_a_layer_is_missing(runs: Runs, mutant: str) -> None:
    """Without this layer the test that stands for it fails, by an assertion and not by accident."""
    status, output = runs[mutant]
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert "1 failed" in output
    assert "AssertionError" in output or "DID NOT RAISE" in output


def test_the_same_tests_pass_with_every_layer_in_place(runs: Runs) -> None:
    """The plugin alone makes nothing fail."""
    status, output = runs[None]
    assert status == pytest.ExitCode.OK, output
    assert f"{len(set(KILLED_BY.values()))} passed" in output


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Run the chosen test of each mutant, and all of them without one."""
    wanted: list[tuple[str | None, list[str]]] = [(mutant, [test]) for mutant, test in KILLED_BY.items()]
    wanted.append((None, sorted(set(KILLED_BY.values()))))
    done = subprocess.run(
        [sys.executable, "-m", "tests.leaks.mutant_runs"],
        cwd=ROOT,
        input=json.dumps(wanted),
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIME_S,
        check=True,
    )
    results = json.loads(done.stdout)
    return {mutant: (status, output) for (mutant, _), (status, output) in zip(wanted, results, strict=True)}
