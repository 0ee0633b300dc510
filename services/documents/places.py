"""Say in words where a passage stands."""

from __future__ import annotations

from typing import Any

from infra.documents import Passage


def place_label(passage: Passage) -> str:
    """Return the place as people name it: a page, a slide, cells, a section, or lines.

    For a file within the file, its name comes first: `contracts.zip` has a passage at `lease.pdf, page 3`.
    """
    around = [str(name) for name in passage.place.get("within") or ()]
    if passage.place.get("message") is not None:
        around.append(f"message {passage.place['message']}")
    label = _innermost(passage.place) or passage.heading or _lines(passage.place)
    return ", ".join([*around, label]) if label else ", ".join(around) or f"passage {passage.ordinal + 1}"


def _innermost(place: dict[str, Any]) -> str:
    if place.get("page") is not None:
        return f"page {place['page']}"
    if place.get("slide") is not None:
        return f"slide {place['slide']}"
    if place.get("sheet"):
        cells = place.get("cells")
        return f"{place['sheet']}!{cells}" if cells else str(place["sheet"])
    return ""


def _lines(place: dict[str, Any]) -> str:
    if not place.get("first_line"):
        return ""
    return f"lines {place['first_line']}–{place.get('last_line', place['first_line'])}"
