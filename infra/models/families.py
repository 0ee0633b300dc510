"""The catalogue of language models that teams bring, read from `families.toml` and checked.

The file is data. Whatever in it is contradictory, missing or out of range is a ConfigurationError that names
the model, so that a slip of the pen never becomes a wrong purchase. Each figure's source is a part of the
data: a topic without one is `unverified`, and whoever shows the figure can say so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from infra.errors import ConfigurationError
from infra.models.entries import (
    TOPICS,
    Attention,
    Catalogue,
    Engine,
    Family,
    Files,
    Format,
    Model,
    Switch,
    Thinking,
)

CATALOGUE_FILE: Final = Path(__file__).with_name("families.toml")

Number = TypeVar("Number", int, float)

_FAMILY_KEYS: Final = frozenset(
    {
        *("name", "title", "maker", "country", "licence", "conditions", "reasoning_parser", "tool_parser"),
        *("tool_template", "thinking", "sampling", "sampling_direct", "vllm_flags", "notes", "model"),
    }
)
_MODEL_KEYS: Final = _FAMILY_KEYS - {"maker", "country", "model"} | {
    *("repository", "total", "active", "context", "attention", "formats", "weights", "ollama_tag", "checked"),
}


@cache
def catalogue() -> Catalogue:
    """Return the catalogue that comes with the program."""
    return read_catalogue(CATALOGUE_FILE)


def read_catalogue(path: Path) -> Catalogue:
    """Read and check a catalogue file; raises ConfigurationError that names the entry that is not usable."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            "The catalogue of models cannot be read.", hint="Reinstall Strongroom."
        ) from error
    sources = {key: _text(document.get("sources"), key, "sources") for key in document.get("sources") or {}}
    formats = {
        key: _format(key, entry, sources)
        for key, entry in _table(document, "formats", "the catalogue").items()
    }
    families = tuple(
        _family(entry, formats, sources) for entry in _tables(document, "family", "the catalogue")
    )
    serving = _table(document, "serving", "the catalogue")
    lines = {engine: tuple(_list(serving, engine, "serving")) for engine in serving}
    found = Catalogue(families, lines)
    _refuse_doubles([model.name for model in found.models])
    return found


def _family(entry: Mapping[str, Any], formats: Mapping[str, Format], sources: Mapping[str, str]) -> Family:
    name = _text(entry, "name", "a family")
    _refuse_unknown(entry, _FAMILY_KEYS, name)
    models = tuple(_model(own, entry, formats, sources) for own in _tables(entry, "model", name))
    return Family(name, _text(entry, "title", name), models)


def _model(
    own: Mapping[str, Any],
    family: Mapping[str, Any],
    formats: Mapping[str, Format],
    sources: Mapping[str, str],
) -> Model:
    """Build one entry: what it says itself, else what its family says."""
    name = _text(own, "name", f"a model of {family['name']}")
    _refuse_unknown(own, _MODEL_KEYS, name)
    entry = {**family, **own}
    total = _number(entry, "total", name, 0.01, 100_000.0)
    active = _number({"active": total, **own}, "active", name, 0.01, total)
    chosen = tuple(_known(key, formats, f"{name}: formats") for key in _list(entry, "formats", name))
    weights = _table(own, "weights", name) if "weights" in own else {}
    _refuse_unknown(weights, frozenset(form.name for form in chosen), f"{name}: weights")
    return Model(
        name=name,
        title=_text(own, "title", name),
        family=_text(family, "name", name),
        maker=_text(family, "maker", name),
        country=_text(family, "country", name),
        repository=_text(own, "repository", name),
        licence=_text(entry, "licence", name),
        conditions=_text(entry, "conditions", name),
        total=total,
        active=active,
        context=_number(entry, "context", name, 512, 100_000_000),
        attention=_attention(own["attention"], name) if "attention" in own else None,
        formats=tuple(sorted(chosen, key=_precision)),
        weights_gib={key: _number(weights, key, f"{name}: weights", 0.01, 100_000.0) for key in weights},
        reasoning_parser=_text_or_none(entry, "reasoning_parser", name),
        tool_parser=_text_or_none(entry, "tool_parser", name),
        tool_template=_text_or_none(entry, "tool_template", name),
        thinking=_thinking(_table(entry, "thinking", name), name),
        sampling=_sampling(entry, "sampling", name),
        sampling_direct=_sampling(entry, "sampling_direct", name),
        vllm_flags=tuple(_list({"vllm_flags": [], **entry}, "vllm_flags", name)),
        ollama_tag=_text_or_none(own, "ollama_tag", name),
        notes=(*_list({"notes": [], **family}, "notes", name), *_list({"notes": [], **own}, "notes", name)),
        sources=_sources(own, sources, name),
    )


def _precision(form: Format) -> tuple[int, bool, float]:
    """Order formats by whole bits, the most precise first; among equals vLLM's come first."""
    return -int(form.bits), form.engine != "vllm", -form.bits


def _format(key: str, entry: object, sources: Mapping[str, str]) -> Format:
    where = f"the format {key}"
    table = _table({key: entry}, key, where)
    files, engine = _text(table, "files", where), _text(table, "engine", where)
    if files not in get_args(Files) or engine not in get_args(Engine):
        raise _unusable(where, "its files or its engine are unknown")
    source = _text_or_none(table, "checked", where)
    return Format(
        key,
        _text(table, "title", where),
        _number(table, "bits", where, 1.0, 32.0),
        "gguf" if files == "gguf" else "safetensors",
        "vllm" if engine == "vllm" else "llama.cpp",
        _known(source, sources, where) if source else None,
    )


def _attention(entry: object, name: str) -> Attention:
    where = f"{name}: attention"
    table = _table({"attention": entry}, "attention", where)
    _refuse_unknown(table, frozenset(Attention.__dataclass_fields__), where)
    numbers = {key: _number(table, key, where, 1, 1_000_000_000) for key in table}
    try:
        found = Attention(**numbers)
    except TypeError as error:
        raise _unusable(where, "it needs query_heads and full_layers") from error
    if bool(found.latent_size) == bool(found.kv_heads and found.head_size):
        raise _unusable(where, "it needs either latent_size, or kv_heads and head_size")
    if bool(found.window_layers) != bool(found.window):
        raise _unusable(where, "window_layers and window go together")
    if found.kv_heads > found.query_heads:
        raise _unusable(where, "it has more kv_heads than query_heads")
    return found


def _thinking(table: Mapping[str, Any], name: str) -> Thinking:
    where = f"{name}: thinking"
    _refuse_unknown(table, frozenset(Thinking.__dataclass_fields__), where)
    switch = _text(table, "switch", where)
    if switch not in get_args(Switch):
        raise _unusable(where, "its switch is unknown")
    switchable = switch in ("template", "prompt")
    default = _text(table, "default", where) if switchable else "on" if switch == "always" else "off"
    if default not in ("on", "off"):
        raise _unusable(where, "its default is neither on nor off")
    needed = {"template": ("on", "off"), "prompt": ("prompt_on", "prompt_off")}.get(switch, ())
    if any(not table.get(key) for key in needed):
        raise _unusable(where, f"it needs {' and '.join(needed)}")
    rest = {key: value for key, value in table.items() if key not in ("switch", "default")}
    return Thinking(switch, "on" if default == "on" else "off", **rest)  # type: ignore[arg-type]


def _sampling(entry: Mapping[str, Any], key: str, name: str) -> dict[str, float]:
    if key not in entry:
        return {}
    table = _table(entry, key, name)
    return {setting: _number(table, setting, f"{name}: {key}", 0.0, 1000.0) for setting in table}


def _sources(own: Mapping[str, Any], sources: Mapping[str, str], name: str) -> dict[str, str]:
    where = f"{name}: checked"
    checked = _table({"checked": {}, **own}, "checked", where)
    _refuse_unknown(checked, frozenset(TOPICS), where)
    return {topic: _known(_text(checked, topic, where), sources, where) for topic in checked}


Known = TypeVar("Known")


def _known(key: object, among: Mapping[str, Known], where: str) -> Known:
    if not isinstance(key, str) or key not in among:
        raise _unusable(where, f"{key!r} is not defined")
    return among[key]


def _table(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = entry.get(key)
    if not isinstance(value, dict):
        raise _unusable(where, f"{key} is missing or no table")
    return value


def _tables(entry: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    value = entry.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise _unusable(where, f"{key} is missing or no list of tables")
    return value


def _list(entry: Mapping[str, Any], key: str, where: str) -> list[str]:
    value = entry.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _unusable(where, f"{key} is missing or no list of texts")
    if len(value) != len(set(value)):
        raise _unusable(where, f"{key} says the same twice")
    return value


def _text(entry: Any, key: str, where: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise _unusable(where, f"{key} is missing or no text")
    return value


def _text_or_none(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    return _text(entry, key, where) if key in entry else None


def _number(entry: Mapping[str, Any], key: str, where: str, low: Number, high: Number) -> Number:
    """Return a number from `low` to `high`, a whole one where the bounds are whole."""
    value = entry.get(key)
    kinds = (int,) if isinstance(low, int) else (int, float)
    # True is an int in Python, and NaN passes no comparison.
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise _unusable(where, f"{key} is missing or not from {low} to {high}")
    return value


def _refuse_unknown(entry: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise _unusable(where, f"{unknown[0]} is unknown here")


def _refuse_doubles(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise _unusable(name, "there is another of this name")


def _unusable(where: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"The catalogue of models is not usable: {where}: {why}.")
