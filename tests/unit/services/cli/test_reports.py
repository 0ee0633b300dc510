"""A detached server tells the command that started it how far it is."""

from __future__ import annotations

import os

import pytest

from infra.errors import ConfigurationError, StrongroomError
from services.cli.reports import PipeReporter, Ready, TerminalReporter, follow

READY = Ready("http://127.0.0.1:8710", 42, "quotes", "http://127.0.0.1:8710/join#token")


class Heard:
    """Keeps the steps that it hears."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def ready(self, ready: Ready) -> None:
        raise AssertionError("follow returns it instead")


@pytest.fixture
def pipe():
    """Return the two ends of a pipe: a reporter and a file."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as file:
        yield PipeReporter(writer), file


def test_steps_and_the_end_arrive(pipe):
    """Steps are passed on in order, then the address is returned."""
    reporter, file = pipe
    reporter.step("one")
    reporter.step("two")
    reporter.ready(READY)
    heard = Heard()
    assert follow(file, heard) == READY
    assert heard.steps == ["one", "two"]


def test_a_failure_is_raised_with_its_hint(pipe):
    """The server's own reason reaches the terminal."""
    reporter, file = pipe
    reporter.failed(ConfigurationError("The port is in use.", hint="Choose another."))
    with pytest.raises(StrongroomError, match="The port is in use") as caught:
        follow(file, Heard())
    assert caught.value.hint == "Choose another."


def test_an_end_without_a_word_is_told_apart(pipe):
    """A server that died is None, not a hang and not a success."""
    reporter, file = pipe
    reporter.step("one")
    os.close(reporter._descriptor)
    assert follow(file, Heard()) is None


def test_a_reader_that_left_does_not_stop_the_server():
    """Ctrl-C on the starting command breaks the pipe; the server goes on."""
    reader, writer = os.pipe()
    reporter = PipeReporter(writer)
    os.close(reader)
    reporter.step("one")
    reporter.ready(READY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)


def test_the_link_is_printed_whole(capsys, monkeypatch):
    """A narrow terminal must not break the one-time link into pieces."""
    monkeypatch.setenv("COLUMNS", "30")
    TerminalReporter(stop_hint="Ctrl-C", as_json=False).ready(READY)
    assert f"  {READY.link}\n" in capsys.readouterr().out


def test_no_link_is_offered_once_there_is_an_administrator(capsys):
    """Without a token nothing is said about one."""
    TerminalReporter(stop_hint="Ctrl-C", as_json=False).ready(Ready("http://127.0.0.1:1", 1, "quotes", None))
    assert "administrator" not in capsys.readouterr().out
