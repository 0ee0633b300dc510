"""Who may read what, said as plainly as possible, and apart from the program's own rule.

A test counts the lines below: at most 30, so that one look shows whether they are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Reader:
    names: set[str]  # their own, their groups', and everybody's
    clearance: int = 0
    compartments: set[str] = field(default_factory=set)


@dataclass(eq=False)  # two that look alike are still two
class Item:  # a document or a collection
    owner: str
    allow: set[str]
    deny: set[str] = field(default_factory=set)
    clearance: int = 0
    compartments: set[str] = field(default_factory=set)
    inside: Item | None = None  # the collection that a document stands in
    inherits: bool = False  # whether that collection's list is the document's as well


def may_read(reader: Reader, item: Item) -> bool:
    allow = item.inside.allow if item.inside and item.inherits else item.allow
    return (
        bool(reader.names & allow)
        and not reader.names & item.deny
        and reader.clearance >= item.clearance
        and reader.compartments >= item.compartments
        and (item.inside is None or may_read(reader, item.inside))
    )
