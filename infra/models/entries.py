"""What the catalogue of language models says of a model, and how a model is found by its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from infra.errors import InvalidInput

Engine = Literal["vllm", "llama.cpp"]
Files = Literal["safetensors", "gguf"]
Switch = Literal["template", "prompt", "always", "none"]

TOPICS: Final = (
    *("licence", "parameters", "context", "attention", "parsers"),
    *("thinking", "sampling", "weights", "ollama"),
)
"""What an entry speaks of; each has a source, or counts as unverified."""


@dataclass(frozen=True)
class Format:
    """A quantisation. `bits` is the mean size of a weight in the whole file, scales included."""

    name: str
    title: str
    bits: float
    files: Files
    engine: Engine
    source: str | None


@dataclass(frozen=True)
class Attention:
    """What decides how much memory the cache takes, layer by layer.

    `full_layers` remember every token. With `latent_size` (multi-head latent attention, arXiv:2405.04434)
    a token leaves that many numbers in each of them, else `kv_heads` keys and values of `head_size` numbers.
    `indexer_size` numbers more go to a sparse attention's index. `window_layers` remember the last `window`
    tokens only. `state_layers` keep `state_values` numbers for each answer, however long it is; None means
    that their size could not be found.
    """

    query_heads: int
    full_layers: int
    kv_heads: int = 0
    head_size: int = 0
    latent_size: int = 0
    indexer_size: int = 0
    window_layers: int = 0
    window: int = 0
    state_layers: int = 0
    state_values: int | None = None

    @property
    def layers(self) -> int:
        """The number of layers of every kind."""
        return self.full_layers + self.window_layers + self.state_layers


@dataclass(frozen=True)
class Thinking:
    """How a request turns thinking on or off.

    `template`: `on` and `off` are fields to add to the request. `prompt`: they are lines for the system
    message. `always` and `none`: there is nothing to switch. `default` is what happens without a word.
    """

    switch: Switch
    default: Literal["on", "off"]
    on: Mapping[str, Any] = field(default_factory=dict)
    off: Mapping[str, Any] = field(default_factory=dict)
    prompt_on: str | None = None
    prompt_off: str | None = None


@dataclass(frozen=True)
class Model:
    """One model. Parameters are in billions, `context` in tokens, `weights_gib` known sizes by format.

    `formats` begin with the most precise.

    `attention` is None where it could not be found. `sampling` is the maker's advice, `sampling_direct`
    what differs with thinking off. `sources` says by topic where the figures were read.
    """

    name: str
    title: str
    family: str
    maker: str
    country: str
    repository: str
    licence: str
    conditions: str
    total: float
    active: float
    context: int
    attention: Attention | None
    formats: tuple[Format, ...]
    weights_gib: Mapping[str, float]
    reasoning_parser: str | None
    tool_parser: str | None
    tool_template: str | None
    thinking: Thinking
    sampling: Mapping[str, float]
    sampling_direct: Mapping[str, float]
    vllm_flags: tuple[str, ...]
    ollama_tag: str | None
    notes: tuple[str, ...]
    sources: Mapping[str, str]

    @property
    def unverified(self) -> tuple[str, ...]:
        """The topics of which this entry says something that was not read in any source."""
        said = {
            "attention": self.attention is not None,
            "parsers": bool(self.reasoning_parser or self.tool_parser),
            "thinking": self.thinking.switch != "none",
            "sampling": bool(self.sampling),
            "weights": bool(self.weights_gib),
            "ollama": self.ollama_tag is not None,
        }
        return tuple(topic for topic in TOPICS if said.get(topic, True) and topic not in self.sources)


@dataclass(frozen=True)
class Family:
    """Models of one maker and one kind."""

    name: str
    title: str
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Catalogue:
    """Every family, and by engine the templates of the command lines that serve a model."""

    families: tuple[Family, ...]
    serving: Mapping[str, tuple[str, ...]]

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model, family by family."""
        return tuple(model for family in self.families for model in family.models)

    def find(self, name: str) -> Model:
        """Return the model called `name`, here or by its maker; raises InvalidInput with what comes close."""
        found = self.recognise(name)
        if found is None:
            close = difflib.get_close_matches(name.lower(), [model.name for model in self.models], n=3)
            hint = (
                f"Did you mean {' or '.join(close)}?" if close else "`strongroom models list` has the names."
            )
            raise InvalidInput("The catalogue has no model of this name.", hint=hint)
        return found

    def recognise(self, name: str) -> Model | None:
        """Return the model that a server calls `name`, or None.

        A server's name is often the maker's, with or without the maker, or the folder or file it was read
        from; a quantisation may follow it.
        """
        wanted = _plain(name)
        ranked = sorted(self.models, key=lambda model: len(_plain(model.title)), reverse=True)
        for model in ranked:
            if wanted in {_plain(known) for known in (model.name, model.title, model.repository)}:
                return model
        return next((model for model in ranked if wanted.startswith(f"{_plain(model.title)}-")), None)


def _plain(name: str) -> str:
    """Return a model's name without its maker, folder and file ending, in lower case with hyphens."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    return last.removesuffix(".gguf").replace("_", "-").replace(":", "-")
