"""The record page has words for every event."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.audit.event_types import EventType

WORDS = Path(__file__).parents[4] / "services" / "web" / "static" / "words.js"
NAMED = set(re.findall(r'^  "?([a-z.]+)"?: "', WORDS.read_text(), re.MULTILINE))


@pytest.mark.parametrize("event", list(EventType))
def test_every_event_has_words(event: EventType) -> None:
    """A raw type name on the page is for programs, not for auditors."""
    assert event.value in NAMED
