"""Malformed files of every format: each ends within its limits, read or refused with a typed reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import UnreadableFile
from ingest.parse.confined.sandbox import parse_in_child
from ingest.parse.limits import ParseLimits
from tests.made_malformed import ATTACKS, Malformed, good_files, malformed_files

SEED = 20261122
CHILD_S = 60.0
PATIENCE_S = 30.0
"""What a busy machine may add to a child's own time."""
REASONS = frozenset(
    "damaged empty encrypted expands_too_much mislabelled needs_converter no_text nothing_readable"
    " took_too_long too_complex too_many_pages too_many_pixels"
    " too_many_scanned_pages unsupported_type".split()
)


def read(file: Malformed) -> tuple[str, str, float]:
    """Read a file in its child; returns what was done to it, how that ended, and the seconds it took."""
    started = time.monotonic()
    try:
        parse_in_child(iter([file.content]), file.name, ParseLimits(wall_s=CHILD_S))
        outcome = "read"
    except UnreadableFile as error:
        outcome = error.code
        assert error.message.endswith((".", "?")), error.message
    return file.how, outcome, time.monotonic() - started


@pytest.fixture(scope="module")
def ends(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, str, float]]]:
    """Read the whole corpus, two files at a time."""
    count = request.config.getoption("malformed")
    with ThreadPoolExecutor(2) as pool:
        yield list(pool.map(read, malformed_files(SEED, count)))


@pytest.mark.timeout(7200)
def test_each_file_ends_with_a_typed_reason(ends: list[tuple[str, str, float]]) -> None:
    """It is read, or refused in one of the ways that people are told about; nothing else comes out."""
    outcomes = Counter(outcome for _, outcome, _ in ends)
    assert set(outcomes) <= REASONS | {"read"}, outcomes
    assert outcomes["read"] and outcomes["damaged"]


def test_no_file_takes_longer_than_its_child_may(ends: list[tuple[str, str, float]]) -> None:
    """No child outlives its minute."""
    slow = [(how, round(took)) for how, _, took in ends if took > CHILD_S + PATIENCE_S]
    assert slow == []


def test_what_is_sound_is_read() -> None:
    """The files that are damaged here are good ones, so that the damage is what is found."""
    for ending, content in good_files().items():
        assert read(Malformed(ending, f"file.{ending}", content))[1] == "read", ending


def test_the_corpus_is_the_same_for_a_seed() -> None:
    """A failure can be made again; every attack is in a run of the usual length."""
    few = [list(malformed_files(SEED, 8)) for _ in range(2)]
    assert few[0] == few[1]
    assert len(ATTACKS) <= 150
