"""What fits a machine: weights, cache and room for the engine, against the memory that there is.

The arithmetic is the usual one: parameters times bits a weight; and for each token two vectors (key, value)
a layer, or one compressed vector with multi-head latent attention (arXiv:2405.04434), at 16 bits. vLLM
divides weights and heads among GPUs that must divide the attention heads evenly; a compressed cache cannot
be divided and stands on each GPU. llama.cpp puts whole layers on each GPU. What an engine needs besides is
an allowance, not a measurement, so an answer near the edge is a maybe.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from infra.errors import InvalidInput
from infra.models.catalogue import GIB, REST_OF_SERVER_BYTES
from infra.models.entries import Attention, Format, Model

GPU_SHARE: Final = 0.9
"""The part of a GPU that an engine may fill; vLLM's own default for --gpu-memory-utilization."""

ENGINE_BYTES: Final = 2 * GIB
"""Room on each GPU for the engine's own work (activations, graphs, communication): an allowance."""

CPU_ENGINE_BYTES: Final = 1 * GIB

TIGHT_SHARE: Final = 0.05
"""Less room to spare than this part of the weights is within the error of the estimate."""

_CACHE_NUMBER_BYTES: Final = 2
_STATE_NUMBER_BYTES: Final = 4
_LARGEST_MACHINE: Final = 1024
_GPU_WORDS: Final = re.compile(
    r"(?:(\d{1,4})\s*[xX×*]\s*)?(\d{1,6}(?:\.\d{1,3})?)\s*(GB|GiB|G)?", re.IGNORECASE
)


class Verdict(StrEnum):
    """Whether a model fits; `unknown` means that the catalogue lacks a figure to tell by."""

    FITS = "fits"
    TIGHT = "tight"
    TOO_BIG = "too big"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Hardware:
    """Memory that a model may use: `gpus` devices of `bytes_each`, or with no GPU one main memory."""

    gpus: int
    bytes_each: int

    @property
    def devices(self) -> int:
        """The number of memories: one for each GPU, or the machine's own."""
        return max(self.gpus, 1)


@dataclass(frozen=True)
class Workload:
    """What is to be served: `context` tokens for one question with its answer, `answers` at a time."""

    context: int = 8192
    answers: int = 4


@dataclass(frozen=True)
class Need:
    """Memory of one model at one quantisation, in bytes, on the fullest of `devices` devices.

    `spare` is what remains there; a negative one is what is missing.
    """

    format: Format
    devices: int
    weights: int
    cache: int
    engine: int
    spare: int

    @property
    def is_tight(self) -> bool:
        """Whether the room to spare is within the error of the estimate."""
        return self.spare < self.weights * TIGHT_SHARE


@dataclass(frozen=True)
class Fit:
    """The answer for one model. `need` is the best quantisation that fits, else the one that misses least.

    It is None where the catalogue has no file for this machine. `notes` say what was not counted, and which
    wish could not be met.
    """

    model: Model
    verdict: Verdict
    need: Need | None
    notes: tuple[str, ...]


def parse_gpus(words: str) -> Hardware:
    """Read `2x80GB`, `24GB` or `24`; raises InvalidInput. GB are taken as GiB, as makers of GPUs count."""
    match = _GPU_WORDS.fullmatch(words.strip())
    count = int(match.group(1) or 1) if match else 0
    gib = float(match.group(2)) if match else 0.0
    if not 1 <= count <= _LARGEST_MACHINE or gib < 1:
        raise InvalidInput(
            "This is no set of GPUs.", hint="Write for example 24GB, or 2x80GB for two of 80 GB."
        )
    return Hardware(count, int(gib * GIB))


def parse_main_memory(words: str) -> Hardware:
    """Read the memory of a machine without GPUs, such as `64GB`; raises InvalidInput."""
    match = _GPU_WORDS.fullmatch(words.strip())
    if match is None or match.group(1) is not None or float(match.group(2)) < 1:
        raise InvalidInput("This is no amount of memory.", hint="Write for example 64GB.")
    return Hardware(0, int(float(match.group(2)) * GIB))


def fit(model: Model, hardware: Hardware, workload: Workload) -> Fit:
    """Find the most precise quantisation of `model` that fits `hardware` under `workload`."""
    wanted = Workload(min(workload.context, model.context), workload.answers)
    needs = [
        _need(model, form, hardware, parts, wanted)
        for form in model.formats
        # Without a GPU it is llama.cpp that serves, from GGUF.
        if hardware.gpus or form.files == "gguf"
        for parts in _splits(model, form, hardware.gpus)
    ]
    # Whole bits matter most; then room, then vLLM and few parts, in which order they were made.
    needs.sort(key=lambda need: (-int(need.format.bits), need.is_tight))
    best = next((need for need in needs if need.spare >= 0), None)
    nearest = best or max(needs, key=lambda need: need.spare, default=None)
    return Fit(model, _verdict(model, best, nearest), nearest, _notes(model, hardware, workload, nearest))


def _verdict(model: Model, best: Need | None, nearest: Need | None) -> Verdict:
    if best is None:
        return Verdict.TOO_BIG if nearest else Verdict.UNKNOWN
    if model.attention is None:
        # Weights alone can show that a model is too big, but not that its cache fits as well.
        return Verdict.UNKNOWN
    return Verdict.TIGHT if best.is_tight else Verdict.FITS


def weight_bytes(model: Model, form: Format) -> int:
    """Return the size of the weights in bytes: that of the files where it is known, else an estimate."""
    known = model.weights_gib.get(form.name)
    return int(known * GIB) if known else int(model.total * 1e9 * form.bits / 8)


def cache_bytes(attention: Attention, workload: Workload, *, parts: int = 1) -> int:
    """Return the cache in bytes on one of `parts` GPUs among which the heads are divided.

    With fewer key and value heads than GPUs each GPU holds one of them; a compressed cache stands whole on
    each.
    """
    heads = max(1, -(-attention.kv_heads // parts))
    vector = attention.latent_size or 2 * heads * attention.head_size
    remembered = attention.full_layers * workload.context
    remembered += attention.window_layers * min(attention.window, workload.context)
    index = attention.full_layers * workload.context * attention.indexer_size
    state = attention.state_layers * (attention.state_values or 0) * _STATE_NUMBER_BYTES // parts
    return workload.answers * ((remembered * vector + index) * _CACHE_NUMBER_BYTES + state)


def _splits(model: Model, form: Format, gpus: int) -> list[int]:
    """Return over how many GPUs a model can be split, the fewest first; one part without any GPU."""
    if not gpus:
        return [1]
    if form.engine == "llama.cpp" or model.attention is None:
        return list(range(1, gpus + 1))
    heads, kv_heads = model.attention.query_heads, model.attention.kv_heads
    return [
        parts
        for parts in range(1, gpus + 1)
        if heads % parts == 0 and (kv_heads == 0 or kv_heads % parts == 0 or parts % kv_heads == 0)
    ]


def _need(model: Model, form: Format, hardware: Hardware, devices: int, workload: Workload) -> Need:
    """Count what the fullest of `devices` devices must hold."""
    share = _largest_share(model, form, devices)
    weights = math.ceil(weight_bytes(model, form) * share)
    cache = 0
    if model.attention is not None and form.engine == "vllm":
        cache = cache_bytes(model.attention, workload, parts=devices)
    elif model.attention is not None:
        # A layer takes its cache with it to the GPU that it goes to.
        cache = math.ceil(cache_bytes(model.attention, workload) * share)
    if hardware.gpus:
        room, engine = int(hardware.bytes_each * GPU_SHARE), ENGINE_BYTES
    else:
        room, engine = hardware.bytes_each - REST_OF_SERVER_BYTES, CPU_ENGINE_BYTES
    return Need(form, devices, weights, cache, engine, room - weights - cache - engine)


def _largest_share(model: Model, form: Format, devices: int) -> float:
    """Return the part of a model on the fullest device: llama.cpp moves whole layers, vLLM cuts each."""
    if form.engine == "vllm" or model.attention is None:
        return 1 / devices
    layers = model.attention.layers
    return math.ceil(layers / devices) / layers


def _notes(model: Model, hardware: Hardware, workload: Workload, nearest: Need | None) -> tuple[str, ...]:
    notes = []
    if nearest is None:
        notes.append("The catalogue has no GGUF of it, which a machine without GPUs needs.")
    if workload.context > model.context:
        notes.append(f"It reads at most {model.context:,} tokens; counted with these.")
    if model.attention is None:
        notes.append("Its cache is not counted: the catalogue lacks its layers.")
    elif model.attention.state_layers and model.attention.state_values is None:
        notes.append("The state of its linear layers is not counted: the catalogue lacks its size.")
    if nearest and (nearest.spare < 0 or nearest.format.engine != "vllm"):
        notes.extend(_unsplittable(model, hardware))
    doubtful = [topic for topic in model.unverified if topic in ("parameters", "attention", "weights")]
    if doubtful:
        notes.append(f"Not verified: {', '.join(doubtful)}.")
    return tuple(notes)


def _unsplittable(model: Model, hardware: Hardware) -> list[str]:
    """Say where vLLM cannot use every GPU, because that may be why something does not fit."""
    form = next((form for form in model.formats if form.engine == "vllm"), None)
    if form is None or model.attention is None or hardware.gpus in _splits(model, form, hardware.gpus):
        return []
    heads = model.attention.query_heads
    return (
        [f"vLLM cannot split its {heads} attention heads over {hardware.gpus} GPUs."] if hardware.gpus else []
    )
