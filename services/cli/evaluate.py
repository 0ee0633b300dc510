"""The commands of `strongroom eval`: their flags and words. What they do stands in `evaluation.py`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import InvalidInput
from services.cli.flags import DataDir, Json, Key, Url

evaluation = typer.Typer(help="How good the answers are, measured on questions.", no_args_is_help=True)


class Answers(StrEnum):
    """Which answers a run asks for."""

    QUOTES = "quotes"
    GENERATED = "generated"
    NONE = "none"


@evaluation.command("run")
def run_sets(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Folders, each with a set of questions.", show_default=False)
    ] = None,
    answers: Annotated[
        Answers,
        typer.Option("--answers", help="Verbatim quotes, the configured language model's, or only search."),
    ] = Answers.QUOTES,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for report.html and results.json.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", help="Two results.json, the base first: compare them, and run nothing."),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="What to call this configuration in reports.")
    ] = "this configuration",
    questions: Annotated[
        int | None,
        typer.Option("--questions", min=1, help="Ask only so many of each set, drawn by the seed."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")] = 1,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure search and answers on sets of questions, or compare two earlier runs.

    A set with documents of its own runs in a throw-away Strongroom with this machine's settings.
    A set without asks the running server, as the key's owner and on its record.
    """
    from services.cli.configuration import load_settings
    from services.cli.evaluation import Wishes, compare_runs, run

    if compare is not None:
        if data:
            raise InvalidInput("--compare takes two earlier results, and no data besides.")
        compare_runs(*compare, out=out, seed=seed, as_json=as_json)
        return
    if not data:
        raise InvalidInput("Name the folder of a set, or two results with --compare.")
    wishes = Wishes(tuple(data), answers, out, label, questions, seed)
    run(load_settings(data_dir=data_dir, url=url), wishes, api_key=api_key, as_json=as_json)


@evaluation.command("from-feedback")
def from_feedback(
    out: Annotated[Path, typer.Option("--out", help="New folder for the set.", show_default=False)],
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a set of questions from the answers that people marked as good or bad.

    It opens what people asked: it needs an auditor's key with the scope audit, and each opening is
    on the record. The set lies unencrypted in the new folder.
    """
    from services.cli.configuration import load_settings
    from services.cli.connection import connect
    from services.cli.evaluation import keep_marked

    with connect(load_settings(data_dir=data_dir, url=url), api_key=api_key) as connection:
        keep_marked(connection, out, as_json=as_json)
