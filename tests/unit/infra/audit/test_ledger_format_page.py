"""The page for auditors: its worked example is true, and it leaves no event unexplained."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from infra.audit.event_types import EventType
from infra.audit.leaf import (
    AI,
    Actor,
    Authz,
    ContentRef,
    Leaf,
    Resource,
    Retrieved,
    parse,
)
from infra.audit.merkle import leaf_hash, node_hash
from infra.audit.verify import Verdict, verify_log

PAGE = (Path(__file__).parents[4] / "docs" / "ledger-format.md").read_text(encoding="utf-8")
RECORDS, HASHES, ROOT, NOTE, KEY = re.findall(r"```(?:json|text)\n(.*?)```", PAGE, re.DOTALL)
LEAVES = [line.encode() for line in RECORDS.splitlines()]


def test_the_example_verifies() -> None:
    """The records, checkpoint and key of the page belong together."""
    assert verify_log(LEAVES, NOTE, KEY).verdict is Verdict.SOUND


def test_the_hashes_of_the_example_are_those_of_its_records() -> None:
    """A reader who follows the steps by hand arrives at what the page says."""
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    assert [hashed.hex() for hashed in hashes] == HASHES.split()
    assert node_hash(*hashes).hex() == ROOT.strip()


def test_the_commitment_of_the_example_opens() -> None:
    """Salt and question of the page give the commitment of the first record."""
    question = re.search(r"the question\n`(.*?)`", PAGE)
    reference = parse(LEAVES[0]).content
    assert question is not None
    assert reference is not None
    opened = hashlib.sha256(bytes(range(32)) + question[1].encode()).hexdigest()
    assert (opened, len(question[1])) == (reference.commit, reference.len)


@pytest.mark.parametrize("event", list(EventType))
def test_every_event_type_is_explained(event: EventType) -> None:
    """A name in the record that no document explains is useless to an auditor."""
    assert f"| `{event.value}` | {event.description} |" in PAGE


@pytest.mark.parametrize("part", [Leaf, Actor, Resource, Authz, AI, Retrieved, ContentRef])
def test_every_field_is_explained(part: type) -> None:
    """Each field of a record stands on the page under its own name."""
    assert [field.name for field in fields(part) if f"`{field.name}`" not in PAGE] == []
