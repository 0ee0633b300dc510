"""XLS: the same tables and places as XLSX; hidden parts apart; damaged files end in words."""

from __future__ import annotations

import random

import pytest
from made_files import read, refusal

from infra.errors import UnreadableFile
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from tests.made_office_files import prices_xls


def test_tables_know_their_sheet_and_cells() -> None:
    """Runs of rows between empty rows are tables with cell ranges; a hidden row does not cut one."""
    tables = [b for b in read(prices_xls(), "a.xls").blocks if b.kind == "table" and not b.hidden]
    assert [(b.header, b.text, b.place.sheet, b.place.cells) for b in tables] == [
        (
            "Article | Price | Discount | Since",
            "Gauge | 148.5 | 0.05 | 2026-02-01\nMeter | 1290 | 0.1 | 2026-03-01\nRuler | 7 | 0 | 2026-05-01",
            "Prices",
            "B4:E7",
        ),
        ("Country | Factor", "Norway | 1.25", "Prices", "A10:B10"),
    ]


def test_hidden_sheets_rows_columns_and_notes_are_apart() -> None:
    """What Excel does not show is marked, with its place, and nowhere else."""
    blocks = read(prices_xls(), "a.xls").blocks
    assert [(b.hidden, b.text, b.place.sheet, b.place.cells) for b in blocks if b.hidden] == [
        ("not_shown", "Margin\nSECRET-COLUMN\nSECRET-ROW | 1 | 0.2 | 2026-04-01", "Prices", "B3:F6"),
        ("comment", "SECRET-NOTE", "Prices", "B4:B4"),
        ("not_shown", "SECRET-SHEET", "Costs", "A1:A1"),
    ]
    assert not any("SECRET" in b.text or "SECRET" in b.header for b in blocks if not b.hidden)


def test_it_is_read_in_the_confined_child() -> None:
    """The reader, which is native code, works without files and network."""
    assert parse_in_child([prices_xls()], "a.xls", ParseLimits()) == read(prices_xls(), "a.xls")


def test_the_sheet_limit_holds() -> None:
    """More sheets than allowed are refused."""
    assert refusal(prices_xls(), "a.xls", ParseLimits(max_pages=1)).code == "too_many_pages"


@pytest.mark.parametrize("seed", range(40))
def test_damaged_workbooks_end_in_a_reason_or_a_text(seed: int) -> None:
    """Flipped bytes never crash the process that reads; at worst the file is called damaged."""
    chance = random.Random(seed)
    content = bytearray(prices_xls())
    for _ in range(1 + seed % 20):
        content[chance.randrange(512, len(content))] = chance.randrange(256)
    if seed % 4 == 0:
        del content[chance.randrange(1024, len(content)) :]
    try:
        read(bytes(content), "a.xls")
    except UnreadableFile as error:
        assert error.code in {
            "damaged",
            "no_text",
            "too_complex",
            "encrypted",
            "unsupported_type",
            "mislabelled",
        }
