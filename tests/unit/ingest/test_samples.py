"""The sample documents: each can be read, and answers what the demonstration asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.chunk import chunks_of
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


@pytest.mark.parametrize(
    ("name", "fact", "place"),
    [
        ("travel-policy.pdf", "0.38 euros per kilometre", {"page": 2}),
        ("travel-policy.pdf", "Norway, Sweden, Denmark | 190 EUR | 62 EUR", {"page": 3}),
        ("leave-policy.docx", "28 days of paid annual leave", {}),
        ("price-list.xlsx", "HI-4100 | Data logger DL4, four channels | 690", {"sheet": "Products"}),
        ("onboarding.pptx", "Travel | Travel desk | 4417", {"slide": 4}),
        ("incident-runbook.md", "portalctl db promote --replica oslo-2", {}),
        ("suppliers.csv", "Nordglass AS | Sight glasses | Ingrid Moen", {"first_line": 2}),
    ],
)
def test_each_sample_states_its_facts_in_one_passage_at_its_place(
    name: str, fact: str, place: dict[str, object]
) -> None:
    """A fact that the demonstration asks about stands in a passage with the right page, slide or sheet."""
    document = parse_in_child([(SAMPLES / name).read_bytes()], name, ParseLimits())
    chunks = chunks_of(document, lambda text: len(text) // 4, 256)
    found = [chunk.place.as_dict() for chunk in chunks if fact in chunk.text]
    assert found
    assert place.items() <= found[0].items()
