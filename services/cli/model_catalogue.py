"""`strongroom models list|show|fit`: the catalogue of language models, in tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import psutil

from infra.errors import InvalidInput
from infra.models.catalogue import GIB
from infra.models.entries import Model
from infra.models.families import catalogue
from infra.models.fitting import (
    Fit,
    Hardware,
    Verdict,
    Workload,
    fit,
    parse_gpus,
    parse_main_memory,
    weight_bytes,
)
from infra.models.serving import serving_lines
from services.cli.starter import local_models
from services.cli.terminal import answers, in_words, messages, print_json

if TYPE_CHECKING:
    from infra.settings import Settings

ENGINES: Final = {"vllm": "vLLM", "llama_cpp": "llama.cpp", "ollama": "Ollama", "lm_studio": "LM Studio"}
_MARK: Final = "*"


@dataclass(frozen=True)
class Question:
    """What `fit` is asked: one model or all, hardware as typed, tokens of an answer, answers at a time."""

    name: str | None
    gpu: str | None
    cpu: str | None
    context: int
    answers: int
    too_big: bool


def list_everything(settings: Settings, *, as_json: bool) -> None:
    """List the models on this machine, the starters, and the catalogue."""
    here = local_models(settings)
    if as_json:
        print_json({"here": here, "catalogue": [_brief(model) for model in catalogue().models]})
        return
    from rich.table import Table

    local = Table("size", "state", "model", box=None, pad_edge=False)
    for row in here:
        local.add_row(in_words(row["bytes"]), row["state"], f"{row['name']}\n{row['note']}".strip())
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("billions", "context", "licence", "maker"):
        table.add_column(heading)
    for model in catalogue().models:
        mark = _MARK if model.unverified else ""
        maker = f"{model.maker}, {model.country}"
        table.add_row(model.name + mark, _billions(model), f"{model.context:,}", model.licence, maker)
    console = answers()
    console.print(local)
    console.print("\nIn the catalogue, to be brought or served elsewhere:")
    console.print(table)
    console.print(f"{_MARK} something of it is not verified: `strongroom models show NAME` says what.")


def show(name: str, *, as_json: bool) -> None:
    """Show one model of the catalogue; raises InvalidInput for a name that it does not have."""
    found = catalogue()
    model = found.find(name)
    lines = serving_lines(found, model)
    if as_json:
        print_json({**asdict(model), "unverified": model.unverified, "serving": lines})
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for label, text in _facts(model):
        table.add_row(label, text)
    console = answers()
    console.print(table)
    for engine, commands in lines.items():
        console.print(f"\n{ENGINES.get(engine, engine)}", style="bold")
        for command in commands:
            console.print(f"  {command}", soft_wrap=True)
    if model.ollama_tag:
        console.print(f"\nIn Ollama's own library it is {model.ollama_tag}, which `ollama pull` downloads.")
    console.print(
        "\nThe lines are for one GPU and one answer at a time; `models fit NAME --gpu …` has others.",
        soft_wrap=True,
    )


def fit_and_tell(question: Question, *, as_json: bool) -> bool:
    """Tell what fits; returns whether anything does. Raises InvalidInput for hardware that is none."""
    hardware = _hardware(question)
    workload = Workload(question.context, question.answers)
    found = catalogue()
    chosen = (found.find(question.name),) if question.name else found.models
    fits = [fit(model, hardware, workload) for model in chosen]
    shown = [one for one in fits if question.name or question.too_big or one.verdict is not Verdict.TOO_BIG]
    if as_json:
        print_json(
            {
                "hardware": asdict(hardware),
                "workload": asdict(workload),
                "models": [_fit_row(one) for one in shown],
            }
        )
    else:
        _print_fits(shown, hardware, workload)
        if question.name:
            _print_lines(fits[0], hardware, workload)
    return any(one.verdict in (Verdict.FITS, Verdict.TIGHT) for one in fits)


def _hardware(question: Question) -> Hardware:
    if question.gpu and question.cpu:
        raise InvalidInput("--gpu and --cpu are two questions: ask one.")
    if question.gpu:
        return parse_gpus(question.gpu)
    if question.cpu:
        return parse_main_memory(question.cpu)
    return Hardware(0, psutil.virtual_memory().total)


def _print_fits(fits: list[Fit], hardware: Hardware, workload: Workload) -> None:
    from rich.table import Table

    kinds = {0: "Main memory of", 1: "One GPU of"}
    kind = kinds.get(hardware.gpus, f"{hardware.gpus} GPUs of")
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("quantisation", no_wrap=True)
    for heading in ("parts", "weights", "cache", "spare"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in fits:
        need = one.need
        cells = ("–",) * 5
        if need is not None:
            spare = _in_gib(need.spare) if one.verdict is not Verdict.UNKNOWN else "?"
            quantisation = need.format.title.partition(" (")[0]
            cells = (quantisation, str(need.devices), _in_gib(need.weights), _in_gib(need.cache), spare)
        table.add_row(one.model.name, one.verdict.value, *cells)
    console = answers()
    console.print(
        f"{kind} {_gib(hardware.bytes_each)}; {workload.answers} answers at a time,"
        f" {workload.context:,} tokens each. GiB on the fullest part; estimates.",
        soft_wrap=True,
    )
    console.print(table)
    for one in fits:
        for note in one.notes:
            messages().print(f"{one.model.name}: {note}", soft_wrap=True)


def _print_lines(one: Fit, hardware: Hardware, workload: Workload) -> None:
    """Print the lines of the engine that serves what fits."""
    if one.need is None or one.need.spare < 0:
        return
    gpus = min(one.need.devices, hardware.gpus)
    context = min(workload.context, one.model.context)
    lines = serving_lines(catalogue(), one.model, gpus=gpus, context=context, answers=workload.answers)
    for command in lines.get("vllm" if one.need.format.engine == "vllm" else "llama_cpp", ()):
        answers().print(f"\n{command}", soft_wrap=True)


def _brief(model: Model) -> dict[str, Any]:
    keys = (
        "name",
        "title",
        "family",
        "maker",
        "country",
        "licence",
        "conditions",
        "total",
        "active",
        "context",
    )
    return {**{key: getattr(model, key) for key in keys}, "unverified": model.unverified}


def _fit_row(one: Fit) -> dict[str, Any]:
    need = one.need
    row: dict[str, Any] = {"name": one.model.name, "verdict": one.verdict.value, "notes": one.notes}
    if need is not None:
        row |= {**asdict(need), "format": need.format.name, "engine_name": need.format.engine}
    return row


def _facts(model: Model) -> Iterator[tuple[str, str]]:
    """Yield the lines of `show`; a topic that no source spoke of is marked."""

    def mark(topic: str) -> str:
        return " (not verified)" if topic in model.unverified else ""

    yield "model", f"{model.title} ({model.repository})"
    yield "maker", f"{model.maker}, {model.country}"
    yield "licence", f"{model.licence}{mark('licence')}: {model.conditions}"
    yield "parameters", f"{_billions(model)} billion{mark('parameters')}"
    yield "context", f"{model.context:,} tokens{mark('context')}"
    yield "weights", _sizes(model)
    if model.attention is None:
        yield "cache", "unknown: the layers were not found"
    else:
        parts = {key: value for key, value in asdict(model.attention).items() if value}
        yield "cache", ", ".join(f"{key} {value:,}" for key, value in parts.items()) + mark("attention")
    parsers = [model.reasoning_parser and f"reasoning {model.reasoning_parser}"]
    parsers.append(model.tool_parser and f"tools {model.tool_parser}")
    yield "vLLM parsers", (", ".join(filter(None, parsers)) or "none known") + mark("parsers")
    yield "thinking", _thinking(model) + mark("thinking")
    yield "sampling", _settings_of(model.sampling) + mark("sampling")
    if model.sampling_direct:
        yield "  not thinking", _settings_of(model.sampling_direct)
    for note in model.notes:
        yield "note", note
    for topic, source in model.sources.items():
        yield f"read: {topic}", source


def _sizes(model: Model) -> str:
    sizes = (
        f"{form.title} {'' if form.name in model.weights_gib else '~'}{_gib(weight_bytes(model, form))}"
        for form in model.formats
    )
    return ", ".join(sizes)


def _thinking(model: Model) -> str:
    thinking = model.thinking
    match thinking.switch:
        case "template":
            on, off = json.dumps(dict(thinking.on)), json.dumps(dict(thinking.off))
            return f"{thinking.default} by default; in the request, on: {on}, off: {off}"
        case "prompt":
            return f"by the system message: `{thinking.prompt_on}`, `{thinking.prompt_off}`"
        case "always":
            return "always, no switch"
        case _:
            return "none"


def _settings_of(sampling: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in sampling.items()) or "no advice found"


def _billions(model: Model) -> str:
    active = f", {model.active:g} active" if model.active != model.total else ""
    return f"{model.total:g}{active}"


def _gib(size: int) -> str:
    return f"{_in_gib(size)} GiB"


def _in_gib(size: int) -> str:
    return f"{size / GIB:.1f}"
