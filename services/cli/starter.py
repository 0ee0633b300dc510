"""The starter model: fetched once at set-up, with a progress bar; quote mode where it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from infra.errors import Conflict
from infra.models.catalogue import CATALOGUE, PLUMBING, SMALL, StarterModel, choose_starter
from infra.models.fetch import ModelNotFetched, fetch
from infra.models.files import holds, installed
from services.cli.terminal import answers, in_words, messages, print_json

if TYPE_CHECKING:
    from infra.settings import Settings


def ensure_starter(settings: Settings, *, small: bool) -> Path | None:
    """Return the starter to serve, fetching it first where no model is set or present.

    None leaves the choice to the server: another model is set, one is installed, or there will be quotes
    only. A failure to fetch is said in one line and is no error.
    """
    if settings.quote_only or settings.model_path or settings.model_base_url:
        return None
    if not small and any(model.starter is not PLUMBING for model in installed(settings.models_dir)):
        return None
    starter = choose_starter(psutil.virtual_memory().total, small=small)
    if starter is None:
        messages().print("This machine has too little memory for a language model: answers are quotes.")
        return None
    try:
        return fetch_with_progress(starter, settings.models_dir)
    except (ModelNotFetched, Conflict) as error:
        messages().print(f"{error.message} Answers are verbatim quotes until it is here.", soft_wrap=True)
        return None


def small_model(settings: Settings) -> Path | None:
    """Return the lighter starter's file, or None while it is not here."""
    path = settings.models_dir / SMALL.file_name
    return path if holds(path, SMALL) else None


def fetch_with_progress(starter: StarterModel, into: Path) -> Path:
    """Fetch `starter` under a progress bar; raises ModelNotFetched or Conflict."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    target = into / starter.file_name
    if holds(target, starter):
        return target
    console = messages()
    console.print(f"Fetching {starter.title}, {in_words(starter.size)}, {starter.licence}", soft_wrap=True)
    into.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("  model"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("model", total=starter.size)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return fetch(starter, into, show)


def fetch_starter(settings: Settings, *, small: bool, as_json: bool) -> None:
    """Fetch the starter for this machine and say where it is; raises ModelNotFetched or Conflict."""
    # Asked for by name, the small one is fetched whatever the memory: it may be for another machine.
    starter = SMALL if small else choose_starter(psutil.virtual_memory().total)
    if starter is None:
        raise ModelNotFetched(
            "This machine has too little memory for a language model.", hint="Quote mode needs none."
        )
    path = fetch_with_progress(starter, settings.models_dir)
    if as_json:
        print_json({"name": starter.name, "path": str(path), "sha256": starter.sha256, "bytes": starter.size})
    else:
        answers().print(f"{starter.title} is in {path}", soft_wrap=True)


def local_models(settings: Settings) -> list[dict[str, Any]]:
    """Return the models on this machine and those that can be fetched: name, bytes, state, note, path."""
    return [*_present(settings), *_to_be_had(settings)]


def _present(settings: Settings) -> list[dict[str, Any]]:
    return [
        {
            "name": model.path.name,
            "bytes": model.size,
            "state": "installed",
            "note": model.starter.title if model.starter else "",
            "path": str(model.path),
        }
        for model in installed(settings.models_dir)
    ]


def _to_be_had(settings: Settings) -> list[dict[str, Any]]:
    commands = {model.name: "strongroom models fetch" for model in CATALOGUE}
    commands[SMALL.name] += " --small"
    return [
        {
            "name": model.file_name,
            "bytes": model.size,
            "state": "not fetched",
            "note": f"{model.title}: {commands[model.name]}",
            "path": None,
        }
        for model in CATALOGUE
        if model is not PLUMBING and not holds(settings.models_dir / model.file_name, model)
    ]
