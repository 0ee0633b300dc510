"""The account endpoints on a real database and a real record, without the rest of a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from front_door import CHEAP, HASHED, FrontDoor

from infra.accounts import passwords


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify with the same algorithm at the least cost: what is tested here is when, not how."""
    monkeypatch.setattr(passwords, "_PASSWORDS", CHEAP)
    monkeypatch.setattr(passwords, "_NOBODYS_HASH", HASHED)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[FrontDoor]:
    """A house with nobody in it."""
    opened = FrontDoor.open(tmp_path)
    with opened.client:
        yield opened
    opened.close()
