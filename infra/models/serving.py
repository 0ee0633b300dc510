"""The command lines that serve a model: filled in from the catalogue's templates, quoted for a shell.

They bind to this machine and load files that are already here. Nothing is run; people read and copy them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from infra.models.entries import Catalogue, Model

ALL_LAYERS = 999
"""What llama.cpp is told for "every layer on the GPU"."""


def serving_lines(
    found: Catalogue, model: Model, *, gpus: int = 1, context: int = 8192, answers: int = 1
) -> Mapping[str, tuple[str, ...]]:
    """Return the command lines of each engine that has files of this model, by the engine's name.

    `gpus` is the tensor-parallel size (0: none, on the CPU), `context` the tokens of one answer with its
    question, `answers` how many are made at a time. An engine without a suitable file is left out.
    """
    kinds = {form.files for form in model.formats}
    needed = {"vllm": "safetensors", "llama_cpp": "gguf", "ollama": "gguf", "lm_studio": "gguf"}
    values = {
        "name": shlex.quote(model.name),
        "folder": shlex.quote(f"/models/{model.title}"),
        "file": shlex.quote(f"/models/{model.name}.gguf"),
        "gpus": str(max(gpus, 1)),
        "layers": str(ALL_LAYERS if gpus else 0),
        "offload": "max" if gpus else "off",
        "context": str(context),
        # llama.cpp divides what it is given among the answers that it makes at a time.
        "all_context": str(context * answers),
        "answers": str(answers),
        "flags": "".join(f" {flag}" for flag in vllm_flags(model)),
    }
    return {
        engine: tuple(line.format_map(values) for line in templates)
        for engine, templates in found.serving.items()
        if needed.get(engine, "gguf") in kinds
    }


def vllm_flags(model: Model) -> tuple[str, ...]:
    """Return what vLLM must be told of this model: its parsers, its template and its own flags."""
    flags = list(model.vllm_flags)
    if model.reasoning_parser:
        flags.append(f"--reasoning-parser {shlex.quote(model.reasoning_parser)}")
    if model.tool_parser:
        flags.append(f"--enable-auto-tool-choice --tool-call-parser {shlex.quote(model.tool_parser)}")
    if model.tool_template:
        flags.append(f"--chat-template {shlex.quote(model.tool_template)}")
    return tuple(flags)
