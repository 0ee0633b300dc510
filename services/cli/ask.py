"""`strongroom ask`: evidence first, then checked sentences as they come, then the sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from infra.settings import Settings
from services.cli.connection import Connection
from services.cli.terminal import answers, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

ASSISTANT: Final = "strongroom"
QUOTES: Final = "strongroom-quote"
_LINK: Final = re.compile(r"\[\[(\d+)\]\]\([^)\s]*\)")
_OUTCOMES: Final = {
    "answered": "Answered from your documents.",
    "partial": "Answered in part: some of it has no support in your documents.",
    "abstained": "Your documents do not answer this.",
    "blocked": "This question was not answered.",
}


def ask(
    connection: Connection, question: str, settings: Settings, *, quotes_only: bool, as_json: bool
) -> None:
    """Ask one question and print the answer. Raises Refused or NotRunning."""
    body = {
        "model": QUOTES if quotes_only else ASSISTANT,
        "messages": [{"role": "user", "content": question}],
        # The quotes are shown from their own field, with their places.
        "x_evidence": "field",
    }
    if as_json:
        # One answer takes a search, the model's time, and a share of other people's answers before it.
        print_json(connection.complete(body, timeout_s=2 * settings.model_timeout_s + 60))
    else:
        _Reader(answers()).read(connection.stream(body))


class _Reader:
    """Prints one streamed answer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._citations: list[dict[str, Any]] = []
        self._written = ""

    def read(self, chunks: Iterator[dict[str, Any]]) -> None:
        """Print the chunks as they come; a spinner shows the seconds while nothing does."""
        last: dict[str, Any] = {}
        with _spinner(self._console) as spinner:
            for chunk in chunks:
                spinner.say(_doing(chunk))
                text = _text(chunk)
                if text:
                    spinner.end()
                    self._write(text)
                elif not self._citations and chunk.get("x_citations"):
                    self._show_evidence(chunk["x_citations"])
                last = chunk if "receipt" in chunk.get("x_answer", {}) else last
        self._finish(last)

    def _show_evidence(self, citations: list[dict[str, Any]]) -> None:
        self._citations = citations
        for citation in filter(_stands_with_the_best, citations):
            self._console.print(f"[{citation['n']}] {_where(citation)}", style="bold cyan", soft_wrap=True)
            self._console.print(f"    “{plain(' '.join(citation['quote'].split()))}”\n", soft_wrap=True)

    def _write(self, text: str) -> None:
        self._written += text
        # The terminal wraps; a width of ours would break sentences that share a line.
        self._console.print(text, end="", soft_wrap=True)

    def _finish(self, last: dict[str, Any]) -> None:
        if self._written:
            self._console.print("\n")
        sources = last.get("x_citations") or self._citations
        if sources:
            self._console.print(_source_table(sources))
        answer = last.get("x_answer", {})
        words = plain(answer.get("message") or _OUTCOMES.get(answer.get("status"), ""))
        if words and words not in self._written:
            self._console.print(f"\n{words}", style="bold", soft_wrap=True)
        if answer.get("dropped"):
            self._console.print(f"Sentences withheld for lack of support: {answer['dropped']}")


def _stands_with_the_best(citation: dict[str, Any]) -> bool:
    """Say whether a quote is near enough to the question to be shown; the others are in the table."""
    return bool(citation.get("shown", True))


class _Spinner:
    """One transient line with the elapsed seconds."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def say(self, doing: str | None) -> None:
        """Show what is being done; None leaves it as it was."""
        if doing is not None:
            self._progress.update(self._task, description=doing)

    def end(self) -> None:
        """Take the line away, before text is printed that does not end its line."""
        self._progress.stop()


@contextmanager
def _spinner(console: Console) -> Iterator[_Spinner]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Spinner(progress, progress.add_task("Searching your documents", total=None))


def _doing(chunk: dict[str, Any]) -> str | None:
    stage = chunk.get("x_progress", {}).get("stage") or chunk.get("x_answer", {}).get("status")
    return {
        "searching": "Searching your documents",
        "reading": "The model is reading",
        "writing": "The model is writing",
    }.get(stage or "")


def _text(chunk: dict[str, Any]) -> str:
    choices = chunk.get("choices") or [{}]
    content = choices[0].get("delta", {}).get("content") or ""
    return plain(_LINK.sub(r"[\1]", content))


def _source_table(citations: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("n", "file", "place", title="Sources", title_justify="left", box=None, pad_edge=False)
    for citation in citations:
        table.add_row(str(citation["n"]), plain(citation["file"]["name"]), plain(citation["place"]))
    return table


def _where(citation: dict[str, Any]) -> str:
    return plain(f"{citation['file']['name']}, {citation['place']}")
