"""Where a passage stands, in words."""

from __future__ import annotations

from typing import Any

import pytest

from infra.documents import Passage
from services.documents.places import place_label


@pytest.mark.parametrize(
    ("place", "heading", "label"),
    [
        ({"page": 3, "heading_path": ["A"]}, "A", "page 3"),
        ({"slide": 2}, "", "slide 2"),
        ({"sheet": "Costs", "cells": "A2:C9"}, "Costs", "Costs!A2:C9"),
        ({"first_line": 4, "last_line": 9}, "Rent > Due", "Rent > Due"),
        ({"first_line": 4, "last_line": 9}, "", "lines 4–9"),
        ({}, "", "passage 8"),
        ({"message": 12}, "Lease", "message 12, Lease"),
        ({"message": 12}, "", "message 12"),
        ({"within": ["lease.pdf"], "page": 3}, "", "lease.pdf, page 3"),
        (
            {"within": ["m.zip", "message 2", "b"], "first_line": 1, "last_line": 2},
            "",
            "m.zip, message 2, b, lines 1–2",
        ),
        ({"within": ["old.mbox"], "message": 4}, "Lease", "old.mbox, message 4, Lease"),
        ({"within": ["notes.bin"]}, "", "notes.bin"),
    ],
)
def test_a_place_is_named_from_the_outside_in(place: dict[str, Any], heading: str, label: str) -> None:
    """Files around and messages come first, then the page, slide, cells, section or lines."""
    passage = Passage("c", "d", "v", 1, "name", "", 7, "", "text", "", heading, place, [], 0)
    assert place_label(passage) == label
