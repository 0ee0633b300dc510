"""`strongroom eval`: run sets of questions, compare runs, and make a set of marked answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from infra.embeddings import Embedder
from infra.errors import Conflict, InvalidInput
from infra.settings import Settings
from services.cli.connection import Connection, connect
from services.cli.evaluate import Answers
from services.cli.terminal import answers, plain, print_json, record_progress
from services.evaluation.comparing import Compared, compare
from services.evaluation.from_feedback import gather, write_set
from services.evaluation.plots import in_figures
from services.evaluation.report import PAIRED_NOTE, comparison_cells, page
from services.evaluation.results import MEASURES, Run, SetResult
from services.evaluation.running import run_set
from services.evaluation.served import Served
from services.evaluation.sets import QuestionSet, read_set
from services.evaluation.trial import trial_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from services.evaluation.subject import Subject

REPORT: Final = "report.html"
RESULTS: Final = "results.json"

_Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wishes:
    """What a run was asked for; see the flags of `eval run`."""

    folders: tuple[Path, ...]
    answers: Answers
    out: Path | None
    label: str
    questions: int | None
    seed: int


def run(settings: Settings, wishes: Wishes, *, api_key: str | None, as_json: bool) -> None:
    """Run each set, print the measures, and write the report where one is wanted.

    Every set is read before the first is run. Raises InvalidInput for a set that makes no sense, Conflict
    where the report's folder is not empty, ModelUnavailable, and what a server refuses.
    """
    sets = [_drawn(read_set(folder), wishes.questions, wishes.seed) for folder in wishes.folders]
    _check_names([each.name for each in sets])
    _check_place(wishes.out)
    embedder = Embedder(settings.embedding_model, settings.embedding_dtype, apart=True)
    try:
        found = [_run_one(each, settings, embedder, wishes, api_key=api_key, hidden=as_json) for each in sets]
    finally:
        embedder.close()
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    done = Run(wishes.label, made_at, wishes.seed, found)
    if wishes.out is not None:
        _write(wishes.out, {REPORT: page(done), RESULTS: done.as_json()})
    if as_json:
        print_json(asdict(done))
        return
    for each in done.sets:
        _show(answers(), each)
    if wishes.out is not None:
        answers().print(f"The report is {wishes.out / REPORT}.", soft_wrap=True)


def compare_runs(base: Path, new: Path, *, out: Path | None, seed: int, as_json: bool) -> None:
    """Print the paired test of two earlier runs, and write it as a report where one is wanted.

    Raises InvalidInput for files that are no results, or results of different questions.
    """
    before, after = Run.read(base), Run.read(new)
    _check_place(out)
    compared = compare(before, after, seed=seed)
    if out is not None:
        _write(out, {REPORT: page(after, compared, base=before)})
    if as_json:
        print_json(
            {"base": before.label, "new": after.label, "compared": [asdict(each) for each in compared]}
        )
        return
    console = answers()
    for name in dict.fromkeys(each.set_name for each in compared):
        of_set = [each for each in compared if each.set_name == name]
        console.print(_comparison(name, of_set, before.label, after.label))
        console.print("")
    console.print(PAIRED_NOTE, soft_wrap=True)


def keep_marked(connection: Connection, out: Path, *, as_json: bool) -> None:
    """Read the marked answers from a server's record and write them as a set.

    Raises Conflict when the folder is there, Refused, or NotRunning.
    """
    if out.exists():
        raise Conflict(f"{out} is there already.", hint="Give another name with --out.")
    with _progress("opening answers", hidden=as_json) as on_progress:
        gathered = gather(connection, on_progress=on_progress)
    file = write_set(out, gathered)
    if as_json:
        print_json({"file": str(file), "questions": len(gathered.lines), "left_out": gathered.left_out})
        return
    console = answers()
    console.print(plain(f"{len(gathered.lines)} questions are in {file}."), soft_wrap=True)
    for reason, count in gathered.left_out.items():
        console.print(f"{count} marked answers were left out: {reason}.")
    console.print("They are people's own words, and nothing there is encrypted.")


# --- one set --------------------------------------------------------------------------------------


def _run_one(
    wanted: QuestionSet,
    settings: Settings,
    embedder: Embedder,
    wishes: Wishes,
    *,
    api_key: str | None,
    hidden: bool,
) -> SetResult:
    with (
        _subject_of(wanted, settings, embedder, wishes, api_key=api_key, hidden=hidden) as subject,
        _progress(f"asking {plain(wanted.name)}", hidden=hidden) as on_progress,
    ):
        with_answers = wishes.answers is not Answers.NONE
        return run_set(subject, wanted, with_answers=with_answers, seed=wishes.seed, on_progress=on_progress)


@contextmanager
def _subject_of(
    wanted: QuestionSet,
    settings: Settings,
    embedder: Embedder,
    wishes: Wishes,
    *,
    api_key: str | None,
    hidden: bool,
) -> Iterator[Subject]:
    """Yield what a set is asked of: a trial with its documents, or the running server."""
    generated = wishes.answers is Answers.GENERATED
    if not wanted.documents:
        with connect(settings, api_key=api_key) as connection:
            yield Served(connection, generated=generated)
        return
    with trial_of(settings, embedder, generated=generated) as trial:
        with _progress(f"reading {plain(wanted.name)}", hidden=hidden) as on_progress:
            trial.fill(wanted.documents, on_progress)
        yield trial


def _drawn(found: QuestionSet, count: int | None, seed: int) -> QuestionSet:
    """Return the set with only so many of its questions, drawn at random, in their order."""
    if count is None or count >= len(found.questions):
        return found
    drawn = np.sort(np.random.default_rng(seed).permutation(len(found.questions))[:count])
    return replace(found, questions=tuple(found.questions[at] for at in drawn))


@contextmanager
def _progress(doing: str, *, hidden: bool) -> Iterator[_Progress]:
    """Yield what shows how many of how many are done, where somebody looks."""
    with record_progress(doing, hidden=hidden) as shown:
        yield shown or (lambda done, total: None)


# --- what is written and printed ------------------------------------------------------------------


def _check_names(names: Sequence[str]) -> None:
    """Raise InvalidInput for two sets of one name, which nobody could tell apart in the results."""
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidInput(f"Two sets are called {twice[0]}.", hint="A set is called like its folder.")


def _check_place(out: Path | None) -> None:
    """Raise Conflict when a report would mix with other files; before the run, which may take hours."""
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Conflict(f"{out} is there already.", hint="Give another name with --out.")


def _write(out: Path, files: dict[str, str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")


def _show(console: Console, found: SetResult) -> None:
    """Print a set's measures and times."""
    from rich.table import Table

    title = f"{plain(found.name)}: {found.questions} questions"
    table = Table(
        "measure", "value", "questions", title=title, title_justify="left", box=None, pad_edge=False
    )
    for name, value in found.measures.items():
        table.add_row(MEASURES[name].title, in_figures(value), str(value.count))
    for name, taken in found.latencies.items():
        table.add_row(f"{name}, median (95th)", f"{taken.median:.0f} ({taken.p95:.0f}) ms", str(taken.count))
    console.print(table)
    console.print("")


def _comparison(name: str, compared: Sequence[Compared], base: str, new: str) -> Table:
    from rich.table import Table

    title = plain(f"{name}: {new} against {base}")
    titles = ("measure", "base", "new", "difference", "p", "better", "worse")
    table = Table(*titles, title=title, title_justify="left", box=None, pad_edge=False)
    for each in compared:
        table.add_row(MEASURES[each.measure].title, *comparison_cells(each))
    return table
