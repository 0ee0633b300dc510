"""The commands of `strongroom models`: their flags and words. What they do stands in `model_….py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.flags import Json

models = typer.Typer(help="Language models: here, in the catalogue, on a server.", no_args_is_help=True)

Small = Annotated[bool, typer.Option("--small", help="Use the lighter starter model (0.5 B parameters).")]
Context = Annotated[
    int,
    typer.Option("--context", min=512, max=100_000_000, help="Tokens of one question with its answer."),
]
Answers = Annotated[
    int, typer.Option("--answers", min=1, max=100_000, help="How many answers are made at a time.")
]
Gpu = Annotated[str | None, typer.Option("--gpu", help="GPUs and their memory: 24GB, or 2x80GB.")]
Cpu = Annotated[str | None, typer.Option("--cpu", help="Memory of a machine without GPUs: 64GB.")]


@models.command("fetch")
def fetch_model(small: Small = False, as_json: Json = False) -> None:
    """Fetch the starter model for this machine; it is verified by its digest, and resumed after a break."""
    from services.cli.configuration import load_settings
    from services.cli.starter import fetch_starter

    fetch_starter(load_settings(), small=small, as_json=as_json)


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models on this machine, those that can be fetched, and those of the catalogue."""
    from services.cli.configuration import load_settings
    from services.cli.model_catalogue import list_everything

    list_everything(load_settings(), as_json=as_json)


@models.command("show")
def show_model(
    name: Annotated[
        str,
        typer.Argument(help="A model of the catalogue, by its name here or its maker's.", show_default=False),
    ],
    as_json: Json = False,
) -> None:
    """Show what the catalogue knows of a model: licence, memory, parsers, sampling, lines to serve it.

    Each figure's source is named; what was not read anywhere is marked.
    """
    from services.cli.model_catalogue import show

    show(name, as_json=as_json)


@models.command("fit")
def fit_models(
    name: Annotated[
        str | None, typer.Argument(help="One model only; default: all.", show_default=False)
    ] = None,
    gpu: Gpu = None,
    cpu: Cpu = None,
    context: Context = 8192,
    answers: Answers = 4,
    too_big: Annotated[
        bool, typer.Option("--all", help="List what does not fit, too, and by how much.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell which models fit given hardware, at which quantisation; default: this machine's memory.

    The figures are estimates. Exit code: 0 something fits, 1 nothing does, 2 the question was not understood.
    """
    from services.cli.model_catalogue import Question, fit_and_tell

    if not fit_and_tell(Question(name, gpu, cpu, context, answers, too_big), as_json=as_json):
        raise typer.Exit(1)


@models.command("check")
def check_model(
    target: Annotated[
        str,
        typer.Argument(
            help="A server's private address (http://…/v1), or a model's folder.", show_default=False
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="Name of the model there; default: the server's first.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Key of that server; default: the one that is set for it.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="Digest that a single file of weights must have.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a running model server, or a model's files before they are served.

    A server is sent a few harmless questions, to see streaming, tools, JSON schemas, thinking, speed.

    Files must be safetensors or GGUF; SHA256SUMS beside them is compared.

    Exit code: 0 all is well, 1 something does not work or is refused, 2 the command was not understood.
    """
    from services.cli.configuration import load_settings
    from services.cli.model_check import check_files, check_server

    if target.startswith(("http://", "https://")):
        is_well = check_server(load_settings(), target, model=model, key=key, as_json=as_json)
    else:
        is_well = check_files(Path(target), sha256, as_json=as_json)
    if not is_well:
        raise typer.Exit(1)
