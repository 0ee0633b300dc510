"""Which files `strongroom ingest` takes."""

from __future__ import annotations

import pytest

from infra.errors import InvalidInput
from services.cli.ingest import find_files


@pytest.fixture
def folder(tmp_path):
    """Return a folder with files at two levels, hidden ones among them."""
    for name in ("b.txt", "a.md", ".hidden.txt", "deep/c.txt", "deep/.git/config", "deep/d.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path


def names(folder, *given: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_files(given)]


def test_a_folder_is_read_at_every_depth_without_hidden_files(folder):
    """Files come in a steady order; dot files and dot folders stay where they are."""
    assert names(folder, str(folder)) == ["a.md", "b.txt", "deep/c.txt", "deep/d.csv"]


def test_a_hidden_file_is_taken_when_it_is_named(folder):
    """Whoever names a file means it."""
    assert names(folder, str(folder / ".hidden.txt")) == [".hidden.txt"]


def test_patterns_reach_into_folders(folder):
    """A quoted pattern is resolved here, where shells differ."""
    assert names(folder, f"{folder}/**/*.txt") == [".hidden.txt", "b.txt", "deep/c.txt"]


def test_a_relative_pattern_starts_here(folder, monkeypatch):
    """Without a root the pattern is about the working folder."""
    monkeypatch.chdir(folder)
    assert [str(path) for path in find_files(["*.md"])] == ["a.md"]


def test_each_file_is_taken_once(folder):
    """Overlapping arguments do not upload a file twice."""
    assert names(folder, str(folder / "a.md"), str(folder), f"{folder}/*.md") == [
        "a.md",
        "b.txt",
        "deep/c.txt",
        "deep/d.csv",
    ]


@pytest.mark.parametrize("missing", ["nothing.pdf", "*.pdf"])
def test_what_names_nothing_is_an_error(folder, missing):
    """A typing error is said before anything is uploaded."""
    with pytest.raises(InvalidInput, match="There is no file at"):
        list(find_files([str(folder), str(folder / missing)]))
