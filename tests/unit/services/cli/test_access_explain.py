"""How an explanation looks in the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from services.cli.access_explain import show

FOUND: dict[str, Any] = {
    "decision": "deny",
    "user": {"label": "Ben \x1b[2J[red]"},
    "document": {"id": "d1"},
    "rules": [
        {"rule": "account", "granted": True, "because": [], "text": "The account is open."},
        {
            "rule": "deny",
            "granted": False,
            "because": [{"id": "g", "label": "Legal"}],
            "text": "It is denied.",
        },
    ],
    "epochs": {"access": 7, "document": 3, "index": 2},
    "index_agrees": False,
}


def shown(found: dict[str, Any]) -> str:
    """Return what stands on the screen."""
    screen = io.StringIO()
    show(Console(file=screen, width=200, highlight=False, markup=False), found)
    return screen.getvalue()


def test_the_decision_comes_first_and_each_rule_has_a_line() -> None:
    """Who, whether, which file; then what each rule says and because of whom."""
    lines = [" ".join(line.split()) for line in shown(FOUND).splitlines()]
    assert lines[0] == "Ben [2J[red] may not read file d1."
    assert "account grants The account is open." in lines
    assert "deny denies It is denied. Legal" in lines


def test_a_granted_file_says_so() -> None:
    """The other verdict, and an index that agrees."""
    found = {**FOUND, "decision": "allow", "index_agrees": True}
    assert "may read file d1." in shown(found)
    assert "as it is (epoch 3)" in shown(found)


def test_a_lagging_index_is_told() -> None:
    """Both epochs are named."""
    assert "still has epoch 2 of the access list, which is at 3" in shown(FOUND)
