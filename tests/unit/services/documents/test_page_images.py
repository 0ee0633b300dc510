"""Which sources have a picture of their page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.documents import Passage
from ingest.parse.pages.scanned import PAGED
from services.documents.source_endpoints import PAGE_NAMES, _has_page_image


@pytest.mark.parametrize(
    ("media_type", "place", "has"),
    [
        ("application/pdf", {"page": 2}, True),
        ("image/tiff", {"page": 2}, True),
        ("image/png", {"page": 1}, True),
        ("application/pdf", {}, False),
        ("text/plain", {"first_line": 1}, False),
        ("application/zip", {"page": 2, "within": ["a.pdf"]}, False),
        ("application/pdf", {"page": 2, "within": ["attached.pdf"]}, False),
    ],
)
def test_a_page_of_the_file_itself_has_a_picture(media_type: str, place: dict[str, Any], has: bool) -> None:
    """A page of a file within the file has none, as the renderer is given the file."""
    passage = cast(Passage, SimpleNamespace(media_type=media_type, place=place))
    assert _has_page_image(passage) is has


def test_every_format_with_pages_can_be_shown() -> None:
    """What the child draws and what the interface offers are the same formats."""
    assert set(PAGE_NAMES) == PAGED
