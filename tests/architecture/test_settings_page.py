"""docs/settings.md and the settings say the same."""

from __future__ import annotations

import re
from pathlib import Path

from infra.settings import Settings
from services.cli.connection import API_KEY_VARIABLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(STRONGROOM_[A-Z0-9_]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)
ROWS = {name: (default, text) for name, default, text in ROW.findall(PAGE.read_text())}


def fields() -> dict[str, object]:
    return {f"STRONGROOM_{name.upper()}": field for name, field in Settings.model_fields.items()}


def test_each_setting_is_documented_and_nothing_else_is():
    """The table lists every field of Settings, and the one variable that is the command line's own."""
    assert set(ROWS) == {*fields(), API_KEY_VARIABLE}


def test_the_descriptions_are_the_settings_own():
    """What an operator reads there is what stands beside the code."""
    assert {name: ROWS[name][1] for name in fields()} == {
        name: field.description for name, field in fields().items()
    }


def test_the_defaults_are_the_settings_own():
    """The page does not promise another default than the program has."""
    assert {name: ROWS[name][0] for name in fields()} == {
        name: shown(field.get_default(call_default_factory=True)) for name, field in fields().items()
    }


def shown(default: object) -> str:
    """Return a default as the page writes it."""
    if default is None:
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
