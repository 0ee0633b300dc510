"""Manifests of a file share: what is understood, and what is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import InvalidInput
from services.cli.access_import import (
    BYTES_AT_ONCE,
    ROWS_AT_ONCE,
    WORDS_AT_ONCE,
    ManifestRow,
    _pieces,
    read_manifest,
)
from services.documents.access_import import MAX_WORDS

ROW = {
    "path": "a/b.md",
    "collection": "HR",
    "allow": ["ada@example.org", "group:HR Team"],
    "deny": ["user:1"],
    "clearance": 2,
    "compartments": ["board", "lab"],
}


def read(folder: Path, name: str, text: str) -> list[ManifestRow]:
    """Read a manifest with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_manifest(path)


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    """Lists are separated by semicolons in CSV; a byte order mark, blanks and empty lines do not matter."""
    text = (
        "\ufeffPath,collection, allow ,deny,clearance,compartments\n"
        'a/b.md,HR,"ada@example.org; group:HR Team",user:1,2,board;lab\n\n,,,,,\n'
    )
    assert read(tmp_path, "m.csv", text) == [ManifestRow(1, ROW)]
    assert read(tmp_path, "m.json", json.dumps([ROW])) == [ManifestRow(1, ROW)]
    loose = ROW | {"allow": "ada@example.org;group:HR Team;", "clearance": "2"}
    assert read(tmp_path, "m.json", json.dumps([loose])) == [ManifestRow(1, ROW)]


def test_an_empty_cell_is_nothing(tmp_path: Path) -> None:
    """No collection, nobody, no label; not a collection without a name."""
    rows = read(tmp_path, "m.csv", "path,collection,allow,clearance\nb.md,,,\n")
    assert rows == [ManifestRow(1, {"path": "b.md", "allow": [], "clearance": 0})]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "path,denny\na.md,user:1\n", "denny"),
        ("m.csv", "path;allow\na.md;everyone\n", "path;allow"),
        ("m.csv", "allow\neveryone\n", "path"),
        ("m.csv", "path,deny,deny\na.md,user:1,\n", "once"),
        ("m.csv", "path,allow\na.md\n", "line 2"),
        ("m.csv", "path,allow\na.md,everyone,user:1\n", "line 2"),
        ("m.csv", "path,clearance\na.md,high\n", "clearance"),
        ("m.csv", "path,clearance\na.md,-1\n", "clearance"),
        ("m.csv", 'path,allow\n"a.md,everyone\n', "CSV"),
        ("m.csv", "", "path"),
        ("m.json", "{", "JSON"),
        ("m.json", '{"path": "a.md"}', "list"),
        ("m.json", '["a.md"]', "list"),
        ("m.json", '[{"path": "a.md", "Deny": []}]', "Deny"),
        ("m.json", '[{"path": "a.md", "deny": {"user:1": true}}]', "deny"),
        ("m.json", '[{"path": "a.md", "deny": [1]}]', "deny"),
        ("m.json", '[{"path": ["a.md"]}]', "path"),
        ("m.json", '[{"path": "a.md", "collection": ["x"]}]', "collection"),
        ("m.json", '[{"path": "a.md", "clearance": true}]', "clearance"),
        ("m.json", '[{"path": "a.md", "clearance": 1.5}]', "clearance"),
        ("m.xml", "<manifest/>", "csv"),
    ],
)
def test_what_is_not_understood_is_refused_as_a_whole(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    """With the place of it; a misspelt denial must never be taken for none."""
    with pytest.raises(InvalidInput, match=said):
        read(tmp_path, name, text)


def test_other_encodings_and_missing_files_are_refused(tmp_path: Path) -> None:
    """A name that was decoded wrongly would be another name."""
    latin = tmp_path / "latin.csv"
    latin.write_bytes("path\nmünchen.md\n".encode("latin-1"))
    for path in (latin, tmp_path / "missing.csv"):
        with pytest.raises(InvalidInput):
            read_manifest(path)


def test_pieces_are_everything_in_order_and_small(tmp_path: Path) -> None:
    """Neither rows nor bytes of one request grow beyond their limit; a row that is too large goes alone."""
    fields: list[dict[str, Any]] = [{"path": str(number)} for number in range(ROWS_AT_ONCE + 1)]
    fields += [{"path": "x" * (BYTES_AT_ONCE // 2)} for _ in range(3)] + [{"path": "y" * BYTES_AT_ONCE}]
    rows = [ManifestRow(number, row) for number, row in enumerate(fields, 1)]
    pieces = list(_pieces(rows))
    assert [row for piece in pieces for row in piece] == rows
    assert max(len(piece) for piece in pieces) == ROWS_AT_ONCE
    assert all(
        len(piece) == 1 or sum(len(json.dumps(row.fields)) for row in piece) <= BYTES_AT_ONCE
        for piece in pieces
    )
    assert list(_pieces([])) == []


def test_a_piece_names_no_more_people_than_the_server_takes() -> None:
    """Rows are sent together up to the last word that fits; one with too many goes alone, and fails alone."""
    names = [["a"] * (WORDS_AT_ONCE // 2), ["b"] * (WORDS_AT_ONCE // 2), ["c"], ["d"] * WORDS_AT_ONCE]
    rows = [
        ManifestRow(n, {"path": str(n), "allow": row[1:], "deny": row[:1]}) for n, row in enumerate(names)
    ]
    assert WORDS_AT_ONCE <= MAX_WORDS
    assert [[row.number for row in piece] for piece in _pieces(rows)] == [[0, 1], [2], [3]]
