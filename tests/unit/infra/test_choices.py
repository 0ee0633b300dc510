"""What administrators choose: values that fit are kept, others are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.choices import MAX_TEXT_CHARS, ChoiceName, choice_name, choose, read_choice
from infra.database import Database
from infra.errors import InvalidInput, NotFound
from infra.settings import Settings
from infra.stores import open_database

TEXT = ChoiceName.NO_ANSWER_TEXT


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a fresh database."""
    opened, _ = open_database(Settings(data_dir=tmp_path))
    yield opened
    opened.close()


def chosen(database: Database) -> str | None:
    """Return the text as a later request sees it."""
    with database.read() as session:
        return read_choice(session, TEXT)


def set_to(database: Database, value: str | None) -> str | None:
    """Choose a text."""
    with database.write() as session:
        return choose(session, TEXT, value)


def test_nothing_is_chosen_at_first(database: Database) -> None:
    """There is no text of ours that somebody would have to remove."""
    assert chosen(database) is None


def test_the_last_choice_stands(database: Database) -> None:
    """A second choice replaces the first; blanks and line breaks become single blanks."""
    set_to(database, "Ask the archive.")
    assert set_to(database, "  Ask\n Ana,  ana@example.org! ") == "Ask Ana, ana@example.org!"
    assert chosen(database) == "Ask Ana, ana@example.org!"


@pytest.mark.parametrize("nothing", [None, "", "  \n "])
def test_a_choice_is_taken_back(database: Database, nothing: str | None) -> None:
    """Nothing, however it is said, is no text; twice is the same as once."""
    set_to(database, "Ask the archive.")
    assert set_to(database, nothing) is None
    assert set_to(database, nothing) is None
    assert chosen(database) is None


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_TEXT_CHARS + 1),
        "See https://example.org",
        "See WWW.example.org",
        "[here](x)",
        "![x](y)",
        "<b>Ask</b>",
        "*Ask*",
        "`ask`",
        r"a\b",
        "Ask\x1b[2J",
        "Ask\u202eeno yna",
    ],
)
def test_a_text_that_is_not_plain_is_refused(database: Database, text: str) -> None:
    """Too long, a link, Markdown, a tag, or characters that cannot be seen; the old text stays."""
    set_to(database, "Ask the archive.")
    with pytest.raises(InvalidInput) as refused:
        set_to(database, text)
    assert refused.value.param == "value"
    assert chosen(database) == "Ask the archive."


def test_the_longest_text_fits(database: Database) -> None:
    """The limit itself is allowed."""
    assert set_to(database, "x" * MAX_TEXT_CHARS) == "x" * MAX_TEXT_CHARS


def test_only_known_names_are_choices() -> None:
    """A name that nobody registered is not there."""
    assert choice_name("no_answer_text") is TEXT
    with pytest.raises(NotFound):
        choice_name("no_answer_texts")
