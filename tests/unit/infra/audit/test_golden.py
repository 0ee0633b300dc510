"""Version 1 of the record's format, held by files: these tests failing means that the format was broken.

Each file has a record as anybody would write it down, its canonical bytes (RFC 8785) in hex, and its leaf
hash. The files never change; a later version of the format adds its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from infra.audit.leaf import AI, Actor, Authz, ContentRef, Leaf, Resource, Retrieved, canonical, parse
from infra.audit.merkle import leaf_hash

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.json"))
DIGEST_OF_ALL = "80699b466b7e4a639ad934fe135a19fe51ebaaeccd6161da4d34464fc1974ab0"


def golden(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_bytes_and_hashes_are_the_golden_ones(file: Path) -> None:
    """Read and written back it is the same, and hashes to the same leaf."""
    held = golden(file)
    data = bytes.fromhex(held["canonical"])
    assert canonical(parse(data)) == data
    assert leaf_hash(data).hex() == held["leaf_hash"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_independent_canonicalisation_agrees(file: Path) -> None:
    """The bytes are what the RFC 8785 library makes of the record as it was written down."""
    held = golden(file)
    assert rfc8785.dumps(held["record"]).hex() == held["canonical"]


def test_the_files_themselves_are_the_golden_ones() -> None:
    """A file that is edited along with the code would hide a change of the format."""
    together = b"".join(file.name.encode() + file.read_bytes() for file in FILES)
    assert hashlib.sha256(together).hexdigest() == DIGEST_OF_ALL


def test_every_field_is_in_a_golden_file() -> None:
    """No field of the format can change unnoticed."""
    record = golden(FOLDER / "every_field.json")["record"]
    assert {field.name for field in fields(Leaf)} == set(record)
    for part, found in (
        (Actor, record["actor"]),
        (Resource, record["res"]),
        (Authz, record["authz"]),
        (AI, record["ai"]),
        (AI, record["calls"][0]),
        (Retrieved, record["ret"][0]),
        (ContentRef, record["content"]),
    ):
        assert {field.name for field in fields(part)} == set(found)
    assert set(record["ai"]["tokens"]) == {"in", "out"}
    assert set(record["ai"]["tools"][0]) == {"name", "verdict"}
