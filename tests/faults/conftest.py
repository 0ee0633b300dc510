"""How much the fault tests do: a seeded sample by default, and more by an option (`make soak`)."""

from __future__ import annotations

import pytest

KILL_POINTS = 20
SUBJECTS = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a long run try more."""
    group = parser.getgroup("faults")
    group.addoption(
        "--kill-points", type=int, default=None, help=f"kills under streamed answers (default: {KILL_POINTS})"
    )
    group.addoption(
        "--tamperings", type=int, default=200, help="ways to tamper with an exported bundle (default: 200)"
    )
    group.addoption("--malformed", type=int, default=300, help="malformed files that are read (default: 300)")
    group.addoption("--ingested", type=int, default=12, help="documents under kills (default: 12)")
    group.addoption("--ingestion-kills", type=int, default=5, help="kills while they come in (default: 5)")
    group.addoption("--ingestion-seed", type=int, default=0, help="seed of where they hit (default: 0)")
    group.addoption("--restarts", type=int, default=1, help="broker and database restarts, each (default: 1)")
    group.addoption("--poison-rounds", type=int, default=0, help="rounds of a hundred with one poison")
    group.addoption("--subjects", type=int, default=None, help=f"people who are erased (default: {SUBJECTS})")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that is killed at seeded points one case for each."""
    if "kill_point" in metafunc.fixturenames:
        points = metafunc.config.getoption("kill_points", None) or KILL_POINTS
        metafunc.parametrize("kill_point", range(points))
