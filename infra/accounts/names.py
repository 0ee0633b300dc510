"""What may be the name of a person, a group or a key."""

from __future__ import annotations

from infra.errors import InvalidInput


def checked_name(name: str) -> str:
    """Return a name with its spaces put in order; raises InvalidInput unless 1 to 200 characters are left."""
    cleaned = " ".join(name.split())
    if not 1 <= len(cleaned) <= 200:
        raise InvalidInput("A name needs 1 to 200 characters.", param="name")
    return cleaned
