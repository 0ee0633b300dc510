"""Say in words where a passage stands."""

from __future__ import annotations

from infra.documents import Passage


def place_label(passage: Passage) -> str:
    """Return the place as people name it: a page, a slide, cells, a section, or lines."""
    place = passage.place
    if place.get("page") is not None:
        return f"page {place['page']}"
    if place.get("slide") is not None:
        return f"slide {place['slide']}"
    if place.get("sheet"):
        cells = place.get("cells")
        return f"{place['sheet']}!{cells}" if cells else str(place["sheet"])
    if passage.heading:
        return passage.heading
    if place.get("first_line"):
        return f"lines {place['first_line']}–{place.get('last_line', place['first_line'])}"
    return f"passage {passage.ordinal + 1}"
